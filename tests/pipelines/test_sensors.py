"""Sensors that fail are told by their own habits and by what the others say."""

import numpy as np
import pytest

from pipelines.sensors import Company, Habits, day_levels, habits_of, running

HOURS, NODES = 24, 12


def record(days: int = 150, seed: int = 0) -> np.ndarray:
    """Hourly values [S, N] with gaps of some hours, those of node 0 longer."""
    dice = np.random.default_rng(seed)
    values = dice.gamma(5, 20, (days * HOURS, NODES))
    for node in range(NODES):
        mean = 20 if node == 0 else 4
        for start in dice.integers(0, len(values), 2 * days // mean):
            values[start : start + dice.geometric(1 / mean), node] = np.nan
    return values


def told(values: np.ndarray, habits: Habits) -> tuple[list[int], list[int]]:
    now = running(values)
    silent, flat = now.silent > habits.silent, now.flat > habits.flat
    return np.flatnonzero(silent).tolist(), np.flatnonzero(flat).tolist()


def test_a_sensor_that_works_is_not_told_of() -> None:
    habits, later = habits_of(record(), HOURS), record(365, seed=1)
    found = [told(later[: end * HOURS], habits) for end in range(56, 365)]
    assert sum(len(silent) + len(flat) for silent, flat in found) == 0


@pytest.mark.parametrize("node", [0, 5])
def test_a_silent_sensor_is_named_within_three_days(node: int) -> None:
    habits, later = habits_of(record(), HOURS), record(60, seed=1)
    later[-3 * HOURS :, node] = np.nan
    assert told(later, habits)[0] == [node]
    assert running(later).silent_since[node] == len(later) - 3 * HOURS


def test_a_silence_is_judged_by_the_sensors_own_habits() -> None:
    habits, later = habits_of(record(), HOURS), record(60, seed=1)
    later[-54:, [0, 5]] = np.nan  # hours
    assert told(later, habits)[0] == [5]


@pytest.mark.parametrize("value", [0.0, 71.3])
def test_a_sensor_that_repeats_a_value_is_named(value: float) -> None:
    habits, later = habits_of(record(), HOURS), record(60, seed=1)
    later[-HOURS:, 3] = value
    assert told(later, habits) == ([], [3])
    later[-1, 3] += 1
    assert told(later, habits) == ([], [])


def test_a_sensor_whose_nights_are_zero_may_rest_at_night() -> None:
    known, later = record(), record(60, seed=1)
    for values in (known, later):
        by_hour = values.reshape(-1, HOURS, NODES)
        by_hour[:, :8, 3] = 0
    habits = habits_of(known, HOURS)
    later = later[: 8 - HOURS]  # at eight in the morning
    assert running(later).flat[3] == 8
    assert told(later, habits) == ([], [])


def test_a_feed_that_fails_is_no_sensor_that_does() -> None:
    habits, later = habits_of(record(), HOURS), record(60, seed=1)
    later[-5 * HOURS : -1] = np.nan
    assert told(later, habits) == ([], [])
    later[-HOURS:] = record(1, seed=2)
    later[-5 * HOURS :, 4] = np.nan
    assert told(later, habits) == ([], [])  # the others have spoken for a day
    later[-3 * HOURS :] = record(3, seed=2)
    later[-5 * HOURS :, 4] = np.nan
    assert told(later, habits) == ([4], [])


def test_who_never_spoke_is_not_waited_for() -> None:
    known, later = record(), record(60, seed=1)
    known[:, 2] = later[:, 2] = np.nan
    known[: 40 * HOURS, 7] = np.nan  # came late, and has habits all the same
    habits = habits_of(known, HOURS)
    later[-3 * HOURS :, 7] = np.nan
    assert told(later, habits)[0] == [7]


def levels(days: int, seed: int, season: float = 0.0) -> np.ndarray:
    """Levels [D, N] that share two factors, of which one goes with the season."""
    dice = np.random.default_rng(seed)
    loads = np.random.default_rng(99).normal(1, 0.4, (2, NODES))
    shared = dice.normal(0, 0.05, (days, 2))
    shared[:, 0] += season
    return shared @ loads + dice.normal(0, 0.02, (days, NODES))


def test_a_season_that_moves_all_sensors_moves_none_beside_the_others() -> None:
    company = Company(levels(150, 0))
    autumn = company.beside(levels(60, 1, season=0.15))
    assert np.abs(levels(60, 1, season=0.15).mean(axis=0)).min() > 0.04
    assert np.abs(autumn.mean(axis=0)).max() < 0.04


@pytest.mark.parametrize("by", [-0.2, 0.2])
def test_a_sensor_off_its_level_stands_out_alone(by: float) -> None:
    company, later = Company(levels(150, 0)), levels(60, 1)
    before = company.beside(later)
    later[:, 5] += by
    off = (company.beside(later) - before).mean(axis=0)
    assert off[5] == pytest.approx(by, rel=0.1)  # its own level says nothing of what it should be
    assert np.abs(np.delete(off, 5)).max() < 0.3 * abs(by)


def test_a_sensor_that_fails_wholly_does_not_drag_the_others() -> None:
    company, later = Company(levels(150, 0)), levels(60, 1)
    before = company.beside(later)
    later[:, 5] = -4.6
    off = np.abs(company.beside(later) - before).mean(axis=0)
    assert off[5] > 4
    assert np.delete(off, 5).max() < 0.12  # a fortieth of it


def test_the_order_of_sensors_is_nothing() -> None:
    known, later, order = levels(150, 0), levels(60, 1), np.random.default_rng(2).permutation(NODES)
    later[3, 4] = np.nan
    one = Company(known).beside(later)[:, order]
    np.testing.assert_allclose(Company(known[:, order]).beside(later[:, order]), one, atol=1e-9)


def test_levels_are_shares_or_deviations_and_need_half_a_day() -> None:
    usual = np.full((2, HOURS, 2), 50.0)
    values = 1.1 * usual
    values[1, :13, 0] = np.nan
    scale = np.array([10.0, 10.0])
    share = np.log(1.1)
    expected = [[share, share], [np.nan, share]]
    np.testing.assert_allclose(day_levels(values, usual, scale, True), expected)
    np.testing.assert_allclose(
        day_levels(values, usual, scale, False), np.array(expected) / share / 2
    )
