"""What people write as TOML and ``key=value``; what is wrong with it is said in a line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from models.errors import FelsinaError

Told = TypeVar("Told", bound=BaseModel)
_SHOWN = 80
"""Characters that are shown of a key and of a value."""


def read_toml(path: Path, remedy: str = "") -> dict[str, Any]:
    """A file's tables.

    Args:
        path: of the file.
        remedy: what is added where it is no TOML.

    Raises:
        FelsinaError: naming the file.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FelsinaError(f"{path}: cannot be read: {error.strerror}{remedy}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FelsinaError(f"{path}: no TOML: {error}{remedy}") from error


def read_model(path: Path, kind: type[Told], remedy: str = "") -> Told:
    """A file as a model of what it may hold.

    Args:
        path: of the file.
        kind: the model.
        remedy: what is added where it does not fit.

    Raises:
        FelsinaError: naming the file, and the member at fault.
    """
    try:
        return kind.model_validate(read_toml(path, remedy))
    except ValidationError as error:
        raise FelsinaError(f"{path}: {first_fault(error)}{remedy}") from error


def first_fault(error: ValidationError) -> str:
    """The first of what a model refused, in one line; never a whole record, which may be secret."""
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"]))[:_SHOWN] or "whole"
    value = fault["input"]
    silent = not fault["loc"] or fault["type"] == "missing"
    if not silent and not (value and isinstance(value, (dict, list, tuple, bytes))):
        where += f" = {repr(value)[:_SHOWN]}"
    message = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {message[:1].lower()}{message[1:]}"


def assigned(texts: Iterable[str], example: str) -> dict[str, Any]:
    """What assignments such as ``architecture.width=64`` say, nested; the last wins.

    Args:
        texts: a key, dots between its parts, and a value; what is no TOML value is a text.
        example: shown where there is no ``=``.

    Raises:
        FelsinaError: naming the text.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise FelsinaError(f"--set {text!r}: write key=value, like {example}")
        try:
            nested: Any = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            nested = value
        for part in reversed(key.strip().split(".")):
            nested = {part: nested}
        found = merge(found, nested)
    return found


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts joined; ``changes`` win."""
    out = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else value
    return out
