"""What would have been without an event: a counterfactual from nodes that it did not touch.

The treated nodes' daily index (what was observed, as a share of what their weekdays were before)
is regressed on the control nodes' indices, the weather and the calendar, on days before the event
alone; nothing of the treated nodes after it is seen. This is a synthetic control (Abadie, Diamond
and Hainmueller 2010, doi 10.1198/jasa.2009.ap08746) with ridge weights (Ben-Michael, Feller and
Rothstein 2021, doi 10.1080/01621459.2021.1929245) that may be negative.

How far off it may be is learned from placebos: groups of control nodes that nothing happened to,
at the event's own dates and at earlier ones. Each placebo's error is divided by how well its days
before the event were fitted (as the ratio of mean squared prediction errors does there), and the
treated nodes' interval is what so many percent of the placebos stay within, a conformal quantile.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from models.contracts import FloatArray, IntArray

CONFIDENCE = 0.95
"""Of an effect's interval."""
LEAST_DAYS = 56
"""Days before an event, below which nothing is fitted."""
_FOLDS = 5
_PENALTIES = 10.0 ** np.arange(-2, 7)
"""Of ridge, on standardised columns, as multiples of one observation's weight."""


@dataclass(frozen=True)
class Days:
    """A city's days.

    Attributes:
        values: [D, N] mean of each day, NaN where too little was observed.
        weekday: [D] 0 to 6; a public holiday is a Sunday.
        common: [D, F] weather and other columns that no event moves, without NaN.
    """

    values: FloatArray
    weekday: IntArray
    common: FloatArray


@dataclass(frozen=True)
class Fitted:
    """A group's counterfactual.

    Attributes:
        observed: [D] index of the group, NaN where nothing was observed.
        expected: [D] the same without the event.
        effect: mean of ``observed`` over that of ``expected`` in the window, less 1.
        noise: standard deviation of a day before the event, predicted by other blocks of days.
        penalty: of ridge.
    """

    observed: FloatArray
    expected: FloatArray
    effect: float
    noise: float
    penalty: float


@dataclass(frozen=True)
class Effect:
    """A group's effect with its interval.

    Attributes:
        fitted: the counterfactual.
        low: end of the interval of the effect.
        high: its other end.
        p_value: share of placebos that stray as far, the event itself counted.
        placebos: [B] their errors in units of ``noise``.
    """

    fitted: Fitted
    low: float
    high: float
    p_value: float
    placebos: FloatArray


def effect_of(
    days: Days,
    treated: IntArray,
    controls: IntArray,
    event: int,
    until: int,
    placebos: int = 199,
    seed: int = 0,
) -> Effect:
    """The effect of an event, with an interval from placebos.

    Args:
        days: of the city.
        treated: nodes that the event touched.
        controls: nodes that it did not.
        event: first day of it.
        until: day after the last one that is judged.
        placebos: how many are drawn.
        seed: of the draws.

    Raises:
        ValueError: if there are too few days, or controls, for an interval.
    """
    if event < LEAST_DAYS:
        raise ValueError(f"{event} days before the event; at least {LEAST_DAYS} are needed")
    fitted = counterfactual(days, treated, controls, event, until)
    errors = _placebos(days, treated, controls, event, until, fitted.penalty, placebos, seed)
    least = int(np.ceil((len(errors) + 1) * CONFIDENCE))
    if least > len(errors):
        raise ValueError(f"{len(errors)} placebos could be made; {least} are needed")
    reach = float(np.sort(np.abs(errors))[least - 1]) * fitted.noise
    beyond = int((np.abs(errors) * fitted.noise >= abs(fitted.effect)).sum())
    return Effect(
        fitted=fitted,
        low=fitted.effect - reach,
        high=fitted.effect + reach,
        p_value=(beyond + 1) / (len(errors) + 1),
        placebos=errors,
    )


def counterfactual(
    days: Days,
    group: IntArray,
    controls: IntArray,
    event: int,
    until: int,
    penalty: float | None = None,
) -> Fitted:
    """Fit a group's days before an event, and say what the days after it would have been.

    Args:
        days: of the city.
        group: nodes, whose sum is meant.
        controls: others.
        event: first day after the fit.
        until: end of the window that is judged.
        penalty: of ridge; chosen by blocks of days when None.
    """
    observed = _index(days, group, event)
    columns = [_index(days, controls[[c]], event) for c in range(len(controls))]
    table = np.column_stack([*columns, days.common])
    before = np.flatnonzero(np.isfinite(observed[:event]))
    centre = mean_seen(table[:event])
    spread = np.sqrt(mean_seen(np.square(table[:event] - centre)))
    table = np.nan_to_num((table - centre) / np.where(spread > 0, spread, 1.0))
    fold = np.arange(len(before)) * _FOLDS // len(before)
    errors = [_ridge(table[before], observed[before], fold != f, fold == f) for f in range(_FOLDS)]
    residual = np.empty((len(_PENALTIES), len(before)))
    for f in range(_FOLDS):
        residual[:, fold == f] = observed[before][fold == f] - errors[f]
    tried = np.square(residual).mean(axis=1)
    best = int(tried.argmin()) if penalty is None else int(np.argmin(abs(_PENALTIES - penalty)))
    whole = np.concatenate([table[before], table])
    expected = _ridge(
        whole, observed[before], np.arange(len(whole)) < len(before), np.arange(len(whole)) >= 0
    )[best][len(before) :]
    window = slice(event, until)
    seen = np.isfinite(observed[window])
    mean = observed[window][seen].mean() / expected[window][seen].mean() if seen.any() else np.nan
    return Fitted(
        observed, expected, float(mean - 1), float(np.sqrt(tried[best])), float(_PENALTIES[best])
    )


def _index(days: Days, nodes: IntArray, event: int) -> FloatArray:
    """[D] the sum of what was observed over the sum of those nodes' means of such weekdays."""
    values = days.values[:, nodes]
    usual = np.stack([mean_seen(values[:event][days.weekday[:event] == day]) for day in range(7)])[
        days.weekday
    ]
    seen = np.isfinite(values) & np.isfinite(usual)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(seen, values, 0).sum(axis=1) / np.where(seen, usual, 0).sum(axis=1)


def mean_seen(values: FloatArray, axis: int = 0) -> FloatArray:
    """Mean along an axis of what was observed; NaN where nothing was."""
    seen = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(seen, values, 0).sum(axis) / seen.sum(axis)


def _ridge(
    table: FloatArray, target: FloatArray, train: np.ndarray, test: np.ndarray
) -> FloatArray:
    """[P, test] predictions with each penalty; ``target`` is of the first rows of ``table``."""
    x, y = table[train], target[train[: len(target)]]
    mean_x, mean_y = x.mean(axis=0), y.mean()
    u, s, vt = np.linalg.svd(x - mean_x, full_matrices=False)
    along = (table[test] - mean_x) @ vt.T
    shrunk = s / (s**2 + _PENALTIES[:, None]) * (u.T @ (y - mean_y))
    return mean_y + shrunk @ along.T


def _placebos(
    days: Days,
    treated: IntArray,
    controls: IntArray,
    event: int,
    until: int,
    penalty: float,
    count: int,
    seed: int,
) -> FloatArray:
    """Errors of groups that nothing happened to, in units of their own noise.

    They are groups of controls at the event's dates. Where these are too few to tell ``count`` of
    them apart, half are groups of any nodes at earlier dates, with half of the days before them at
    least: those are fitted on less, and stray further.
    """
    dice, length = np.random.default_rng(seed), until - event
    size = min(len(treated), max(1, len(controls) // 3))
    everyone = np.concatenate([treated, controls])
    first, few = max(LEAST_DAYS, event // 2), comb(len(controls), size) < count
    errors = []
    for b in range(count):
        early = few and b % 2 == 1 and event - length > first
        at = int(dice.integers(first, event - length)) if early else event
        pool = everyone if early else controls
        group = dice.choice(pool, size, replace=False)
        rest = np.setdiff1d(pool, group)
        seen = np.isfinite(days.values[:at, group]).any(axis=1).sum()
        if not len(rest) or seen < LEAST_DAYS // 2:
            continue
        end = at + length
        part = Days(days.values[:end], days.weekday[:end], days.common[:end])
        found = counterfactual(part, group, rest, at, end, penalty)
        if np.isfinite(found.effect) and found.noise > 0:
            errors.append(found.effect / found.noise)
    return np.array(errors)
