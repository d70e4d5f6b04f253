"""The mapping file of a plain CSV: which column is what, in which clock and notation."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from models.contracts import FelsinaError
from models.toml_file import read_model
from pipelines.ingest.columns import MISSING


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NodesTable(_Part):
    """A CSV of places: one row a node, written as the data are."""

    file: str
    id: str
    lon: str = ""
    lat: str = ""
    geopoint: str = ""
    columns: dict[str, str] = {}


class ForcingColumn(_Part):
    """A column of the data that is no node but a forcing of the whole city."""

    column: str
    unit: str
    known_future: bool = False
    adds_up: bool = False


class Credits(_Part):
    """Whose data these are."""

    publisher: str
    licence: str
    attribution: str


class Mapping(_Part):
    """A mapping file. Its first half is that of ``dataset.toml``.

    Attributes:
        files: patterns of the data files, relative to the mapping file.
        time: column of the stamp, or several that are joined by a blank.
        time_format: as of ``strptime``; ``iso``, ``unix`` (seconds) or ``unix_ms``.
        value: column of the values; a list where a row holds several steps one after another.
        node: column of the node's id; where there is none, each column left is a node.
        nodes: ids, where not all columns left are.
        scale: what a value is multiplied by to be in ``unit``.
    """

    domain: str
    target: str
    unit: str
    step: str
    timezone: str
    lookback: int = Field(168, ge=1)
    horizon: int = Field(24, ge=1)
    nonnegative: bool = False
    files: str | list[str]
    separator: str = Field(",", min_length=1, max_length=1)
    decimal: str = Field(".", min_length=1, max_length=1)
    thousands: str = Field("", max_length=1)
    encoding: str = "utf-8"
    missing: list[str] = list(MISSING)
    scale: float = 1.0
    time: str | list[str]
    time_format: str = "iso"
    node: str = ""
    value: str | list[str] = ""
    nodes: list[str] = []
    neighbours: int = Field(8, ge=0)
    places: NodesTable | None = None
    forcings: dict[str, ForcingColumn] = {}
    source: Credits

    def times(self) -> list[str]:
        """The columns of the stamp."""
        return [self.time] if isinstance(self.time, str) else self.time

    def values(self) -> list[str]:
        """The columns of the values of a long table."""
        return [self.value] if isinstance(self.value, str) else self.value

    def patterns(self) -> list[str]:
        """The patterns of the data files."""
        return [self.files] if isinstance(self.files, str) else self.files


def read_mapping(path: Path) -> Mapping:
    """Read a mapping file; what is wrong with it is said with its key."""
    mapping = read_model(path, Mapping, "; docs/how-to/own-city.md has one")
    if bool(mapping.node) != bool(mapping.value):
        raise FelsinaError(f"{path}: give node and value, or neither where each column is a node")
    if mapping.decimal == mapping.thousands:
        raise FelsinaError(f"{path}: decimal and thousands are both {mapping.decimal!r}")
    return mapping
