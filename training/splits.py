"""Which origins train, stop, calibrate and test: DATASET.md's protocol, by target time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contracts import ForecastSpec, IntArray

BLOCK_HORIZONS = 4
"""A block of the validation span is at least this many horizons, so that few windows are lost."""


@dataclass(frozen=True)
class Splits:
    """The three spans of a series as row numbers; an end is the first row of the next span.

    Attributes:
        train_end: first row of the validation span.
        validation_end: first row of the test span.
        steps: S, rows in all.
        issue_every: seconds between test origins; None for every step.
    """

    train_end: int
    validation_end: int
    steps: int
    issue_every: int | None = None

    def train(self, spec: ForecastSpec) -> IntArray:
        """Origins whose dense past exists and whose targets all lie in the train span."""
        return np.arange(spec.lookback - 1, self.train_end - spec.horizon)

    def validation(self, spec: ForecastSpec) -> tuple[IntArray, IntArray]:
        """Origins for stopping and, from other blocks of the span, for calibration.

        Blocks of a week or more alternate, so that both parts see each season and weekday; a span
        of fewer than four blocks is cut in two halves, the later one for calibration.
        """
        start, end = self.train_end, self.validation_end
        block = max(7 * spec.steps_per_day, BLOCK_HORIZONS * spec.horizon)
        if end - start < 4 * block:
            block = (end - start + 1) // 2
        origins = np.arange(start - 1, end - spec.horizon)
        first, last = (origins + 1 - start) // block, (origins + spec.horizon - start) // block
        whole = first == last
        return origins[whole & (first % 2 == 0)], origins[whole & (first % 2 == 1)]

    def test(self, spec: ForecastSpec, start: np.datetime64) -> IntArray:
        """Every step from the last before ``validation_end``, or the issue hours only."""
        origins = np.arange(self.validation_end - 1, self.steps - spec.horizon)
        return origins if self.issue_every is None else self.issued(spec, start, origins)

    def issued(self, spec: ForecastSpec, start: np.datetime64, origins: IntArray) -> IntArray:
        """Those ``origins`` at whose time of day forecasts are issued; none where none is set."""
        if self.issue_every is None:
            return origins[:0]
        first = start.astype("datetime64[s]").astype(np.int64) + (origins + 1) * spec.seconds
        return origins[first % self.issue_every == 0]
