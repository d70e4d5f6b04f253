"""Split conformal calibration: one widening a lead and central band.

Conformalised quantile regression (Romano et al. 2019, arXiv 1905.03222) with the 10-90 % band as
the unit of error (Kivaranovic et al. 2020, arXiv 1905.10634), on windows that neither fitted nor
stopped the model. Both ends of a band move by the same amount: a validation month has a bias of its
own (an August, a flood), and moving each quantile alone would carry it into the forecasts. The
median stays. Each node gives its own offset and the middle one of them counts, so that a sensor
that breaks in those weeks does not widen every band.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.adaptive import BOUNDS, PATIENCE, RATE, replay
from models.contracts import FloatArray, ForecastSpec, IntArray
from training.metrics import Score

GROUP_CAUTION = 4.0
"""Sensor-weeks at which half of what sets a group's bands apart is believed."""
_CELLS = 2**21
"""Targets whose adaptive bands are worked out at a time."""


def conformal_offsets(
    quantiles: FloatArray, target: FloatArray, levels: tuple[float, ...]
) -> FloatArray:
    """Offsets in units of the 10-90 % band.

    Args:
        quantiles: [B, H, N, Q] uncalibrated forecasts of the calibration windows.
        target: [B, H, N], NaN where missing.
        levels: Q levels.

    Returns:
        [H, Q]; 0 at the median and at leads without a target.

    Raises:
        ValueError: if the levels are not symmetric about the median.
    """
    low, high = levels.index(0.1), levels.index(0.9)
    horizon = quantiles.shape[1]
    offsets = np.zeros((horizon, len(levels)), np.float32)
    pairs = [(q, levels.index(round(1 - v, 4))) for q, v in enumerate(levels) if v < 0.5]
    for h in range(horizon):
        forecast, truth = quantiles[:, h], target[:, h]
        count = (~np.isnan(truth)).sum(axis=0)
        if not count.any():
            continue
        width = np.maximum(forecast[..., high] - forecast[..., low], 1e-9)
        for lower, upper in pairs:
            outside = np.maximum(forecast[..., lower] - truth, truth - forecast[..., upper])
            score = np.sort(outside / width, axis=0)
            inside = levels[upper] - levels[lower]
            rank = np.minimum(count, np.ceil((count + 1) * inside).astype(int)) - 1
            chosen = np.take_along_axis(score, np.maximum(rank, 0)[None], axis=0)[0]
            middle = np.median(chosen[count > 0])
            offsets[h, lower], offsets[h, upper] = -middle, middle
    return offsets


def offsets_by_group(
    quantiles: FloatArray,
    target: FloatArray,
    levels: tuple[float, ...],
    of_node: IntArray,
    origins: IntArray,
) -> FloatArray:
    """Cautious offsets of each node's group, drawn to those of all nodes where data are few.

    Of what sets a group apart, k / (k + ``GROUP_CAUTION``) is kept, where k counts the weeks that
    its sensors were seen for in the calibration windows.

    Args:
        quantiles: [B, H, N, Q] uncalibrated forecasts of the calibration windows.
        target: [B, H, N], NaN where missing.
        levels: Q levels.
        of_node: [N] each node's group, -1 where it has none and takes the offsets of all.
        origins: [B] rows of the calibration windows.

    Returns:
        [H, N, Q].
    """
    common = conformal_offsets(quantiles, target, levels)
    found = np.repeat(common[:, None], len(of_node), axis=1)
    for group in np.unique(of_node[of_node >= 0]):
        nodes = np.flatnonzero(of_node == group)
        own = conformal_offsets(quantiles[:, :, nodes], target[:, :, nodes], levels)
        seen = (~np.isnan(target[:, :, nodes])).mean(axis=(0, 1)).sum() * _weeks(origins)
        kept = np.float32(seen / (seen + GROUP_CAUTION))
        found[:, nodes] += kept * (own - common)[:, None]
    return cautious(found, origins)


def cautious(offsets: FloatArray, origins: IntArray) -> FloatArray:
    """What a new month can be trusted with: k / (k + 1) of what k calibration weeks ask for.

    Windows of a week err alike, so the weeks are the sample, and few of them tell little of the
    next; without any the forecaster's own quantiles stand.

    Args:
        offsets: [H, ..., Q] of ``conformal_offsets``.
        origins: [B] rows of the calibration windows; weeks are their unbroken runs.

    Returns:
        [H, ..., Q].
    """
    weeks = _weeks(origins)
    return offsets * np.float32(weeks / (weeks + 1))


def _weeks(origins: IntArray) -> int:
    return 1 + int(np.count_nonzero(np.diff(origins) > 1))


def dress(point: FloatArray, target: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Quantiles of a point forecast's own errors, so that baselines have bands too.

    Args:
        point: [B, H, N] point forecasts of the calibration windows.
        target: [B, H, N], NaN where missing.
        levels: Q levels.

    Returns:
        [H, N, Q] to be added to the point forecast; a node without errors takes all nodes' ones.
    """
    error = (target - point).astype(float)
    pooled = np.array([_quantiles(error[:, h], levels) for h in range(error.shape[1])])
    return np.array(
        [
            [_quantiles(error[:, h, n], levels, pooled[h]) for n in range(error.shape[2])]
            for h in range(error.shape[1])
        ],
        np.float32,
    )


def _quantiles(
    errors: FloatArray, levels: tuple[float, ...], otherwise: FloatArray | None = None
) -> FloatArray:
    known = errors[~np.isnan(errors)]
    if not len(known):
        return np.zeros(len(levels)) if otherwise is None else otherwise
    return np.quantile(known, levels)


def adaptive_skill(
    quantiles: FloatArray, target: FloatArray, origins: IntArray, spec: ForecastSpec
) -> dict[str, Any]:
    """How forecasts would have scored with bands that follow what came true (``models.adaptive``).

    Args:
        quantiles: [B, H, N, Q] static forecasts, by rising origin.
        target: [B, H, N], NaN where missing.
        origins: [B] rows of ``init_time``.
        spec: levels, and whether the target never falls below zero.

    Returns:
        Coverages and CRPS, and the rule's ``rate``, ``patience`` and ``bounds``.
    """
    score = Score(spec.horizon, spec.quantiles)
    nodes = max(1, _CELLS // max(1, target[..., 0].size))
    for n in range(0, target.shape[2], nodes):
        part = slice(n, n + nodes)
        truth = target[..., part]
        issued = replay(quantiles[:, :, part], truth, origins, spec.quantiles, spec.nonnegative)
        score.update(issued, truth)
    found = score.result()
    kept = ("coverage_50", "coverage_80", "coverage_90", "crps", "width_80")
    rule = {"rate": RATE, "patience": PATIENCE, "bounds": list(BOUNDS)}
    return {key: found[key] for key in kept} | rule
