"""A heat wave in a weather year: days that are warmer, or temperatures from a table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from models.contracts import BoolArray, FelsinaError, FloatArray
from pipelines.domains.energy.weather import Weather
from pipelines.domains.scenarios import Frozen

TIME, OUTDOOR = COLUMNS = ("time", "outdoor_c")


class HeatKeys(Frozen):
    """A heat wave.

    Attributes:
        delta_k: by how much every hour is warmer, with
        begin: the first day, month-day, and
        days: how many; or
        file: CSV with ``time`` (successive whole hours in ISO 8601, without a zone: local standard
            time as the weather's; which year they are of does not matter) and ``outdoor_c``, that
            replace the year's.
        error_k: by how much warmer and cooler the wave is tried as well.
    """

    delta_k: float | None = Field(default=None, gt=0, le=15)
    begin: str = "07-10"
    days: int = Field(default=7, ge=1, le=92)
    file: str | None = None
    error_k: float = Field(default=1.0, gt=0, le=5)

    @model_validator(mode="after")
    def _one_wave(self) -> HeatKeys:
        if (self.delta_k is None) == (self.file is None):
            raise ValueError("give either delta_k, begin and days, or file")
        if self.file is not None and self.model_fields_set & {"begin", "days"}:
            raise ValueError("begin and days are delta_k's; the file has its own times")
        try:
            pd.Timestamp(f"2023-{self.begin}")
        except ValueError:
            raise ValueError(f"begin {self.begin!r} is no day; write month-day, 07-10") from None
        return self


@dataclass(frozen=True)
class HeatWave:
    """A heat wave on one weather year.

    Attributes:
        usual: the year without it.
        first: its first hour, counted from the year's.
        rows: [T] its hours, which follow one another and run on into the next year as its first.
        outdoor_c: [T] the air with it.
    """

    usual: Weather
    first: int
    rows: BoolArray
    outdoor_c: FloatArray

    def weather(self, more_k: float = 0.0) -> Weather:
        """The year with it, so much warmer still in its hours; the sun stays as it was."""
        air = np.where(self.rows, self.outdoor_c + more_k, self.usual.outdoor_c)
        return replace(self.usual, name=f"{self.usual.name}, with a heat wave", outdoor_c=air)

    @property
    def span(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """Its first and its last hour; the last is before the first where it runs over New Year."""
        last = (self.first + int(self.rows.sum()) - 1) % len(self.rows)
        first, end = self.usual.times[[self.first, last]].to_list()
        return first, end

    @property
    def warming_k(self) -> float:
        """Mean over its hours."""
        return float((self.outdoor_c - self.usual.outdoor_c)[self.rows].mean())

    @property
    def hottest_c(self) -> float:
        """Its hottest hour."""
        return float(self.outdoor_c[self.rows].max())


def heat_wave(usual: Weather, keys: HeatKeys, base: Path) -> HeatWave:
    """Lay a heat wave over a year; days run on into the next year as its first.

    Raises:
        FelsinaError: if a table cannot be read, has other hours, or makes nothing warmer.
    """
    times = usual.times
    if keys.delta_k is None:
        assert keys.file is not None
        return _from_table(usual, base / keys.file)
    begin = f"{keys.begin} 00"
    found = np.flatnonzero(times.strftime("%m-%d %H") == begin)
    if not len(found):
        raise FelsinaError(f"heat.begin = {keys.begin!r} is no day of {usual.name}")
    rows = np.zeros(len(times), bool)
    rows[(found[0] + np.arange(24 * keys.days)) % len(times)] = True
    warm = np.where(rows, usual.outdoor_c + keys.delta_k, usual.outdoor_c)
    return HeatWave(usual, int(found[0]), rows, warm)


def _from_table(usual: Weather, path: Path) -> HeatWave:
    try:
        table = pd.read_csv(path, dtype={TIME: str})
        missing = [name for name in COLUMNS if name not in table]
        if missing:
            raise ValueError(f"no column {missing[0]}")
        air = table[OUTDOOR].astype(float).to_numpy()
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise FelsinaError(
            f"heat.file {path}: {reason}; give columns {' and '.join(COLUMNS)}, such as"
            " 2023-07-10 14:00, 39.5"
        ) from None
    where = _hours(usual, path, table[TIME].astype(str).tolist())
    odd = np.flatnonzero(~((air >= -40) & (air <= 60)))
    if len(odd) or not len(air):
        shown = f"line {odd[0] + 2}: {air[odd[0]]:g} degC" if len(odd) else "no hours"
        raise FelsinaError(f"heat.file {path}: {shown}; temperatures are from -40 to 60 degC")
    outdoor, rows = usual.outdoor_c.copy(), np.zeros(len(usual.times), bool)
    outdoor[where], rows[where] = air, True
    wave = HeatWave(usual, where[0], rows, outdoor)
    if wave.warming_k <= 0:
        raise FelsinaError(
            f"heat.file {path}: its hours are {-wave.warming_k:.1f} K cooler than those of"
            f" {usual.name}; a heat wave is warmer"
        )
    return wave


def _hours(usual: Weather, path: Path, stamps: list[str]) -> list[int]:
    """Rows of the year that a table's times stand for, one after another."""
    places = {key: row for row, key in enumerate(usual.times.strftime("%m-%d %H:%M:%S.%f"))}
    found: dict[int, None] = {}
    before = None
    for line, stamp in enumerate(stamps, start=2):
        try:
            moment = datetime.fromisoformat(stamp.strip())
        except ValueError:
            what = f"{stamp!r} is no time in ISO 8601; write 2023-07-10T14:00, year and month first"
        else:
            place = places.get(f"{moment:%m-%d %H:%M:%S.%f}")
            if moment.tzinfo is not None:
                what = f"{stamp} names a zone; give {usual.name}'s local standard time without one"
            elif place is None:
                what = f"{stamp} is no whole hour of the year; mend it"
            elif place in found:
                what = f"{stamp} occurs twice; mend it"
            elif before is not None and moment - before != timedelta(hours=1):
                what = f"{stamp} is not an hour after {before}; give every hour, in order"
            else:
                found[place], before = None, moment
                continue
        raise FelsinaError(f"heat.file {path} line {line}: {what}")
    return list(found)
