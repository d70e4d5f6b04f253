"""Scores of quantile forecasts, by lead and overall: the same targets for every model."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.contracts import FloatArray

_BANDS = {
    "coverage_50": ((0.2, 0.3), (0.7, 0.8)),
    "coverage_80": ((0.1,), (0.9,)),
    "coverage_90": ((0.05,), (0.95,)),
}
"""Levels whose mean is the lower and the upper end of a central band; 25 and 75 % are no levels."""
_SUMS = ("absolute", "square", "pinball", *_BANDS, "width", "size")


class Score:
    """Running sums of errors by lead; memory does not grow with the number of windows.

    MAE, RMSE and WAPE (sum of absolute errors over sum of absolute targets) judge the point
    forecast. CRPS is twice the mean pinball loss over the nine deciles (DATASET.md). Coverage is
    that of the central 50, 80 and 90 % bands, width that of the 80 % one.

    Args:
        horizon: H.
        levels: Q quantile levels, all deciles among them.
    """

    def __init__(self, horizon: int, levels: tuple[float, ...]) -> None:
        self.levels = levels
        self.deciles = [levels.index(round(0.1 * d, 1)) for d in range(1, 10)]
        self.ends = {
            name: [[levels.index(level) for level in end] for end in band]
            for name, band in _BANDS.items()
        }
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
        error = point.astype(float) - target
        parts = {
            "absolute": np.abs(error),
            "square": error**2,
            "pinball": np.maximum(level * gap, (level - 1) * gap).mean(-1),
            "size": np.abs(target),
        }
        bands = {
            name: [quantiles[..., end].mean(-1) for end in ends] for name, ends in self.ends.items()
        }
        for name, (low, high) in bands.items():
            parts[name] = (target >= low) & (target <= high)
        parts["width"] = bands["coverage_80"][1] - bands["coverage_80"][0]
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
        return dict.fromkeys(("mae", "rmse", "wape", "crps", *_BANDS, "width_80"))
    return {
        "mae": float(sums["absolute"] / count),
        "rmse": float(np.sqrt(sums["square"] / count)),
        "wape": float(sums["absolute"] / sums["size"]) if sums["size"] else None,
        "crps": float(2 * sums["pinball"] / count),
        **{name: float(sums[name] / count) for name in _BANDS},
        "width_80": float(sums["width"] / count),
    }
