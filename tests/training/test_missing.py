"""How much wider bands must be, measured on a city whose answer is known."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from models.contracts import QUANTILES, Window
from models.missing import Widening
from models.record import canonical_json
from models.windows import WindowBuilder
from tests.factories import make_series, make_spec
from training.missing import LEAST, MOST, drawn_mask, empty_table, hidden, missing_record

STEPS, NODES = 3000, 4
SPEC = make_spec(lookback=16, horizon=4, lags=(), forcings=(), nonnegative=False)
NORMAL = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])


def walk(seed: int = 0) -> WindowBuilder:
    """Random walks: a value that is k steps old is wrong by the root of k more steps."""
    values = np.random.default_rng(seed).normal(size=(STEPS, NODES)).cumsum(axis=0)
    return WindowBuilder(SPEC, np.datetime64("2024-01-01"), values)


def last_value(window: Window) -> np.ndarray:
    """The right forecast of a walk as long as nothing is missing, and as sure of itself later."""
    steps = np.arange(window.past.shape[1])[None, :, None]
    at = np.where(np.isnan(window.past), 0, steps).max(axis=1)
    centre = np.nan_to_num(np.take_along_axis(window.past, at[:, None], axis=1))
    spread = np.sqrt(np.arange(1, SPEC.horizon + 1))[None, :, None, None]
    return centre[..., None] + spread * NORMAL


def coverage(quantiles: np.ndarray, target: np.ndarray, of: np.ndarray) -> float:
    inside = (target >= quantiles[..., 1]) & (target <= quantiles[..., -2])
    return float(inside[of].mean())


def test_widened_bands_cover_as_often_as_with_all_inputs() -> None:
    record = missing_record(last_value, walk(0), np.arange(100, 1500))
    widening = Widening.from_dict(record)
    builder, origins = walk(1), np.arange(100, STEPS - 10, 7)
    window = builder.batch(origins, with_target=True)
    assert window.target is not None
    for age in (1, 3, 8):
        mask = np.zeros(window.past.shape, bool)
        mask[:, -age:, 0] = True
        of = mask.any(axis=1)[:, None].repeat(SPEC.horizon, axis=1)
        less = hidden(builder, window, origins, mask)
        plain = last_value(less)
        wide = widening(plain, less.past, SPEC)
        assert coverage(plain, window.target, of) < 0.77 - 0.02 * age
        assert coverage(wide, window.target, of) == pytest.approx(0.8, abs=0.06)
        np.testing.assert_array_equal(wide[:, :, 1:], plain[:, :, 1:])


def test_the_factor_is_that_of_the_walk_and_most_at_the_first_lead() -> None:
    factor = Widening.from_dict(missing_record(last_value, walk(0), np.arange(100, 2900))).factor
    leads = np.array([1, 2.5, 4])  # the table's layers begin at 1, 2 and 4
    np.testing.assert_allclose(factor[1, 0], np.sqrt(1 + 1 / leads), rtol=0.15)
    assert (np.diff(factor, axis=0) >= 0).all()
    assert (np.diff(factor, axis=1) >= 0).all()
    assert (factor[0, 0] == 1).all()


def test_a_month_whose_bands_are_too_narrow_does_not_count_twice() -> None:
    """The offsets are for that; the ratio is of the same targets with and without losses."""

    def narrow(window: Window) -> np.ndarray:
        quantiles = last_value(window)
        middle = quantiles[..., 5:6]
        return middle + 0.6 * (quantiles - middle)

    origins = np.arange(100, 2900)
    usual, less = (missing_record(p, walk(0), origins)["factor"] for p in (last_value, narrow))
    np.testing.assert_allclose(np.array(less)[:3, 0], np.array(usual)[:3, 0], rtol=0.12)


def test_bands_without_width_ask_for_no_endless_factor() -> None:
    """Of a target that cannot be negative, such as what the sun gives at night."""
    spec = replace(SPEC, nonnegative=True)
    rng = np.random.default_rng(0)
    day = np.sin(np.arange(STEPS) / 24 * 2 * np.pi)[:, None] * 20
    values = np.maximum(day + rng.normal(size=(STEPS, NODES)).cumsum(axis=0) * 0.05, 0)
    builder = WindowBuilder(spec, np.datetime64("2024-01-01"), values)

    def in_proportion(window: Window) -> np.ndarray:
        centre = last_value(window)[..., 5:6]
        spread = 0.3 * np.sqrt(np.arange(1, spec.horizon + 1))[None, :, None, None]
        return np.maximum(centre * (1 + spread * NORMAL), 0)

    def nothing(window: Window) -> np.ndarray:
        return np.zeros_like(last_value(window))

    factor = np.array(missing_record(in_proportion, builder, np.arange(100, 2900))["factor"])
    assert factor.max() <= MOST
    assert 1 < factor[1, 0, 0] < 5
    never = missing_record(nothing, builder, np.arange(100, 2900))
    assert (np.array(never["factor"]) == 1).all()
    canonical_json(never)


def test_too_few_complete_windows_leave_the_table_out() -> None:
    record = missing_record(last_value, walk(0), np.arange(100, 100 + LEAST - 1))
    assert "factor" not in record
    assert str(LEAST - 1) in record["left_out"]
    assert "factor" in missing_record(last_value, walk(0), np.arange(100, 100 + LEAST))
    assert "factor" not in missing_record(last_value, walk(0), np.arange(0))
    gone = walk(0)
    gone.values[:, :] = np.nan
    assert "factor" not in missing_record(last_value, gone, np.arange(100, 900))


def test_what_is_hidden_is_as_if_it_had_never_been_held() -> None:
    """Lags that are read from the past are gone with it, across a change of the clock too."""
    series, _ = make_series(days=70)
    values = np.arange(series.size, dtype=float).reshape(series.shape)
    start = np.datetime64(series.index[0].tz_convert(None), "s")
    spec = make_spec(forcings=(), lags=(24, 30, 168))
    builder = WindowBuilder(spec, start, values)
    rng = np.random.default_rng(0)
    for origin in (400, 1110, 1300):
        origins = np.array([origin])
        mask = rng.random((1, spec.lookback, values.shape[1])) < 0.5
        without = values.copy()
        rows = slice(origin - spec.lookback + 1, origin + 1)
        without[rows] = np.where(mask[0], np.nan, values[rows])
        expected = WindowBuilder(spec, start, without).batch(origins)
        found = hidden(builder, builder.batch(origins), origins, mask)
        for name, part in expected.inputs().items():
            np.testing.assert_array_equal(part, found.inputs()[name], err_msg=name)
        assert np.isnan(found.lags).any()


@pytest.mark.parametrize("age", [0, 1, 7, 16])
def test_a_drawn_loss_has_the_age_asked_for(age: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        mask = drawn_mask(age, 16, NODES, rng)
        hit = mask.any(axis=0)
        lost = mask[:, hit]
        assert lost[16 - age :].all()
        if age < 16:
            assert not lost[15 - age].any()


def test_the_table_spans_lookback_and_horizon() -> None:
    table = empty_table(make_spec(lookback=48, horizon=6))
    assert table.ages == (0, 1, 2, 4, 8, 16, 32, 48)
    assert table.leads == (1, 2, 4)
    assert empty_table(make_spec(lookback=1, horizon=1)).factor.shape == (2, 5, 1)
