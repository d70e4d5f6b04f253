"""The sources that no domain owns, by name."""

from __future__ import annotations

from pipelines.ingest import csv_table
from pipelines.ingest.source import Source

_SOURCES = {one.name: one for one in (csv_table.SOURCE,)}


def source(name: str) -> Source:
    """One of them."""
    return _SOURCES[name]
