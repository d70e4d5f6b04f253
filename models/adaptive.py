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

from models.contracts import BoolArray, FloatArray, IntArray

RATE = 0.03
"""Step of the correction after an issue, in units of the 10-90 % band."""
PATIENCE = 8
"""Issues that may pass before an outcome is known; where more do, the step shrinks in proportion,
or the rule would move many times before it sees what it did, and swing."""
BOUNDS = (-0.4, 2.0)
"""Least and largest correction: bands never cross the median and never grow without end."""


def corrected(
    quantiles: FloatArray,
    correction: FloatArray,
    levels: tuple[float, ...],
    nonnegative: bool = False,
) -> FloatArray:
    """Widen or narrow a forecast; its median stays, its quantiles never cross.

    Args:
        quantiles: [H, N, Q].
        correction: [P, H, N] of each central band, outermost first, in units of the 10-90 % band.
        levels: Q levels.
        nonnegative: whether the target never falls below zero.

    Returns:
        [H, N, Q].
    """
    unit = quantiles[..., levels.index(0.9)] - quantiles[..., levels.index(0.1)]
    out = quantiles.copy()
    for p, moved in enumerate(correction):
        out[..., p] -= moved * unit
        out[..., -1 - p] += moved * unit
    middle = len(levels) // 2
    out[..., middle:] = np.maximum.accumulate(out[..., middle:], axis=-1)
    down = out[..., middle::-1]
    out[..., middle::-1] = np.minimum.accumulate(down, axis=-1)
    return np.maximum(out, 0) if nonnegative else out


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
        waiting = np.arange(1, self.horizon + 1) / self.stride
        self._rate = (RATE / np.maximum(1, waiting / PATIENCE)).astype(np.float32)
        self.correction = np.zeros((len(self._pairs), self.horizon, self.nodes), np.float32)

    def apply(self, quantiles: FloatArray, nonnegative: bool = False) -> FloatArray:
        """A forecast [H, N, Q] ``corrected`` by what was learned."""
        return corrected(quantiles, self.correction, self.levels, nonnegative)

    def learn(
        self,
        row: int,
        truth: FloatArray,
        origins: IntArray,
        issued: FloatArray | list[FloatArray],
        taught: list[BoolArray] | None = None,
    ) -> None:
        """Learn from what came true at one time.

        Args:
            row: of that time.
            truth: [N]; NaN where nothing was observed: nothing is learned there.
            origins: [I] rows of ``init_time`` of past forecasts, none twice.
            issued: I corrected forecasts [H, N, Q]; NaN where they teach nothing.
            taught: I masks [H, N] of what was learned before, which is not learned again and to
                which this is added.
        """
        lead = row - origins
        (due,) = np.nonzero((lead >= 1) & (lead <= self.horizon))
        if not len(due) or np.isnan(truth).all():
            return
        at = lead[due] - 1
        places = list(zip(due.tolist(), at.tolist(), strict=True))
        bands = np.stack([issued[i][h] for i, h in places])
        unknown = np.isnan(truth) | np.isnan(bands[..., 0])
        if taught is not None:
            unknown |= np.stack([taught[i][h] for i, h in places])
            for (i, h), nothing in zip(places, unknown, strict=True):
                taught[i][h] |= ~nothing
        rate = self._rate[at, None]
        for p, (lower, upper) in enumerate(self._pairs):
            nominal = self.levels[upper] - self.levels[lower]
            missed = (truth < bands[..., lower]) | (truth > bands[..., upper])
            learned = np.where(unknown, 0, missed - (1 - nominal))
            self.correction[p, at] = np.clip(self.correction[p, at] + rate * learned, *BOUNDS)


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
    for b in range(count):
        first = np.searchsorted(origins, origins[b - 1] - horizon) if b else 0
        past = slice(first, b)
        for row in range(int(origins[b - 1]) + 1 if b else int(origins[b]), int(origins[b]) + 1):
            told = int(np.searchsorted(origins, row)) - 1
            if told >= 0 and row - origins[told] <= horizon:
                truth = target[told, row - origins[told] - 1]
                bands.learn(row, truth, origins[past], issued[past])
        issued[b] = bands.apply(quantiles[b], nonnegative)
    return issued
