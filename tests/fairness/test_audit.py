"""The audit finds what was planted, gives no alarm where nothing was, or says it cannot say."""

import numpy as np
import pytest

from fairness.audit import FAIL, INSUFFICIENT, PASS, audit, evidence, verdict
from fairness.metrics import SUMS
from tests.fixtures.worlds import two_groups


def verdicts(daily, groupings, areas, harm="error", weighted="area"):
    (record,) = audit(daily, groupings, areas)
    return [judged["verdict"] for judged in record["weighted"][weighted]["harms"][harm]]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.2, 0.05, 0.35, 0.1, 365), FAIL),
        ((0.2, 0.05, 0.35, 0.1, 60), FAIL),
        ((0.2, -0.05, 0.45, 0.1, 365), INSUFFICIENT),
        ((0.08, 0.05, 0.11, 0.1, 365), INSUFFICIENT),
        ((0.05, 0.02, 0.09, 0.1, 365), PASS),
        ((0.0, -0.05, 0.05, 0.1, 364), INSUFFICIENT),
        ((np.nan, np.nan, np.nan, 0.1, 365), INSUFFICIENT),
    ],
)
def test_a_verdict_is_one_of_three(numbers, expected):
    assert verdict(*numbers) == expected


def test_a_planted_gap_is_found_and_no_gap_is_no_alarm():
    rng = np.random.default_rng(0)
    found = [verdicts(*two_groups(0.5, 365, rng, gap=0.2)) for _ in range(60)]
    alarms = [verdicts(*two_groups(0.5, 365, rng)) for _ in range(60)]
    assert np.mean([v == [FAIL, PASS] for v in found]) > 0.85
    assert np.mean([FAIL in v for v in alarms]) < 0.06
    assert np.mean([v == [PASS, PASS] for v in alarms]) > 0.8


def test_it_says_the_same_by_residents_where_areas_have_the_same_number():
    daily, groupings, areas = two_groups(0.5, 365, np.random.default_rng(1), gap=0.2)
    (record,) = audit(daily, groupings, areas)
    assert record["weighted"]["area"] == record["weighted"]["residents"]


def test_bands_that_hold_less_often_and_peaks_that_are_missed_are_harms():
    daily, groupings, areas = two_groups(0.5, 365, np.random.default_rng(2))
    assert verdicts(daily, groupings, areas, "under_coverage") == [PASS, PASS]
    assert verdicts(daily, groupings, areas, "peak_shortfall") == [PASS, PASS]
    first = groupings[0].groups[0].nodes
    daily[:, first, :, SUMS.index("covered")] -= 0.08
    daily[:, first, :, SUMS.index("peak_short")] += 0.08
    assert verdicts(daily, groupings, areas, "under_coverage") == [FAIL, PASS]
    assert verdicts(daily, groupings, areas, "peak_shortfall") == [FAIL, PASS]


def test_worse_sensors_are_a_harm_that_is_told_from_a_worse_forecaster():
    """Noise makes the naive forecast worse too: more error beside the level, no more beside it."""
    daily, groupings, areas = two_groups(0.5, 365, np.random.default_rng(6))
    assert verdicts(daily, groupings, areas, "relative_error") == [PASS, PASS]
    first = groupings[0].groups[0].nodes
    for name in ("absolute", "naive"):
        daily[:, first, :, SUMS.index(name)] *= 1.4
    assert verdicts(daily, groupings, areas, "relative_error") == [FAIL, PASS]
    assert verdicts(daily, groupings, areas, "error") == [PASS, PASS]
    (record,) = audit(daily, groupings, areas, has_zero=False)
    harms = record["weighted"]["area"]["harms"]
    assert {one["verdict"] for one in harms["relative_error"]} == {INSUFFICIENT}
    assert harms["relative_error"][0]["worse_by"] is None
    assert [one["verdict"] for one in harms["error"]] == [PASS, PASS]


def test_a_few_weeks_say_nothing():
    daily, groupings, areas = two_groups(0.5, 50, np.random.default_rng(3), gap=2.0)
    (record,) = audit(daily, groupings, areas)
    (judged, _) = record["weighted"]["area"]["harms"]["error"]
    assert judged["verdict"] == INSUFFICIENT
    assert judged["low"] is None
    assert judged["worse_by"] == pytest.approx(2.0, abs=0.5)


@pytest.mark.parametrize(
    ("days", "sensors", "thin", "why"),
    [
        (365, 18, False, []),
        (120, 18, False, ["part_of_a_year"]),
        (45, 18, True, ["few_days", "part_of_a_year"]),
        (365, 13, True, ["few_sensors"]),
    ],
)
def test_how_much_it_rests_on_is_said(days, sensors, thin, why):
    daily, _, _ = two_groups(0.5, days, np.random.default_rng(5))
    daily[:, sensors:] = 0
    found = evidence(daily)
    assert found == {
        "days": days,
        "sensors": sensors,
        "silent": 18 - sensors,
        "thin": thin,
        "why": why,
    }


def test_sensors_that_fell_silent_are_counted_and_judge_nobody():
    daily, groupings, areas = two_groups(0.5, 365, np.random.default_rng(4))
    before = audit(daily, groupings, areas)[0]
    daily[:, :3] = 0
    after = audit(daily, groupings, areas)[0]
    assert [g["silent"] for g in before["groups"]] == [0, 0]
    assert [g["silent"] for g in after["groups"]] == [3, 0]
    assert after["weighted"]["area"]["figures"][0]["skill"] is not None
