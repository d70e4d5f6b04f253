"""A release's days beside those it was tested on: has it aged, has a sensor failed?

The release is replayed over what was observed, each value forecast once, and the days are held to
those between training and the end of its own dataset: what was usual then is no alarm now.

- *residual*: mean of (observed - median) in standard deviations that the forecast gives itself, so
  that floods and winters weigh no more than quiet days; *coverage*: share of values inside the
  release's own 80 % band, which the server's following bands would hide; *missing*: share of values
  that sensors which spoke that day did not send. All by ``sequences``.
- each sensor by ``sensors``: *silent*, *flat*, or off its *level* beside the others (again by
  ``sequences``), held to all days of the dataset, since no forecast is in it.
- *stability*: the population stability index of the last week's values beside the training span's,
  hour of week taken out. It is told and raises no alarm: a season that training never saw moves it.

False alarms of all together: one a year at most; a quarter each for silent and flat sensors and for
levels, a sixteenth for each of the four sequences of the whole city.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.contracts import FloatArray, IntArray
from models.windows import WindowBuilder
from pipelines.sensors import Company, day_levels, habits_of, running
from pipelines.sequences import Usual, usual_of, watch
from serving.drift import Alarm, Kind
from serving.runtime import Runtime
from training.detectors import profile

WINDOW_DAYS = 56
"""Days that are looked at."""
RECENT_DAYS = 28
"""Days whose mean error is told."""
CITY: tuple[Kind, ...] = ("residual", "coverage", "missing")
_SIDES: tuple[tuple[Kind, int], ...] = (
    ("residual", 1),
    ("residual", -1),
    ("coverage", -1),
    ("missing", 1),
)
_RUNS: tuple[Kind, ...] = ("silent", "flat")
_TOLERATED: dict[Kind, float] = {"residual": 0.1, "coverage": 0.05, "missing": 0.05}
"""Changes of a mean that are none: standard deviations, and shares."""
_TOLERATED_LEVEL = (0.05, 0.01)
"""The same of a sensor's level: of its deviation from the usual week, and as a share of what is
never below zero."""
_YEAR = 365
_CITY_BAR = float(np.log(4 * _YEAR * len(_SIDES)))
_FARTHEST = 6.0
"""Standard deviations that one residual counts for at most."""
_BATCH_CELLS = 200_000
"""Leads x nodes that are forecast at a time."""
_DEVIATIONS = 1.2816
"""From the median to the 90 % quantile of a normal variable."""


@dataclass(frozen=True)
class Days:
    """Figures of successive whole days, UTC.

    Attributes:
        dates: [D].
        city: [D, 3] of ``CITY``.
        error: [D] mean absolute error of the median.
        levels: [D, N] of each sensor beside the others.
    """

    dates: np.ndarray
    city: FloatArray
    error: FloatArray
    levels: FloatArray

    def part(self, days: slice) -> Days:
        """Some of the days."""
        return Days(*(figures[days] for figures in vars(self).values()))


class Watch:
    """What a release's days are usually like, and what others say beside them.

    Args:
        runtime: of the release.
        builder: of its dataset.
        train_end: first row after training.
        end: row after the last that the release was made from.
    """

    def __init__(self, runtime: Runtime, builder: WindowBuilder, train_end: int, end: int) -> None:
        self.spec, self.ids = builder.spec, runtime.release.graph.ids
        self._predict = runtime.predict
        every = (runtime.release.manifest["data"].get("issue_every") or 0) // self.spec.seconds
        self._stride = every * max(1, self.spec.horizon // every) if every else self.spec.horizon
        learned = builder.values[:train_end]
        slot, step = self._slots(builder, 0, train_end)
        self._profile = profile(learned, slot, step)
        rest = learned - self._profile[slot]
        self.scale = np.maximum(np.nanstd(rest, axis=0), 1e-9)
        self._tenths = np.nanquantile(rest / self.scale, np.arange(1, 10) / 10)
        month = min(RECENT_DAYS * self.spec.steps_per_day, train_end)
        starts = range(0, train_end - month + 1, month)
        self._months = np.stack([self._shares(builder, at, at + month) for at in starts])
        self.habits = habits_of(builder.values[:end], self.spec.steps_per_day)
        self._company = Company(self._levels(builder, 0, train_end))
        self.usual_days = self.days(builder, train_end, end)
        self._city = usual_of(self.usual_days.city)
        self._level = usual_of(self._beside(builder, 0, end))

    def days(self, builder: WindowBuilder, first: int, stop: int) -> Days:
        """Figures of the whole days within rows ``first`` to ``stop``."""
        first, stop = self._whole_days(builder, first, stop)
        truth = builder.values[first:stop]
        low, median, high = self._forecasts(builder, first, stop)
        off = truth - median
        side = np.maximum(np.where(off > 0, high - median, median - low), 1e-3 * self.scale)
        residual = np.clip(_DEVIATIONS * off / side, -_FARTHEST, _FARTHEST)
        inside = np.where(np.isnan(off), np.nan, (truth >= low) & (truth <= high))
        silent = self._by_day(np.isnan(truth)).mean(axis=1)
        silent[silent == 1] = np.nan
        means = [_mean(self._by_day(figure), (1, 2)) for figure in (residual, inside, np.abs(off))]
        return Days(
            dates=builder.times(np.arange(first, stop, self.spec.steps_per_day)).astype("M8[D]"),
            city=np.stack([*means[:2], _mean(silent, 1)], axis=1),
            error=means[2],
            levels=self._beside(builder, first, stop),
        )

    def judge(
        self, days: Days, values: FloatArray, latest: np.datetime64
    ) -> tuple[list[Alarm], dict[str, float]]:
        """The alarms that stand now, and how near each sequence is to one (1 is an alarm).

        Args:
            days: successive; ``WINDOW_DAYS`` of them at most, the last one the latest whole day.
            values: [S, N] of the last ``WINDOW_DAYS`` days, for runs that last.
            latest: time of the last row.
        """
        found = list(self._runs(values, latest))
        near: dict[str, float] = dict.fromkeys((*CITY, "level"), 0.0)

        def told(name: str, share: float) -> None:
            near[name] = max(near[name], round(max(share, 0.0), 4))

        for name, sign in _SIDES if len(days.dates) else ():
            at = CITY.index(name)
            usual = Usual(*(part[at : at + 1] for part in vars(self._city).values()))
            seen = watch(days.city[:, at : at + 1], usual, _TOLERATED[name], sign)
            told(name, float(seen.evidence[0]) / _CITY_BAR)
            if seen.evidence[0] >= _CITY_BAR:
                found.append(_alarm(name, None, days.dates[int(seen.since[0])], float(seen.by[0])))
        bar = float(np.log(4 * _YEAR * 2 * len(self.ids)))
        for sign in (1, -1) if len(days.dates) else ():
            tolerated = _TOLERATED_LEVEL[self.spec.nonnegative]
            seen = watch(days.levels, self._level, tolerated, sign)
            told("level", float(seen.evidence.max()) / bar)
            for n in np.flatnonzero(seen.evidence >= bar):
                by = float(np.expm1(seen.by[n]) if self.spec.nonnegative else seen.by[n])
                found.append(_alarm("level", self.ids[n], days.dates[int(seen.since[n])], by))
        return found, near

    def stability(self, builder: WindowBuilder, first: int, stop: int) -> float:
        """Population stability index of rows ``first`` to ``stop`` beside training.

        Beside that month of it which is most like them, so that a season it has seen is no news.
        """
        return float(_indices(self._shares(builder, first, stop), self._months).min())

    def _shares(self, builder: WindowBuilder, first: int, stop: int) -> FloatArray:
        """Shares of rows' values in the tenths of training, the usual week taken out."""
        slot, _ = self._slots(builder, first, stop)
        rest = (builder.values[first:stop] - self._profile[slot]) / self.scale
        tenth = np.searchsorted(self._tenths, rest[~np.isnan(rest)])
        count = np.bincount(tenth, minlength=len(self._tenths) + 1) + 0.5
        return count / count.sum()

    def _runs(self, values: FloatArray, latest: np.datetime64) -> Iterator[Alarm]:
        """Sensors that are silent or flat for longer than is usual, by the hours that they are."""
        now, step = running(values), np.timedelta64(self.spec.seconds, "s")
        for n, node in enumerate(self.ids):
            for kind in _RUNS:
                length = int(getattr(now, kind)[n])
                if length > getattr(self.habits, kind)[n]:
                    rows = len(values) - 1 - int(getattr(now, f"{kind}_since")[n])
                    since = latest - rows * step
                    yield _alarm(kind, node, since, length * self.spec.seconds / 3600)

    def _forecasts(self, builder: WindowBuilder, first: int, stop: int) -> FloatArray:
        """10 %, 50 % and 90 % quantiles [3, rows, N], each row by the latest issue before it."""
        spec, stride = self.spec, self._stride
        rows = np.arange(first - stride, stop)
        at = builder.times(rows).astype(np.int64) // spec.seconds
        origins = rows[at % stride == 0] - 1
        at_levels = [spec.quantiles.index(level) for level in (0.1, 0.5, 0.9)]
        out = np.full((3, stop + stride, builder.values.shape[1]), np.nan)
        batch = max(1, _BATCH_CELLS // (spec.horizon * builder.values.shape[1]))
        for start in range(0, len(origins), batch):
            part = origins[start : start + batch]
            said = self._predict(builder.batch(part))[..., at_levels]
            for origin, quantiles in zip(part, said, strict=True):
                leads = min(stride, spec.horizon)
                out[:, origin + 1 : origin + 1 + leads] = np.moveaxis(quantiles[:leads], -1, 0)
        return out[:, first:stop]

    def _beside(self, builder: WindowBuilder, first: int, stop: int) -> FloatArray:
        """Levels [D, N] of whole days beside the other sensors."""
        return self._company.beside(self._levels(builder, first, stop))

    def _levels(self, builder: WindowBuilder, first: int, stop: int) -> FloatArray:
        """Levels [D, N] of whole days."""
        first, stop = self._whole_days(builder, first, stop)
        slot, _ = self._slots(builder, first, stop)
        values, usual = map(self._by_day, (builder.values[first:stop], self._profile[slot]))
        return day_levels(values, usual, self.scale, self.spec.nonnegative)

    def _slots(self, builder: WindowBuilder, first: int, stop: int) -> tuple[IntArray, IntArray]:
        """Slot of the week (working day, Saturday, Sunday or holiday) and step of the day."""
        calendar = builder.calendar(first, stop)
        step, weekday, kind = calendar[:, 0], calendar[:, 1], calendar[:, 2]
        free = np.where((weekday == 6) | (kind == 1), 2, (weekday == 5).astype(int))
        return free * self.spec.steps_per_day + step, step

    def _whole_days(self, builder: WindowBuilder, first: int, stop: int) -> tuple[int, int]:
        """The rows of the whole UTC days within ``first`` to ``stop``."""
        day = self.spec.steps_per_day
        into = int(builder.times(np.array(first)).astype(np.int64) // self.spec.seconds) % day
        begin = first + -into % day
        days = max(0, stop - begin) // day
        return (begin, begin + days * day) if days else (stop, stop)

    def _by_day(self, figures: FloatArray) -> FloatArray:
        """[D, steps of a day, N] of the rows of whole days."""
        return figures.reshape(-1, self.spec.steps_per_day, figures.shape[1])


def _indices(shares: FloatArray, others: FloatArray) -> FloatArray:
    """Population stability index of shares [B] beside each of [M, B]."""
    return ((shares - others) * np.log(shares / others)).sum(axis=1)


def _mean(figures: FloatArray, axes: int | tuple[int, ...]) -> FloatArray:
    """Mean of what there is; NaN of nothing."""
    seen = ~np.isnan(figures)
    count = seen.sum(axis=axes)
    return np.where(seen, figures, 0.0).sum(axis=axes) / np.where(count, count, np.nan)


def _alarm(kind: Kind, node: str | None, since: np.datetime64, by: float) -> Alarm:
    return Alarm(kind=kind, node=node, since=f"{since.astype('M8[s]')}Z", by=round(by, 4))
