"""The first page's facts: how good, for whom worse, what is not known, what the evidence allows.

Facts and codes, no sentences: ``fairness.report`` says them in two languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from fairness.audit import FAIL, INSUFFICIENT, PASS, YEAR
from fairness.intervals import LEAST_DAYS

INCOMPLETE, UNFAIR, WORSE, THIN, SOUND = "incomplete", "unfair", "worse", "thin", "sound"
"""What a board is told first: the first of these that holds."""
MOST_FINDINGS = 3
"""That a first page has room for."""
WORSE_THAN_CHAMPION = 0.01
"""Share by which a model may err more than the one it replaces."""
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
SPAN = re.compile(rf"({_NUMBER})(?: to ({_NUMBER}))?")
"""Name of a group that is a number's class."""


def verdict(record: dict[str, Any]) -> dict[str, Any]:
    """What a report says first, from all that it says after.

    Args:
        record: a report's ``missing``, ``about``, ``data``, ``performance``, ``champion``,
            ``audit``, ``map`` and ``robustness``.
    """
    audit, against = record["audit"], _against(record)
    counts = {PASS: 0, FAIL: 0, INSUFFICIENT: 0}
    for found in findings(audit):
        counts[found["verdict"]] += 1
    return {
        "state": _state(record, against, counts),
        "against": against,
        "band": {
            "nominal": 0.8,
            "found": record["performance"]["models"]["felsina"]["coverage_80"],
        },
        "counts": {
            "pass": counts[PASS],
            "fail": counts[FAIL],
            "insufficient": counts[INSUFFICIENT],
        },
        "days": audit["days"],
        "worse": _worst(audit, record["about"].get("labels", {})),
        "unknown": _unknown(record),
    }


def evidence_state(record: dict[str, Any]) -> str:
    """What the comparisons of groups alone say."""
    counts = record["verdict"]["counts"]
    return _by_groups(record["audit"], counts | {INSUFFICIENT: counts["insufficient"]})


def findings(audit: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every group's harms, then those of warnings, by residents where they are known."""
    yield from _of_groupings(audit["groupings"], audit["groupings"])
    if "floods" in audit:
        yield from _of_groupings(audit["floods"]["groupings"], audit["groupings"])


def judged(grouping: dict[str, Any]) -> dict[str, Any]:
    """A grouping's figures and harms by the people whom they concern most, as far as known."""
    weighted = grouping["weighted"]
    return next(weighted[by] for by in ("vulnerable", "residents", "area") if by in weighted)


def _of_groupings(
    groupings: list[dict[str, Any]], described: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Findings of groupings, whose groups the audit describes once."""
    known = {
        (grouping["attribute"], group["name"]): group
        for grouping in described
        for group in grouping["groups"]
    }
    for grouping in groupings:
        places = placed([group["name"] for group in grouping["groups"]])
        for at, group in enumerate(grouping["groups"]):
            about = known[grouping["attribute"], group["name"]]
            for harm, groups in judged(grouping)["harms"].items():
                yield {
                    "attribute": grouping["attribute"],
                    "group": group["name"],
                    "merged": about["merged"],
                    "sensors": group["sensors"],
                    "residents": about["residents"],
                    **places[at],
                    "harm": harm,
                    **groups[at],
                }


def placed(names: Sequence[str]) -> list[dict[str, Any]]:
    """Of each group of a grouping, whether they are classes of a number, and which is at an end."""
    ordered = all(SPAN.fullmatch(name) for name in names)
    ends = {0: "lowest", len(names) - 1: "highest"} if ordered else {}
    return [{"ordered": ordered, "place": ends.get(at)} for at in range(len(names))]


def _worst(audit: dict[str, Any], labels: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups that fail, then those that would if they were surely so worse; each once.

    The same sensors under two attributes are one finding: the name that people gave a word for.
    """
    found = [f for f in findings(audit) if f["worse_by"] is not None]
    found = [f for f in found if f["verdict"] == FAIL or f["worse_by"] > f["tolerated"]]
    found.sort(key=lambda f: f["attribute"] not in labels)
    once = {(f["harm"], f["worse_by"], f["sensors"]): f for f in reversed(found)}
    order = sorted(
        once.values(), key=lambda f: (f["verdict"] != FAIL, -f["worse_by"] / f["tolerated"])
    )
    return order[:MOST_FINDINGS]


def _against(record: dict[str, Any]) -> dict[str, Any]:
    """By what share the model errs less than others; negative where it errs more."""
    performance, champion = record["performance"], record["champion"]
    models = performance["models"]
    own, naive = models["felsina"]["mae"], performance["naive"]

    def share(other: float | None) -> float | None:
        return None if not other else float(f"{1 - own / other:.4g}")

    return {
        "naive": {"model": naive, "share": share(models[naive]["mae"])},
        "simple": {"model": "ridge", "share": share(models["ridge"]["mae"])},
        "champion": champion and {"model": champion["release"], "share": champion["share"]},
    }


def _state(record: dict[str, Any], against: dict[str, Any], counts: dict[str, int]) -> str:
    naive = against["naive"]["share"]
    champion = (against["champion"] or {}).get("share")
    if record["missing"]:
        return INCOMPLETE
    if counts[FAIL] and not record["audit"]["evidence"]["thin"]:
        return UNFAIR
    if (naive is not None and naive <= 0) or (
        champion is not None and champion < -WORSE_THAN_CHAMPION
    ):
        return WORSE
    return _by_groups(record["audit"], counts)


def _by_groups(audit: dict[str, Any], counts: dict[str, int]) -> str:
    """What the comparisons of groups alone say; little, where they rest on little."""
    if audit["evidence"]["thin"]:
        return THIN
    if counts[FAIL]:
        return UNFAIR
    return THIN if counts[INSUFFICIENT] or not counts[PASS] else SOUND


def _unknown(record: dict[str, Any]) -> list[str]:
    """Codes of what nobody knows yet, the weightiest first."""
    audit, places = record["audit"], record["map"]["areas"]
    robustness = record["robustness"]
    found = {
        "synthetic": record["data"]["synthetic"],
        "private_rows": "private_rows" in audit["evidence"]["why"],
        "few_days": 0 < audit["days"] < LEAST_DAYS,
        "few_sensors": "few_sensors" in audit["evidence"]["why"],
        "part_of_a_year": LEAST_DAYS <= audit["days"] < YEAR,
        "areas_without_sensors": bool(audit.get("coverage", {}).get("areas_without")),
        "no_areas": not places,
        "weather_only_observed": bool(robustness["forcings_over_horizon"])
        and not robustness["weather"],
        "missing_inputs": not robustness["missing"],
        "electricity": "electricity" not in record["about"],
    }
    return [code for code, true in found.items() if true]
