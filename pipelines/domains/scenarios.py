"""What scenario files of all domains share: parts that cannot change, refusals in one line."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from models.contracts import FelsinaError

FINISHED = "runs"
"""Folder within a scenario's output whose content outlives a kill; the next run goes on from it."""


class Frozen(BaseModel):
    """Part of a scenario: immutable, and no key that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


File = TypeVar("File", bound=Frozen)


def read_keys(kind: type[File], scenario: dict[str, Any]) -> File:
    """A parsed scenario file as its domain's keys.

    Raises:
        FelsinaError: naming the scenario, the first key that is wrong and its value.
    """
    try:
        return kind.model_validate(scenario)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        value = "" if first["type"] == "missing" else f" = {first.get('input')!r}"
        raise FelsinaError(
            f"scenario {scenario.get('name', '')!r}: {key}{value}: {first['msg'].lower()};"
            f" a scenario has {', '.join(kind.model_fields)}"
        ) from error
