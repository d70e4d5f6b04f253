"""Weather as it will be when a forecast is made: not yet observed, reported late, or unknown.

A backtest that reads observed weather over the horizon flatters. Here windows are altered the way a
service meets them and the same model is scored on them again; nothing is trained anew. Errors of
weather forecasts are drawn from a table by *unit*: their deviation grows with lead by round figures
that published verification gives, and they hang together over leads. All places err alike, since a
city is small beside a front; the forcings err independently of each other, as in truth they do not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.contracts import FloatArray, ForecastSpec, IntArray, Window
from models.exported import Predict
from models.mixture import mix
from models.windows import WindowBuilder
from training.metrics import Score

Condition = Callable[[IntArray, Window], tuple[Window, ...]]
"""From origins [B] and their windows to what is known then: several windows are an ensemble."""

HOURS = (0, 6, 24, 48, 120)
"""Leads at which the table gives an error; linear between them, level beyond."""
MEMORY = 12
"""Hours over which the correlation of a forecast's errors falls to 1 / e."""
MOST_ORIGINS = 200
"""Test origins on which conditions are compared in a backtest."""


@dataclass(frozen=True)
class Skill:
    """How far weather forecasts of a unit err.

    Attributes:
        spread: standard deviation of the error at ``HOURS``, in the unit; where ``proportional``,
            that of the logarithm of a factor with mean 1, so that what is zero stays zero.
        proportional: whether the error is a factor.
        least: no forecast is below it.
        most: no forecast is above it.
        missed: share that the forecast does not have at all, at ``HOURS``; the rest is raised by as
            much, so that the mean stays.
    """

    spread: tuple[float, ...]
    proportional: bool = False
    least: float = -np.inf
    most: float = np.inf
    missed: tuple[float, ...] = (0.0,) * len(HOURS)


_SUN = (0.15, 0.2, 0.3, 0.35, 0.45)
_RAIN = Skill((0.4, 0.5, 0.7, 0.9, 1.2), True, 0, missed=(0.05, 0.1, 0.2, 0.3, 0.45))
SKILL = {
    "degC": Skill((0.8, 1.0, 2.0, 2.5, 3.0)),
    "K": Skill((0.8, 1.0, 2.0, 2.5, 3.0)),
    "%": Skill((8.0, 11.0, 14.0, 16.0, 18.0), least=0, most=100),
    "m/s": Skill((1.0, 1.3, 1.8, 2.1, 2.6), least=0),
    "W/m2": Skill(_SUN, proportional=True, least=0, most=1361.0),
    "J/m2": Skill(_SUN, proportional=True, least=0),
    "kWh/m2": Skill(_SUN, proportional=True, least=0),
    "mm": _RAIN,
    "mm/h": _RAIN,
}
"""Errors by unit, round figures at single stations. A unit that is not here is no weather: a price
or a calendar is known as it is.

Temperature at 2 m and wind at 10 m: errors of global forecasts at European stations in ECMWF
Technical Memorandum 880 (Haiden et al. 2021). Humidity: 11 to 18 % in the Developmental Testbed
Center's verification of WRF-ARW. Irradiance: relative RMSE of the day ahead of 20 to 40 % of the
mean and more under clouds (Perez et al. 2013, doi 10.1016/j.solener.2013.05.005). Rain has no such
figure that suits every step: a factor of two either way and a fifth of it missed at 24 h is our
assumption; rain that does not come is not simulated.
"""


def degrade(window: Window, spec: ForecastSpec, rng: np.random.Generator) -> Window:
    """Put a forecast in place of the observed forcings over the horizon.

    Args:
        window: of observed forcings.
        spec: names the units and the step.
        rng: draws the errors.

    Returns:
        The window with other ``future_forcings``; what was missing stays missing.
    """
    hours = np.arange(1, spec.horizon + 1) * spec.seconds / 3600
    kept = np.exp(-spec.seconds / 3600 / MEMORY)
    future = window.future_forcings.copy()
    for f, forcing in enumerate(spec.known_future):
        if (skill := SKILL.get(forcing.unit)) is None:
            continue
        error, luck = _noise((2, len(future), spec.horizon), kept, rng)[..., None]
        spread = np.interp(hours, HOURS, skill.spread)[:, None]
        missed = np.interp(hours, HOURS, skill.missed)[:, None]
        truth = future[..., f]
        if skill.proportional:
            truth = truth * np.exp(spread * error - spread**2 / 2) / (1 - missed)
            truth = np.where(_normal_share(luck) < missed, truth * 0, truth)
        else:
            truth = truth + spread * error
        future[..., f] = np.clip(truth, skill.least, skill.most)
    return replace(window, future_forcings=future)


def _noise(shape: tuple[int, ...], kept: float, rng: np.random.Generator) -> FloatArray:
    """Standard normal noise whose steps along the last axis are correlated by ``kept``."""
    noise = rng.standard_normal(shape)
    for h in range(1, shape[-1]):
        noise[..., h] = kept * noise[..., h - 1] + (1 - kept**2) ** 0.5 * noise[..., h]
    return noise


def _normal_share(z: FloatArray) -> FloatArray:
    """Share of a normal distribution below ``z``, by a logistic curve good to .01."""
    return 1 / (1 + np.exp(-1.702 * z))


def ensemble(
    window: Window, spec: ForecastSpec, rng: np.random.Generator, count: int
) -> tuple[Window, ...]:
    """Members of a weather ensemble, which scatter about a centre that itself errs.

    The centre is as far from the truth as any forecast, and the members as far from the centre: so
    the truth is like one more member. Scattered about the truth, they would give it away.
    """
    centre = degrade(window, spec, rng)
    return tuple(degrade(centre, spec, rng) for _ in range(count))


def delay(window: Window, steps: int, age: IntArray) -> Window:
    """Let the last ``steps`` of target and forcings be not reported yet.

    Args:
        window: as if all had been reported at once.
        steps: how many are late, ``init_time`` among them.
        age: [B, K, H] steps by which the row of each lag lies before ``init_time``.
    """
    first = max(window.past.shape[1] - steps, 0)
    past, forcings = window.past.copy(), window.past_forcings.copy()
    past[:, first:] = np.nan
    forcings[:, first:] = np.nan
    lags = np.where((age < steps)[..., None], np.nan, window.lags).astype(window.lags.dtype)
    return replace(window, past=past, lags=lags, past_forcings=forcings)


def without(window: Window) -> Window:
    """Let every forcing be unknown, in the past too; the model then takes its mean."""
    return replace(
        window,
        past_forcings=np.full_like(window.past_forcings, np.nan),
        future_forcings=np.full_like(window.future_forcings, np.nan),
    )


def forecast_like(spec: ForecastSpec, seed: int = 0) -> Condition:
    """Forcings over the horizon as forecast; the draw hangs on ``seed`` and the origins alone."""
    return lambda origins, window: (degrade(window, spec, _rng(seed, origins)),)


def ensemble_like(spec: ForecastSpec, seed: int = 0, count: int = 10) -> Condition:
    """An ensemble about the very forecast that ``forecast_like`` draws for that seed."""
    return lambda origins, window: ensemble(window, spec, _rng(seed, origins), count)


def delayed(builder: WindowBuilder, steps: int) -> Condition:
    """Observations that come ``steps`` late."""

    def condition(origins: IntArray, window: Window) -> tuple[Window, ...]:
        return (delay(window, steps, origins[:, None, None] - builder.lag_rows(origins)),)

    return condition


def observed(origins: IntArray, window: Window) -> tuple[Window, ...]:
    """All as it was observed, over the horizon too."""
    return (window,)


def unknown(origins: IntArray, window: Window) -> tuple[Window, ...]:
    """No forcings at all."""
    return (without(window),)


def _rng(seed: int, origins: IntArray) -> np.random.Generator:
    return np.random.default_rng([seed, int(origins[0])])


def score_under(
    condition: Condition,
    predict: Predict,
    builder: WindowBuilder,
    origins: IntArray,
    batch: int = 64,
) -> dict[str, Any]:
    """Metrics (``metrics.Score``) of a model that knows what ``condition`` lets it know.

    Args:
        condition: what is known; the forecasts of an ensemble are mixed.
        predict: the model.
        builder: cuts the windows.
        origins: [B] rows of ``init_time``.
        batch: windows at a time.
    """
    levels = builder.spec.quantiles
    score = Score(builder.spec.horizon, levels)
    for start in range(0, len(origins), batch):
        rows = origins[start : start + batch]
        window = builder.batch(rows, with_target=True)
        assert window.target is not None
        members = np.stack([predict(known) for known in condition(rows, window)])
        quantiles = mix(members, levels) if len(members) > 1 else members[0]
        score.update(quantiles, window.target)
    return score.result()


def spread_out(origins: IntArray, count: int = MOST_ORIGINS) -> IntArray:
    """At most ``count`` origins, evenly spread."""
    rows = np.linspace(0, len(origins) - 1, min(count, len(origins)))
    return origins[rows.astype(int)]


def weather_skill(
    predict: Predict, builder: WindowBuilder, origins: IntArray, batch: int = 64
) -> dict[str, Any] | None:
    """What a backtest says of weather: MAE, CRPS and coverage by what is known of it.

    Returns:
        ``origins`` (how many, evenly spread, the same for all) and the three conditions; None where
        no forcing is given over the horizon.
    """
    spec = builder.spec
    if not spec.known_future:
        return None
    some = spread_out(origins)
    conditions = {
        "observed": observed,
        "forecast_like": forecast_like(spec),
        "without": unknown,
    }
    report: dict[str, Any] = {"origins": len(some)}
    for name, condition in conditions.items():
        found = score_under(condition, predict, builder, some, batch)
        report[name] = {key: found[key] for key in ("mae", "crps", "coverage_80")}
    return report
