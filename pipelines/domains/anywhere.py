"""The sources of open data that no domain owns, by name."""

from __future__ import annotations

from pipelines.domains import bologna_areas
from pipelines.ingest import csv_table, open_meteo, road_graph
from pipelines.ingest.source import Source

_SOURCES = {
    one.name: one
    for one in (
        csv_table.SOURCE,
        open_meteo.FORECAST,
        open_meteo.ARCHIVE,
        road_graph.SOURCE,
        bologna_areas.SOURCE,
    )
}


def source(name: str) -> Source:
    """One of them."""
    return _SOURCES[name]
