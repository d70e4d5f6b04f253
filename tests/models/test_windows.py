"""The one builder of windows: blind to the future, true to the civil clock, the same on a slice."""

import tracemalloc
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calendar import CALENDAR
from models.contracts import FelsinaError, Forcing, ForecastSpec, Window
from models.windows import WindowBuilder
from tests.factories import make_series, make_spec


def same(one: Window, other: Window) -> None:
    for name, array in one.inputs().items():
        np.testing.assert_array_equal(array, other.inputs()[name], err_msg=name)
        assert array.dtype == other.inputs()[name].dtype, name


def rows_only(spec: ForecastSpec, start: str, steps: int) -> WindowBuilder:
    """A builder whose values are their own row numbers."""
    values = np.arange(steps, dtype=float)[:, None]
    forcings = np.zeros((steps, 1, len(spec.forcings)))
    return WindowBuilder(spec, np.datetime64(start), values, forcings)


@lru_cache
def tiny() -> tuple[np.datetime64, np.ndarray, np.ndarray]:
    """Ten weeks round the spring change, with gaps in the target and in both forcings."""
    series, forcings = make_series(days=70)
    forced = forcings.to_numpy(np.float32, copy=True)[:, None]
    rng = np.random.default_rng(3)
    forced[rng.random(forced.shape) < 0.02] = np.nan
    forced[700:770, :, 0] = np.nan
    return np.datetime64(series.index[0].tz_convert(None), "s"), series.to_numpy(np.float32), forced


def test_shapes_and_types():
    start, values, forcings = tiny()
    window = WindowBuilder(make_spec(), start, values, forcings).batch(np.array([200, 300]), True)
    assert window.past.shape == (2, 48, 4)
    assert window.lags.shape == (2, 2, 6, 4)
    assert window.past_forcings.shape == (2, 48, 1, 2)
    assert window.future_forcings.shape == (2, 6, 1, 1)
    assert window.past_calendar.shape == (2, 48, len(CALENDAR))
    assert window.future_calendar.shape == (2, 6, len(CALENDAR))
    assert window.target is not None
    assert window.target.shape == (2, 6, 4)
    floats = [window.past, window.lags, window.past_forcings, window.future_forcings]
    assert {array.dtype for array in floats} == {np.dtype(np.float32)}
    assert window.past_calendar.dtype == np.int64


def test_init_time_is_the_last_stamp_shown_and_the_target_begins_after_it():
    builder = rows_only(make_spec(lags=(24,)), "2024-02-05", 500)
    window = builder.batch(np.array([300]), with_target=True)
    assert window.past[0, :, 0].tolist() == list(range(253, 301))
    assert window.target is not None
    assert window.target[0, :, 0].tolist() == list(range(301, 307))
    assert window.lags[0, 0, :, 0].tolist() == list(range(277, 283))


def test_without_target_none_is_given():
    assert rows_only(make_spec(), "2024-02-05", 300).batch(np.array([250])).target is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 70 * 24 - 1))
def test_no_look_ahead(origin):
    """Whatever comes after init changes nothing, but for forcings known over the horizon."""
    start, values, forcings = tiny()
    spec = make_spec()
    later_values, later_forcings = values.copy(), forcings.copy()
    later_values[origin + 1 :] = 1e6
    later_forcings[origin + 1 :, :, 1] = 1e6
    later_forcings[origin + spec.horizon + 1 :] = -1e6
    row = np.array([origin])
    same(
        WindowBuilder(spec, start, values, forcings).batch(row),
        WindowBuilder(spec, start, later_values, later_forcings).batch(row),
    )


def test_forcings_known_over_the_horizon_are_seen():
    start, values, forcings = tiny()
    later = forcings.copy()
    later[301:307, :, 0] = 1e6
    window = WindowBuilder(make_spec(), start, values, later).batch(np.array([300]))
    assert (window.future_forcings == 1e6).all()


@pytest.mark.parametrize(
    ("start", "steps", "lags"),
    [
        ("2024-03-20T00:00:00", 24 * 25, (24, 48, 168, 336)),
        ("2024-10-15T00:00:00", 24 * 30, (24, 48, 168, 336)),
        ("2024-01-01T00:00:00", 24 * 366, (24 * 7 * 26, 24 * 364 // 2)),
    ],
)
def test_lags_follow_the_civil_clock(start, steps, lags):
    """Eight o'clock meets eight o'clock, so many days earlier, over both changes of the hour."""
    spec = make_spec(lags=lags, horizon=24, forcings=())
    builder = rows_only(spec, start, steps)
    origins = np.arange(max(lags) + 24, steps - 24)
    window = builder.batch(origins)
    clock = ZoneInfo("Europe/Rome")
    grid = pd.DatetimeIndex(builder.times(np.arange(steps)), tz="UTC").tz_convert(clock)
    civil = grid.tz_localize(None).to_numpy()
    target = civil[origins[:, None] + np.arange(1, 25)]
    for k, lag in enumerate(lags):
        row = window.lags[:, k, :, 0]
        seen = ~np.isnan(row)
        met = civil[np.nan_to_num(row).astype(int)]
        apart = (target - met)[seen] / np.timedelta64(lag, "h")
        # Only the hour that spring skips has no partner; the next one stands in for it.
        missing = (target - np.timedelta64(lag, "h"))[seen]
        skipped = missing.astype("datetime64[h]") == np.datetime64("2024-03-31T02")
        assert (apart[~skipped] == 1).all()
        assert skipped.sum() <= 24
        expected = np.timedelta64(lag - 1, "h") / np.timedelta64(lag, "h")
        assert np.allclose(apart[skipped], expected)
        assert seen.mean() > 0.8


def test_eight_o_clock_meets_eight_o_clock_on_the_day_of_the_change():
    for day, lag_hours_in_utc in (("2024-03-31", 23), ("2024-10-27", 25)):
        spec = make_spec(lags=(24,), horizon=1, forcings=())
        start = np.datetime64(day) - np.timedelta64(5, "D")
        builder = rows_only(spec, str(start), 24 * 8)
        eight = np.datetime64(f"{day}T08:00") - np.timedelta64(2 if "03" in day else 1, "h")
        row = int((eight - start) / np.timedelta64(1, "h"))
        assert builder.calendar(row, row + 1)[0, 0] == 8
        lag = builder.batch(np.array([row - 1])).lags[0, 0, 0, 0]
        assert row - lag == lag_hours_in_utc
        assert builder.calendar(int(lag), int(lag) + 1)[0, 0] == 8


def test_quarter_hours_shift_by_four_steps_at_the_change():
    spec = make_spec(step="15min", lags=(96, 4), horizon=96, lookback=96, forcings=())
    builder = rows_only(spec, "2024-03-29T00:00:00", 96 * 6)
    row = 2 * 96 + 6 * 4  # 06:00 UTC on 31 March, eight o'clock
    window = builder.batch(np.array([row - 1]))
    assert builder.calendar(row, row + 1)[0, 0] == 32
    assert window.lags[0, 0, 0, 0] == row - 92
    assert window.lags[0, 1, 0, 0] == row - 4  # lags under a day count steps


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 24 * 20 - 1),
    st.lists(st.integers(1, 60), min_size=1, max_size=4, unique=True),
    st.sampled_from(["2024-03-22T00:00:00", "2024-10-18T00:00:00"]),
)
def test_a_lag_never_lies_after_init(origin, lags, start):
    spec = make_spec(lags=tuple(sorted(lags)), horizon=30, forcings=())
    window = rows_only(spec, start, 24 * 20).batch(np.array([origin]))
    known = window.lags[~np.isnan(window.lags)]
    assert (known <= origin).all()
    for k, lag in enumerate(spec.lags):
        lead = np.arange(1, 31)
        surely_later = lead > lag + 1
        assert np.isnan(window.lags[0, k, surely_later, 0]).all()


def test_rows_beyond_the_edges_are_missing():
    builder = rows_only(make_spec(lags=(24,)), "2024-02-05", 100)
    window = builder.batch(np.array([3, 98]), with_target=True)
    assert np.isnan(window.past[0, :44]).all()
    assert window.past[0, 44:, 0].tolist() == [0, 1, 2, 3]
    assert np.isnan(window.lags[0]).all()
    assert np.isnan(window.past_forcings[0, :44]).all()
    assert window.target is not None
    assert window.target[1, 0, 0] == 99
    assert np.isnan(window.target[1, 1:]).all()
    assert np.isnan(window.future_forcings[1, 1:, 0, 0]).sum() == 0  # a day earlier stands in
    assert (window.future_calendar[1, :, 0] >= 0).all()


def test_an_empty_series_gives_windows_of_gaps():
    spec = make_spec(lags=(24,), forcings=())
    window = WindowBuilder(spec, np.datetime64("2024-02-05"), np.zeros((0, 3))).batch(
        np.array([-1])
    )
    assert np.isnan(window.past).all()
    assert window.past.shape == (1, 48, 3)


def test_a_gap_in_a_known_future_takes_the_value_of_a_day_earlier():
    spec = make_spec(horizon=48)
    builder = rows_only(spec, "2024-02-05", 400)
    forcings = np.zeros((450, 1, 2))
    forcings[:, 0, 0] = np.arange(450)
    forcings[:, 0, 1] = -np.arange(450)
    forcings[[310, 334, 340], 0, 0] = np.nan
    builder = WindowBuilder(spec, builder.start, builder.values, forcings)
    coming = builder.batch(np.array([299])).future_forcings[0, :, 0, 0]
    expected = np.arange(300.0, 348)
    expected[[10, 34]] = 286  # 334 falls back to 310, itself a gap, and on to 286
    expected[40] = 316
    assert coming.tolist() == expected.tolist()


def test_forcings_by_node_keep_their_node():
    start, values, _ = tiny()
    forcings = np.random.default_rng(0).normal(size=(len(values), 4, 2)).astype(np.float32)
    window = WindowBuilder(make_spec(), start, values, forcings).batch(np.array([200]))
    np.testing.assert_array_equal(window.past_forcings[0], forcings[153:201])
    np.testing.assert_array_equal(window.future_forcings[0], forcings[201:207, :, :1])


def test_forcings_that_do_not_match_the_spec_are_refused():
    start, values, forcings = tiny()
    with pytest.raises(FelsinaError) as caught:
        WindowBuilder(make_spec(), start, values, forcings[..., :1])
    assert "temp_c" in str(caught.value)
    with pytest.raises(FelsinaError):
        WindowBuilder(make_spec(), start, values)


SPECS = {
    "tiny": make_spec(),
    "week": make_spec(lags=(24, 168, 504), lookback=24, horizon=30),
    "no-lags": make_spec(lags=(), lookback=48, horizon=24),
    "short": make_spec(lags=(), lookback=3, horizon=48),
    "far": make_spec(lags=(24,), lookback=12, horizon=72),
    "daily": make_spec(
        step="1D", lags=(7,), lookback=5, horizon=5, forcings=(Forcing("temp_c", "degC", True),)
    ),
}


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_slice_of_the_series_gives_the_same_window(name, data):
    """What a server holds, ``reach`` rows up to init and the coming forcings, is enough."""
    spec = SPECS[name]
    start, values, forcings = tiny()
    forcings = forcings[..., : len(spec.forcings)].copy()
    origin = data.draw(st.integers(spec.reach - 1, len(values) - spec.horizon - 1))
    full = WindowBuilder(spec, start, values, forcings)
    first = origin - spec.reach + 1
    held = forcings[first : origin + 1 + spec.horizon].copy()
    held[spec.reach :, :, len(spec.known_future) :] = np.nan  # no server knows these yet
    sliced = WindowBuilder(spec, full.times(np.array([first]))[0], values[first : origin + 1], held)
    same(full.batch(np.array([origin])), sliced.batch(np.array([spec.reach - 1])))


def test_a_batch_is_its_windows():
    start, values, forcings = tiny()
    builder = WindowBuilder(make_spec(), start, values, forcings)
    origins = np.array([900, 10, 1679, 300, 300])
    batch = builder.batch(origins, with_target=True)
    for b, origin in enumerate(origins):
        single = builder.batch(np.array([origin]), with_target=True)
        for part, array in single.inputs().items():
            np.testing.assert_array_equal(batch.inputs()[part][b], array[0])
        np.testing.assert_array_equal(batch.target[b], single.target[0])


def test_a_batch_is_a_copy():
    start, values, forcings = tiny()
    builder = WindowBuilder(make_spec(), start, values, forcings)
    before = builder.values.copy()
    window = builder.batch(np.array([400]), with_target=True)
    for array in (*window.inputs().values(), window.target):
        array[:] = 0
    np.testing.assert_array_equal(builder.values, before)
    assert not np.array_equal(builder.batch(np.array([400])).past, window.past)


def test_memory_follows_the_series_and_the_batch_not_the_number_of_windows():
    def peaks(steps: int) -> tuple[int, int]:
        values = np.zeros((steps, 4), np.float32)
        spec = make_spec(lookback=1000, forcings=())
        tracemalloc.start()
        builder = WindowBuilder(spec, np.datetime64("2020-01-01"), values)
        built = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        held = tracemalloc.get_traced_memory()[0]
        builder.batch(np.arange(1000, 1008))
        cut = tracemalloc.get_traced_memory()[1] - held
        tracemalloc.stop()
        return built, cut

    peaks(2000)
    built, cut = peaks(30_000)
    assert cut < 1.2 * peaks(3000)[1]
    assert built < 30_000 * 1000 * 4 * 4 / 20  # a twentieth of all windows laid out
