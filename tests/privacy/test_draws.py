"""Noise and sampling are what the accountants take them for."""

import numpy as np
import pytest
from scipy import stats

from models.contracts import FelsinaError
from privacy.draws import SecretDraws, new_key

KEY = bytes(range(32))


def test_noise_is_standard_normal():
    noise = SecretDraws(KEY).noise(3, 200_000)
    assert noise.std() == pytest.approx(1, rel=0.01)
    assert stats.kstest(noise, "norm").pvalue > 0.01
    assert abs(stats.kurtosis(noise)) < 0.05


def test_units_take_part_each_on_its_own():
    draws = SecretDraws(KEY)
    taking_part = np.array([draws.members(step, 500, 0.02) for step in range(2000)])
    assert taking_part.mean() == pytest.approx(0.02, rel=0.02)
    sizes = taking_part.sum(1)
    assert sizes.var() == pytest.approx(500 * 0.02 * 0.98, rel=0.1)  # binomial, not fixed
    each = taking_part.sum(0)
    assert each.var() == pytest.approx(2000 * 0.02 * 0.98, rel=0.2)


def test_draws_follow_from_key_and_step():
    ours, again, other = SecretDraws(KEY), SecretDraws(KEY), SecretDraws(new_key())
    np.testing.assert_array_equal(ours.noise(5, 50), again.noise(5, 50))
    assert not np.isin(ours.noise(6, 50), ours.noise(5, 50)).any()
    assert not np.isin(ours.noise(5, 50), other.noise(5, 50)).any()
    assert not np.array_equal(ours.members(5, 400, 0.5), ours.members(6, 400, 0.5))
    assert ours.members(5, 400, 1.0).all()
    correlation = np.corrcoef(ours.noise(1, 10_000), ours.noise(2, 10_000))[0, 1]
    assert abs(correlation) < 0.04


def test_a_short_key_is_refused():
    with pytest.raises(FelsinaError, match="32 are needed"):
        SecretDraws(b"secret")
