"""TOML files that people write: what is wrong with one is said in a line that names the member."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from models.contracts import FelsinaError

Told = TypeVar("Told", bound=BaseModel)


def read_toml(path: Path, kind: type[Told], remedy: str = "") -> Told:
    """A file as a model of what it may hold.

    Args:
        path: of the file.
        kind: the model.
        remedy: what is added where a member is wrong.

    Raises:
        FelsinaError: naming the file, and the member at fault.
    """
    try:
        return kind.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FelsinaError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise FelsinaError(f"{path}: {where}: {first['msg']}{remedy}") from error
