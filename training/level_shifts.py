"""Sudden, lasting changes of level: a gauge's datum set anew, a counter's scale changed."""

from __future__ import annotations

import numpy as np

from models.contracts import FloatArray, IntArray
from training.detectors import BLOCK, COMPANY, Run, median, resolution, runs_of

SHIFT_DAYS, SHIFT_RATIO = 14, 1.5
"""Days on either side of a shift, and its least size in units of the spread on either side."""
SHIFT_LOG = 0.4
"""Least shift of a nonnegative target's level, as a natural logarithm: a factor of 1.5."""
SHIFT_TAIL = 6.0
"""Least shift of any other target, in robust deviations of its day-to-day changes."""


def shifts(
    values: FloatArray,
    usual: FloatArray,
    slot: IntArray,
    day: IntArray,
    nonnegative: bool,
) -> list[Run]:
    """Sudden changes of level that last two weeks: a datum set anew, a counter's scale changed.

    A day's level is the median of its values less the usual week; for a nonnegative target the
    logarithm of its sum over the usual sum. Between two neighbouring fortnights the level shifts
    when the gap between the low decile above and the high decile below exceeds 1.5 times the
    spread (decile to decile) of either fortnight: a flood or a season changes within them.
    Days of zeros have no level here; they are judged by ``zeros``.
    """
    level = _levels(values, usual, slot, day, nonnegative)
    days, nodes = level.shape
    w = SHIFT_DAYS
    if days < 2 * w + 1:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(level, w, axis=0)
    low, high = (np.full((len(windows), nodes), np.nan) for _ in range(2))
    for first in range(0, nodes, BLOCK):
        ordered = np.sort(windows[:, first : first + BLOCK], axis=2)
        enough = ~np.isnan(ordered[..., w - 1 - w // 4])
        seen = (~np.isnan(ordered)).sum(axis=2, keepdims=True)
        for into, share in ((low, 0.1), (high, 0.9)):
            at = np.round(share * np.maximum(seen - 1, 0)).astype(int)
            part = np.take_along_axis(ordered, at, axis=2)[..., 0]
            into[:, first : first + BLOCK] = np.where(enough, part, np.nan)
    # Fortnights meet at the day of the change, which may belong to either and is left out.
    up = low[w + 1 :] - high[: -w - 1]
    down = low[: -w - 1] - high[w + 1 :]
    gap = np.fmax(up, down)
    spread = np.maximum((high - low)[w + 1 :], (high - low)[: -w - 1])
    least = _least_shift(level, resolution(values), nonnegative)
    with np.errstate(invalid="ignore"):
        size = np.where((gap > SHIFT_RATIO * spread) & (gap > least), gap, 0)
        accompanied = np.stack([up > 0, down > 0])
    found = []
    for n, a, b in zip(*runs_of(size > 0), strict=True):
        t = int(a + np.argmax(size[a:b, n]))
        way = 0 if up[t, n] > 0 else 1
        near = accompanied[way, max(0, t - 3) : t + 4].any(axis=0)
        if near.sum() - 1 >= max(1, COMPANY * (nodes - 1)):
            continue
        found.append(_shift(values, level, day, t + w, int(n)))
    return found


def _least_shift(level: FloatArray, grain: FloatArray, nonnegative: bool) -> FloatArray:
    if nonnegative:
        return np.full(level.shape[1], SHIFT_LOG)
    change = np.abs(np.diff(level, axis=0))
    return SHIFT_TAIL * np.maximum(1.4826 * median(change), grain)


def _levels(
    values: FloatArray, usual: FloatArray, slot: IntArray, day: IntArray, nonnegative: bool
) -> FloatArray:
    """Level [days, N] of each day; NaN where less than half of it was observed."""
    starts = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    level = np.full((len(starts), values.shape[1]), np.nan)
    for first in range(0, values.shape[1], BLOCK):
        block = slice(first, first + BLOCK)
        part, expected = values[:, block], usual[:, block][slot]
        seen = ~np.isnan(part)
        count = np.add.reduceat(seen, starts, axis=0, dtype=np.int64)
        if nonnegative:
            total = np.add.reduceat(np.where(seen, part, 0), starts, axis=0, dtype=float)
            normal = np.add.reduceat(np.where(seen, expected, 0), starts, axis=0, dtype=float)
            some = total > 1e-3 * normal
            ratio = np.divide(
                total, normal, out=np.full(total.shape, np.nan), where=some & (normal > 0)
            )
            own = np.log(ratio)
        else:
            rest = part - expected
            own = np.stack([median(rest[d]) for d in np.split(np.arange(len(day)), starts[1:])])
        length = np.diff(np.append(starts, len(day)))[:, None]
        level[:, block] = np.where(2 * count >= length, own, np.nan)
    return level


def _shift(values: FloatArray, level: FloatArray, day: IntArray, at: int, n: int) -> Run:
    """The shift on day ``at`` of node ``n``, dated at the largest step of that day."""
    w = SHIFT_DAYS
    starts = np.flatnonzero(np.diff(day, prepend=day[0] - 1))
    bound = np.append(starts, len(day))
    begin, end = bound[at], bound[at + 1]
    rows = np.arange(max(begin, 1), end)
    step = np.nan_to_num(np.abs(values[rows, n] - values[rows - 1, n]), nan=-1.0)
    row = int(rows[np.argmax(step)]) if len(rows) else int(begin)
    before, after = (
        float(np.nanmedian(values[a:b, n]))
        for a, b in ((bound[at - w], begin), (end, bound[at + w + 1]))
    )
    return Run(n, row, min(int(bound[at + w + 1]), len(day)), after, (before, after))
