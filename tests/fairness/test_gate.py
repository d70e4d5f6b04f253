"""The promotion gate's rules on sums whose truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fairness.gate import GROUPS, compared, despite, failed, judged, rule
from fairness.groups import Areas, Group, Grouping
from fairness.intervals import LEAST_DAYS
from fairness.metrics import SUMS
from models.contracts import FloatArray

DAYS, NODES = 180, 8
SIDES = Grouping(
    "side",
    (
        Group("left", np.arange(4), float("nan")),
        Group("right", np.arange(4, 8), float("nan")),
    ),
    np.array([], int),
)
NOWHERE = Areas(np.full(NODES, -1), {"area": ()}, np.array([]))


def sums(rng: np.random.Generator, days: int = DAYS, worse: Any = 1.0, covered: float = 0.9):
    """[D, N, 1, S] of days that are hard or easy for all alike; ``worse`` scales the error."""
    hard = np.exp(np.cumsum(rng.normal(0, 0.3, days)) * 0.3)[:, None]
    found = np.zeros((days, NODES, 1, len(SUMS)))
    level = {"count": 24.0, "naive": 100.0 * hard, "size": 1000.0, "covered": 24 * covered}
    for name, value in level.items():
        found[:, :, 0, SUMS.index(name)] = value
    found[:, :, 0, SUMS.index("absolute")] = 60 * hard * worse
    return found


def by_rule(new: FloatArray, old: FloatArray) -> dict[str, dict[str, Any]]:
    return {one["rule"]: one for one in compared(new, old, (SIDES,), NOWHERE)[0]}


def pair(worse: Any = 1.0, days: int = DAYS, **more: float) -> dict[str, dict[str, Any]]:
    return by_rule(
        sums(np.random.default_rng(0), days, worse, **more), sums(np.random.default_rng(0), days)
    )


def test_the_same_errors_pass_whatever_the_days_were() -> None:
    found = pair()
    assert [found[name]["value"] for name in ("skill", "groups")] == pytest.approx([0, 0], abs=1e-9)
    assert (found["skill"]["low"], found["groups"]["high"]) == pytest.approx((0, 0), abs=1e-9)
    assert {one["verdict"] for one in found.values()} == {"pass"}
    assert judged(list(found.values())) == "pass"


@pytest.mark.parametrize(("worse", "verdict"), [(1.01, "pass"), (1.03, "fail"), (0.9, "pass")])
def test_pairs_leave_only_the_difference(worse: float, verdict: str) -> None:
    found = pair(worse)["skill"]
    assert found["value"] == pytest.approx(0.6 * (1 - worse), abs=1e-6)
    assert found["high"] - found["low"] < 1e-6, "days that are hard for both are no difference"
    assert found["verdict"] == verdict


def test_one_group_that_loses_is_named_though_all_together_gain() -> None:
    factor = np.where(np.arange(NODES) < 4, 0.8, 1.08)
    found = pair(factor)
    assert found["skill"]["verdict"] == "pass"
    assert found["groups"]["verdict"] == "fail"
    assert found["groups"]["where"]["group"] == "right"
    assert found["groups"]["value"] == pytest.approx(0.08, abs=1e-6)
    assert failed({"rules": list(found.values())}) == [GROUPS]
    mild = pair(np.where(np.arange(NODES) < 4, 0.8, 1.04))
    assert mild["groups"]["verdict"] == "pass"


def test_a_group_whose_bound_is_too_wide_does_not_pass() -> None:
    rng = np.random.default_rng(1)
    noise = np.exp(rng.normal(0, 0.5, (DAYS, NODES)))
    new, old = sums(np.random.default_rng(0), worse=noise), sums(np.random.default_rng(0))
    new[..., SUMS.index("absolute")] *= old[..., SUMS.index("absolute")].sum() / (
        new[..., SUMS.index("absolute")].sum()
    )
    found = by_rule(new, old)["groups"]
    assert found["value"] < 0.05 < found["high"]
    assert found["verdict"] == "fail"


@pytest.mark.parametrize(
    ("covered", "verdict"), [(0.9, "pass"), (0.86, "pass"), (0.84, "fail"), (0.97, "fail")]
)
def test_bands_hold_what_they_promise(covered: float, verdict: str) -> None:
    found = pair(covered=covered)["calibration"]
    assert found["value"] == pytest.approx(covered)
    assert found["verdict"] == verdict


def test_few_days_have_no_bound() -> None:
    found = pair(1.1, days=LEAST_DAYS - 1)
    assert found["skill"]["verdict"] == "fail", "the figure itself is known"
    assert found["skill"]["low"] is None
    assert (found["groups"]["verdict"], found["groups"]["why"]) == ("none", "few_days")
    assert pair(1.1, days=LEAST_DAYS)["groups"]["verdict"] == "fail"


def test_a_group_as_bad_as_the_limit_passes_seldom() -> None:
    rng, passed, draws = np.random.default_rng(2), 0, 300
    for _ in range(draws):
        daily = np.exp(rng.normal(0, 0.3, (DAYS, NODES)))
        new = sums(rng, worse=1.0)
        old = new.copy()
        new[..., 0, SUMS.index("absolute")] *= 1.05 * daily / np.exp(0.3**2 / 2)
        found = by_rule(new, old)["groups"]
        passed += found["verdict"] == "pass"
    assert passed <= 0.05 * draws


def test_a_decision_names_each_rule_that_it_passes_over() -> None:
    rules = ["skill", "groups"]
    assert despite(rules, []) == rules
    assert despite(rules, ["Despite skill: winter is short", "only by day"]) == ["groups"]
    assert despite(rules, ["despite skill: a", " despite groups: b"]) == []
    assert despite(rules, ["despite skills: a", "skill", "despite groups"]) == rules
    assert despite([], []) == []
    assert failed(None) == []
    assert failed({"rules": [rule("latency", None), rule("privacy", True)]}) == []
