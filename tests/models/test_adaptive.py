"""Bands that follow what came true."""

import numpy as np
import pytest

from models.adaptive import BOUNDS, AdaptiveBands, replay
from models.contracts import QUANTILES

NORMAL = np.array([-1.645, -1.282, -0.842, -0.524, -0.253, 0, 0.253, 0.524, 0.842, 1.282, 1.645])


def issued(spread: float, count: int = 1500, horizon: int = 3, nodes: int = 4):
    """Normal bands about zero, of a ``spread`` that the truth, of spread one, does not have."""
    truth = np.random.default_rng(0).normal(0, 1, (count + horizon, nodes)).astype(np.float32)
    quantiles = np.broadcast_to(
        (spread * NORMAL).astype(np.float32), (count, horizon, nodes, 11)
    ).copy()
    target = np.stack([truth[h + 1 : count + h + 1] for h in range(horizon)], axis=1)
    return quantiles, target, np.arange(count)


def coverage(quantiles, target, low: float, high: float) -> float:
    lower, upper = (quantiles[..., QUANTILES.index(level)] for level in (low, high))
    return float(((target >= lower) & (target <= upper))[200:].mean())


@pytest.mark.parametrize("spread", [0.4, 1.0, 2.5])
def test_bands_of_any_spread_come_to_hold_what_they_promise(spread):
    quantiles, target, origins = issued(spread)
    out = replay(quantiles, target, origins, QUANTILES, False)
    for low, high in ((0.3, 0.7), (0.1, 0.9), (0.05, 0.95)):
        assert coverage(out, target, low, high) == pytest.approx(high - low, abs=0.03)
    assert (np.diff(out, axis=-1) >= 0).all()
    np.testing.assert_array_equal(out[..., 5], quantiles[..., 5])


def test_a_forecast_knows_nothing_that_came_true_after_it():
    quantiles, target, origins = issued(0.5, count=60)
    out = replay(quantiles, target, origins, QUANTILES, False)
    for b, h in ((10, 0), (30, 2)):
        changed = target.copy()
        later = origins[:, None] + np.arange(1, 4) > origins[b] + h
        changed[later] = 50.0
        again = replay(quantiles, changed, origins, QUANTILES, False)
        np.testing.assert_array_equal(again[: b + h + 1], out[: b + h + 1])
        assert not np.array_equal(again, out)


def test_nothing_is_learned_from_what_was_not_observed():
    quantiles, target, origins = issued(0.5, count=100)
    out = replay(quantiles, np.full_like(target, np.nan), origins, QUANTILES, False)
    np.testing.assert_array_equal(out, quantiles)


def test_corrections_stay_within_their_bounds():
    bands = AdaptiveBands(QUANTILES, 1, 2)
    for _ in range(500):
        truth, issued = np.array([1.0, 0.0], np.float32), np.zeros((1, 1, 2, 11), np.float32)
        bands.learn(1, truth, np.array([0]), issued)
    assert bands.correction[:, 0, 0] == pytest.approx(BOUNDS[1])
    assert bands.correction[:, 0, 1] == pytest.approx(BOUNDS[0])
    wide = bands.apply(np.broadcast_to(NORMAL, (1, 2, 11)).astype(np.float32), nonnegative=True)
    assert (np.diff(wide, axis=-1) >= 0).all()
    assert (wide >= 0).all()


def test_forecasts_a_day_apart_learn_from_whole_days():
    quantiles, target, _ = issued(0.5, count=50)
    out = replay(quantiles, target, np.arange(50) * 24, QUANTILES, False)
    assert np.array_equal(out[0], quantiles[0])
    assert not np.array_equal(out[1], quantiles[1])


def test_all_leads_of_an_issue_are_learned_as_one_by_one():
    """The rule itself, written out: every lead and node apart, with what was known by then."""
    rng = np.random.default_rng(3)
    origins = np.cumsum(rng.integers(1, 4, 40))
    quantiles = np.sort(rng.normal(size=(40, 5, 2, 11)).astype(np.float32), axis=-1)
    values = rng.normal(size=(origins[-1] + 6, 2)).astype(np.float32)
    target = values[origins[:, None] + np.arange(1, 6)]
    out = replay(quantiles, target, origins, QUANTILES, False)
    for h in range(5):
        bands = AdaptiveBands(QUANTILES, 5, 2)
        learned = 0
        for b in range(40):
            while learned < b and origins[learned] + h + 1 <= origins[b]:
                row, one = origins[learned] + h + 1, slice(learned, learned + 1)
                bands.learn(row, target[learned, h], origins[one], out[one])
                learned += 1
            np.testing.assert_array_equal(out[b, h], bands.apply(quantiles[b])[h])
