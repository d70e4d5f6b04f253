"""Thresholds crossed: how good the probabilities are, and how good the warnings.

Floods are few, so everything says how many events it rests on, and intervals resample weeks of the
test span, not windows: thousands of windows that look at one flood are one flood.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.contracts import FloatArray, ForecastSpec, IntArray
from models.joint import THRESHOLDS, Ranks, exceedance, within
from training.brier import brier_scores
from training.dataset import CityDataset
from training.splits import BLOCK_HORIZONS

STAND_IN = "p95"
"""Name of the train span's 95 % quantile of each node, where no node has a threshold."""
WARN = 0.5
"""A warning stands where a crossing within the horizon is at least this likely."""


@dataclass(frozen=True)
class _Level:
    """One threshold level at the nodes that have it: X nodes."""

    limit: FloatArray  # [X]
    values: FloatArray  # [S, X]
    probability: FloatArray  # [B, H, X] at a lead
    period: FloatArray  # [B, H, X] at any lead up to it


def threshold_events(
    dataset: CityDataset,
    spec: ForecastSpec,
    origins: IntArray,
    quantiles: FloatArray,
    template: Ranks,
) -> dict[str, Any]:
    """Score crossings of every threshold level on the test origins.

    Args:
        dataset: series and thresholds.
        spec: of the forecasts.
        origins: [B] rows of ``init_time``.
        quantiles: [B, H, N, Q].
        template: [M, H, N] ranks for crossings within the horizon; M may be 0.

    Returns:
        Level name to nodes, events and origins; under ``leads`` ("1" ... "H", ``within_horizon``)
        Brier scores of the forecast, climatology (the node's frequency in the train span) and
        persistence, skills, 90 % intervals from resampled blocks, and the reliability table; for
        ``within_horizon`` also what the same leads give without the template; under ``warnings``
        POD, FAR and lead time within the horizon.
    """
    thresholds, names = _thresholds(dataset)
    leads = sorted({1, -(-spec.horizon // 4), -(-spec.horizon // 2), spec.horizon})
    block = max(7 * spec.steps_per_day, BLOCK_HORIZONS * spec.horizon)
    _, blocks = np.unique((origins - origins[0]) // block, return_inverse=True)
    report: dict[str, Any] = {}
    for name, column in zip(names, thresholds.T, strict=True):
        nodes = np.flatnonzero(~np.isnan(column))
        if not len(nodes):
            continue
        level = _level(dataset, spec, quantiles[:, :, nodes], template[:, :, nodes], column, nodes)
        crossed = _crossed(level.values, level.limit)
        test = crossed[dataset.splits.validation_end :]
        scores = {}
        for lead in leads:
            cases = level.probability[:, lead - 1], crossed[origins + lead]
            references = _references(level, crossed, dataset, origins)
            scores[str(lead)] = brier_scores(*cases, references, blocks)
        if len(template):
            any_ahead = _any_ahead(crossed, spec.horizon)
            cases = level.period[:, -1], any_ahead[origins]
            references = _references(level, crossed, dataset, origins, spec.horizon)
            scores["within_horizon"] = brier_scores(*cases, references, blocks) | {
                "brier_independent_leads": _brier(1 - (1 - level.probability).prod(1), cases[1]),
                "brier_comonotone_leads": _brier(level.probability.max(1), cases[1]),
            }
        report[name] = {
            "nodes": len(nodes),
            "origins": len(origins),
            "events": int(sum(_runs(test[:, x]) for x in range(len(nodes)))),
            "nodes_with_events": int(sum(_runs(test[:, x]) > 0 for x in range(len(nodes)))),
            "blocks": int(blocks[-1]) + 1,
            "leads": scores,
            "warnings": _warnings(level, crossed, origins, spec) if len(template) else None,
        }
    return report


def _thresholds(dataset: CityDataset) -> tuple[FloatArray, tuple[str, ...]]:
    """[N, K] and K names: those of ``nodes.csv``, or the train span's 95 % quantile."""
    given = dataset.graph.thresholds
    if not np.isnan(given).all():
        return given, THRESHOLDS
    train = dataset.values[: dataset.splits.train_end]
    stand_in = np.full(train.shape[1], np.nan)
    seen = ~np.isnan(train).all(axis=0)
    stand_in[seen] = np.nanquantile(train[:, seen], 0.95, axis=0)
    return stand_in[:, None], (STAND_IN,)


def _level(
    dataset: CityDataset,
    spec: ForecastSpec,
    quantiles: FloatArray,
    template: Ranks,
    column: FloatArray,
    nodes: IntArray,
) -> _Level:
    probability = np.empty(quantiles.shape[:3], np.float32)
    period = np.empty(quantiles.shape[:3], np.float32)
    for b, one in enumerate(quantiles):
        at_lead = exceedance(one, spec.quantiles, column[nodes, None], spec.nonnegative)
        probability[b], period[b] = at_lead[..., 0], within(at_lead, template)[..., 0]
    return _Level(column[nodes], dataset.values[:, nodes], probability, period)


def _brier(probability: FloatArray, outcome: FloatArray) -> float | None:
    known = ~np.isnan(outcome)
    return float(((probability - outcome)[known] ** 2).mean()) if known.any() else None


def _crossed(values: FloatArray, limit: FloatArray) -> FloatArray:
    """1 where a value reaches its limit, 0 where not, NaN where missing."""
    return np.where(np.isnan(values), np.nan, values >= limit.astype(np.float32))


def _any_ahead(crossed: FloatArray, horizon: int) -> FloatArray:
    """[S - H, X] whether a crossing follows row s within H steps; NaN where a gap may hide one."""
    ahead = sliding_window_view(crossed[1:], horizon, axis=0)
    known = np.nan_to_num(ahead).max(-1)
    return np.where((known == 0) & np.isnan(ahead).any(-1), np.nan, known)


def _references(
    level: _Level, crossed: FloatArray, dataset: CityDataset, origins: IntArray, period: int = 0
) -> dict[str, FloatArray]:
    """Climatology [X] and persistence [B, X], at a lead or within a period."""
    end = dataset.splits.train_end
    train = _any_ahead(crossed[:end], period) if period else crossed[:end]
    count = (~np.isnan(train)).sum(axis=0)
    return {
        "climatology": np.nansum(train, axis=0) / np.maximum(count, 1),
        "persistence": np.nan_to_num(_last(crossed)[origins]),
    }


def _last(values: FloatArray) -> FloatArray:
    """Gaps [S, X] filled with the last value before."""
    row = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    return np.take_along_axis(values, np.maximum.accumulate(row, axis=0), axis=0)


def _runs(crossed: FloatArray) -> int:
    """Runs of ones; a gap inside a run does not part it."""
    known = crossed[~np.isnan(crossed)]
    return int((np.diff(known, prepend=0) > 0).sum())


def _warnings(
    level: _Level, crossed: FloatArray, origins: IntArray, spec: ForecastSpec
) -> dict[str, Any]:
    """Warnings of a crossing within the horizon, issued while the last value lies below.

    An event is a run that begins within the horizon of such an origin; it was warned of when one of
    these origins warned, and the lead time counts from the first. A false warning is a run of
    origins that warned with nothing crossing in any of their windows.
    """
    last, ahead = _last(crossed)[origins], _any_ahead(crossed, spec.horizon)[origins]
    calm = last == 0
    warns = (level.period[:, -1] >= WARN) & calm
    events = warned = issued = false = 0
    leads: list[float] = []
    for x in range(len(level.limit)):
        known = np.flatnonzero(~np.isnan(crossed[:, x]))
        onsets = known[np.diff(crossed[known, x], prepend=0) > 0]
        for onset in onsets[(onsets > origins[0]) & (onsets <= origins[-1] + spec.horizon)]:
            before = (origins >= onset - spec.horizon) & (origins < onset) & calm[:, x]
            rows = origins[before & warns[:, x]]
            events += bool(before.any())
            warned += bool(len(rows))
            leads += [float(onset - rows[0])] if len(rows) else []
        starts = np.flatnonzero(np.diff(warns[:, x].astype(int), prepend=0) > 0)
        ends = np.flatnonzero(np.diff(warns[:, x].astype(int), append=0) < 0)
        for start, end in zip(starts, ends, strict=True):
            came = ahead[start : end + 1, x]
            if not np.isnan(came).all():
                issued += 1
                false += not np.nansum(came)
    hours = spec.seconds / 3600
    return {
        "probability": WARN,
        "events": events,
        "warned": warned,
        "issued": issued,
        "false": false,
        "pod": warned / events if events else None,
        "far": false / issued if issued else None,
        "lead_time_h": float(np.mean(leads)) * hours if leads else None,
    }
