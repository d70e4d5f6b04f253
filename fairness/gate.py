"""The promotion gate: what a new release must show beside the one that it would replace.

Both forecast the same test days, so errors are compared day by day in pairs; what one hard week
does to both is no difference. Without a release to replace, the best naive forecast stands for it.
Six rules, each ``pass``, ``fail``, or ``none`` where it cannot be asked, with the reason's code:

* ``skill``: over the week-old naive forecast, surely not lower by a hundredth or more;
* ``groups``: no group's error is larger by a twentieth, as far as its bound tells;
* ``calibration``: the 90 % band holds 85 to 95 of 100 values;
* ``latency``: one forecast takes less than a tenth of a second on one core;
* ``privacy``: no weaker a promise than before;
* ``signature``: apps ask and are answered as before: the same unit, steps, quantiles, sensors.

That every group must pass needs no correction for many groups: one that is worse has to pass its
own test by chance (the intersection-union test of Berger 1982, Technometrics 24).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fairness.audit import CONFIDENCE, FAIL, PASS
from fairness.groups import Areas, Grouping
from fairness.intervals import LEAST_DAYS, Interval, Statistic, jackknife
from fairness.metrics import FIGURES, SUMS, Units, figures, mean_of_groups, rounded
from fairness.verdict import placed
from models.contracts import FloatArray

SKILL, GROUPS, CALIBRATION, LATENCY, PRIVACY, SIGNATURE = RULES = (
    "skill",
    "groups",
    "calibration",
    "latency",
    "privacy",
    "signature",
)
NONE = "none"
LOWER_SKILL, WORSE_GROUP, OFF_COVERAGE, SLOWEST_S = -0.01, 0.05, 0.05, 0.1
"""Limits of the first four rules."""
_BAND = 0.9
_SKILL, _COVERED = FIGURES.index("skill"), FIGURES.index("coverage_90")


def rule(name: str, passed: bool | None, **said: Any) -> dict[str, Any]:
    """One rule as the gate's record has it; ``passed`` is None where it cannot be asked."""
    return {"rule": name, "verdict": {True: PASS, False: FAIL, None: NONE}[passed], **said}


def judged(rules: Sequence[dict[str, Any]]) -> str:
    """What all rules say together: one that fails holds the release back."""
    return FAIL if any(one["verdict"] == FAIL for one in rules) else PASS


def failed(gate: dict[str, Any] | None) -> list[str]:
    """Names of the rules that a gate's record says are not met."""
    return [one["rule"] for one in (gate or {}).get("rules", []) if one["verdict"] == FAIL]


def despite(rules: Sequence[str], conditions: Sequence[str]) -> list[str]:
    """Those of the ``rules`` that no condition of a decision names: ``despite groups: ...``."""
    said = [condition.strip().lower() for condition in conditions]
    return [name for name in rules if not any(one.startswith(f"despite {name}:") for one in said)]


def compared(
    new: FloatArray, old: FloatArray, groupings: Sequence[Grouping], areas: Areas
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rules ``skill``, ``groups`` and ``calibration``, and how each group's error changed.

    Args:
        new: [D, N, L, S] of ``metrics.daily_sums``, of the release.
        old: the same days and targets, of what it would replace.
        groupings: how nodes are told apart.
        areas: where nodes stand.
    """
    pairs = np.stack([new, old], axis=-2)
    changed = [one for grouping in groupings for one in _by_group(pairs, grouping, areas)]
    whole = pairs.sum(axis=(1, 2))
    skill = _figure(_interval(whole, _skill_gained))
    covered = _figure(_interval(whole[:, :1], lambda sums: figures(sums)[..., _COVERED]))
    lowest = skill["value"] if skill["low"] is None else skill["low"]
    off = None if covered["value"] is None else abs(covered["value"] - _BAND) <= OFF_COVERAGE
    rules = [
        rule(SKILL, None if lowest is None else lowest > LOWER_SKILL, **skill, limit=LOWER_SKILL),
        _worst(changed),
        rule(CALIBRATION, off, **covered, limit=OFF_COVERAGE),
    ]
    return rules, changed


def unpaired(why: str) -> list[dict[str, Any]]:
    """The rules of ``compared`` where nothing may be compared."""
    return [rule(name, None, why=why) for name in (SKILL, GROUPS, CALIBRATION)]


def _worst(changed: list[dict[str, Any]]) -> dict[str, Any]:
    """The rule on groups, by the one whose bound is worst."""
    known = [one for one in changed if one["high"] is not None]
    if not known:
        return rule(GROUPS, None, why="few_days" if changed else "no_groups")
    worst = max(known, key=lambda one: one["high"])
    said = {"value": worst["changed"], "low": worst["low"], "high": worst["high"]}
    where = {key: worst[key] for key in ("attribute", "group", "merged", "ordered", "place")}
    return rule(GROUPS, worst["high"] < WORSE_GROUP, **said, limit=WORSE_GROUP, where=where)


def _by_group(pairs: FloatArray, grouping: Grouping, areas: Areas) -> list[dict[str, Any]]:
    """By what share the error of each group grew or fell, beside a naive forecast's."""
    observed = pairs[..., 0, SUMS.index("count")].sum(axis=(0, 2))
    units = Units.of(grouping, areas, observed)
    weights = units.equal if units.residents is None else units.residents
    by_unit = np.einsum("un,dnlps->dups", units.of_node, pairs)

    def grown(sums: FloatArray) -> FloatArray:
        error = 1 - figures(sums)[..., [_SKILL]]
        now, then = (mean_of_groups(error[..., p, :], weights)[..., 0] for p in (0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            return now / then - 1

    found, places = _interval(by_unit, grown), placed([group.name for group in grouping.groups])
    return [
        {
            "attribute": grouping.attribute,
            "group": group.name,
            "merged": list(group.merged),
            **places[at],
            "changed": rounded(found.estimate[at]),
            "low": rounded(found.low[at]),
            "high": rounded(found.high[at]),
        }
        for at, group in enumerate(grouping.groups)
    ]


def _skill_gained(sums: FloatArray) -> FloatArray:
    """[..., 1] skill of the first of each pair less that of the second."""
    skill = figures(sums)[..., _SKILL]
    return skill[..., :1] - skill[..., 1:]


def _interval(daily: FloatArray, statistic: Statistic) -> Interval:
    """Figures with intervals; without them where there are too few days."""
    if len(daily) >= LEAST_DAYS:
        return jackknife(daily, statistic, CONFIDENCE)
    found = statistic(daily.sum(axis=0))
    unknown = np.full(found.shape, np.nan)
    return Interval(found, unknown, unknown)


def _figure(found: Interval) -> dict[str, float | None]:
    """The one figure of an interval."""
    parts = {"value": found.estimate, "low": found.low, "high": found.high}
    return {name: rounded(float(part[0])) for name, part in parts.items()}
