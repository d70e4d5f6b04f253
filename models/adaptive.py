"""Bands that follow what came true: an online correction of each central band, numpy only.

Quantile tracking, the proportional part of conformal PID control (Angelopoulos, Candes and
Tibshirani 2023, arXiv 2307.16895; adaptive conformal inference, Gibbs and Candes 2021, arXiv
2106.00170): after each miss a band widens by a step, after each hit it narrows by a smaller one, so
that over time the share of misses is the nominal one whatever the errors are like. Errors of lead
h are known h steps later, and only then used. The state is one number a band, lead and node, in
units of the forecast's own 10-90 % band.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from models.contracts import FloatArray, IntArray

RATE = 0.03
"""Step of the correction after an issue, in units of the 10-90 % band."""
PATIENCE = 8
"""Issues that may pass before an outcome is known; where more do, the step shrinks in proportion,
or the rule would move many times before it sees what it did, and swing."""
BOUNDS = (-0.4, 2.0)
"""Least and largest correction: bands never cross the median and never grow without end."""


@dataclass
class AdaptiveBands:
    """Corrections [P, H, N] of the P central bands of a forecast.

    Attributes:
        levels: Q quantile levels, symmetric about the median.
        horizon: H.
        nodes: N.
        stride: steps of the grid from one issue to the next.
        correction: [P, H, N], outermost band first, zero at the start.
    """

    levels: tuple[float, ...]
    horizon: int
    nodes: int
    stride: int = 1
    correction: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        """Start from the static bands."""
        count = len(self.levels)
        self._pairs = [(q, count - 1 - q) for q in range(count // 2)]
        self._width = self.levels.index(0.1), self.levels.index(0.9)
        waiting = np.arange(1, self.horizon + 1) / self.stride
        self._rate = (RATE / np.maximum(1, waiting / PATIENCE)).astype(np.float32)
        self.correction = np.zeros((len(self._pairs), self.horizon, self.nodes), np.float32)

    def apply(self, quantiles: FloatArray, nonnegative: bool = False) -> FloatArray:
        """Widen or narrow a forecast [H, N, Q]; its median stays, its quantiles never cross."""
        low, high = self._width
        unit = quantiles[..., high] - quantiles[..., low]
        out = quantiles.copy()
        for p, (lower, upper) in enumerate(self._pairs):
            out[..., lower] -= self.correction[p] * unit
            out[..., upper] += self.correction[p] * unit
        middle = len(self.levels) // 2
        out[..., middle:] = np.maximum.accumulate(out[..., middle:], axis=-1)
        down = out[..., middle::-1]
        out[..., middle::-1] = np.minimum.accumulate(down, axis=-1)
        return np.maximum(out, 0) if nonnegative else out

    def update(self, lead: int | IntArray, issued: FloatArray, truth: FloatArray) -> None:
        """Learn from targets that have come true, of one lead or of several different ones.

        Args:
            lead: from 1; or [L] of them, none twice.
            issued: [N, Q], or [L, N, Q]: the corrected forecast that was issued for them.
            truth: [N], or [L, N]; NaN where nothing was observed: nothing is learned there.
        """
        seen = ~np.isnan(truth)
        for p, (lower, upper) in enumerate(self._pairs):
            nominal = self.levels[upper] - self.levels[lower]
            missed = (truth < issued[..., lower]) | (truth > issued[..., upper])
            learned = np.where(seen, missed - (1 - nominal), 0)
            rate = self._rate[lead - 1, None] if np.ndim(lead) else self._rate[lead - 1]
            moved = self.correction[p, lead - 1] + rate * learned
            self.correction[p, lead - 1] = np.clip(moved, *BOUNDS)


def replay(
    quantiles: FloatArray,
    target: FloatArray,
    origins: IntArray,
    levels: tuple[float, ...],
    nonnegative: bool,
) -> FloatArray:
    """What would have been issued, in order, each forecast knowing what had come true by then.

    Args:
        quantiles: [B, H, N, Q] static forecasts, by rising origin.
        target: [B, H, N], NaN where missing.
        origins: [B] rows of ``init_time``.
        levels: Q levels.
        nonnegative: whether the target never falls below zero.

    Returns:
        [B, H, N, Q] corrected forecasts.
    """
    count, horizon, nodes, _ = quantiles.shape
    stride = int(np.median(np.diff(origins))) if count > 1 else 1
    bands = AdaptiveBands(levels, horizon, nodes, stride)
    issued = np.empty_like(quantiles)
    learned = np.zeros(horizon, int)
    leads = np.arange(1, horizon + 1)
    for b in range(count):
        while True:
            due = (learned < b) & (origins[learned] + leads <= origins[b])
            if not due.any():
                break
            lead, known = leads[due], learned[due]
            bands.update(lead, issued[known, lead - 1], target[known, lead - 1])
            learned[due] += 1
        issued[b] = bands.apply(quantiles[b], nonnegative)
    return issued
