"""Conformal offsets on simulated data, and bands for forecasts that have none."""

from statistics import NormalDist

import numpy as np
import pytest

from models.contracts import QUANTILES
from training.calibration import cautious, conformal_offsets, dress, offsets_by_group

LOW, MIDDLE, HIGH = (QUANTILES.index(level) for level in (0.1, 0.5, 0.9))


def simulated(rows: int, narrow: float, seed: int, bias: float = 0.0, missing: float = 0.1):
    """Forecasts of a normal error whose spread differs a lead and is told ``narrow`` times."""
    rng = np.random.default_rng(seed)
    spread = np.array([1.0, 2.0, 5.0])[None, :, None]
    centre = rng.normal(100, 10, (rows, 3, 4))
    target = centre + bias * spread + spread * rng.normal(size=centre.shape)
    target[rng.random(target.shape) < missing] = np.nan
    steps = narrow * np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
    return (centre[..., None] + spread[..., None] * steps), target


def shifted(quantiles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    width = (quantiles[..., HIGH] - quantiles[..., LOW])[..., None]
    return quantiles + offsets[:, None] * width


def coverage(quantiles, target, low=LOW, high=HIGH, axis=None):
    inside = (target >= quantiles[..., low]) & (target <= quantiles[..., high])
    return np.nanmean(np.where(np.isnan(target), np.nan, inside), axis=axis)


@pytest.mark.parametrize("narrow", [0.3, 0.6, 1.0, 2.5])
def test_a_wrong_width_is_mended_to_80_per_cent(narrow):
    offsets = conformal_offsets(*simulated(3000, narrow, 0), QUANTILES)
    quantiles, target = simulated(6000, narrow, 1)
    if narrow == 0.6:
        assert coverage(quantiles, target) < 0.6
    mended = shifted(quantiles, offsets)
    assert coverage(mended, target) == pytest.approx(0.8, abs=0.015)
    np.testing.assert_allclose(coverage(mended, target, axis=(0, 2)), 0.8, atol=0.02)
    for low, high in ((0, 10), (2, 8), (3, 7), (4, 6)):
        inside = QUANTILES[high] - QUANTILES[low]
        assert coverage(mended, target, low, high) == pytest.approx(inside, abs=0.02)


def test_a_biased_model_is_covered_too_and_its_median_stays():
    offsets = conformal_offsets(*simulated(3000, 0.6, 0, bias=0.8), QUANTILES)
    assert (offsets[:, MIDDLE] == 0).all()
    quantiles, target = simulated(6000, 0.6, 1, bias=0.8)
    mended = shifted(quantiles, offsets)
    assert coverage(mended, target) == pytest.approx(0.8, abs=0.015)
    np.testing.assert_array_equal(mended[..., MIDDLE], quantiles[..., MIDDLE])


def test_both_ends_of_a_band_move_by_the_same():
    offsets = conformal_offsets(*simulated(500, 0.6, 0, bias=0.5), QUANTILES)
    np.testing.assert_array_equal(offsets, -offsets[:, ::-1])
    assert offsets.shape == (3, len(QUANTILES))
    assert (offsets[:, HIGH] > 0).all()
    too_wide = conformal_offsets(*simulated(500, 3, 0), QUANTILES)
    assert (too_wide[:, HIGH] < 0).all()


def test_few_windows_are_covered_at_least():
    """The rank is that of split conformal: ceil of (n + 1) times the level, or the largest."""
    for rows in (1, 2, 3, 12):
        quantiles, target = (part[:, :, :1] for part in simulated(rows, 0.3, 5, missing=0))
        offsets = conformal_offsets(quantiles, target, QUANTILES)
        expected = min(rows, int(np.ceil((rows + 1) * 0.8))) / rows
        # Offsets are float32: a hair outwards, so that the edge itself counts as inside.
        hair = 1e-5 * np.sign(np.array(QUANTILES) - 0.5)
        mended = shifted(quantiles, offsets + hair)
        np.testing.assert_allclose(coverage(mended, target, axis=(0, 2)), expected)


def test_a_broken_node_does_not_widen_every_band():
    quantiles, target = simulated(500, 0.6, 0)
    before = conformal_offsets(quantiles, target, QUANTILES)
    target[:, :, 0] += 1000
    after = conformal_offsets(quantiles, target, QUANTILES)
    np.testing.assert_allclose(after, before, atol=0.1)


def test_missing_targets_count_for_nothing():
    quantiles, target = simulated(300, 0.6, 0)
    before = conformal_offsets(quantiles, target, QUANTILES)
    quantiles[np.isnan(target)] = 1e6
    np.testing.assert_array_equal(conformal_offsets(quantiles, target, QUANTILES), before)


def test_a_lead_without_targets_is_left_alone():
    quantiles, target = simulated(300, 0.6, 0)
    target[:, 1] = np.nan
    offsets = conformal_offsets(quantiles, target, QUANTILES)
    assert (offsets[1] == 0).all()
    assert (offsets[[0, 2], HIGH] != 0).all()


@pytest.mark.parametrize("narrow", [0.6, 3.0])
def test_few_weeks_move_a_band_with_caution(narrow):
    offsets = conformal_offsets(*simulated(500, narrow, 0), QUANTILES)
    three_weeks = np.concatenate([np.arange(168), 400 + np.arange(168), 800 + np.arange(164)])
    np.testing.assert_allclose(cautious(offsets, three_weeks), 0.75 * offsets, rtol=1e-6)
    np.testing.assert_allclose(cautious(offsets, np.arange(500)), 0.5 * offsets, rtol=1e-6)


def test_levels_that_are_not_symmetric_are_refused():
    with pytest.raises(ValueError, match="not in"):
        conformal_offsets(np.zeros((5, 1, 1, 4)), np.zeros((5, 1, 1)), (0.05, 0.1, 0.5, 0.9))


def test_dress_gives_each_lead_and_node_the_quantiles_of_its_own_errors():
    rng = np.random.default_rng(0)
    point = rng.normal(size=(400, 2, 3))
    target = point + rng.normal([0, 5, 10], [1, 2, 3], size=point.shape)
    target[rng.random(target.shape) < 0.2] = np.nan
    bands = dress(point, target, QUANTILES)
    assert bands.shape == (2, 3, len(QUANTILES))
    for h in range(2):
        for n in range(3):
            error = (target - point)[:, h, n]
            expected = np.quantile(error[~np.isnan(error)], QUANTILES)
            np.testing.assert_allclose(bands[h, n], expected, rtol=1e-5)


def test_dressed_forecasts_cover_as_they_say():
    point, target = np.zeros((4000, 1, 2)), np.random.default_rng(1).normal(2, 3, (4000, 1, 2))
    bands = dress(point[:2000], target[:2000], QUANTILES)
    assert coverage(point[2000:, ..., None] + bands, target[2000:]) == pytest.approx(0.8, abs=0.02)


def test_a_node_without_errors_takes_those_of_all_and_a_lead_without_any_none():
    rng = np.random.default_rng(2)
    point, target = np.zeros((100, 2, 3)), rng.normal(size=(100, 2, 3))
    target[:, 0, 1] = np.nan
    target[:, 1] = np.nan
    bands = dress(point, target, QUANTILES)
    pooled = np.quantile(target[:, 0, [0, 2]].ravel(), QUANTILES)
    np.testing.assert_allclose(bands[0, 1], pooled, rtol=1e-5)
    assert (bands[1] == 0).all()


def minority(rows: int, nodes: tuple[int, int], seed: int):
    """Forecasts whose bands hold for the many nodes, and are five times too narrow for the few."""
    rng = np.random.default_rng(seed)
    few = np.repeat([0, 1], nodes)
    target = rng.normal(size=(rows, 3, sum(nodes))) * np.where(few, 5.0, 1.0)
    steps = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
    return np.broadcast_to(steps, (*target.shape, len(QUANTILES))), target, few


def held(quantiles, offsets, target, nodes) -> float:
    width = (quantiles[..., HIGH] - quantiles[..., LOW])[..., None]
    low, high = QUANTILES.index(0.05), QUANTILES.index(0.95)
    moved = quantiles + offsets * width
    return float(coverage(moved[:, :, nodes], target[:, :, nodes], low, high))


def test_a_minority_that_common_bands_fail_is_covered_by_its_own():
    quantiles, target, few = minority(8400, (20, 4), 0)
    weeks = np.arange(8400) + 400 * (np.arange(8400) // 168)
    test, truth, _ = minority(4000, (20, 4), 1)
    common = cautious(conformal_offsets(quantiles, target, QUANTILES), weeks)[:, None]
    own = offsets_by_group(quantiles, target, QUANTILES, few, weeks)
    assert held(test, common, truth, few == 1) < 0.35
    assert held(test, own, truth, few == 1) == pytest.approx(0.9, abs=0.02)
    for offsets in (common, own):
        assert held(test, offsets, truth, few == 0) == pytest.approx(0.9, abs=0.01)


def test_of_few_sensors_and_weeks_little_is_believed():
    quantiles, target, few = minority(168, (20, 4), 0)
    origins = np.arange(168)
    common = conformal_offsets(quantiles, target, QUANTILES)
    own = conformal_offsets(quantiles[:, :, few == 1], target[:, :, few == 1], QUANTILES)
    found = offsets_by_group(quantiles, target, QUANTILES, few, origins)
    # One week of four sensors: half of what sets them apart, and half of that for a single week.
    expected = (common + 0.5 * (own - common)) / 2
    np.testing.assert_allclose(found[:, few == 1], np.repeat(expected[:, None], 4, 1), rtol=1e-4)
    target[:, :, 20:23] = np.nan
    fewer = offsets_by_group(quantiles, target, QUANTILES, few, origins)
    assert (abs(fewer[:, 21, HIGH]) < abs(found[:, 21, HIGH])).all()


def test_nodes_of_no_group_and_groups_without_targets_take_the_common_offsets():
    quantiles, target, few = minority(500, (20, 4), 0)
    origins, none = np.arange(500), np.full(24, -1)
    common = cautious(conformal_offsets(quantiles, target, QUANTILES), origins)
    found = offsets_by_group(quantiles, target, QUANTILES, none, origins)
    np.testing.assert_array_equal(found, np.repeat(common[:, None], 24, 1))
    target[:, :, few == 1] = np.nan
    silent = offsets_by_group(quantiles, target, QUANTILES, few, origins)
    common = cautious(conformal_offsets(quantiles, target, QUANTILES), origins)
    np.testing.assert_array_equal(silent[:, 20:], np.repeat(common[:, None], 4, 1))
