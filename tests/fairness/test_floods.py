"""Warnings by group: counts by hand, a planted gap found, few events judged by nobody."""

import numpy as np
import pytest

from fairness.audit import FAIL, INSUFFICIENT
from fairness.floods import COUNTS, audit_floods, warned
from fairness.groups import Areas, Group, Grouping

NODES = 8
GROUPING = Grouping(
    "side",
    (Group("left", np.arange(4), 4000.0), Group("right", np.arange(4, 8), 4000.0)),
    np.zeros(0, np.int64),
)
AREAS = Areas(
    np.repeat(np.arange(4), 2),
    {"area": tuple("abcd")},
    np.array([1000.0, 3000, 2000, 2000]),
    vulnerable=np.array([300.0, 100, 100, 100]),
)


def storms(rng: np.random.Generator, chance: float, days: int = 400) -> np.ndarray:
    """A storm in every fourth day or so that reaches all nodes; ``chance`` of a hit on the left."""
    daily = np.zeros((days, NODES, len(COUNTS)))
    storm = rng.random(days) < 0.25
    hit = rng.random((days, NODES)) < np.where(np.arange(NODES) < 4, chance, 0.95)
    daily[storm, :, COUNTS.index("events")] = 1
    daily[..., COUNTS.index("hits")] = storm[:, None] & hit
    daily[..., COUNTS.index("lead_h")] = 4.0 * (storm[:, None] & hit)
    daily[..., COUNTS.index("alarms")] = 2 * storm[:, None]
    daily[..., COUNTS.index("false")] = storm[:, None]
    return daily


def audited(daily, areas=AREAS):
    (record,) = audit_floods(daily, np.ones(NODES, bool), (GROUPING,), areas)
    return record


def verdicts(record, harm="missed", weighted="area"):
    return [judged["verdict"] for judged in record["weighted"][weighted]["harms"][harm]]


def test_figures_are_means_over_areas_by_residents_and_by_those_who_need_warnings_most():
    daily = np.zeros((60, NODES, len(COUNTS)))
    daily[0, :, COUNTS.index("events")] = 10
    daily[0, :2, COUNTS.index("hits")] = 5  # area a, where many are vulnerable
    daily[0, 2:, COUNTS.index("hits")] = 10
    daily[0, :, COUNTS.index("lead_h")] = 30
    record = audited(daily)
    assert [group["events"] for group in record["groups"]] == [40, 40]
    pod = {name: told["figures"][0]["pod"] for name, told in record["weighted"].items()}
    assert pod == {"area": 0.75, "residents": 0.875, "vulnerable": 0.625}
    vulnerable = record["weighted"]["vulnerable"]
    assert vulnerable["all"]["pod"] == 0.75
    assert vulnerable["figures"][0]["lead_h"] == pytest.approx((3 * 6 + 3) / 4)
    assert vulnerable["figures"][0]["far"] is None, "no alarm was judged"


def test_a_group_that_warnings_miss_is_found_and_like_ones_are_not():
    rng = np.random.default_rng(0)
    assert verdicts(audited(storms(rng, 0.6))) == [FAIL, "pass"]
    alike = [verdicts(audited(storms(rng, 0.95))) for _ in range(20)]
    assert FAIL not in np.array(alike)
    assert "pass" in np.array(alike)
    wolf = storms(rng, 0.95)
    wolf[:, :4, COUNTS.index("false")] *= 1.6
    assert verdicts(audited(wolf), "false_alarms") == [FAIL, "pass"]


def test_few_events_and_few_days_judge_nobody():
    daily = storms(np.random.default_rng(1), 0.3)
    few = daily.copy()
    few[:, 1:4, :] = 0
    few[np.cumsum(few[:, 0, 0]) > 9, 0] = 0
    record = audited(few)
    assert record["groups"][0]["events"] == 9
    assert verdicts(record)[0] == INSUFFICIENT
    assert verdicts(audited(daily))[0] == FAIL
    short = audited(daily[:55])
    assert verdicts(short) == [INSUFFICIENT, INSUFFICIENT]
    assert short["weighted"]["area"]["harms"]["missed"][0]["low"] is None


def test_nodes_without_a_threshold_count_for_nobody():
    daily = storms(np.random.default_rng(2), 0.9)
    watched = np.arange(NODES) != 0
    (record,) = audit_floods(daily, watched, (GROUPING,), AREAS)
    assert [group["sensors"] for group in record["groups"]] == [3, 4]
    assert audit_floods(daily, np.arange(NODES) < 4, (GROUPING,), AREAS) == []
    assert np.isnan(warned(np.zeros(len(COUNTS)))).all()
