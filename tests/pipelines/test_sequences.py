"""Sequences of days: looking every day makes no alarms, a change makes one, and says since when."""

import numpy as np
import pytest

from pipelines.sequences import LEAST_DAYS, usual_of, watch

ONE_IN = 1000
BAR = np.log(ONE_IN)
DAYS, MANY = 56, 3000


def days(rows: int, rho: float = 0.0, seed: int = 0, columns: int = MANY) -> np.ndarray:
    """Standard normal days [rows, columns], autoregressive."""
    shocks = np.random.default_rng(seed).normal(size=(rows, columns))
    out = shocks.copy()
    for day in range(1, rows):
        out[day] = rho * out[day - 1] + np.sqrt(1 - rho**2) * shocks[day]
    return out


@pytest.mark.parametrize("rho", [0.0, 0.6])
def test_unchanged_days_alarm_no_more_often_than_is_said(rho: float) -> None:
    known, watched = days(60, rho, seed=1), days(DAYS, rho, seed=2)
    seen = watch(watched, usual_of(known), 0.0, 1)
    bound = DAYS / ONE_IN  # of a sum whose mean is at most the number of its days
    assert (seen.evidence >= BAR).mean() < bound
    assert (watch(watched + 3, usual_of(known), 0.0, 1).evidence >= BAR).mean() > 0.9


@pytest.mark.parametrize("sign", [1, -1])
def test_a_change_is_found_in_days_and_dated(sign: int) -> None:
    known, watched = usual_of(days(120, seed=3)), days(DAYS, seed=4)
    watched[-3:] += sign * 5
    seen = watch(watched, known, 0.2, sign)
    assert (seen.evidence >= BAR).mean() > 0.95
    assert np.median(seen.since) == DAYS - 3
    assert np.median(seen.by) == pytest.approx(sign * 5, abs=0.5)
    assert (watch(watched, known, 0.2, -sign).evidence >= BAR).mean() < DAYS / ONE_IN


def test_one_odd_day_is_no_alarm_and_two_are() -> None:
    known, watched = usual_of(days(120, seed=5, columns=1)), np.zeros((DAYS, 1))
    watched[-1] = 1000.0
    assert watch(watched, known, 0.0, 1).evidence[0] < BAR
    watched[-2] = 1000.0
    assert watch(watched, known, 0.0, 1).evidence[0] > BAR


def test_what_is_tolerated_is_no_change() -> None:
    known, watched = usual_of(days(400, seed=6)), days(DAYS, seed=7) + 0.5
    assert (watch(watched, known, 0.5, 1).evidence >= BAR).mean() < DAYS / ONE_IN
    assert (watch(watched, known, 0.0, 1).evidence >= BAR).mean() > 5 * DAYS / ONE_IN


def test_days_without_a_figure_say_nothing() -> None:
    known, watched = usual_of(days(60, seed=8)), days(DAYS, seed=9)
    gaps = np.full((DAYS + 9, MANY), np.nan)
    gaps[4 : DAYS + 4] = watched
    np.testing.assert_allclose(
        watch(gaps, known, 0.1, 1).evidence, watch(watched, known, 0.1, 1).evidence
    )
    assert (watch(np.full((DAYS, MANY), np.nan), known, 0.1, 1).evidence == -np.inf).all()


def test_few_days_say_nothing_of_what_is_usual() -> None:
    known = days(LEAST_DAYS, columns=2)
    known[0, 1] = np.nan
    seen = watch(np.full((5, 2), 1e9), usual_of(known), 0.0, 1)
    assert seen.evidence[0] > BAR
    assert seen.evidence[1] == -np.inf
