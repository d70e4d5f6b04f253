"""Design storms: depth-duration-frequency curves, Gumbel depths, and hyetographs of one depth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.flood.rasters import read_on
from pipelines.domains.flood.terrain import Terrain

HOUR_S = 3600.0
MM_H_IN_M_S = 1e-3 / HOUR_S


@dataclass(frozen=True)
class Hyetograph:
    """Rain in steps, dry after the last.

    Attributes:
        time_s: [K + 1] beginnings of the steps and the end of the last; the first is 0.
        intensity_mm_h: [K] everywhere alike, or [K, Y, X].
    """

    time_s: FloatArray
    intensity_mm_h: FloatArray

    def depth_mm(self) -> FloatArray:
        """What falls in all, a number or [Y, X]."""
        hours = np.diff(self.time_s) / HOUR_S
        return np.tensordot(hours, self.intensity_mm_h, axes=1)


@dataclass(frozen=True)
class DepthDuration:
    """``h = a d^n``: the depth in mm that falls within d hours, for one return period.

    Attributes:
        a_mm: depth of one hour.
        n: how it grows with duration, above 0 and to 1.
    """

    a_mm: float
    n: float

    def __post_init__(self) -> None:
        """Refuse a curve that does not rise."""
        if not self.a_mm > 0:
            raise FelsinaError(f"rain: a_mm = {self.a_mm:g} is not above 0; give mm in one hour")
        if not 0 < self.n <= 1:
            raise FelsinaError(
                f"rain: n = {self.n:g} is not above 0 and to 1; h = a d^n must grow with duration,"
                " and no faster than it (0.2 to 0.5 is usual)"
            )

    def depth_mm(self, hours: float) -> float:
        """Depth of a duration."""
        return self.a_mm * hours**self.n


@dataclass(frozen=True)
class Gumbel:
    """Gumbel's distribution of yearly maxima of rain of one duration.

    Attributes:
        location_mm: mode.
        scale_mm: spread.
    """

    location_mm: float
    scale_mm: float

    def __post_init__(self) -> None:
        """Refuse a spread that is none."""
        if not self.scale_mm > 0:
            raise FelsinaError(
                f"rain: Gumbel scale {self.scale_mm:g} mm is not above 0; rarer rain must be deeper"
            )

    @classmethod
    def through(cls, first: tuple[float, float], second: tuple[float, float]) -> Gumbel:
        """The one with two given depths: (return period in years, mm) each."""
        low, high = _reduced(first[0]), _reduced(second[0])
        if low == high:
            raise FelsinaError(
                f"rain: both depths are of {first[0]:g} years; give two return periods that differ"
            )
        scale = (second[1] - first[1]) / (high - low)
        return cls(first[1] - scale * low, scale)

    def depth_mm(self, years: float) -> float:
        """Depth that is exceeded once in so many years on average."""
        return self.location_mm + self.scale_mm * _reduced(years)


def uniform_storm(depth_mm: float, hours: float) -> Hyetograph:
    """The same intensity from beginning to end."""
    _check(depth_mm, hours)
    return Hyetograph(np.array([0.0, hours * HOUR_S]), np.array([depth_mm / hours]))


def chicago_storm(
    curve: DepthDuration, hours: float, peak: float = 0.4, step_minutes: float = 5.0
) -> Hyetograph:
    """The storm whose deepest part of any duration has the curve's depth (Keifer & Chu 1957).

    At t hours before its peak ``a r (t / r)^n`` is still to fall until it, after it
    ``a (1 - r) (t / (1 - r))^n`` has fallen; steps have the mean over themselves, so that the
    depth ``a d^n`` is kept whatever the step.

    Args:
        curve: of the return period.
        hours: duration.
        peak: r, where the peak stands between the beginning (0) and the end (1).
        step_minutes: of the hyetograph; the last step is shorter where it does not divide.
    """
    _check(curve.a_mm, hours)
    if not 0 <= peak <= 1:
        raise FelsinaError(
            f"rain: peak = {peak:g} is not within 0 to 1; it is the share of the storm before its"
            " peak (0.4 is usual)"
        )
    if not step_minutes > 0:
        raise FelsinaError(f"rain: step_minutes = {step_minutes:g} is not above 0")
    edges = np.append(np.arange(0, hours - 1e-9, step_minutes / 60), hours)
    after = edges - peak * hours
    share = np.where(after < 0, peak, 1 - peak)
    within = np.abs(after) / np.where(share > 0, share, 1)
    fallen = np.sign(after) * curve.a_mm * share * within**curve.n
    return Hyetograph(edges * HOUR_S, np.diff(fallen) / np.diff(edges))


def cut_at_end(rain: Hyetograph, begin_h: float, end_h: float) -> str:
    """What the end of a run cuts off a storm, in a sentence; none where all of it falls before.

    Args:
        rain: the storm.
        begin_h: when it begins.
        end_h: when the run ends.

    Raises:
        FelsinaError: if none of it falls before the end.
    """
    hours = begin_h + rain.time_s / HOUR_S
    fallen = np.diff(hours) * rain.intensity_mm_h.reshape(len(hours) - 1, -1).mean(axis=1)
    wet = np.flatnonzero(fallen > 0)
    first = float(hours[wet[0] if len(wet) else 0])
    if first >= end_h - 1e-9:
        raise FelsinaError(
            f"rain: it begins at {first:g} h (begin_h = {begin_h:g}), not before the end at"
            f" {end_h:g} h; let it begin earlier, or lengthen hours"
        )
    share = np.clip((end_h - hours[:-1]) / np.diff(hours), 0, 1)
    lost, whole = float(((1 - share) * fallen).sum()), float(fallen.sum())
    if lost <= 1e-6 * whole:
        return ""
    return (
        f"the storm is cut by the end at {end_h:g} h: {lost:.3g} of its {whole:.3g} mm would fall"
        " later"
    )


def rain_grid(path: Path, terrain: Terrain, step_minutes: float) -> Hyetograph:
    """Rain from a raster of mm/h, one band a step, nearest at the terrain's cells."""
    if not step_minutes > 0:
        raise FelsinaError(f"rain: step_minutes = {step_minutes:g} is not above 0")
    intensity = read_on(path, terrain, "rain")
    if (intensity < 0).any():
        band, row, column = (int(place) for place in np.argwhere(intensity < 0)[0])
        x, y = terrain.centres(np.array([row * intensity.shape[2] + column]))
        raise FelsinaError(
            f"rain {path}: {intensity[band, row, column]:g} mm/h in band {band + 1} at"
            f" x = {x[0]:g}, y = {y[0]:g} is negative; rain is 0 or more, mark gaps as no data"
        )
    return Hyetograph(np.arange(len(intensity) + 1) * step_minutes * 60.0, intensity)


def _check(depth_mm: float, hours: float) -> None:
    if depth_mm < 0:
        raise FelsinaError(f"rain: a depth of {depth_mm:g} mm is negative; give 0 or more")
    if not hours > 0:
        raise FelsinaError(f"rain: hours = {hours:g} is not above 0; give the storm's duration")


def _reduced(years: float) -> float:
    """Gumbel's reduced variate of a return period."""
    if not years > 1:
        raise FelsinaError(
            f"rain: a return period of {years:g} years is not above 1; yearly maxima have none"
        )
    return float(-np.log(-np.log(1 - 1 / years)))
