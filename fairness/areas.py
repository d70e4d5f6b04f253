"""A city's areas from its open data: a table, outlines, and a TOML file that says which is which.

    table = "area_attributes.csv"          # one row an area
    outlines = "areas.geojson"             # optional: polygons with the same code
    code = "area_code"                     # column of the table, property of the outlines
    levels = ["area", "zona", "quartiere"] # names of the districts, the smallest first
    residents = "residents_2021"
    attributes = ["median_income_eur"]     # numbers by which areas are told apart
    km2 = "area_km2"                       # optional: land, for sensors a square kilometre
    crossed = [["median_income_eur", "over80_pct"]]  # optional: attributes looked at together
    vulnerable = "over80_pct"              # optional: per cent of residents who need warnings most

A node stands in the area that its ``area`` column names, by code or by name of the smallest level;
without one, in the area whose outline holds its place.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from fairness.groups import Areas
from models.contracts import CityGraph, FelsinaError, FloatArray, IntArray
from models.toml_file import read_model


class AreasFile(BaseModel):
    """The TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str
    outlines: str | None = None
    code: str
    levels: list[str] = Field(min_length=1)
    residents: str
    attributes: list[str] = []
    km2: str | None = None
    vulnerable: str | None = None
    crossed: list[tuple[str, str]] = []
    attribution: str = ""


def read_areas(path: Path, graph: CityGraph) -> Areas:
    """The areas of a city, with each node's.

    Raises:
        FelsinaError: naming the file, and the column, value or node at fault.
    """
    said = read_model(path, AreasFile)
    if unknown := sorted({name for pair in said.crossed for name in pair} - set(said.attributes)):
        raise FelsinaError(
            f"{path}: crossed: {', '.join(unknown)} is none of attributes; add it there"
        )
    table = path.parent / said.table
    optional = [name for name in (said.km2, said.vulnerable) if name is not None]
    columns = [said.code, said.residents, *said.levels, *said.attributes, *optional]
    rows = _rows(table, columns)
    codes = [row[said.code] for row in rows]
    of_node = _named(graph, codes, [row[said.levels[0]] for row in rows], path)
    lost = np.flatnonzero((of_node < 0) & np.isfinite(graph.lon) & np.isfinite(graph.lat))
    if said.outlines and len(lost):
        outlines = _outlines(path.parent / said.outlines, said.code)
        for position, code in enumerate(codes):
            for rings in outlines.get(code, []):
                inside = _inside(graph.lon[lost], graph.lat[lost], rings)
                of_node[lost[inside]] = position
    residents = _column(table, rows, said.residents)
    share = None if said.vulnerable is None else _column(table, rows, said.vulnerable)
    return Areas(
        of_node,
        {level: tuple(row[level] for row in rows) for level in said.levels},
        residents,
        {name: _column(table, rows, name) for name in said.attributes},
        None if said.km2 is None else _column(table, rows, said.km2),
        None if share is None else residents * share / 100,
        tuple(said.crossed),
    )


def read_outlines(path: Path) -> dict[str, list[list[FloatArray]]]:
    """Name of each area of a TOML file to its polygons, each a list of rings [P, 2] in degrees.

    Empty where the file names no outlines.

    Raises:
        FelsinaError: as ``read_areas`` does.
    """
    said = read_model(path, AreasFile)
    if said.outlines is None:
        return {}
    rows = _rows(path.parent / said.table, [said.code, said.levels[0]])
    found = _outlines(path.parent / said.outlines, said.code)
    return {row[said.levels[0]]: found.get(row[said.code], []) for row in rows}


def _rows(path: Path, columns: list[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or [])]
            if missing:
                raise FelsinaError(
                    f"{path}: no column {', '.join(missing)}; it has "
                    f"{', '.join(reader.fieldnames or [])}"
                )
            return list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise FelsinaError(f"{path}: cannot be read: {error}") from error


def _column(path: Path, rows: list[dict[str, str]], name: str) -> FloatArray:
    values = np.full(len(rows), np.nan)
    for at, row in enumerate(rows):
        text = row[name].strip()
        try:
            values[at] = float(text) if text else np.nan
        except ValueError as error:
            raise FelsinaError(
                f"{path}: row {at + 2}, {name}: {text!r} is no number; leave unknown ones empty"
            ) from error
    return values


def _named(graph: CityGraph, codes: list[str], names: list[str], path: Path) -> IntArray:
    place = dict(zip(names, range(len(names)), strict=True))
    place |= dict(zip(codes, range(len(codes)), strict=True))
    unknown = sorted(set(graph.areas) - set(place) - {""})
    if unknown:
        raise FelsinaError(
            f"{path}: nodes stand in {', '.join(unknown[:5])}, which the table does not hold"
        )
    return np.array([place[area] if area else -1 for area in graph.areas], np.int64)


def _outlines(path: Path, code: str) -> dict[str, list[list[FloatArray]]]:
    """Code to polygons, each a list of rings [P, 2] in degrees."""
    try:
        features: list[dict[str, Any]] = json.loads(path.read_bytes())["features"]
        found: dict[str, list[list[FloatArray]]] = {}
        for feature in features:
            shape = feature["geometry"]
            polygons = shape["coordinates"]
            polygons = [polygons] if shape["type"] == "Polygon" else polygons
            rings = [[np.array(ring, float)[:, :2] for ring in polygon] for polygon in polygons]
            found.setdefault(str(feature["properties"][code]), []).extend(rings)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise FelsinaError(
            f"{path}: no outlines with {code!r} ({type(error).__name__}: {error}); give GeoJSON "
            "polygons"
        ) from error
    return found


def _inside(lon: FloatArray, lat: FloatArray, rings: list[FloatArray]) -> np.ndarray:
    """[P] whether points lie inside: a ray to the east crosses the rings an odd number of times."""
    odd = np.zeros(len(lon), bool)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            between = (y0 > lat) != (y1 > lat)
            with np.errstate(divide="ignore", invalid="ignore"):
                odd ^= between & (lon < x0 + (lat - y0) * (x1 - x0) / (y1 - y0))
    return odd


def area_files(path: Path) -> list[Path]:
    """A city's TOML file and the files that it names."""
    said = read_model(path, AreasFile)
    return [path, *(path.parent / name for name in (said.table, said.outlines) if name)]


def area_source(path: Path) -> str:
    """Whom to name for a city's areas."""
    return read_model(path, AreasFile).attribution
