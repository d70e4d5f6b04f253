"""Scores of quantile forecasts, by lead and overall: the same targets for every model."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.contracts import FloatArray

_SUMS = ("absolute", "square", "pinball", "covered", "width", "size")


class Score:
    """Running sums of errors by lead; memory does not grow with the number of windows.

    MAE, RMSE and WAPE (sum of absolute errors over sum of absolute targets) judge the point
    forecast. CRPS is twice the mean pinball loss over the nine deciles (DATASET.md); coverage and
    width are those of the 10-90 % band.

    Args:
        horizon: H.
        levels: Q quantile levels, all deciles among them.
    """

    def __init__(self, horizon: int, levels: tuple[float, ...]) -> None:
        self.levels = levels
        self.deciles = [levels.index(round(0.1 * d, 1)) for d in range(1, 10)]
        self.sums = {name: np.zeros(horizon) for name in _SUMS}
        self.count = np.zeros(horizon)

    def update(
        self, quantiles: FloatArray, target: FloatArray, point: FloatArray | None = None
    ) -> None:
        """Add a batch.

        Args:
            quantiles: [B, H, N, Q].
            target: [B, H, N], NaN where nothing came true.
            point: [B, H, N] point forecast; the median when None.
        """
        seen = ~np.isnan(target)
        if point is None:
            point = quantiles[..., self.levels.index(0.5)]
        level = np.array([self.levels[q] for q in self.deciles])
        gap = target[..., None].astype(float) - quantiles[..., self.deciles]
        low, high = quantiles[..., self.levels.index(0.1)], quantiles[..., self.levels.index(0.9)]
        error = point.astype(float) - target
        parts = {
            "absolute": np.abs(error),
            "square": error**2,
            "pinball": np.maximum(level * gap, (level - 1) * gap).mean(-1),
            "covered": (target >= low) & (target <= high),
            "width": high - low,
            "size": np.abs(target),
        }
        for name, part in parts.items():
            self.sums[name] += np.where(seen, part, 0).sum(axis=(0, 2))
        self.count += seen.sum(axis=(0, 2))

    def result(self) -> dict[str, Any]:
        """Metrics over all leads, and under ``by_lead`` for each lead from "1"."""
        total = {name: part.sum() for name, part in self.sums.items()}
        leads = range(len(self.count))
        return _metrics(total, self.count.sum()) | {
            "by_lead": {
                str(h + 1): _metrics({k: v[h] for k, v in self.sums.items()}, self.count[h])
                for h in leads
            }
        }


def _metrics(sums: dict[str, float], count: float) -> dict[str, float | None]:
    if not count:
        return dict.fromkeys(("mae", "rmse", "wape", "crps", "coverage_80", "width_80"))
    return {
        "mae": float(sums["absolute"] / count),
        "rmse": float(np.sqrt(sums["square"] / count)),
        "wape": float(sums["absolute"] / sums["size"]) if sums["size"] else None,
        "crps": float(2 * sums["pinball"] / count),
        "coverage_80": float(sums["covered"] / count),
        "width_80": float(sums["width"] / count),
    }
