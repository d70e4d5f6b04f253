"""What scenario files of all domains share: reading, folders that appear whole, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from models.contracts import FelsinaError
from models.toml_file import first_fault, read_toml

FINISHED = "runs"
"""Folder within a scenario's output whose content outlives a kill; the next run goes on from it."""


class Frozen(BaseModel):
    """Part of a scenario: immutable, no key that is not known, no number that is none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


File = TypeVar("File", bound=Frozen)


def read_file(file: Path, kinds: tuple[str, ...] = ("domain",)) -> dict[str, Any]:
    """A scenario or a design; its name and what it is of are there.

    Args:
        file: TOML.
        kinds: keys of which it has one, such as ``domain``.

    Raises:
        FelsinaError: naming the file and the key.
    """
    scenario = read_toml(file)
    given = [kind for kind in kinds if kind in scenario]
    if len(given) > 1:
        raise FelsinaError(f"scenario {file}: {' and '.join(given)} are given; keep one of them")
    for key in ("name", *(given or kinds[:1])):
        if not isinstance(scenario.get(key), str) or not scenario[key]:
            raise FelsinaError(f"scenario {file}: {key} is missing; give it a text")
    return scenario


def read_keys(kind: type[File], scenario: dict[str, Any]) -> File:
    """A parsed scenario file as its domain's keys.

    Raises:
        FelsinaError: naming the scenario, the first key that is wrong and its value.
    """
    try:
        return kind.model_validate(scenario)
    except ValidationError as error:
        raise FelsinaError(
            f"scenario {scenario.get('name', '')!r}: {first_fault(error)}; a scenario has "
            f"{', '.join(kind.model_fields)}"
        ) from error


@contextmanager
def appearing(folder: Path, finished_stays: bool = False) -> Iterator[Path]:
    """A folder to write that gets its name when the block ends well.

    After a kill it is given again, with what was finished; after a refusal nothing is left.

    Args:
        folder: its name when it is whole; ``.partial`` follows it until then.
        finished_stays: whether what was finished outlives a refusal too.
    """
    partial = folder.with_name(folder.name + ".partial")
    resumed = partial.exists()
    _clear(partial)
    try:
        yield partial
    except FelsinaError:
        finished = partial / FINISHED
        stays = finished_stays and finished.is_dir() and any(finished.iterdir())
        if not resumed and not stays:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    partial.rename(folder)


def _clear(partial: Path) -> None:
    """Make the folder, with nothing of a killed run but what that had finished."""
    partial.mkdir(parents=True, exist_ok=True)
    for path in partial.iterdir():
        if path.name != FINISHED:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
