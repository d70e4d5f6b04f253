"""Drawn scenarios of measures on one network, with whole measures and combinations held out.

Closures are drawn by groups of edges that the same trips pass (closing one closes the other),
limits by what lies within a circle, by single edges or everywhere. What is drawn has three parts:

- *held out*: groups never closed, edges no lane of which is taken, circles no edge of which is
  limited in training, unless everything is. Test set ``HELD_OUT_MEASURES`` is of these alone.
- *alone*: closures and lanes that training sees, but never together with another measure. Each of
  ``HELD_OUT_COMBINATIONS`` has one of them and another measure, or two.
- the rest, which training sees alone and together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.contracts import FelsinaError
from pipelines.domains.traffic.measures import (
    Closure,
    Demand,
    Intervention,
    LaneTaken,
    Measure,
    SpeedLimit,
    intervention,
)
from pipelines.domains.traffic.network import Network
from pipelines.domains.traffic.streams import Lost, same_traffic, streams
from pipelines.domains.traffic.trips import driven_turns

TODAY = "today"
HELD_OUT_MEASURES, HELD_OUT_COMBINATIONS = "held-out measures", "held-out combinations"
DEMAND = (0.5, 1.15)
KM_H = (20, 45)
MOST_CLOSED = 2
"""Edges that a drawn scenario closes at once."""
_LOST = 0.01
"""Share of all trips that closures may make impossible; more is another demand, not a measure."""
_HELD_OUT, _ALONE, _CIRCLES = 0.22, 0.18, 3
_RADIUS = (0.08, 0.3)
"""Of circles, in parts of the network's extent."""
_KINDS = ("closure", "limit", "lane", "demand")
_SHARES = (0.42, 0.28, 0.12, 0.18)
_COUNTS = (0.45, 0.3, 0.25)
"""Shares of scenarios of one, two and three measures."""
_SECOND = 0.2
"""Share of closures that are of two groups."""
_TRIES = 400


@dataclass(frozen=True)
class Part:
    """What closures, taken lanes and limits may be drawn from.

    Attributes:
        closures: groups of edges.
        lanes: edge and number.
        circles: edges within each; empty: circles are drawn too.
    """

    closures: tuple[tuple[str, ...], ...]
    lanes: tuple[tuple[str, int], ...]
    circles: tuple[frozenset[str], ...] = ()


class Draws:
    """Draws scenarios on a network; the same numbers give the same ones.

    Args:
        network: where.
        seed: decides which measures are held out, and every draw.

    Raises:
        FelsinaError: if too few streets can be closed to hold some out.
    """

    def __init__(self, network: Network, seed: int) -> None:
        self._network, self._seed = network, seed
        self._turns = driven_turns(network)
        driven = streams(network)
        self._lost, self._trips = Lost(network, driven), sum(s.trips for s in driven)
        ids = list(network.edges)
        self._ids = np.array(ids)
        self._middles = np.array([network.edges[edge].middle for edge in ids])
        rng = np.random.default_rng([seed])
        groups = [
            tuple(edge for edge in g if self._closable((edge,))) for g in same_traffic(driven)
        ]
        closures = self._split([group for group in groups if group], rng)
        if min(map(len, closures)) < 1:
            raise FelsinaError(
                f"network {network.name}: only {sum(map(len, closures))} streets can be closed"
                " without losing trips; take a network with more ways"
            )
        legal = self._legal_lanes()
        edges = sorted({edge for edge, _ in legal})
        lanes = [
            tuple(lane for lane in legal if lane[0] in part) for part in self._split(edges, rng)
        ]
        circles = tuple(self._circle(rng) for _ in range(_CIRCLES))
        self.held_out = Part(closures[0], lanes[0], circles)
        self.alone = Part(closures[1], lanes[1])
        self.seen = Part(closures[2], lanes[2])

    def __call__(self, kind: str, number: int) -> tuple[tuple[Measure, ...], Intervention]:
        """Scenario ``number`` of a kind: its measures and what they come to."""
        if kind == TODAY:
            return (), Intervention()
        rng = np.random.default_rng([self._seed, *kind.encode(), number])
        for _ in range(_TRIES):
            try:
                if kind == HELD_OUT_MEASURES:
                    measures = self._held_out(rng, number)
                elif kind == HELD_OUT_COMBINATIONS:
                    measures = self._combined(rng)
                else:
                    measures = self._training(rng)
                change = intervention(measures, self._network, self._turns)
            except FelsinaError:  # a measure that is refused is drawn again
                continue
            if self._closable(change.closed):
                return tuple(measures), change
        raise FelsinaError(
            f"network {self._network.name}: no scenario of {kind!r} is legal in {_TRIES} draws;"
            " take another seed of draws"
        )

    def _training(self, rng: np.random.Generator) -> list[Measure]:
        count = 1 + int(rng.choice(len(_COUNTS), p=_COUNTS))
        kinds = rng.choice(_KINDS, count, replace=False, p=_SHARES)
        alone = count == 1 and rng.random() < _ALONE / (1 - _HELD_OUT)
        part, second = (self.alone, 0.0) if alone else (self.seen, _SECOND)
        return [self._measure(kind, part, rng, second) for kind in kinds]

    def _held_out(self, rng: np.random.Generator, number: int) -> list[Measure]:
        """Held-out things in turn: three closures, a lane and a limit."""
        turn, place = divmod(number, 5)
        out = self.held_out
        if place < 3:
            group = out.closures[(3 * turn + place) % len(out.closures)]
            return [self._measure("closure", Part((group,), ()), rng)]
        if place == 3:
            edges = sorted({edge for edge, _ in out.lanes}) or [""]
            edge = edges[turn % len(edges)]
            lanes = tuple(lane for lane in out.lanes if lane[0] == edge)
            return [self._measure("lane", Part((), lanes), rng)]
        circle = out.circles[turn % len(out.circles)]
        return [self._measure("limit", Part((), (), (circle,)), rng)]

    def _combined(self, rng: np.random.Generator) -> list[Measure]:
        first = str(rng.choice(["closure", "lane"], p=(0.8, 0.2)))
        others = [kind for kind in _KINDS if kind != first]
        kinds = rng.choice(others, int(rng.integers(1, 3)), replace=False)
        return [
            self._measure(first, self.alone, rng, _SECOND),
            *(self._measure(kind, self.seen, rng) for kind in kinds),
        ]

    def _measure(
        self, kind: str, part: Part, rng: np.random.Generator, second: float = 0.0
    ) -> Measure:
        if kind == "closure":
            chosen = rng.permutation(len(part.closures))[: 1 + int(rng.random() < second)]
            edges = [str(rng.choice(part.closures[group])) for group in chosen]
            return Closure(kind="closure", edges=tuple(edges))
        if kind == "lane":
            if not part.lanes:
                raise FelsinaError("no lane can be taken")
            edge, lane = part.lanes[rng.integers(len(part.lanes))]
            return LaneTaken.model_validate(
                {"kind": "lane", "edge": edge, "lane": lane, "for": "bus"}
            )
        if kind == "demand":
            return Demand(kind="demand", factor=round(float(rng.uniform(*DEMAND)), 3))
        return SpeedLimit(
            kind="speed_limit", km_h=int(rng.integers(*KM_H)), edges=self._zone(part, rng)
        )

    def _zone(self, part: Part, rng: np.random.Generator) -> tuple[str, ...]:
        """Edges of a limit; none: everywhere."""
        if part.circles:
            return tuple(sorted(part.circles[rng.integers(len(part.circles))]))
        way = rng.random()
        if way < 0.35:
            return ()
        share = rng.uniform(0.05, 0.5)
        some = frozenset(self._ids[rng.random(len(self._ids)) < share].tolist())
        zone = (self._circle(rng) if way < 0.75 else some).difference(*self.held_out.circles)
        if not zone:
            raise FelsinaError("nothing to limit")
        return tuple(sorted(zone))

    def _circle(self, rng: np.random.Generator) -> frozenset[str]:
        extent = np.ptp(self._middles, axis=0).max()
        centre = self._middles[rng.integers(len(self._ids))]
        within = np.hypot(*(self._middles - centre).T) <= rng.uniform(*_RADIUS) * extent
        return frozenset(self._ids[within].tolist())

    def _closable(self, edges: Sequence[str]) -> bool:
        return self._lost(edges) <= _LOST * self._trips

    def _legal_lanes(self) -> list[tuple[str, int]]:
        legal = []
        for edge in self._network.edges.values():
            for lane in range(len(edge.lanes)):
                try:
                    intervention([_for_buses(edge.id, lane)], self._network, self._turns)
                except FelsinaError:
                    continue
                legal.append((edge.id, lane))
        return legal

    @staticmethod
    def _split(things: list[Any], rng: np.random.Generator) -> tuple[tuple[Any, ...], ...]:
        """Shares of them that are held out, alone and the rest."""
        order = rng.permutation(len(things))
        held = round(_HELD_OUT * len(things))
        alone = held + round(_ALONE * len(things))
        parts = (order[:held], order[held:alone], order[alone:])
        return tuple(tuple(things[k] for k in part) for part in parts)


def closures_outside(network: Network, closed: Sequence[str]) -> str:
    """What of closures no drawn scenario has, for a refusal; empty where they are as drawn."""
    if len(closed) > MOST_CLOSED:
        return f"closure: {len(closed)} edges closed at once, trained on up to {MOST_CLOSED}"
    driven = streams(network) if closed else []
    trips = sum(stream.trips for stream in driven)
    share = Lost(network, driven)(closed) / trips if trips else 0.0
    if share > _LOST:
        return f"closure: {share:.1%} of all trips lose their way, trained on up to {_LOST:.0%}"
    return ""


def _for_buses(edge: str, lane: int) -> LaneTaken:
    return LaneTaken.model_validate({"kind": "lane", "edge": edge, "lane": lane, "for": "bus"})
