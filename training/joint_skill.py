"""Does the template earn its place? Joint members against independent and comonotone ones.

Sums judge dependence where it matters: bands of independent members are too narrow for a district,
those of comonotone members (all nodes and leads low, or all high) too wide. The variogram score
(Scheuerer and Hamill 2015, doi 10.1175/MWR-D-14-00269.1, order 0.5) judges pairs of values.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from models.contracts import CityGraph, FloatArray, ForecastSpec, IntArray
from models.joint import ADDITIVE_UNITS, Ranks, ladder

VARIANTS = ("template", "independent", "comonotone")
MOST_ORIGINS = 500
"""Origins scored, spread over the test span; neighbouring ones tell nearly the same."""
_LEVELS = (0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95)
_DECILES = [_LEVELS.index(round(0.1 * d, 1)) for d in range(1, 10)]
_PAIRS, _SEED = 200, 34


def joint_skill(
    quantiles: FloatArray,
    target: FloatArray,
    template: Ranks,
    spec: ForecastSpec,
    graph: CityGraph,
) -> dict[str, Any] | None:
    """Score three ways to join the same quantiles; None where there is no template.

    A sum runs over the nodes whose target exists at that time, of truth and members alike, where
    two or more do; ``area_sum`` pools all areas, ``period_sum`` adds up a node's leads.

    Args:
        quantiles: [B, H, N, Q] forecasts.
        target: [B, H, N], NaN where missing.
        template: [M, H, N] ranks.
        spec: units and levels.
        graph: areas.

    Returns:
        Under ``city_sum``, ``area_sum``, ``period_sum`` a dict from variant to CRPS (twice the mean
        pinball loss over the deciles), coverage of the 50, 80 and 90 % bands and width of the 80 %
        band; under ``variogram`` from kind of pair to variant to score.
    """
    if not len(template):
        return None
    rng = np.random.default_rng(_SEED)
    chosen = np.unique(np.linspace(0, len(target) - 1, MOST_ORIGINS).round().astype(int))
    areas = sorted({a for a in graph.areas if a and graph.areas.count(a) > 1})
    city = np.ones((1, graph.nodes), bool)
    groups = np.array([[a == area for a in graph.areas] for area in areas], bool)
    kinds = {"city_sum": city, "area_sum": groups.reshape(-1, graph.nodes)}
    sums = {kind: _Sums() for kind in (*kinds, "period_sum")}
    pairs = _pairs(template.shape[1:], rng)
    scale = np.median(quantiles[..., -1] - quantiles[..., 0], axis=(0, 1)) + 1e-9
    gaps = {kind: {variant: [] for variant in VARIANTS} for kind in pairs}
    for b in chosen:
        truth, seen = target[b], ~np.isnan(target[b])
        for variant, joint in _joined(quantiles[b], template, spec, rng):
            for kind, members in kinds.items():
                inside = seen[:, None] & members  # [H, G, N]
                enough = inside.sum(-1) > 1
                total = np.einsum("hgn,hn->hg", inside, np.where(seen, truth, 0))
                parts = np.einsum("hgn,mhn->mhg", inside, joint)
                sums[kind].add(variant, parts[:, enough], total[enough])
            whole = seen.all(axis=0) & (spec.horizon > 1)
            sums["period_sum"].add(variant, joint.sum(1)[:, whole], truth.sum(0)[whole])
            for kind, (left, right) in pairs.items():
                gap = _variogram(joint / scale, truth / scale, left, right)
                gaps[kind][variant].append(gap)
    return {
        "members": len(template),
        "origins": len(chosen),
        "additive": spec.unit in ADDITIVE_UNITS,
        **{kind: part.result() for kind, part in sums.items()},
        "variogram": {
            kind: {variant: _mean(np.concatenate(parts)) for variant, parts in found.items()}
            for kind, found in gaps.items()
        },
    }


def _joined(
    quantiles: FloatArray, template: Ranks, spec: ForecastSpec, rng: np.random.Generator
) -> Iterator[tuple[str, FloatArray]]:
    """Members [M, H, N] of each variant, from the same values."""
    rising = ladder(quantiles, spec.quantiles, len(template), spec.nonnegative).astype(float)
    yield "template", np.take_along_axis(rising, template.astype(np.intp), axis=0)
    yield "independent", rng.permuted(rising, axis=0)
    yield "comonotone", rising


class _Sums:
    """Quantiles of sums and what came true, by variant."""

    def __init__(self) -> None:
        self.found: dict[str, list[FloatArray]] = {variant: [] for variant in VARIANTS}
        self.truth: dict[str, list[FloatArray]] = {variant: [] for variant in VARIANTS}

    def add(self, variant: str, parts: FloatArray, truth: FloatArray) -> None:
        """Add sums [M, X] of members and the sums [X] that came true."""
        self.found[variant].append(np.quantile(parts, _LEVELS, axis=0, method="hazen"))
        self.truth[variant].append(truth)

    def result(self) -> dict[str, Any] | None:
        """Scores by variant; None where nothing was summed."""
        if not sum(len(part) for part in self.truth[VARIANTS[0]]):
            return None
        return {
            variant: _scores(np.concatenate(found, axis=1), np.concatenate(self.truth[variant]))
            for variant, found in self.found.items()
        }


def _scores(quantiles: FloatArray, truth: FloatArray) -> dict[str, float]:
    """CRPS, coverage and width of quantiles [Q, X] against sums [X]."""
    level, gap = np.array(_LEVELS)[_DECILES, None], truth - quantiles[_DECILES]
    scores = {"crps": float(2 * np.maximum(level * gap, (level - 1) * gap).mean())}
    for inside in (50, 80, 90):
        low, high = (quantiles[_LEVELS.index(round(0.5 + s * inside / 200, 2))] for s in (-1, 1))
        scores[f"coverage_{inside}"] = float(((truth >= low) & (truth <= high)).mean())
    scores["width_80"] = float((quantiles[-2] - quantiles[1]).mean())
    return scores


def _pairs(
    shape: tuple[int, ...], rng: np.random.Generator
) -> dict[str, tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]]:
    """Places (lead, node) to compare: two leads of a node, and two nodes at a lead."""
    horizon, nodes = shape
    leads, places = rng.integers(horizon, size=(2, _PAIRS)), rng.integers(nodes, size=(2, _PAIRS))
    pairs = {}
    if horizon > 1:
        other = (leads[0] + rng.integers(1, horizon, _PAIRS)) % horizon
        pairs["leads"] = (leads[0], places[0]), (other, places[0])
    if nodes > 1:
        other = (places[1] + rng.integers(1, nodes, _PAIRS)) % nodes
        pairs["nodes"] = (leads[1], places[1]), (leads[1], other)
    return pairs


def _variogram(
    joint: FloatArray,
    truth: FloatArray,
    left: tuple[IntArray, IntArray],
    right: tuple[IntArray, IntArray],
) -> FloatArray:
    """Squared differences [pairs] of the variogram of order 0.5, without missing targets."""
    real = np.abs(truth[left] - truth[right]) ** 0.5
    told = (np.abs(joint[:, *left] - joint[:, *right]) ** 0.5).mean(axis=0)
    gap = (real - told) ** 2
    return gap[~np.isnan(gap)]


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None
