"""The audit: each group beside all others, with intervals that hold for all groups together.

Four harms are judged. A group is served badly if its error, as a share of what a seasonal naive
forecast errs there, is larger than elsewhere; if it is as a share of what is observed there, which
is also so where sensors are worse, and no fault of the forecaster; if its 90 % band holds less
often; if its peaks are forecast too low. Each verdict is one of three:

* ``fail``: worse, surely (the whole interval), and by more than is tolerated;
* ``pass``: surely worse by less than is tolerated, over a year at least;
* ``insufficient evidence``: anything else. It is no good evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fairness.groups import CLASSES, LEAST_SENSORS, Areas, Grouping
from fairness.intervals import LEAST_DAYS, Interval, Statistic, jackknife
from fairness.metrics import (
    FIGURES,
    SUMS,
    Units,
    figures,
    mean_of_groups,
    mean_of_others,
    rounded,
)
from models.contracts import FloatArray

PASS, FAIL, INSUFFICIENT = "pass", "fail", "insufficient evidence"
YEAR = 365
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Harm:
    """A way to be served badly.

    Attributes:
        name: for machines.
        figure: one of ``FIGURES``.
        tolerated: how much worse than the others a group may be.
        relative: whether the figure (what it lacks to 1, where a smaller one is worse) is compared
            as a share, not as a difference.
        sign: -1 where a smaller figure is the worse one.
    """

    name: str
    figure: str
    tolerated: float
    relative: bool
    sign: int


HARMS = (
    Harm("error", "skill", 0.10, True, -1),
    Harm("relative_error", "wape", 0.20, True, 1),
    Harm("under_coverage", "coverage_90", 0.05, False, -1),
    Harm("peak_shortfall", "peak_shortfall", 0.05, False, 1),
)


def audit(
    daily: FloatArray, groupings: tuple[Grouping, ...], areas: Areas, has_zero: bool = True
) -> list[dict[str, Any]]:
    """Judge every group of every grouping.

    Args:
        daily: [D, N, L, S] of ``metrics.daily_sums``, days in order.
        groupings: how nodes are told apart.
        areas: where nodes stand.
        has_zero: whether 0 of the target is none of it, as of flows but not of a river's stage;
            else its level says nothing, and no error is judged beside it.

    Returns:
        One record a grouping, JSON-ready: weights, groups with figures and harms, worst group.
    """
    observed = daily[..., SUMS.index("count")].sum(axis=(0, 2))
    records = []
    for grouping in groupings:
        units = Units.of(grouping, areas, observed)
        if (units.equal.sum(axis=1) > 0).sum() < 2:
            continue
        record: dict[str, Any] = {
            "attribute": grouping.attribute,
            "groups": [
                {
                    "name": group.name,
                    "sensors": len(group.nodes),
                    "silent": int((observed[group.nodes] == 0).sum()),
                    "residents": None if np.isnan(group.residents) else int(group.residents),
                    "merged": list(group.merged),
                }
                for group in grouping.groups
            ],
            "ungrouped": len(grouping.ungrouped),
            "weighted": {"area": _judged(daily, units, units.equal, has_zero)},
        }
        if units.residents is not None:
            record["weighted"]["residents"] = _judged(daily, units, units.residents, has_zero)
        records.append(record)
    return records


def evidence(daily: FloatArray) -> dict[str, Any]:
    """How much the verdicts rest on, and why that is little, if it is.

    Args:
        daily: [D, N, L, S] of ``metrics.daily_sums``.

    Returns:
        ``days``; ``sensors`` that were observed; ``silent`` others; ``thin``; ``why``: codes of
        what is lacking: ``few_days`` (no interval), ``part_of_a_year`` (no pass), ``few_sensors``
        (fewer than ``LEAST_SENSORS`` for each of ``CLASSES`` classes).
    """
    days, seen = len(daily), daily[..., SUMS.index("count")].sum(axis=(0, 2)) > 0
    lacking = {
        "few_days": days < LEAST_DAYS,
        "part_of_a_year": days < YEAR,
        "few_sensors": seen.sum() < LEAST_SENSORS * CLASSES,
    }
    return {
        "days": days,
        "sensors": int(seen.sum()),
        "silent": int((~seen).sum()),
        "thin": bool(lacking["few_days"] or lacking["few_sensors"]),
        "why": [code for code, true in lacking.items() if true],
    }


def _judged(daily: FloatArray, units: Units, weights: FloatArray, has_zero: bool) -> dict[str, Any]:
    """Figures, figures by band of leads, and harms of each group."""
    by_unit = np.einsum("un,dnls->duls", units.of_node, daily)
    by_lead = figures(by_unit.sum(axis=0))
    whole = figures(by_unit.sum(axis=(0, 2)))
    groups = mean_of_groups(whole, weights)
    bands = np.stack(
        [mean_of_groups(by_lead[:, band], weights) for band in range(by_lead.shape[1])], axis=1
    )
    sums = by_unit.sum(axis=2)
    harms = {
        harm.name: compared(
            sums, partial(worse, weights=weights, harm=harm), len(weights), harm.tolerated
        )
        for harm in HARMS
    }
    if not has_zero:
        harms["relative_error"] = [
            one | {"worse_by": None, "low": None, "high": None, "verdict": INSUFFICIENT}
            for one in harms["relative_error"]
        ]
    return {
        "figures": [dict(zip(FIGURES, map(rounded, row), strict=True)) for row in groups],
        "by_lead": [
            [dict(zip(FIGURES, map(rounded, row), strict=True)) for row in group] for group in bands
        ],
        "harms": harms,
    }


def compared(
    by_unit: FloatArray, worse_by: Statistic, comparisons: int, tolerated: float
) -> list[dict[str, Any]]:
    """How much worse each group is than the others, with its verdict.

    Args:
        by_unit: [D, U, *S] sums a day.
        worse_by: from sums [..., U, *S] to each group's figure less the others'.
        comparisons: how many groups are judged.
        tolerated: how much worse one may be.
    """
    days = len(by_unit)
    if days < LEAST_DAYS:
        unknown = np.full(comparisons, np.nan)
        interval = Interval(worse_by(by_unit.sum(axis=0)), unknown, unknown)
    else:
        interval = jackknife(by_unit, worse_by, CONFIDENCE, comparisons)
    return [
        {
            "worse_by": rounded(estimate),
            "low": rounded(low),
            "high": rounded(high),
            "tolerated": tolerated,
            "verdict": verdict(estimate, low, high, tolerated, days),
        }
        for estimate, low, high in zip(interval.estimate, interval.low, interval.high, strict=True)
    ]


def worse(sums: FloatArray, weights: FloatArray, harm: Harm) -> FloatArray:
    """[..., G] how much worse each group is than all others.

    Args:
        sums: [..., U, S] of units.
        weights: [G, U] of the units in each group.
        harm: what is compared.
    """
    at = FIGURES.index(harm.figure)
    found = figures(sums)[..., at : at + 1]
    if harm.relative and harm.sign < 0:
        found = 1 - found
    group, others = mean_of_groups(found, weights), mean_of_others(found, weights)
    return (group / others - 1 if harm.relative else harm.sign * (group - others))[..., 0]


def verdict(worse_by: float, low: float, high: float, tolerated: float, days: int) -> str:
    """What an interval of how much worse a group is says."""
    if low > 0 and worse_by > tolerated:
        return FAIL
    if high < tolerated and days >= YEAR:
        return PASS
    return INSUFFICIENT
