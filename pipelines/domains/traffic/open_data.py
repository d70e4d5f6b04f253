"""The open data of traffic, by name."""

from __future__ import annotations

from pipelines.domains.traffic import bologna_loops, regional_counts
from pipelines.ingest.source import Source

_SOURCES = {one.name: one for one in (bologna_loops.SOURCE, regional_counts.SOURCE)}


def source(name: str) -> Source:
    """One of its sources."""
    return _SOURCES[name]
