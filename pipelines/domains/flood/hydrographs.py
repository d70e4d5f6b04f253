"""Flow over time: from a table, or designed from a peak and a volume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import root_scalar
from scipy.special import gammaln

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.flood.storms import HOUR_S, Hyetograph

FLOW, RAIN = "flow_m3_s", "rain_mm_h"
STEPS = 240
"""Points of a designed hydrograph."""
_LONGEST = 12.0
"""A gamma hydrograph ends so many times to its peak after its beginning, or when it is spent."""
_SPENT = 1e-3


@dataclass(frozen=True)
class Hydrograph:
    """Flow, linear between its times, and as at the last one after it.

    Attributes:
        time_s: [K] rising, from 0.
        flow_m3_s: [K].
    """

    time_s: FloatArray
    flow_m3_s: FloatArray

    @property
    def volume_m3(self) -> float:
        """What flows between the first time and the last."""
        return float(np.trapezoid(self.flow_m3_s, self.time_s))


def read_hydrograph(path: Path) -> Hydrograph:
    """Read a CSV with ``time_s`` or ``hours`` and ``flow_m3_s``, in regular steps.

    Raises:
        FelsinaError: naming file, row and value of a gap, a negative flow or a falling time.
    """
    return Hydrograph(*_read(path, FLOW))


def read_hyetograph(path: Path) -> Hyetograph:
    """Read a CSV with ``time_s`` or ``hours`` and ``rain_mm_h``: each row's rain holds one step."""
    time_s, rain = _read(path, RAIN)
    return Hyetograph(np.append(time_s, 2 * time_s[-1] - time_s[-2]), rain)


def _read(path: Path, column: str) -> tuple[FloatArray, FloatArray]:
    """Regular times from 0 in seconds and values from 0 on, [K] each."""
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a CSV with hours and {column}")
    try:
        table = pd.read_csv(path, skipinitialspace=True)
    except (ValueError, UnicodeDecodeError) as error:
        raise FelsinaError(f"{path} is no CSV: {str(error).splitlines()[0]}") from None
    clocks = [name for name in ("time_s", "hours") if name in table]
    columns = {str(name): pd.Series(table[name]) for name in table}
    if len(clocks) != 1 or column not in columns:
        raise FelsinaError(
            f"{path}: columns are {', '.join(columns)}; needed are time_s or hours"
            f" (one of them) and {column}"
        )
    if len(table) < 2:
        raise FelsinaError(f"{path} has {len(table)} rows; give two or more")
    found = {}
    for name in (clocks[0], column):
        values = np.asarray(pd.to_numeric(columns[name], errors="coerce"), float)
        _refuse(path, ~np.isfinite(values), columns[name], "is no number; give every row a value")
        _refuse(path, values < 0, columns[name], "is negative; give 0 or more")
        found[name] = values
    clock = columns[clocks[0]]
    time = found[clocks[0]]
    if time[0] != 0:
        raise FelsinaError(
            f"{path}: {clocks[0]} begins at {time[0]:g}; times count from the scenario's beginning,"
            " so the first is 0"
        )
    steps = np.diff(time)
    _refuse(path, np.append(False, steps <= 0), clock, "does not rise; sort the rows by time")
    step = steps[0]
    odd = np.append(False, np.abs(steps - step) > 1e-6 * step)
    _refuse(path, odd, clock, f"follows at another step than {step:g}; fill the gap")
    return time * (HOUR_S if clocks[0] == "hours" else 1.0), found[column]


def _refuse(path: Path, bad: np.ndarray, column: pd.Series, why: str) -> None:
    """Refuse the rows that are bad, by the first of them; the header is row 1."""
    if bad.any():
        row = int(np.argmax(bad))
        more = f" and {int(bad.sum()) - 1} more" if bad.sum() > 1 else ""
        raise FelsinaError(f"{path} row {row + 2}{more}: {column.name} {column.iloc[row]} {why}")


def triangular_hydrograph(
    peak_m3_s: float, to_peak_h: float, duration_h: float, base_m3_s: float = 0.0
) -> Hydrograph:
    """Straight up to the peak and straight down to the base flow."""
    _check(peak_m3_s, to_peak_h, base_m3_s)
    if not duration_h > to_peak_h:
        raise FelsinaError(
            f"hydrograph: duration_h = {duration_h:g} is not above to_peak_h = {to_peak_h:g}"
        )
    times = np.array([0, to_peak_h, duration_h]) * HOUR_S
    return Hydrograph(times, np.array([base_m3_s, peak_m3_s, base_m3_s]))


def triangular_duration_h(peak_m3_s: float, volume_m3: float, base_m3_s: float = 0.0) -> float:
    """Duration of the triangle with a given volume above the base flow."""
    return 2 * volume_m3 / (peak_m3_s - base_m3_s) / HOUR_S


def gamma_hydrograph(
    peak_m3_s: float, to_peak_h: float, volume_m3: float, base_m3_s: float = 0.0
) -> Hydrograph:
    """``base + (peak - base) ((t / tp) exp(1 - t / tp))^m`` (the shape of Nash's 1957 cascade).

    The exponent m is found from the volume above the base flow,
    ``(peak - base) tp e^m m^-(m + 1) Gamma(m + 1)``; points have the flow of the curve, and the
    tail below a thousandth of the peak is left out.
    """
    _check(peak_m3_s, to_peak_h, base_m3_s)
    wanted = volume_m3 / ((peak_m3_s - base_m3_s) * to_peak_h * HOUR_S)

    def volume(m: float) -> float:
        return float(np.exp(m - (m + 1) * np.log(m) + gammaln(m + 1)))

    low, high = 0.5, 200.0
    if not volume(high) <= wanted <= volume(low):
        least, most = (volume(m) * volume_m3 / wanted for m in (high, low))
        raise FelsinaError(
            f"hydrograph: volume_m3 = {volume_m3:g} is not within {least:.4g} to {most:.4g}, which"
            f" a peak of {peak_m3_s:g} m3/s after {to_peak_h:g} h can have; change one of them"
        )
    m = float(root_scalar(lambda x: volume(x) - wanted, bracket=(low, high)).root)
    share = np.linspace(0, _LONGEST, STEPS + 1)
    flow = (share * np.exp(1 - share)) ** m
    last = int(np.flatnonzero(flow >= _SPENT)[-1]) + 1
    share = np.linspace(0, share[min(last, STEPS)], STEPS + 1)
    flow = base_m3_s + (peak_m3_s - base_m3_s) * (share * np.exp(1 - share)) ** m
    return Hydrograph(share * to_peak_h * HOUR_S, flow)


def _check(peak_m3_s: float, to_peak_h: float, base_m3_s: float) -> None:
    if base_m3_s < 0 or not peak_m3_s > base_m3_s:
        raise FelsinaError(
            f"hydrograph: peak_m3_s = {peak_m3_s:g} and base_m3_s = {base_m3_s:g}; the base flow"
            " is 0 or more, the peak above it"
        )
    if not to_peak_h > 0:
        raise FelsinaError(f"hydrograph: to_peak_h = {to_peak_h:g} is not above 0")
