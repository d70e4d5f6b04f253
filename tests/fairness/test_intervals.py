"""Intervals under dependence, against closed forms and by simulation."""

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.stats import t as student

from fairness.intervals import BATCHES, LEAST_DAYS, block_bootstrap, jackknife, watch
from models.contracts import FelsinaError


def autoregressive(phi: float, *shape: int, seed: int = 0) -> np.ndarray:
    """[*shape] of variance 1, the last axis in time."""
    *rest, days = shape
    noise = np.random.default_rng(seed).standard_normal((*rest, days + 100))
    return lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=-1)[..., 100:]


def mean(sums: np.ndarray) -> np.ndarray:
    """Of a day's sum and its count."""
    return sums[..., :1] / sums[..., 1:]


def with_count(values: np.ndarray) -> np.ndarray:
    return np.stack([values, np.ones_like(values)], axis=-1)


def test_of_a_mean_it_is_students_t_of_batch_means():
    values = np.random.default_rng(0).normal(3, 2, 10 * BATCHES)
    batch = values.reshape(BATCHES, -1).mean(axis=1)
    half = student.ppf(0.975, BATCHES - 1) * batch.std(ddof=1) / np.sqrt(BATCHES)
    found = jackknife(with_count(values), mean)
    assert found.estimate == pytest.approx([values.mean()])
    assert found.high - found.estimate == pytest.approx([half])
    assert found.estimate - found.low == pytest.approx([half])


def test_the_bias_of_a_curved_figure_is_taken_out():
    def square(sums):
        return mean(sums) ** 2

    worlds = np.random.default_rng(1).standard_normal((2000, LEAST_DAYS))
    raw = np.mean([square(with_count(days).sum(axis=0)) for days in worlds])
    corrected = np.mean([jackknife(with_count(days), square).estimate for days in worlds])
    assert raw == pytest.approx(1 / LEAST_DAYS, rel=0.2)
    assert abs(corrected) < 0.2 / LEAST_DAYS


@pytest.mark.parametrize("phi", [0.5, 0.8])
def test_it_covers_where_days_depend_and_days_as_sample_do_not(phi):
    worlds = autoregressive(phi, 600, 365)
    held = np.mean([_holds(jackknife(with_count(days), mean)) for days in worlds])
    naive = np.mean([abs(d.mean()) < 1.97 * d.std() / np.sqrt(len(d)) for d in worlds])
    assert 0.92 < held < 0.975
    assert naive < 0.8


def _holds(interval) -> bool:
    return bool(interval.low[0] <= 0 <= interval.high[0])


def test_the_bootstrap_covers_independent_days_and_is_too_short_for_others():
    rng = np.random.default_rng(3)

    def held(phi):
        worlds = autoregressive(phi, 60, 180)
        return np.mean([_holds(block_bootstrap(with_count(days), mean, rng)) for days in worlds])

    assert held(0.0) > 0.85
    assert held(0.95) < 0.8


def test_more_comparisons_widen():
    daily = with_count(autoregressive(0.5, 365))
    one, ten = jackknife(daily, mean), jackknife(daily, mean, comparisons=10)
    assert ten.low < one.low < one.high < ten.high


def test_too_few_days_are_refused():
    with pytest.raises(FelsinaError, match="55 days are fewer than 56"):
        jackknife(np.ones((LEAST_DAYS - 1, 2)), mean)
    assert jackknife(np.ones((LEAST_DAYS, 2)), mean).estimate == pytest.approx([1.0])


def test_watching_each_week_for_years_raises_few_false_alarms_and_finds_a_shift():
    weekly = autoregressive(0.8, 1500, 208 * 7, seed=4).reshape(1500, 208, 7).mean(axis=-1).T
    null = watch(weekly)
    ever = ((null.low > 0) | (null.high < 0)).any(axis=0).mean()
    once = abs(null.mean / (null.high - null.mean)).max(axis=0)
    assert ever == pytest.approx((once > 1).mean())
    assert 0.02 < ever < 0.07
    shifted = watch(weekly + 1.0)
    assert (shifted.low[-1] > 0).mean() > 0.99
    assert shifted.weeks[0] == 24


def test_less_than_half_a_year_says_nothing():
    assert len(watch(np.zeros((23, 1))).weeks) == 0
    assert len(watch(np.zeros((24, 1))).weeks) == 1
