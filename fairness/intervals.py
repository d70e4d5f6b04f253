"""Intervals for figures of days that depend on each other, and a sequence that may be watched.

A day's errors resemble those of the day before, so intervals that take days for independent are
far too short. Here contiguous batches of days are the sample: a batch of six weeks depends little
on the next. The *batch jackknife-t* leaves each of eight batches out in turn and compares with
Student's t of seven degrees of freedom (Miller 1974, doi 10.1093/biomet/61.1.1; batches as in
Schmeiser 1982, doi 10.1287/opre.30.3.556). It takes any smooth figure of sums, such as a skill,
which is a ratio, and corrects its bias. A circular block bootstrap (Politis and Romano 1992) is
the check.

Watching every week and stopping when an interval leaves zero is no test any more. ``watch`` gives
a *confidence sequence*, which holds at all weeks together: the normal mixture of Robbins (1970)
in the asymptotic form of Waudby-Smith et al. (2024, doi 10.1214/24-AOS2408).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from models.contracts import FelsinaError, FloatArray

BATCHES = 8
BLOCK_DAYS = 7
LEAST_DAYS = BATCHES * BLOCK_DAYS
"""Fewer days give no batch of a week."""
_REPLICATES = 999
WATCHED_WEEKS = 4
"""Weeks of one step of ``watch``: means of fewer still depend on the mean before them."""
_LEAST_STEPS = 6
LEAST_WEEKS = _LEAST_STEPS * WATCHED_WEEKS
"""Fewer weeks give no interval of ``watch``."""
_BEST_AT = 13
"""Steps, a year of them, at which the sequence is narrowest."""

Statistic = Callable[[FloatArray], FloatArray]
"""From sums over days [..., *rest] to figures [..., K]; smooth, such as ratios of sums."""


@dataclass(frozen=True)
class Interval:
    """Figures with their intervals.

    Attributes:
        estimate: [K] corrected for the bias of first order.
        low: [K] lower bounds.
        high: [K] upper bounds.
    """

    estimate: FloatArray
    low: FloatArray
    high: FloatArray


def jackknife(
    daily: FloatArray, statistic: Statistic, confidence: float = 0.95, comparisons: int = 1
) -> Interval:
    """Batch jackknife-t intervals.

    Args:
        daily: [D, *rest] sums a day, in order of time.
        statistic: figures of sums over days.
        confidence: that all ``comparisons`` intervals hold together.
        comparisons: how many are looked at (Bonferroni; 1 gives each its own).

    Raises:
        FelsinaError: for fewer days than ``LEAST_DAYS``.
    """
    _check_days(daily)
    sums = np.stack([part.sum(axis=0) for part in np.array_split(daily, BATCHES)])
    whole, without = statistic(sums.sum(axis=0)), statistic(sums.sum(axis=0) - sums)
    pseudo = BATCHES * whole - (BATCHES - 1) * without
    estimate = pseudo.mean(axis=0)
    quantile = student.ppf(1 - (1 - confidence) / (2 * comparisons), BATCHES - 1)
    half = quantile * pseudo.std(axis=0, ddof=1) / np.sqrt(BATCHES)
    return Interval(estimate, estimate - half, estimate + half)


def block_bootstrap(
    daily: FloatArray,
    statistic: Statistic,
    rng: np.random.Generator,
    confidence: float = 0.95,
    comparisons: int = 1,
) -> Interval:
    """Percentile intervals of a circular bootstrap of whole weeks, the check of ``jackknife``.

    With dependent days it covers less than it says: 87 % for 95 % at an autoregression of .5
    (``benchmarks/accountability.md``).
    """
    _check_days(daily)
    days = len(daily)
    weeks = -(-days // BLOCK_DAYS)
    starts = rng.integers(days, size=(_REPLICATES, weeks))
    drawn = (starts[:, :, None] + np.arange(BLOCK_DAYS)).reshape(_REPLICATES, -1)[:, :days] % days
    figures = np.stack([statistic(daily[rows].sum(axis=0)) for rows in drawn])
    tail = (1 - confidence) / (2 * comparisons)
    low, high = np.quantile(figures, [tail, 1 - tail], axis=0)
    return Interval(statistic(daily.sum(axis=0)), low, high)


def _check_days(daily: FloatArray) -> None:
    if len(daily) < LEAST_DAYS:
        raise FelsinaError(
            f"{len(daily)} days are fewer than {LEAST_DAYS}, a week for each of {BATCHES} batches; "
            "the evidence is too thin for an interval"
        )


@dataclass(frozen=True)
class Sequence:
    """A confidence sequence: with its confidence, *no* interval of it misses the mean.

    Attributes:
        weeks: [S] how many weeks stand behind each step.
        mean: [S, K] running means.
        low: [S, K] lower bounds.
        high: [S, K] upper bounds.
    """

    weeks: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


def watch(weekly: FloatArray, confidence: float = 0.95) -> Sequence:
    """A confidence sequence for the mean of weekly figures that are looked at as they come.

    Four weeks are one step, and the first interval comes after six. The variance is estimated from
    the steps, with ``n / (n - 4)`` for what so few leave unsure: with days that depend on each
    other (autoregression of .8) 5.3 % of sequences of four years then ever miss, for 5 %
    (``benchmarks/accountability.md``); weeks as steps still depend on each other.

    Args:
        weekly: [W, K] weekly figures, such as a group's loss less that of all.
        confidence: that no interval misses, however long it is watched.

    Returns:
        The steps; none where there are fewer than 24 weeks.
    """
    steps = len(weekly) // WATCHED_WEEKS
    whole = weekly[: steps * WATCHED_WEEKS]
    batch = whole.reshape(steps, WATCHED_WEEKS, weekly.shape[1]).mean(axis=1)
    count = np.arange(1, steps + 1)[:, None]
    mean = np.cumsum(batch, axis=0) / count
    squares = np.cumsum(batch**2, axis=0) - count * mean**2
    variance = np.maximum(squares, 0) / np.maximum(count - 4, 1)
    alpha = 1 - confidence
    mixing = (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / _BEST_AT
    spread = count * mixing + 1
    bound = 2 * spread / (count**2 * mixing) * np.log(np.sqrt(spread) / alpha)
    half = np.sqrt(variance * bound)
    seen = slice(_LEAST_STEPS - 1, None)
    weeks = (count[seen, 0] * WATCHED_WEEKS).astype(float)
    return Sequence(weeks, mean[seen], (mean - half)[seen], (mean + half)[seen])
