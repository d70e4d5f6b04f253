"""Looking back: gaps are filled from before, never from after, and no target drops out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.baselines import LookBack
from models.windows import WindowBuilder
from tests.factories import make_spec

START = np.datetime64("2024-02-05T00:00:00")


def looking_back(values: np.ndarray, horizon: int, fallback=None) -> LookBack:
    spec = make_spec(horizon=horizon, lookback=4, lags=(), forcings=())
    values = np.asarray(values, np.float32)
    if fallback is None:
        fallback = np.zeros(values.shape[1])
    return LookBack(WindowBuilder(spec, START, values), np.asarray(fallback))


def brute_persistence(values, origin, horizon, fallback):
    out = np.empty((horizon, values.shape[1]))
    for n in range(values.shape[1]):
        seen = [v for v in values[: origin + 1, n] if not np.isnan(v)]
        out[:, n] = seen[-1] if seen else fallback[n]
    return out


def brute_seasonal(values, origin, horizon, season, fallback):
    out = brute_persistence(values, origin, horizon, fallback)
    for lead in range(1, horizon + 1):
        for n in range(values.shape[1]):
            row = origin + lead
            while row > origin:
                row -= season
            while row >= 0 and np.isnan(values[row, n]):
                row -= season
            if row >= 0:
                out[lead - 1, n] = values[row, n]
    return out


def test_persistence_takes_the_last_valid_value():
    values = np.array([[1.0, 5.0], [2.0, np.nan], [np.nan, np.nan], [9.0, 9.0]])
    forecast = looking_back(values, 3).persistence(np.array([2]))
    np.testing.assert_array_equal(forecast, [[[2, 5]] * 3])


def test_a_season_back_is_the_same_phase_across_a_gap():
    values = np.arange(12.0)[:, None]
    values[8:11] = np.nan
    forecast = looking_back(values, 4).seasonal_naive(np.array([11]), 4)
    np.testing.assert_array_equal(forecast[0, :, 0], [4, 5, 6, 11])


def test_a_horizon_longer_than_the_season_repeats_it():
    forecast = looking_back(np.arange(6.0)[:, None], 7).seasonal_naive(np.array([5]), 3)
    np.testing.assert_array_equal(forecast[0, :, 0], [3, 4, 5, 3, 4, 5, 3])


def test_a_node_that_was_never_seen_takes_the_fallback():
    values = np.full((10, 2), np.nan)
    values[:, 0] = 1
    back = looking_back(values, 2, [7.0, 42.0])
    for forecast in (back.persistence(np.array([9])), back.seasonal_naive(np.array([9]), 3)):
        np.testing.assert_array_equal(forecast, [[[1, 42]] * 2])


def test_a_phase_that_was_never_seen_takes_the_last_value():
    values = np.array([[np.nan], [np.nan], [3.0]])
    forecast = looking_back(values, 3).seasonal_naive(np.array([2]), 3)
    np.testing.assert_array_equal(forecast[0, :, 0], [3, 3, 3])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 12), st.integers(0, 29))
def test_both_agree_with_a_plain_search(seed, season, horizon, origin):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(30, 3)).astype(np.float32)
    values[rng.random(values.shape) < 0.5] = np.nan
    fallback = np.array([10.0, 11.0, 12.0])
    back = looking_back(values, horizon, fallback)
    np.testing.assert_array_equal(
        back.persistence(np.array([origin]))[0],
        brute_persistence(values, origin, horizon, fallback).astype(np.float32),
    )
    np.testing.assert_array_equal(
        back.seasonal_naive(np.array([origin]), season)[0],
        brute_seasonal(values, origin, horizon, season, fallback).astype(np.float32),
    )


@pytest.mark.parametrize("season", [1, 3, 24, 100])
def test_the_future_changes_nothing(season):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(60, 2)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    origins = np.array([5, 20, 40])
    for origin in origins:
        changed = values.copy()
        changed[origin + 1 :] = 1e6
        one, other = (looking_back(v, 30, [1, 2]) for v in (values, changed))
        row = np.array([origin])
        np.testing.assert_array_equal(one.persistence(row), other.persistence(row))
        np.testing.assert_array_equal(
            one.seasonal_naive(row, season), other.seasonal_naive(row, season)
        )


def test_a_batch_is_its_rows():
    values = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    back, origins = looking_back(values, 5), np.array([30, 12, 44])
    batch = back.seasonal_naive(origins, 7)
    for row, origin in enumerate(origins):
        np.testing.assert_array_equal(batch[row], back.seasonal_naive(np.array([origin]), 7)[0])
