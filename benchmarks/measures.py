"""What the forecasting benchmark judges: a model's forecasts beside what came true."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.contracts import FloatArray
from training.metrics import Score


@dataclass(frozen=True)
class Bar:
    """A figure to reach: ``measure`` at most (or, where ``least``, at least) ``value``."""

    measure: str
    value: float
    least: bool = False

    def met(self, found: float) -> bool:
        """Whether ``found`` reaches the bar."""
        return found >= self.value if self.least else found <= self.value

    def __str__(self) -> str:
        """Such as ``mae <= 3.36``."""
        return f"{self.measure} {'>=' if self.least else '<='} {self.value:g}"


BARS = {
    "bologna-mts": (Bar("mae", 37.7),),
    "los-loop": (Bar("mae", 3.36),),
    "cambridge-elec": (
        Bar("wape", 0.0475),
        Bar("crps_over_mean", 0.0387),
        Bar("district_wape", 0.02),
    ),
}
"""Targets that are plain numbers; the others are set by the ridge in the same run."""
NOMINAL = {"coverage_50": 0.5, "coverage_80": 0.8, "coverage_90": 0.9}
NEAR, NEAR_IN_GROUP, NEAR_ADAPTIVE = 0.04, 0.06, 0.02
"""How far a coverage may be from its share: of all nodes, of a group, of adaptive bands."""
GROUPS = ("small", "middle", "large")


def measure(
    quantiles: FloatArray,
    target: FloatArray,
    persistence: FloatArray,
    levels: tuple[float, ...],
    seconds: int,
    ids: tuple[str, ...],
    gauges: bool,
    size: FloatArray,
) -> dict[str, Any]:
    """All figures of one model on the test origins.

    Args:
        quantiles: [B, H, N, Q].
        target: [B, H, N], NaN where nothing came true.
        persistence: [B, H, N] last valid value, what ``gauges`` are judged against.
        levels: Q levels.
        seconds: of one step.
        ids: N node ids.
        gauges: whether the nodes are river gauges.
        size: [N] what groups the nodes: their mean in the train span.
    """
    horizon = target.shape[1]
    score = Score(horizon, levels)
    score.update(quantiles, target)
    result = score.result()
    by_lead = result.pop("by_lead")
    median = quantiles[..., levels.index(0.5)].astype(float)
    result["crps_over_mean"] = result["crps"] / float(np.nanmean(np.abs(target)))
    result["district_wape"] = district_wape(median, target)
    leads = {m: 60 * m // seconds for m in (15, 30, 60)}
    if leads[60] <= horizon and leads[15]:
        for minutes, lead in leads.items():
            part = [by_lead[str(h)] for h in range(1, lead + 1)]
            result[f"mae_to_{minutes}_min"] = float(np.mean([p["mae"] for p in part]))
            result[f"rmse_to_{minutes}_min"] = float(
                np.sqrt(np.mean([p["rmse"] ** 2 for p in part]))
            )
    if gauges:
        result |= gauge_measures(median, target, persistence, seconds, ids)
    return result | {"groups": group_coverage(quantiles, target, levels, size)}


def group_coverage(
    quantiles: FloatArray, target: FloatArray, levels: tuple[float, ...], size: FloatArray
) -> dict[str, dict[str, float]]:
    """Coverage of each third of the nodes by ``size``; of six nodes or more, {} for fewer.

    Args:
        quantiles: [B, H, N, Q].
        target: [B, H, N].
        levels: Q levels.
        size: [N].
    """
    found: dict[str, dict[str, float]] = {}
    if len(size) < 2 * len(GROUPS):
        return found
    for name, nodes in zip(GROUPS, np.array_split(np.argsort(size), len(GROUPS)), strict=True):
        score = Score(target.shape[1], levels)
        score.update(quantiles[:, :, nodes], target[:, :, nodes])
        result = score.result()
        found[name] = {key: result[key] for key in NOMINAL}
    return found


def farthest(*coverages: dict[str, float]) -> float:
    """Largest distance of a coverage from its nominal share."""
    return max(abs(found[key] - share) for found in coverages for key, share in NOMINAL.items())


def district_wape(median: FloatArray, target: FloatArray) -> float | None:
    """WAPE of the sum over nodes, at the times at which each node's target exists."""
    truth = target.astype(float).sum(-1)
    whole = ~np.isnan(truth)
    if target.shape[-1] == 1 or not whole.any():
        return None
    error = np.abs(median.sum(-1) - truth)[whole].sum()
    return float(error / np.abs(truth[whole]).sum())


def gauge_measures(
    median: FloatArray,
    target: FloatArray,
    persistence: FloatArray,
    seconds: int,
    ids: tuple[str, ...],
) -> dict[str, Any]:
    """Persistence index 1 - MSE / MSE of persistence over 2-6 h, and NSE (median of gauges).

    Where a step is longer than two hours, the index is that of all leads.
    """
    first, last = 7200 // seconds, 21600 // seconds
    span = slice(first - 1, last) if first else slice(None)
    square = ((median - target) ** 2)[:, span]
    naive = ((persistence - target) ** 2)[:, span]
    each = 1 - np.nanmean(square, (0, 1)) / np.nanmean(naive, (0, 1))
    result: dict[str, Any] = {
        "persistence_index": float(1 - np.nanmean(square) / np.nanmean(naive)),
        "persistence_index_mean": float(each.mean()),
        "persistence_index_by_gauge": dict(zip(ids, each.tolist(), strict=True)),
    }
    inland = [n for n, node in enumerate(ids) if "ponte_garibaldi" not in node]
    if len(inland) < len(ids):
        result["persistence_index_inland"] = float(
            1 - np.nanmean(square[..., inland]) / np.nanmean(naive[..., inland])
        )
        result["persistence_index_mean_inland"] = float(each[inland].mean())
    hours = {h: 3600 * h // seconds for h in (1, 2, 4, 6, 12)}
    for hour, lead in hours.items():
        if 1 <= lead <= target.shape[1]:
            truth, guess = target[:, lead - 1].astype(float), median[:, lead - 1]
            variance = np.nanmean((truth - np.nanmean(truth, 0)) ** 2, 0)
            nse = 1 - np.nanmean((guess - truth) ** 2, 0) / variance
            result[f"nse_{hour}_h"] = float(np.median(nse))
    return result
