"""Watching finds what grows worse, raises no alarm where nothing does, and heeds the calendar."""

import numpy as np
import pytest

from fairness.metrics import SUMS, Units
from fairness.watching import first_alarm, watch_groups, weekly_regret
from tests.fixtures.worlds import autoregressive, two_groups

WEEKS = 104
DAYS = np.datetime64("2024-01-01") + np.arange(7 * WEEKS)


def test_regret_is_the_logarithm_of_the_ratio_of_errors_week_by_week():
    daily, groupings, areas = two_groups(0.5, 30, np.random.default_rng(0))
    daily[..., SUMS.index("naive")] = 2
    daily[..., SUMS.index("absolute")] = 1
    first = groupings[0].groups[0].nodes
    daily[7:14, first, :, SUMS.index("absolute")] = 1.5
    units = Units.of(groupings[0], areas, np.ones(daily.shape[1]))
    regret = weekly_regret(daily, DAYS[:30], units)
    assert regret.shape == (4, 2), "two days are no week"
    assert regret[:, 0] == pytest.approx([0, np.log(1.5), 0, 0])
    assert regret[:, 1] == pytest.approx(-regret[:, 0])
    gap = np.r_[DAYS[:7], DAYS[21:44]]
    assert np.isnan(weekly_regret(daily, gap, units)[1:3]).all(), "weeks without a day"


def test_a_group_that_grows_worse_is_found_and_a_like_one_raises_no_alarm():
    rng = np.random.default_rng(1)
    late, never = [], []
    for _ in range(20):
        daily, groupings, areas = two_groups(0.5, len(DAYS), rng)
        never.append(watch_groups(daily, DAYS, groupings, areas)["alarms"])
        first = groupings[0].groups[0].nodes
        daily[7 * 52 :, first, :, SUMS.index("absolute")] *= 1.3
        (told,) = watch_groups(daily, DAYS, groupings, areas)["groupings"]
        worse, other = told["groups"]
        assert other["alarm"] is None
        assert worse["alarm"]["worse_by"] > 0.1
        late.append((np.datetime64(worse["alarm"]["on"]) - DAYS[7 * 52]).astype(int) / 7)
    assert sum(never) == 0
    assert 20 < np.median(late) < 40


def test_a_harm_that_comes_late_does_not_hide_behind_good_years():
    regret = 0.1 * autoregressive(0.5, (208,), np.random.default_rng(2))
    regret[156:] += np.log(1.3)
    alarm = first_alarm(regret)
    assert alarm is not None
    assert 156 < alarm.week < 200
    assert alarm.since > 0
    assert first_alarm(regret[:156]) is None


def test_a_few_weeks_are_no_alarm_however_bad():
    assert first_alarm(np.full(2, 1.0)) is None
    assert first_alarm(np.full(23, 1.0)) is None
    rng = np.random.default_rng(3)
    assert first_alarm(1 + 0.1 * rng.standard_normal(24)) is not None
    daily, groupings, areas = two_groups(0.5, 60, rng, gap=2.0)
    (told,) = watch_groups(daily, DAYS[:60], groupings, areas)["groupings"]
    assert told["groups"][0]["low"] is None
    assert told["groups"][0]["worse_by"] > 1
    assert len(told["groups"][0]["regret"]) == 2


def test_weeks_in_which_a_group_was_silent_are_left_out():
    daily, groupings, areas = two_groups(0.5, 7 * 40, np.random.default_rng(4), gap=0.5)
    daily[70:140, groupings[0].groups[0].nodes] = 0
    (told,) = watch_groups(daily, DAYS[: 7 * 40], groupings, areas)["groupings"]
    assert told["groups"][0]["weeks"] == 30
    assert told["groups"][0]["alarm"]["on"] == str(DAYS[7 * 34 - 1])
