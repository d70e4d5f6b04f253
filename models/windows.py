"""The one builder of windows: training, backtest and serving all cut their inputs here.

A forecaster that is fed differently when it serves than when it was scored lies without a trace, so
there is one place that knows lookbacks, lags, gaps, daylight saving and holidays. It holds the
series once and gathers a batch by index: no window is ever copied before it is asked for.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.calendar import calendar_columns, utc_offsets
from models.contracts import FelsinaError, FloatArray, ForecastSpec, IntArray, Window


class WindowBuilder:
    """Cuts batches of windows out of one set of series.

    Args:
        spec: what is forecast; its lags count too.
        start: stamp of row 0, UTC.
        values: [S, N] target, NaN where missing.
        forcings: [S', M, F] in the order of ``spec.forcings``, row 0 at ``start``; S' may exceed S
            by the steps over which known-future forcings are given. None where there are none.
    """

    def __init__(
        self,
        spec: ForecastSpec,
        start: np.datetime64,
        values: FloatArray,
        forcings: FloatArray | None = None,
    ) -> None:
        self.spec = spec
        self.start = start.astype("datetime64[s]")
        self.values = np.ascontiguousarray(values, np.float32)
        if forcings is None:
            forcings = np.zeros((len(values), 1, 0), np.float32)
        if forcings.ndim != 3 or forcings.shape[2] != len(spec.forcings):
            names = [forcing.name for forcing in spec.forcings]
            raise FelsinaError(f"forcings of shape {forcings.shape} do not match {names}")
        self.forcings = np.ascontiguousarray(forcings, np.float32)
        self._known = len(spec.known_future)
        self._before = spec.reach + spec.steps_per_day
        index = np.arange(-self._before, len(values) + spec.horizon)
        times = self.times(index)
        self._calendar = calendar_columns(times, spec.seconds, spec.timezone, spec.country)
        seconds = times.astype(np.int64)
        self._clock = utc_offsets(seconds, spec.timezone) // spec.seconds

    def part(self, nodes: IntArray) -> WindowBuilder:
        """Windows of some ``nodes`` alone, in that order."""
        forcings = self.forcings if self.forcings.shape[1] == 1 else self.forcings[:, nodes]
        return WindowBuilder(self.spec, self.start, self.values[:, nodes], forcings)

    def times(self, index: IntArray) -> NDArray[np.datetime64]:
        """UTC stamps of row numbers, which may lie outside the series."""
        return self.start + np.asarray(index) * np.timedelta64(self.spec.seconds, "s")

    def calendar(self, start: int, stop: int) -> IntArray:
        """Calendar [stop - start, C] of rows ``start`` to ``stop``."""
        return self._calendar[start + self._before : stop + self._before]

    def batch(self, origins: IntArray, with_target: bool = False) -> Window:
        """Windows whose last observation is row ``origins[b]``.

        Args:
            origins: [B] row numbers of ``init_time``.
            with_target: also give what came true (NaN beyond the series).
        """
        spec = self.spec
        origins = np.asarray(origins, np.int64)[:, None]
        past = origins + np.arange(-spec.lookback + 1, 1)
        future = origins + np.arange(1, spec.horizon + 1)
        return Window(
            past=_rows(self.values, past),
            lags=_rows(self.values, self.lag_rows(origins[:, 0])),
            past_forcings=_rows(self.forcings, past),
            future_forcings=self.future_forcings(future),
            past_calendar=self._calendar[past + self._before],
            future_calendar=self._calendar[future + self._before],
            target=_rows(self.values, future) if with_target else None,
        )

    def lag_rows(self, origins: IntArray) -> IntArray:
        """Rows [B, K, H] that the lags of windows are read from, -1 where later than the origin.

        Lags of a day or more follow the civil clock, so that 8:00 meets 8:00.
        """
        spec, clock = self.spec, self._clock
        future = origins[:, None] + np.arange(1, spec.horizon + 1)
        rows = np.empty((len(origins), len(spec.lags), spec.horizon), np.int64)
        for k, lag in enumerate(spec.lags):
            index = future - lag
            if lag >= spec.steps_per_day:
                index = index + clock[future + self._before] - clock[index + self._before]
            rows[:, k] = np.where(index > origins[:, None], -1, index)
        return rows

    def future_forcings(self, future: IntArray) -> FloatArray:
        """[B, H, M, F_known] of rows [B, H]; a lead that is not given takes the day before."""
        known = self.forcings[:, :, : self._known]
        given = _rows(known, future)
        for days in range(1, future.shape[1] // self.spec.steps_per_day + 2):
            gaps = np.isnan(given)
            if not gaps.any():
                break
            given[gaps] = _rows(known, future - days * self.spec.steps_per_day)[gaps]
        return given


def _rows(array: FloatArray, index: IntArray) -> FloatArray:
    """Gather rows; those outside the array are missing."""
    inside = (index >= 0) & (index < len(array))
    if not len(array):
        return np.full((*index.shape, *array.shape[1:]), np.nan, array.dtype)
    rows = array[np.clip(index, 0, len(array) - 1)]
    if not inside.all():
        rows[~inside] = np.nan
    return rows
