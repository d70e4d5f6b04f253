"""The mixture of forecasts: wider where members differ, the same where they agree."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import QUANTILES
from models.joint import cumulative, ladder
from models.mixture import mix
from tests.models.test_adaptive import NORMAL


def normal(mean: float, spread: float = 1.0) -> np.ndarray:
    """Quantiles [H = 2, N = 3, Q] of one normal distribution."""
    return np.broadcast_to(mean + spread * NORMAL, (2, 3, 11)).astype(np.float32)


def width(quantiles: np.ndarray) -> np.ndarray:
    return quantiles[..., QUANTILES.index(0.9)] - quantiles[..., QUANTILES.index(0.1)]


def test_members_that_agree_give_their_own_forecast():
    for count in (1, 2, 7):
        mixed = mix(np.stack([normal(5)] * count), QUANTILES)
        assert mixed.dtype == np.float32
        np.testing.assert_array_equal(mixed, normal(5))


def test_members_that_differ_give_a_wider_band_than_any():
    members = np.stack([normal(-1), normal(0), normal(1)])
    mixed = mix(members, QUANTILES)
    assert (width(mixed) > 1.2 * width(members).max()).all()
    np.testing.assert_allclose(mixed[..., 5], 0, atol=1e-5)
    np.testing.assert_allclose(mixed, -mixed[..., ::-1], atol=1e-5)


def test_the_quantiles_are_those_of_values_drawn_from_all_members():
    members = np.stack([normal(0, 1), normal(2, 0.3), normal(-1, 2)])
    drawn = np.concatenate([ladder(member, QUANTILES, 2000, False) for member in members])
    expected = np.moveaxis(np.quantile(drawn, QUANTILES, axis=0, method="hazen"), 0, -1)
    np.testing.assert_allclose(mix(members, QUANTILES), expected, atol=4e-3)


def test_mass_in_one_place_stays_there():
    dry = np.zeros((2, 3, 11), np.float32)
    mixed = mix(np.stack([dry, dry, dry, normal(10)]), QUANTILES)
    np.testing.assert_allclose(mixed[..., : QUANTILES.index(0.7) + 1], 0, atol=1e-5)
    assert (mixed[..., QUANTILES.index(0.8)] > 5).all()
    assert (mixed >= -1e-6).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 6))
def test_the_mean_probability_below_each_quantile_is_its_level(seed: int, count: int):
    rng = np.random.default_rng(seed)
    members = np.sort(rng.normal(rng.normal(size=(count, 4, 1)), 1, (count, 4, 11)), axis=-1)
    mixed = mix(members, QUANTILES)
    assert (np.diff(mixed, axis=-1) >= 0).all()
    assert (mixed >= members.min(0) - 1e-9).all()
    assert (mixed <= members.max(0) + 1e-9).all()
    share = np.mean(
        [cumulative(member[:, None], QUANTILES, mixed, False) for member in members], axis=0
    )
    np.testing.assert_allclose(share, np.broadcast_to(QUANTILES, share.shape), atol=1e-3)
    np.testing.assert_allclose(mix(members[::-1], QUANTILES), mixed, atol=1e-6)
