"""Weekly watching of groups, with alarms that looking often does not make more likely.

A group's *regret* of a week is how much larger its error is than the others', each as a share of
the seasonal naive forecast's: the logarithm of their ratio, so that good weeks pay for bad ones.
That is the idea of FairTP (Xia et al., AAAI 2025, arXiv 2412.16214): who is served badly changes
from week to week, and what counts is whether it evens out over a longer time. There a sensor's
states of "sacrifice" and "benefit" are counted; here their size is summed.

A confidence sequence (``intervals.watch``) says when a sum is no chance any more. Its mean is of
all weeks watched, so that a fault that comes late hides behind good years: a new sequence begins
every half year, with half of the remaining risk of a false alarm each time, so that together they
keep to the risk however long they run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fairness.audit import CONFIDENCE, HARMS
from fairness.groups import Areas, Grouping
from fairness.intervals import watch
from fairness.metrics import FIGURES, SUMS, Units, figures, mean_of_groups, mean_of_others
from models.contracts import FloatArray

RESTART_WEEKS = 26
_ERROR = HARMS[0]


@dataclass(frozen=True)
class Alarm:
    """A group that is surely served worse than the others, and by more than is tolerated.

    Attributes:
        week: after which it is sure.
        since: first week of the sequence that found it.
        worse_by: the mean over its weeks, as a share.
    """

    week: int
    since: int
    worse_by: float


def first_alarm(regret: FloatArray, comparisons: int = 1) -> Alarm | None:
    """The first week at which a sequence is sure; None where none is.

    Args:
        regret: [W] of one group, week by week.
        comparisons: groups that are watched beside each other.
    """
    found: list[Alarm] = []
    for number, start in enumerate(range(0, len(regret), RESTART_WEEKS)):
        risk = (1 - CONFIDENCE) / comparisons / 2 ** (number + 1)
        seen = watch(regret[start:, None], 1 - risk)
        sure = (seen.low[:, 0] > 0) & (np.expm1(seen.mean[:, 0]) > _ERROR.tolerated)
        if sure.any():
            step = int(np.argmax(sure))
            worse_by = float(np.expm1(seen.mean[step, 0]))
            found.append(Alarm(start + int(seen.weeks[step]), start, worse_by))
    return min(found, key=lambda alarm: alarm.week, default=None)


def weekly_regret(daily: FloatArray, days: np.ndarray, units: Units) -> FloatArray:
    """[W, G] of whole weeks; NaN where nothing of a group came true.

    Args:
        daily: [D, N, L, S] of ``metrics.daily_sums``.
        days: [D] dates, rising.
        units: of the groups.
    """
    week = (days - days[0]).astype("timedelta64[D]").astype(int) // 7
    whole = week < _whole_weeks(days)
    by_day = np.einsum("un,dnls->dus", units.of_node, daily[whole])
    by_week = np.zeros((int(week[whole].max(initial=-1)) + 1, *by_day.shape[1:]))
    np.add.at(by_week, week[whole], by_day)
    at = FIGURES.index(_ERROR.figure)
    error = 1 - figures(by_week)[..., at : at + 1]
    ratio = mean_of_groups(error, units.equal) / mean_of_others(error, units.equal)
    with np.errstate(divide="ignore", invalid="ignore"):
        regret = np.log(ratio[..., 0])
    return np.where(np.isfinite(regret), regret, np.nan)


def _whole_weeks(days: np.ndarray) -> int:
    return (int((days[-1] - days[0]) / np.timedelta64(1, "D")) + 1) // 7


def watch_groups(
    daily: FloatArray, days: np.ndarray, groupings: tuple[Grouping, ...], areas: Areas
) -> dict[str, Any]:
    """Watch every group of every grouping, week by week.

    Args:
        daily: [D, N, L, S] of ``metrics.daily_sums``.
        days: [D] dates, rising.
        groupings: how nodes are told apart.
        areas: where nodes stand.

    Returns:
        ``weeks`` watched, ``tolerated``, ``confidence``, ``alarms``: how many; ``groupings``: by
        ``attribute`` a list of ``groups`` with ``name``, ``weeks`` in which it was observed,
        ``regret``: the sum after each four of them, ``worse_by``: the mean as a share, with
        ``low`` and ``high`` of the sequence from the first week on (None before 24 weeks), and
        ``alarm``: None, or ``on`` (date), ``since`` (date), ``worse_by``.
    """
    observed = daily[..., SUMS.index("count")].sum(axis=(0, 2))
    told = []
    for grouping in groupings:
        units = Units.of(grouping, areas, observed)
        if not len(units.of_node) or (units.equal.sum(axis=1) > 0).sum() < 2:
            continue
        regret = weekly_regret(daily, days, units)
        groups = [
            {"name": group.name} | _told(regret[:, g], days[0], len(grouping.groups))
            for g, group in enumerate(grouping.groups)
        ]
        told.append({"attribute": grouping.attribute, "groups": groups})
    return {
        "weeks": _whole_weeks(days),
        "tolerated": _ERROR.tolerated,
        "confidence": CONFIDENCE,
        "alarms": sum(group["alarm"] is not None for one in told for group in one["groups"]),
        "groupings": told,
    }


def _told(regret: FloatArray, first: np.datetime64, comparisons: int) -> dict[str, Any]:
    """What is said of one group's weeks [W]."""
    weeks = np.flatnonzero(np.isfinite(regret))
    known = regret[weeks]
    alarm = first_alarm(known, comparisons)
    seen = watch(known[:, None], 1 - (1 - CONFIDENCE) / comparisons)

    def date(index: int, days: int) -> str:
        return str(first + np.timedelta64(7 * int(weeks[index]) + days, "D"))

    return {
        "weeks": len(known),
        "regret": [round(float(total), 3) for total in np.cumsum(known)[3::4]],
        "worse_by": round(float(np.expm1(known.mean())), 4) if len(known) else None,
        "low": round(float(np.expm1(seen.low[-1, 0])), 4) if len(seen.low) else None,
        "high": round(float(np.expm1(seen.high[-1, 0])), 4) if len(seen.high) else None,
        "alarm": None
        if alarm is None
        else {
            "on": date(alarm.week - 1, 6),
            "since": date(alarm.since, 0),
            "worse_by": round(alarm.worse_by, 4),
        },
    }
