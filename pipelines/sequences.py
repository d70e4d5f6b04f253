"""Figures of days that are looked at every day, for ever: has a mean moved, and since when?

Who tests every day and stops when the test says so raises an alarm sooner or later, whatever
happens. An *e-detector* (Shin, Ramdas and Rinaldo 2022, arXiv 2203.03532) may be looked at as often
as one likes. Each past day is taken for the one on which the change came, a bet is laid against the
usual from then on, and what all these bets have won by today is summed (the procedure of Shiryaev
and Roberts). While nothing changes, the sum of d days has a mean of d at most, so that it takes C
days or more, on average, until it first reaches C: one false alarm in C days.

One day resembles the day before: figures are taken for an autoregression of the first order, and
bets are laid on what a day brings that the day before did not tell. A bet on a change of ``b``
deviations multiplies by exp(b u - b^2 / 2) on its first day, and later with b (1 - r), where u is
the day's news in its own standard deviations and r how much of a day is found again in the next: a
fair bet where u is normal or has lighter tails. To this end u ends at ``FARTHEST``, so that no
single odd day is an alarm, and the deviation is that of the last days where it is larger: a season
may be rougher than those that say what is usual. How often it is wrong on days that keep to none of
this is measured (``benchmarks/drift.py``).

Sums over the last days only are smaller than over all, so the bound holds for a window of them too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contracts import FloatArray, IntArray

BETS = (0.5, 1.0, 2.0, 3.0)
FARTHEST = 3.5
LEAST_DAYS = 21
"""Fewer days do not say what is usual."""
_MOST_ALIKE = 0.9
_UNSURE = 2.0
"""Standard errors of the usual mean that are given to what is watched."""


@dataclass(frozen=True)
class Usual:
    """What figures of a day are like while nothing is wrong; NaN where too few days say so.

    Attributes:
        days: [K] that say so.
        mean: [K].
        spread: [K] standard deviation of a day.
        alike: [K] correlation of a day with the next.
    """

    days: IntArray
    mean: FloatArray
    spread: FloatArray
    alike: FloatArray

    @property
    def error(self) -> FloatArray:
        """Standard error [K] of the mean."""
        like = (1 + self.alike) / (1 - self.alike)
        return self.spread * np.sqrt(like / np.maximum(self.days, 1))


@dataclass(frozen=True)
class Seen:
    """What a sequence says on its last day.

    Attributes:
        evidence: [K] logarithm of the sum; ``log(C)`` is an alarm of which one in C days is false.
        since: [K] number of the day on which the change most likely came.
        by: [K] mean of the figures since then less the usual mean.
    """

    evidence: FloatArray
    since: IntArray
    by: FloatArray


def usual_of(days: FloatArray) -> Usual:
    """What is usual of figures [D, K] of successive days, NaN where a day has none."""
    count = (~np.isnan(days)).sum(axis=0)
    mean = np.nansum(days, axis=0) / np.maximum(count, 1)
    off = days - mean
    variance = np.maximum(np.nansum(off**2, axis=0) / np.maximum(count - 4, 1), 1e-18)
    both = off[1:] * off[:-1]
    pairs = np.maximum((~np.isnan(both)).sum(axis=0), 1)
    alike = np.nansum(both, axis=0) / pairs / variance
    alike += (1 + 3 * alike) / np.maximum(count, 1)  # few days look less alike than they are
    known = np.where(count >= LEAST_DAYS, 1.0, np.nan)
    return Usual(count, mean * known, np.sqrt(variance) * known, np.clip(alike, 0, _MOST_ALIKE))


def watch(days: FloatArray, usual: Usual, tolerated: float, sign: int) -> Seen:
    """What the days say of a change of their means.

    Args:
        days: [D, K] successive days, NaN where one has no figure.
        usual: of K figures.
        tolerated: change of a mean that is none.
        sign: 1 for a rise, -1 for a fall.
    """
    spread = np.fmax(usual.spread, _deviation(days))
    margin = tolerated + _UNSURE * usual.error
    z = np.clip((sign * (days - usual.mean) - margin) / spread, -FARTHEST, FARTHEST)
    known = ~np.isnan(z)
    alike = np.where(known[:-1], usual.alike, 0.0)
    news = z.copy()
    news[1:] = (z[1:] - alike * np.nan_to_num(z[:-1])) / np.sqrt(1 - alike**2)
    news = np.where(known, np.minimum(news, FARTHEST), 0.0)
    bets = np.array(BETS)[:, None, None]
    first = bets * news - bets**2 / 2
    later = bets * (1 - np.concatenate([np.zeros_like(z[:1]), alike]))
    later = np.where(known, later * news - later**2 / 2, 0.0)
    to_come = np.cumsum(later[:, ::-1], axis=1)[:, ::-1] - later
    since_then = np.where(known, first + to_come, -np.inf)
    by_bet = np.logaddexp.reduce(since_then, axis=1, initial=-np.inf)
    evidence = np.logaddexp.reduce(by_bet, axis=0) - np.log(len(BETS))
    since = np.argmax(since_then.max(axis=0), axis=0)
    after = np.arange(len(days))[:, None] >= since
    count = np.maximum((after & known).sum(axis=0), 1)
    by = np.where(after & known, days - usual.mean, 0.0).sum(axis=0) / count
    return Seen(np.where(known.any(axis=0), evidence, -np.inf), since, by)


def _deviation(days: FloatArray) -> FloatArray:
    """Deviation [K] of the middle half of the days, which a fault of a fortnight is not in."""
    ordered = np.sort(days, axis=0)
    count = (~np.isnan(days)).sum(axis=0)

    def at(share: float) -> FloatArray:
        row = np.floor(share * np.maximum(count - 1, 0)).astype(int)
        return np.take_along_axis(ordered, row[None], axis=0)[0]

    return (at(0.75) - at(0.25)) / 1.349
