"""Bands that widen where inputs are missing, and by nothing where none is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import QUANTILES, Window
from models.missing import Widening, widened
from tests.factories import make_spec

STEPS, NODES = 8, 3
SPEC = make_spec(lookback=STEPS, horizon=4)
MIDDLE = QUANTILES.index(0.5)


def table(seed: int = 0) -> Widening:
    """Any table that rises with age and with what is missing, and is 1 at its first cell."""
    factor = 1 + np.random.default_rng(seed).exponential(0.3, (5, 3, 2))
    factor[0, 0] = 1
    factor = np.maximum.accumulate(np.maximum.accumulate(factor, axis=0), axis=1)
    return Widening((0, 1, 2, 4, 8), (0.9, 0.5, 0.0), (1, 3), factor)


def forecasts(seed: int, batch: int = 2) -> np.ndarray:
    shape = (batch, SPEC.horizon, NODES, len(QUANTILES))
    return np.sort(np.random.default_rng(seed).gamma(2, 10, shape), axis=-1).astype(np.float32)


def lost(seed: int, share: float, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).random((batch, STEPS, NODES)) < share


def past(mask: np.ndarray) -> np.ndarray:
    return np.where(mask, np.nan, 5.0)


def width(quantiles: np.ndarray) -> np.ndarray:
    return quantiles[..., -1] - quantiles[..., 0]


def test_a_cell_is_told_by_the_age_of_the_last_value_and_the_share_observed() -> None:
    columns = [
        [1] * 8,  # all
        [1] * 7 + [0],  # a step late
        [1] * 5 + [0] * 3,
        [1] * 4 + [0] * 4,
        [0] * 7 + [1],  # back, and nothing before
        [0] * 8,
    ]
    seen = np.array(columns, bool).T[None]
    row, column = table().cells(np.where(seen, 1.0, np.nan))
    np.testing.assert_array_equal(row[0], [0, 1, 2, 3, 0, 4])
    np.testing.assert_array_equal(column[0], [0, 1, 1, 1, 2, 2])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.floats(0.05, 1))
def test_median_and_order_stay_and_complete_nodes_stay_to_the_bit(seed: int, share: float) -> None:
    quantiles, mask = forecasts(seed), lost(seed, share)
    mask[:, :, 0] = False
    wide = table(seed)(quantiles, past(mask), SPEC)
    assert wide.dtype == quantiles.dtype
    np.testing.assert_array_equal(wide[:, :, 0], quantiles[:, :, 0])
    np.testing.assert_allclose(wide[..., MIDDLE], quantiles[..., MIDDLE])
    assert (np.diff(wide, axis=-1) >= 0).all()
    assert (wide >= 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.floats(0, 0.6), st.floats(0, 0.6))
def test_losing_more_never_narrows(seed: int, share: float, more: float) -> None:
    quantiles, mask = forecasts(seed), lost(seed, share)
    spec = make_spec(lookback=STEPS, horizon=4, nonnegative=False)
    some = width(table(seed)(quantiles, past(mask), spec))
    worse = width(table(seed)(quantiles, past(mask | lost(seed + 100, more)), spec))
    assert (some >= width(quantiles) * (1 - 1e-6)).all()
    assert (worse >= some * (1 - 1e-6)).all()


def test_the_first_leads_have_their_own_factor() -> None:
    factor = np.ones((5, 3, 2))
    factor[1:, :, 0] = 3
    mask = np.zeros((2, STEPS, NODES), bool)
    mask[:, -1, 1] = True
    quantiles = forecasts(0)
    spec = make_spec(lookback=STEPS, horizon=4, nonnegative=False)
    wide = Widening(table().ages, table().fractions, table().leads, factor)
    ratio = width(wide(quantiles, past(mask), spec)) / width(quantiles)
    np.testing.assert_allclose(ratio[:, :2, 1], 3, rtol=1e-5)
    np.testing.assert_array_equal(ratio[:, 2:], 1)
    np.testing.assert_array_equal(ratio[:, :, [0, 2]], 1)


@pytest.mark.parametrize("record", [None, {"method": "none", "left_out": "too few windows"}])
def test_a_release_without_a_table_widens_nothing(record) -> None:
    def predict(_: Window) -> np.ndarray:
        return forecasts(0)

    assert widened(predict, record, SPEC) is predict


def test_a_table_goes_through_a_manifest() -> None:
    read = Widening.from_dict({"method": "as measured"} | table().to_dict())
    assert (read.ages, read.fractions, read.leads) == (
        table().ages,
        table().fractions,
        table().leads,
    )
    np.testing.assert_allclose(read.factor, table().factor, atol=5e-4)
