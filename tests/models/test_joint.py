"""Joint members, tails and crossings: properties on random quantiles and templates."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import QUANTILES, FelsinaError
from models.joint import (
    check_additive,
    cumulative,
    exceedance,
    ladder,
    load_template,
    members,
    sum_quantiles,
    within,
)

M, H, N = 100, 6, 5
seeds = st.integers(0, 2**31)


def make_quantiles(seed: int, horizon: int = H, nodes: int = N) -> np.ndarray:
    """Rising quantiles, some of them flat over a stretch of levels."""
    rng = np.random.default_rng(seed)
    steps = rng.exponential(1, (horizon, nodes, len(QUANTILES)))
    steps[rng.random(steps.shape) < 0.2] = 0
    return (rng.normal(size=(horizon, nodes, 1)) + np.cumsum(steps, axis=-1)).astype(np.float32)


def make_template(seed: int, count: int = M, horizon: int = H, nodes: int = N) -> np.ndarray:
    keys = np.random.default_rng(seed).random((count, horizon, nodes))
    return np.argsort(keys, axis=0).astype(np.uint8)


def comonotone(count: int = M, horizon: int = H, nodes: int = N) -> np.ndarray:
    return np.tile(np.arange(count, dtype=np.uint8)[:, None, None], (1, horizon, nodes))


@settings(deadline=None, max_examples=40)
@given(seed=seeds)
def test_members_have_the_quantiles_they_came_from(seed):
    quantiles = make_quantiles(seed)
    joint = members(quantiles, QUANTILES, make_template(seed), nonnegative=False)
    assert joint.shape == (M, H, N)
    for q, level in enumerate(QUANTILES):
        value = quantiles[..., q]
        hair = 1e-4 * (1 + np.abs(value))
        assert ((joint < value - hair).mean(axis=0) <= level + 1 / M).all()
        assert ((joint <= value + hair).mean(axis=0) >= level - 1 / M).all()


@settings(deadline=None, max_examples=40)
@given(seed=seeds)
def test_members_follow_a_permutation_of_the_nodes(seed):
    quantiles, template = make_quantiles(seed), make_template(seed)
    order = np.random.default_rng(seed).permutation(N)
    straight = members(quantiles, QUANTILES, template, False)
    turned = members(quantiles[:, order], QUANTILES, template[:, :, order], False)
    np.testing.assert_array_equal(turned, straight[:, :, order])
    limits = quantiles[0, :, 8:]
    p = exceedance(quantiles, QUANTILES, limits, False)
    other = exceedance(quantiles[:, order], QUANTILES, limits[order], False)
    np.testing.assert_array_equal(other, p[:, order])
    np.testing.assert_array_equal(
        within(other, template[:, :, order]), within(p, template)[:, order]
    )


def test_the_ladder_rises_and_the_tail_is_the_exponential_that_it_says():
    quantiles = np.array([[np.arange(11.0) ** 1.5]])
    rising = ladder(quantiles, QUANTILES, 1000, nonnegative=False)[:, 0, 0]
    assert (np.diff(rising) > 0).all()
    q90, q95 = quantiles[0, 0, -2:]
    b = (q95 - q90) / np.log(2)
    above = rising[rising > q95]
    u = (np.arange(1000) + 0.5)[-len(above) :] / 1000
    np.testing.assert_allclose(0.05 * np.exp(-(above - q95) / b), 1 - u, rtol=1e-9)
    assert ladder(quantiles - 3, QUANTILES, 1000, nonnegative=True).min() == 0


@settings(deadline=None, max_examples=40)
@given(seed=seeds, nonnegative=st.booleans())
def test_the_distribution_undoes_the_quantile_function(seed, nonnegative):
    rng = np.random.default_rng(seed)
    quantiles = np.cumsum(rng.exponential(1, (H, N, 11)) + 0.05, axis=-1) + nonnegative * 50
    rising = ladder(quantiles, QUANTILES, M, nonnegative)
    u = (np.arange(M) + 0.5) / M
    found = cumulative(quantiles, QUANTILES, rising, nonnegative)
    np.testing.assert_allclose(found, np.broadcast_to(u[:, None, None], found.shape), atol=1e-9)


def test_the_levels_themselves_have_their_own_probability():
    quantiles = np.sort(np.random.default_rng(0).normal(size=(H, N, 11)), axis=-1)
    for q, level in enumerate(QUANTILES):
        found = cumulative(quantiles, QUANTILES, quantiles[..., q], False)
        np.testing.assert_allclose(found, level, atol=1e-12)


def test_mass_in_one_place_lies_on_it_and_nowhere_else():
    flat = np.full((1, 1, 11), 3.0)
    limits = np.array([[2.9, 3.0, 3.1]])
    np.testing.assert_array_equal(exceedance(flat, QUANTILES, limits, False), [[[1, 1, 0]]])
    dry = np.zeros((1, 1, 11))
    np.testing.assert_array_equal(
        exceedance(dry, QUANTILES, np.array([[-1.0, 0.0, 0.1]]), True), [[[1, 1, 0]]]
    )


@settings(deadline=None, max_examples=60)
@given(seed=seeds, count=st.integers(1, 200))
def test_a_period_lies_between_its_likeliest_lead_and_the_sum_of_leads(seed, count):
    rng = np.random.default_rng(seed)
    quantiles, template = make_quantiles(seed), make_template(seed, count)
    limits = np.sort(rng.normal(4, 4, (N, 3)), axis=1)
    p = exceedance(quantiles, QUANTILES, limits, False)
    period = within(p, template)
    assert ((p >= 0) & (p <= 1)).all()
    assert (period >= np.maximum.accumulate(p, axis=0) - 1e-12).all()
    assert (period <= np.minimum(1, np.cumsum(p, axis=0)) + 1e-12).all()
    for rising in (p, period):
        assert (np.diff(rising, axis=-1) <= 1e-12).all(), "a higher threshold is no likelier"
    np.testing.assert_allclose(period[0], p[0], atol=1e-12)
    always = within(p, comonotone(count))
    np.testing.assert_allclose(always, np.maximum.accumulate(p, axis=0), atol=1e-12)


def test_a_period_counts_as_the_members_do():
    quantiles, template = make_quantiles(3), make_template(3)
    limits = quantiles[0, :, 7:10].astype(float)
    joint = members(quantiles, QUANTILES, template, False)
    counted = (joint[..., None] >= limits).any(axis=1).mean(axis=0)
    period = within(exceedance(quantiles, QUANTILES, limits, False), template)[-1]
    np.testing.assert_allclose(period, counted, atol=0.5 * H / M)


def test_a_rare_crossing_is_not_lost_between_members():
    p = np.full((H, 1, 1), 0.001)
    period = within(p, make_template(0, nodes=1))
    assert 0.001 <= period[-1, 0, 0] <= 0.006
    assert np.isnan(within(p, np.zeros((0, H, 1), np.uint8))).all()


def test_without_a_threshold_nothing_is_said():
    limits = np.full((N, 3), np.nan)
    limits[1, 0] = 1.0
    p = exceedance(make_quantiles(0), QUANTILES, limits, False)
    assert np.isnan(p).sum() == H * (3 * N - 1)
    period = within(p, make_template(0))
    np.testing.assert_array_equal(np.isnan(period), np.isnan(p))


def test_what_moves_together_sums_to_a_wider_band():
    quantiles = make_quantiles(1)
    groups = np.array([[True] * N, [True] + [False] * (N - 1)])
    bands = {}
    for name, template in (("independent", make_template(1)), ("comonotone", comonotone())):
        joint = members(quantiles, QUANTILES, template, False)
        total = sum_quantiles(joint, groups, QUANTILES)
        assert total.shape == (H, 2, len(QUANTILES))
        bands[name] = total[..., 9] - total[..., 1]
    assert (bands["comonotone"][:, 0] > 1.3 * bands["independent"][:, 0]).all()
    np.testing.assert_allclose(bands["comonotone"][:, 1], bands["independent"][:, 1], rtol=1e-5)
    exact = quantiles.sum(axis=1)
    joint = members(quantiles, QUANTILES, comonotone(), False)
    np.testing.assert_allclose(
        sum_quantiles(joint, groups[:1], QUANTILES)[:, 0, 1:-1], exact[:, 1:-1], rtol=0.02, atol=0.5
    )


@pytest.mark.parametrize("unit", ["veh/h", "kWh", "MW"])
def test_counts_and_energy_add_up(unit):
    check_additive(unit, "load")


@pytest.mark.parametrize("unit", ["m", "mph", "km/h", "degC", "m3/s", "%", "1"])
def test_levels_and_speeds_do_not(unit):
    with pytest.raises(FelsinaError, match="does not add up") as error:
        check_additive(unit, "stage")
    assert "\n" not in str(error.value)
    assert f"stage in {unit}" in str(error.value)


def test_a_template_is_read_back(tmp_path: Path):
    template = make_template(0)
    np.save(tmp_path / "t.npy", template)
    np.testing.assert_array_equal(load_template(tmp_path / "t.npy", H, N), template)
    np.save(tmp_path / "none.npy", template[:0])
    assert len(load_template(tmp_path / "none.npy", H, N)) == 0


def test_what_is_no_template_is_refused(tmp_path: Path):
    path = tmp_path / "t.npy"

    def refused() -> str:
        with pytest.raises(FelsinaError) as error:
            load_template(path, H, N)
        assert "\n" not in str(error.value)
        return str(error.value)

    assert str(path) in refused()
    path.write_bytes(b"not an array")
    assert "not an array of ranks" in refused()
    np.save(path, np.array([{"a": 1}]), allow_pickle=True)
    assert "not an array of ranks" in refused()
    np.save(path, make_template(0)[:, :-1])
    assert f"({M}, {H - 1}, {N})" in refused()
    np.save(path, make_template(0).astype(float))
    assert "float64" in refused()
    twice = make_template(0)
    twice[0] = twice[1]
    np.save(path, twice)
    assert "lacks a rank" in refused()
