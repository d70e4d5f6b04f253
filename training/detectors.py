"""Detectors of faulty observations: each marks runs of rows in [S, N] series, NaN where missing.

No detector knows a domain or a unit: each measures a node against its own record, so one rule
serves 5-minute speeds, hourly counts, kWh, river stage and daily discharge. Time and memory are
linear in S x N (but for a sort), and nothing is ever changed. The checks are those that WMO-No. 168
(Guide to Hydrological Practices, vol. I, 9.8) and WMO-No. 488 ask for: spike, persistence, level
and plausibility; the constants were set on real series (benchmarks/quality.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.contracts import FloatArray, IntArray

SPIKE_STEPS = 3
"""A spike is over after this many steps."""
SPIKE_TAIL, SPIKE_RATIO = 0.995, 6.0
"""A spike stands out by this many times what all but the tail of a node's excursions reach."""
RANGE_TAIL, RANGE_RATIO = 0.001, 4.0
"""The ratio that is enough outside the range which a node leaves once in 1 000 steps either way."""
RUN_TAIL, RUN_RATIO, RUN_LEAST = 0.99, 3.0, 6
"""A run is long at this many times the length that the tail of a node's time is spent in."""
LINE_STEPS, LINE_GRAINS = 8, 10
"""A straight line is this long, and climbs or falls by more than this many of the smallest changes
that the node shows: a gauge of 1 cm recedes by a centimetre a step."""
ZERO_SHARE, ZERO_LEAST = 0.01, 2
"""Zeros are gaps where the node is otherwise zero at most this often, and as many in a row."""
ZERO_USUAL = 0.1
"""What is usual then is this share of the node's middle slot: a quiet night may well have none."""
ZERO_EVIDENCE = 12
"""Other values at those times of the week that are needed to know."""
ZERO_SIDE = 0.25
"""Values beside such zeros have this share of what is usual then: a meter nears zero by degrees."""
COMPANY = 0.1
"""An event that this share of the other nodes, or one, shows at the same time is no fault."""
_SLOT_LEAST = 4
BLOCK = 64
"""Nodes worked on at a time, which bounds memory."""


@dataclass(frozen=True)
class Run:
    """Rows ``start`` to ``stop`` (excluded) of node ``node``, with the numbers of its reason."""

    node: int
    start: int
    stop: int
    value: float
    numbers: tuple[float, ...] = ()


def runs_of(mask: NDArray[np.bool_]) -> tuple[IntArray, IntArray, IntArray]:
    """Runs of True down the columns of [S, N], by node: node, first row, row after the last."""
    edge = np.diff(np.pad(mask.T.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    node, start = np.nonzero(edge == 1)
    return node, start, np.nonzero(edge == -1)[1]


def profile(values: FloatArray, slot: IntArray, step_of_day: IntArray) -> FloatArray:
    """Median [slots, N] of each slot of the week.

    Args:
        values: [S, N].
        slot: [S] slot of each row; a slot with few values takes all days' median at its step.
        step_of_day: [S].
    """
    usual = np.full((slot.max() + 1, values.shape[1]), np.nan, np.float32)
    whole: dict[int, FloatArray] = {}
    for rows in _groups(slot):
        seen = (~np.isnan(values[rows])).sum(axis=0)
        middle = median(values[rows])
        if (few := seen < _SLOT_LEAST).any():
            step = int(step_of_day[rows[0]])
            if step not in whole:
                whole[step] = median(values[step_of_day == step])
            middle[few] = whole[step][few]
        usual[slot[rows[0]]] = middle
    return usual


def _groups(slot: IntArray) -> list[IntArray]:
    order = np.argsort(slot, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(slot[order])) + 1)


def median(values: FloatArray) -> FloatArray:
    """Median [N] down the columns of [S, N] over what exists, without nanmedian's detours."""
    return _quantile(values, 0.5)


def _quantile(values: FloatArray, level: float) -> FloatArray:
    """Quantile [N] down the columns of [S, N] over what exists: the next value below; or NaN."""
    ordered = np.sort(values, axis=0)
    seen = (~np.isnan(ordered)).sum(axis=0)
    row = np.floor(level * np.maximum(seen - 1, 0)).astype(int)
    return np.take_along_axis(ordered, row[None], axis=0)[0]


def spikes(values: FloatArray, usual: FloatArray, slot: IntArray) -> list[Run]:
    """Values that leave their neighbourhood and are back within three steps.

    The height of an excursion of w steps is by how much its smallest value clears the *higher* of
    the two values round it (or its largest the lower): a Hampel test (Davies and Gather 1993,
    doi:10.1080/01621459.1993.10476339) that asks for the way back, so that a flood, which recedes
    slowly, has next to none. It counts in the values and in what is left without the usual week,
    whichever is less: neither a rush hour nor a holiday without one stands out. A spike exceeds
    ``SPIKE_RATIO`` times the node's own 99.5 % excursion of that or fewer steps (``RANGE_RATIO``
    outside the node's usual range), few other nodes have one then, and its sides differ by less
    than half of it, as does each from what lies three steps further out, without the usual week:
    the tip of a peak stands on flanks.
    """
    steps, nodes = values.shape
    found: list[tuple[int, Run]] = []
    company = np.zeros((2, steps + 3), np.int64)
    for first in range(0, nodes, BLOCK):
        block = slice(first, first + BLOCK)
        part = values[:, block]
        rest = part - usual[:, block][slot]
        taken = np.zeros(part.shape, bool)
        moved = np.zeros((2, steps + 3, part.shape[1]), bool)
        limit = resolution(part)
        low, high = _quantile(part, RANGE_TAIL), _quantile(part, 1 - RANGE_TAIL)
        for width in range(1, min(SPIKE_STEPS, steps - 2) + 1):
            signed = _excursion(part, rest, width)
            size = np.abs(signed)
            limit = np.maximum(_quantile(size, SPIKE_TAIL), limit)
            sides = np.abs(part[width + 1 :] - part[: -width - 1])
            sides = np.fmax(sides, _unrest(rest, width))
            core = part[1 : len(part) - width]
            ratio = np.where((core < low) | (core > high), RANGE_RATIO, SPIKE_RATIO)
            spike = (size > ratio * limit) & (sides < 0.5 * size)
            for way, sign in enumerate((1, -1)):
                loud = sign * signed > limit
                for row in range(1, width + 3):  # one row before the excursion to one after it
                    moved[way, row : row + len(loud)] |= loud
            for n, t in zip(*np.nonzero(spike.T), strict=True):
                start, stop = int(t) + 1, int(t) + 1 + width
                if taken[start:stop, n].any():
                    continue
                taken[start:stop, n] = True
                height = float(signed[t, n])
                before, after = float(part[start - 1, n]), float(part[stop, n])
                inside = part[start:stop, n]
                value = float(inside.max() if height > 0 else inside.min())
                numbers = (before, after, abs(height), float(limit[n]))
                found.append((int(height < 0), Run(first + int(n), start, stop, value, numbers)))
        company += moved.sum(axis=2)
    least = max(1, COMPANY * (nodes - 1))
    return [run for way, run in found if company[way, run.start + 1] - 1 < least]


def _excursion(part: FloatArray, rest: FloatArray, width: int) -> FloatArray:
    """Signed excursion [S - width - 1, N] of the ``width`` rows after each; 0 across a gap."""
    signed = []
    for x in (part, rest):
        inside = np.stack([x[1 + i : len(x) - width + i] for i in range(width)])
        before, after = x[: -width - 1], x[width + 1 :]
        up = inside.min(axis=0) - np.maximum(before, after)
        down = np.minimum(before, after) - inside.max(axis=0)
        signed.append(np.where(up > 0, up, np.where(down > 0, -down, 0)))
    same = signed[0] * signed[1] > 0
    return np.where(same, np.sign(signed[0]) * np.minimum(*np.abs(signed)), 0)


def _unrest(rest: FloatArray, width: int) -> FloatArray:
    """How far [S - width - 1, N] either side of an excursion moves over the steps beyond it."""
    move = np.full(rest.shape, np.nan, rest.dtype)
    move[SPIKE_STEPS:] = np.abs(rest[SPIKE_STEPS:] - rest[:-SPIKE_STEPS])
    after = np.full(rest.shape, np.nan, rest.dtype)
    after[:-SPIKE_STEPS] = move[SPIKE_STEPS:]
    return np.fmax(move[: -width - 1], after[width + 1 :])


def resolution(values: FloatArray) -> FloatArray:
    """Smallest change [N] that a node shows; infinite where it shows none."""
    change = np.abs(np.diff(values, axis=0))
    return np.where(change > 0, change, np.inf).min(axis=0, initial=np.inf)


def stuck(values: FloatArray, nonnegative: bool) -> list[Run]:
    """The same value repeated far longer than the node usually does (persistence test).

    ``RUN_RATIO`` times the length of run that 99 % of the node's time is spent within, so a gauge
    of 1 cm at low flow may stand for days and a meter of many digits for a few steps only. Zeros of
    a nonnegative target are left to ``zeros``.
    """
    same = values[1:] == values[:-1]
    if nonnegative:
        same &= ~_nil(values[1:])
    node, start, stop = runs_of(same)
    length = stop - start + 1
    found = []
    for n in np.unique(node):
        own = slice(*np.searchsorted(node, (n, n + 1)))
        usual = _time_quantile(length[own], int((~np.isnan(values[:, n])).sum()))
        long = length[own] >= max(RUN_RATIO * usual, RUN_LEAST)
        for a, size in zip(start[own][long], length[own][long], strict=True):
            found.append(Run(int(n), int(a), int(a + size), float(values[a, n]), (float(usual),)))
    return found


def _nil(values: FloatArray) -> NDArray[np.bool_]:
    """Whether [S, N] values are zero, or as good as zero for their node."""
    size = np.abs(values)
    return size <= 1e-6 * np.fmax.reduce(size, axis=0, initial=0)


def interpolated(values: FloatArray) -> list[Run]:
    """A straight line that is not level, exact to the last digits: a gap that somebody filled."""
    found = []
    for first in range(0, values.shape[1], BLOCK):
        part = values[:, first : first + BLOCK]
        change = np.diff(part, axis=0)
        noise = 8 * np.finfo(np.float32).eps * np.maximum(np.abs(part[1:-1]), np.abs(part[2:]))
        steep = np.abs(change[1:]) > np.maximum(noise, LINE_GRAINS * resolution(part))
        line = steep & (np.abs(np.diff(change, axis=0)) <= noise)
        for n, a, b in zip(*runs_of(line), strict=True):
            if b - a + 2 >= LINE_STEPS:
                ends = float(part[a, n]), float(part[b + 1, n])
                found.append(Run(first + int(n), int(a), int(b) + 2, ends[0], ends))
    return found


def _time_quantile(length: IntArray, steps: int) -> int:
    """Length of run that all but the tail of ``steps`` are spent within, the longest run aside."""
    ordered = np.append(np.sort(length)[-2::-1], 1)
    beyond = np.cumsum(ordered) > (1 - RUN_TAIL) * steps
    return int(ordered[np.argmax(beyond)]) if beyond.any() else 1


def zeros(values: FloatArray, slot: IntArray, usual: FloatArray, steps_per_day: int) -> list[Run]:
    """Runs of zeros at times of the week when the node is hardly ever zero, cut off on either side.

    Each slot's share of zeros counts by what is usual then, so that nights excuse no lost days. It
    is taken without runs of more than a day, which would excuse themselves; a daily series, which
    has no time of day, keeps them.
    """
    zero = _nil(values)
    node, start, stop = runs_of(zero)
    found = []
    for n in np.unique(node):
        own = slice(*np.searchsorted(node, (n, n + 1)))
        first, last = start[own], stop[own]
        kept = ~np.isnan(values[:, n])
        if steps_per_day > 1:
            for a, b in zip(first, last, strict=True):
                if b - a > steps_per_day:
                    kept[a:b] = False
        nil, normal = zero[:, n], usual[slot, n]
        # A run does not speak for itself: each row is left out of its own slot's share.
        seen = np.bincount(slot[kept], minlength=len(usual))[slot] - kept
        none = np.bincount(slot[kept & nil], minlength=len(usual))[slot] - (kept & nil)
        missed = np.divide(normal * none, seen, out=np.zeros(len(slot)), where=seen > 0)
        sums = [np.append(0, np.cumsum(np.nan_to_num(x))) for x in (seen, missed, normal)]
        others, missed, total = (x[last] - x[first] for x in sums)
        expected = total / (last - first)
        share = np.divide(missed, total, out=np.ones(len(total)), where=total > 0)
        edged = np.pad(~(values[:, n] < ZERO_SIDE * normal), 1, constant_values=True)
        gap = (last - first >= ZERO_LEAST) & (share <= ZERO_SHARE)
        gap &= (others >= ZERO_EVIDENCE) & (expected >= ZERO_USUAL * np.nanmedian(normal))
        for r in np.flatnonzero(gap & edged[first] & edged[last + 1]):
            numbers = (float(expected[r]), float(share[r]))
            found.append(Run(int(n), int(first[r]), int(last[r]), 0.0, numbers))
    return found
