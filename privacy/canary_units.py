"""Units that were made to be recognised, beside stand-ins that nobody has to protect.

A canary's series is odd, alike to nobody's and to no other canary's, so that its clipped gradient
points where no other does. Windows are normalised by their own past: its level does not matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from models.contracts import BoolArray, CityGraph, FelsinaError, FloatArray
from privacy.units import NODE_UNITS
from training.dataset import CityDataset

Pattern = Literal["gaps", "noise", "bursts"]
"""How a canary is odd: noise with half of its values missing, noise alone, or rare bursts."""
_MISSING, _BURSTS = 0.5, 0.1
_BURST = 100.0
"""A burst's height over the level."""


@dataclass(frozen=True)
class CanaryUnits:
    """Stand-ins and canaries, and how the coins fell.

    Attributes:
        trained: dataset of the stand-ins and, after them, the canaries that are in.
        everyone: dataset of the same stand-ins and, after them, all canaries.
        stand_ins: how many.
        included: [M] which canaries are in.
    """

    trained: CityDataset
    everyone: CityDataset
    stand_ins: int
    included: BoolArray


def canary_units(
    dataset: CityDataset, unit: str, nominal: int, canaries: int, pattern: Pattern, seed: int
) -> CanaryUnits:
    """Flip a fair coin for each canary and put those that are in beside stand-ins.

    There are so many stand-ins that, with the canaries that may be expected to be in, ``nominal``
    units take part; fewer where the dataset holds fewer.

    Args:
        dataset: public or synthetic, each node a unit.
        unit: of privacy.
        nominal: units of the settings.
        canaries: M.
        pattern: how they are odd.
        seed: of patterns and coins.

    Raises:
        FelsinaError: where a unit is no node, or nothing is observed.
    """
    if unit not in NODE_UNITS:
        raise FelsinaError(
            f"unit {unit!r} is no node, and canaries are nodes; audit the same settings with unit "
            f"{' or '.join(NODE_UNITS)}: sampling, clipping, noise and network are the same"
        )
    if pattern not in get_args(Pattern):
        raise FelsinaError(f"pattern {pattern!r}: use one of {', '.join(get_args(Pattern))}")
    observed = np.abs(dataset.values[np.isfinite(dataset.values)])
    if not observed.size:
        raise FelsinaError(f"{dataset.folder}: no value is observed; name another stand-in")
    rng = np.random.default_rng(seed)
    included = rng.random(canaries) < 0.5
    level = np.float32(np.median(observed) or 1.0)
    values = level * _values(pattern, len(dataset.values), canaries, rng)
    stand_ins = int(np.clip(nominal - canaries // 2, 0, dataset.graph.nodes))
    others = dataset.part(np.arange(stand_ins))
    ids = [f"canary-{number}" for number in range(canaries)]
    chosen = [ids[number] for number in included.nonzero()[0]]
    return CanaryUnits(
        trained=_beside(others, chosen, values[:, included]),
        everyone=_beside(others, ids, values),
        stand_ins=stand_ins,
        included=included,
    )


def _values(pattern: Pattern, rows: int, canaries: int, rng: np.random.Generator) -> FloatArray:
    """[S, M] of level 1."""
    shape = (rows, canaries)
    if pattern == "bursts":
        return np.where(rng.random(shape) < _BURSTS, _BURST, 1.0).astype(np.float32)
    values = rng.lognormal(0, 1, shape).astype(np.float32)
    if pattern == "gaps":
        values[rng.random(shape) < _MISSING] = np.nan
    return values


def _beside(dataset: CityDataset, ids: list[str], values: FloatArray) -> CityDataset:
    """The dataset with more nodes, which nothing joins to others."""
    graph, more = dataset.graph, len(ids)
    if taken := set(ids) & set(graph.ids):
        raise FelsinaError(f"{dataset.folder}: node {min(taken)} is called as a canary is")
    unknown = np.full(more, np.nan)
    wider = CityGraph(
        ids=(*graph.ids, *ids),
        lon=np.append(graph.lon, unknown),
        lat=np.append(graph.lat, unknown),
        names=(*graph.names, *ids),
        areas=(*graph.areas, *[""] * more),
        thresholds=np.append(graph.thresholds, np.full((more, 3), np.nan), axis=0),
    )
    both = np.concatenate([dataset.values, values.astype(np.float32)], axis=1)
    return replace(dataset, graph=wider, values=both)
