"""Scores of groups of nodes: errors beside a seasonal naive forecast, and how bands held."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.baselines import LookBack
from models.contracts import FloatArray, IntArray
from training.dataset import CityDataset
from training.groups import NodeGroups

Told = dict[str, dict[str, float]]
"""Figures by group's name; ``all`` is everybody."""


def sums_by_node(
    dataset: CityDataset,
    origins: IntArray,
    quantiles: FloatArray,
    target: FloatArray,
    levels: tuple[float, ...],
) -> dict[str, FloatArray]:
    """[N] sums over forecasts [B, H, N, Q] and targets [B, H, N]."""
    low, high, middle = (levels.index(q) for q in (0.05, 0.95, 0.5))
    deciles = [levels.index(d / 10) for d in range(1, 10)]
    level = np.array([levels[d] for d in deciles])
    seen = ~np.isnan(target)
    gap = target[..., None] - quantiles[..., deciles]
    parts = {
        "count": seen,
        "absolute": abs(quantiles[..., middle] - target),
        "naive": abs(week_before(dataset, origins) - target),
        "pinball": 2 * np.maximum(level * gap, (level - 1) * gap).mean(-1),
        "covered": (target >= quantiles[..., low]) & (target <= quantiles[..., high]),
        "width": quantiles[..., high] - quantiles[..., low],
    }
    return {name: np.where(seen, part, 0).sum((0, 1), dtype=float) for name, part in parts.items()}


def week_before(dataset: CityDataset, origins: IntArray) -> FloatArray:
    """The seasonal naive forecast [B, H, N], as the audit has it."""
    known = dataset.values[: dataset.splits.train_end]
    seen = ~np.isnan(known)
    mean = np.where(seen, known, 0).sum(0) / np.maximum(seen.sum(0), 1)
    season = 7 * dataset.spec.steps_per_day
    return LookBack(dataset.builder(), mean).seasonal_naive(origins, season)


def by_group(sums: dict[str, FloatArray], groups: NodeGroups) -> Told:
    """Relative error, CRPS and width of all and of each group, and how often 90 % bands held."""
    parts = {"all": np.arange(len(groups.of_node))}
    parts |= {name: np.flatnonzero(groups.of_node == g) for g, name in enumerate(groups.names)}
    told: Told = {}
    for name, nodes in parts.items():
        total: dict[str, Any] = {key: float(values[nodes].sum()) for key, values in sums.items()}
        told[name] = {
            "sensors": len(nodes),
            "error": total["absolute"] / total["naive"],
            "crps": total["pinball"] / total["naive"],
            "coverage_90": total["covered"] / total["count"],
            "width_90": total["width"] / total["naive"],
        }
    return told


def worst(told: Told, figure: str) -> float:
    """The worst group's figure: the largest error, the smallest coverage."""
    found = [values[figure] for group, values in told.items() if group != "all"]
    return min(found) if figure == "coverage_90" else max(found)
