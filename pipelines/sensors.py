"""Whether each sensor still does what it used to: speaks, varies, and keeps its level.

A sensor's *habits* are how long it was ever silent, and how long it repeated one value, while it
worked. The chance of a longer run falls by the same factor with each step, which its own runs give
(with one run of the typical length added, so that a sensor that never failed has habits too); a run
is told of when less than ``SHARE`` of a run a year is as long, in all sensors together. A sensor
that dies, freezes, or reports zeros for ever gives itself away so. Steps at which most sensors are
silent count for none: then it is the feed that fails.

Its *level* is a day's mean beside the usual week. A season or a holiday moves all sensors, a fault
moves one: so it is held to what the others say it should be, by the few factors that they share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contracts import BoolArray, FloatArray, IntArray
from pipelines.sequences import FARTHEST
from training.detectors import runs_of

SHARE = 0.25
"""Runs a year that are told of and end by themselves, of each kind, in all sensors together."""
MOST_DAYS = 3
"""A silence of so many days is told of whatever the habits are."""
_LEAST_STEPS = 3
_FACTORS = 3
_NODES_A_FACTOR = 2
_LEAST_NODES = 4
_FAINT = 0.01
"""The least share of its usual sum that a day's level is told from."""


@dataclass(frozen=True)
class Habits:
    """The longest runs of steps that are usual, [N] each; without end where nothing is known."""

    silent: FloatArray
    flat: FloatArray


@dataclass(frozen=True)
class Runs:
    """Runs that last to the end of a record: steps, and the row of the first, [N] each."""

    silent: IntArray
    silent_since: IntArray
    flat: IntArray
    flat_since: IntArray


def habits_of(values: FloatArray, steps_per_day: int) -> Habits:
    """The habits of sensors, from their record [S, N].

    What lies before a sensor's first value and after its last is no silence of a working one.
    """
    heard = values[_heard(values)]
    least = max(_LEAST_STEPS, steps_per_day // 2)
    silent = np.maximum(_usual_runs(np.isnan(heard), 0, steps_per_day), least)
    flat = _usual_runs(heard[1:] == heard[:-1], 1, steps_per_day)
    most = max(MOST_DAYS * steps_per_day - 1, least)
    spoke = ~np.isnan(values).all(axis=0)
    return Habits(
        np.where(spoke, np.minimum(silent, most), np.inf),
        np.where(spoke, np.maximum(flat, least), np.inf),
    )


def running(values: FloatArray) -> Runs:
    """The runs that sensors are in at the end of their record [S, N]."""
    rows = np.flatnonzero(_heard(values))
    heard = values[rows]
    silent = _at_end(np.isnan(heard))
    flat = _at_end(heard[1:] == heard[:-1])
    flat = np.where(flat > 0, flat + 1, 0)
    rows = np.append(rows, len(values))
    return Runs(silent, rows[len(heard) - silent], flat, rows[len(heard) - flat])


def _heard(values: FloatArray) -> BoolArray:
    """Rows at which half of the sensors that ever spoke do so."""
    seen = ~np.isnan(values)
    return seen[:, seen.any(axis=0)].mean(axis=1) >= 0.5


def _usual_runs(mask: BoolArray, more: int, steps_per_day: int) -> FloatArray:
    """The longest run [N] of True, ``more`` added to each, that is usual in [S, N]."""
    rows, nodes = mask.shape
    node, start, stop = runs_of(mask)
    inside = (start > 0) & (stop < rows)
    node, length = node[inside], (stop - start)[inside] + more
    count = np.bincount(node, minlength=nodes) + 1
    typical = length.mean() if len(length) else 1.0
    mean = (np.bincount(node, weights=length, minlength=nodes) + typical) / count
    runs_a_year = count / rows * 365 * steps_per_day
    with np.errstate(divide="ignore"):
        longest = np.log(SHARE / nodes / runs_a_year) / np.log(1 - 1 / mean)
    np.maximum.at(longest, node, length)
    return longest


def _at_end(mask: BoolArray) -> IntArray:
    """Length [N] of the run of True that ends each column of [S, N]."""
    return np.where(mask.all(axis=0), len(mask), np.argmin(mask[::-1], axis=0))


def day_levels(
    values: FloatArray, usual: FloatArray, scale: FloatArray, nonnegative: bool
) -> FloatArray:
    """A day's level beside the usual one, [D, N]; NaN where less than half of it was observed.

    Args:
        values: [D, steps of a day, N].
        usual: the same of the usual week.
        scale: [N] deviation from the usual, in which levels of what may be negative are told;
            others are logarithms of shares.
        nonnegative: whether values never fall below zero.
    """
    seen = ~np.isnan(values) & ~np.isnan(usual)
    count = seen.sum(axis=1)
    total, normal = (np.where(seen, part, 0.0).sum(axis=1) for part in (values, usual))
    with np.errstate(divide="ignore", invalid="ignore"):
        level = (total - normal) / count / scale
        if nonnegative:
            level = np.log(np.maximum(total / normal, _FAINT))
    return np.where(2 * count >= values.shape[1], level, np.nan)


class Company:
    """What the other sensors say of each one's level.

    Levels are explained by few factors that sensors share (principal components of their
    correlation); a sensor's are estimated from the others alone. On days that take all far from the
    usual, such as a flood, they say less, and a sensor may be off by as much more.

    Args:
        levels: [D, N] of days on which sensors worked.
    """

    def __init__(self, levels: FloatArray) -> None:
        seen = ~np.isnan(levels)
        count = np.maximum(seen.sum(axis=0), 1)
        self.mean = np.where(seen, levels, 0.0).sum(axis=0) / count
        off = np.where(seen, levels - self.mean, 0.0)
        self.spread = np.maximum(np.sqrt((off**2).sum(axis=0) / count), 1e-6)
        z = off / self.spread
        pairs = np.maximum(seen.T.astype(float) @ seen, 1)
        size, direction = np.linalg.eigh(z.T @ z / pairs)
        factors = int(np.clip(levels.shape[1] // _NODES_A_FACTOR, 1, _FACTORS))
        self._loads = direction[:, -factors:] * np.sqrt(np.maximum(size[-factors:], 0))
        self._own = max(1 - float((self._loads**2).sum()) / levels.shape[1], 0.01)

    def beside(self, levels: FloatArray) -> FloatArray:
        """Levels [D, N] less what the others let expect; NaN where they are too few.

        Where that is more than a deviation from the mean, in units of how many it is.
        """
        seen = ~np.isnan(levels)
        z = np.where(seen, (levels - self.mean) / self.spread, 0.0)
        z = np.clip(z, -FARTHEST, FARTHEST)  # one that fails does not drag the others along
        outer = np.einsum("nf,ng->nfg", self._loads, self._loads)
        each = seen[..., None, None] * outer
        weight = each.sum(axis=1, keepdims=True) - each + self._own * np.eye(self._loads.shape[1])
        pull = z[..., None] * self._loads
        others = (pull.sum(axis=1, keepdims=True) - pull)[..., None]
        factor = np.linalg.solve(weight, others)[..., 0]
        far = (factor * self._loads).sum(axis=-1)
        off = levels - self.mean - self.spread * far
        enough = seen.sum(axis=1, keepdims=True) >= _LEAST_NODES
        return np.where(enough, off / np.maximum(1, np.abs(far)), np.nan)
