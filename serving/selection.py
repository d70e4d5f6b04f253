"""Which part of a forecast is asked for: nodes, areas, a box, leads, quantile levels."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from models.contracts import CityGraph, FelsinaError, ForecastSpec, IntArray
from serving.schemas import MOST_VALUES


class Nothing(BaseModel):
    """No query parameter; one that is unknown is refused, or each would be an answer to keep."""

    model_config = ConfigDict(extra="forbid")


class Listed(Nothing):
    """Query parameters of ``GET /v1/datasets``."""

    domain: str | None = None


class Observed(Nothing):
    """Query parameters of ``GET /v1/observations/{dataset}``."""

    nodes: str | None = Field(None, description="Node ids, comma separated; all when left out.")
    last: int = Field(72, ge=1, le=100_000)


class Places(Nothing):
    """Query parameters that choose nodes; where several are given a node must fit them all."""

    nodes: str | None = Field(None, description="Node ids, comma separated; all when left out.")
    areas: str | None = Field(None, description="Areas, comma separated.")
    bbox: str | None = Field(
        None, description="West, south, east, north in degrees: nodes that lie in it."
    )

    def chosen(self, graph: CityGraph) -> IntArray:
        """Positions of the nodes, in the order in which ``nodes`` names them.

        Raises:
            FelsinaError: naming the node or area that is unknown.
        """
        found = np.arange(graph.nodes)
        if self.nodes is not None:
            found = named(graph, self.nodes)
        if self.areas is not None:
            known = sorted(set(graph.areas) - {""})
            wanted = self.areas.split(",")
            if unknown := [area for area in wanted if area not in known]:
                raise FelsinaError(
                    f"areas: unknown area {unknown[0]!r}; known: {some(known) or 'none'}"
                )
            found = found[[graph.areas[n] in wanted for n in found]]
        if self.bbox is not None:
            west, south, east, north = _box(self.bbox)
            lon, lat = graph.lon[found], graph.lat[found]
            found = found[(lon >= west) & (lon <= east) & (lat >= south) & (lat <= north)]
        return found


def named(graph: CityGraph, ids: str) -> IntArray:
    """Positions of nodes whose ids are comma separated.

    Raises:
        FelsinaError: naming the id that is unknown or stands twice.
    """
    wanted = ids.split(",")
    found = graph.index(wanted)
    if len(set(wanted)) < len(wanted):
        twice = next(node for node, times in Counter(wanted).items() if times > 1)
        raise FelsinaError(f"nodes: {twice!r} stands twice; name each node once")
    return found


class Ahead(Places):
    """Query parameters that choose nodes and leads."""

    leads: str | None = Field(
        None, description="Steps ahead, from 1, such as `1,3,6-12`; all when left out."
    )

    def selection(self, spec: ForecastSpec, graph: CityGraph) -> Selection:
        """The part of a forecast that is meant.

        Raises:
            FelsinaError: naming what is unknown, with what is known.
        """
        return Selection(self.chosen(graph), self._leads(spec.horizon), self._levels(spec))

    def _leads(self, horizon: int) -> IntArray:
        if self.leads is None:
            return np.arange(horizon)
        found: set[int] = set()
        for part in self.leads.split(","):
            first, dash, last = part.partition("-")
            if not (_digits(first) and (_digits(last) or not dash)):
                raise FelsinaError(f"leads: {part!r} is no lead; write leads like 1,3,6-12")
            low, high = int(first), int(last if dash else first)
            if not 1 <= low <= high <= horizon:
                raise FelsinaError(f"leads: {part!r} is not within 1-{horizon}")
            found.update(range(low - 1, high))
        return np.array(sorted(found), np.int64)

    def _levels(self, spec: ForecastSpec) -> IntArray:
        return np.arange(len(spec.quantiles))


class Filters(Ahead):
    """Query parameters that choose part of a forecast."""

    quantiles: str | None = Field(
        None, description="Quantile levels, such as `0.1,0.5,0.9`; all when left out."
    )

    def _levels(self, spec: ForecastSpec) -> IntArray:
        known = [f"{level:g}" for level in spec.quantiles]
        if self.quantiles is None:
            return np.arange(len(known))
        wanted = {f"{_number(text, 'quantiles'):g}": text for text in self.quantiles.split(",")}
        if unknown := [text for level, text in wanted.items() if level not in known]:
            raise FelsinaError(
                f"quantiles: {unknown[0]!r} is not forecast; known: {', '.join(known)}"
            )
        return np.array(sorted(known.index(level) for level in wanted), np.int64)


@dataclass(frozen=True)
class Selection:
    """Part of a forecast.

    Attributes:
        nodes: positions of the nodes.
        leads: positions along the horizon, rising; lead 1 is 0.
        levels: positions of the quantile levels, rising.
    """

    nodes: IntArray
    leads: IntArray
    levels: IntArray

    def check_size(self) -> None:
        """Refuse a forecast of too many values."""
        size = len(self.nodes) * len(self.leads) * len(self.levels)
        if size > MOST_VALUES:
            raise FelsinaError(
                f"{len(self.leads)} leads of {len(self.nodes)} nodes with {len(self.levels)} "
                f"quantiles are {size} values, over {MOST_VALUES}; ask for fewer"
            )


def some(names: list[str], most: int = 10) -> str:
    """The first of them, for people."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _box(text: str) -> tuple[float, float, float, float]:
    parts = text.split(",")
    if len(parts) != 4:
        raise FelsinaError(f"bbox: {len(parts)} numbers; give west,south,east,north")
    west, south, east, north = (_number(part, "bbox") for part in parts)
    if west > east or south > north:
        raise FelsinaError(f"bbox: {text!r} is empty; give west,south,east,north in this order")
    return west, south, east, north


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise FelsinaError(f"{where}: {text!r} is no number")
    return value


def _digits(text: str) -> bool:
    """Whether it is a whole number of a sensible length."""
    return text.isascii() and text.isdigit() and len(text) < 10
