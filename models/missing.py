"""Bands of forecasts whose inputs are partly missing: wider by a measured factor, numpy only.

A network that never saw a dead station in training is as sure of itself without data as with them.
How much wider its bands must be is measured once, on calibration windows with inputs taken away
(``training.missing``), by what a server knows of a node: how old its last value is, and what share
of its past was observed. Where nothing to speak of is missing the factor is exactly 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models.contracts import FloatArray, ForecastSpec, IntArray, Window
from models.exported import Predict


@dataclass(frozen=True)
class Widening:
    """Factors of the distance of each quantile from the median.

    Attributes:
        ages: steps since the last observed value from which a row of the table holds, 0 first;
            the last one is the lookback: nothing was observed.
        fractions: observed shares of the past from which a column holds, falling, 0 last.
        leads: leads from which a layer holds, 1 first.
        factor: [A, F, L], 1 or more, rising with age and with what is missing.
    """

    ages: tuple[int, ...]
    fractions: tuple[float, ...]
    leads: tuple[int, ...]
    factor: FloatArray

    def cells(self, past: FloatArray) -> tuple[IntArray, IntArray]:
        """Row and column of the table [B, N] of pasts [B, T, N]."""
        seen = ~np.isnan(past)
        steps = past.shape[1]
        age = np.where(seen.any(axis=1), np.argmax(seen[:, ::-1], axis=1), steps)
        column = np.searchsorted(-np.array(self.fractions), -seen.mean(axis=1))
        return np.searchsorted(self.ages, age, side="right") - 1, column

    def __call__(self, quantiles: FloatArray, past: FloatArray, spec: ForecastSpec) -> FloatArray:
        """Forecasts [B, H, N, Q] of pasts [B, T, N], widened about their medians."""
        layer = np.searchsorted(self.leads, np.arange(1, spec.horizon + 1), side="right") - 1
        row, column = self.cells(past)
        factor = self.factor[row[:, None], column[:, None], layer[:, None]][..., None]
        if (factor == 1).all():
            return quantiles
        middle = spec.quantiles.index(0.5)
        median = quantiles[..., middle : middle + 1]
        wide = median + factor.astype(quantiles.dtype) * (quantiles - median)
        wide = np.maximum(wide, 0) if spec.nonnegative else wide
        return np.where(factor > 1, wide, quantiles)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``from_dict`` reads it back."""
        return {
            "ages": list(self.ages),
            "fractions": list(self.fractions),
            "leads": list(self.leads),
            "factor": self.factor.round(3).tolist(),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Widening:
        """Build one from ``to_dict``'s output; other members are left aside."""
        ages, fractions, leads = (tuple(record[name]) for name in ("ages", "fractions", "leads"))
        return cls(ages, fractions, leads, np.array(record["factor"], float))


def widened(predict: Predict, record: dict[str, Any] | None, spec: ForecastSpec) -> Predict:
    """A predictor whose bands are widened where inputs are missing, as a manifest's record says.

    Args:
        predict: from windows to quantiles.
        record: ``calibration.missing`` of a manifest; None, or one without a table, widens nothing.
        spec: levels, and whether the target never falls below zero.
    """
    if not record or "factor" not in record:
        return predict
    widening = Widening.from_dict(record)

    def wide(window: Window) -> FloatArray:
        return widening(predict(window), window.past, spec)

    return wide
