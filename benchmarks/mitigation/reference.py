"""fairlearn's BoundedGroupLoss on tabular lags: a reference for the sweep, and no more.

Agarwal et al. 2019 (arXiv 1905.12843): exponentiated gradients over a weighted regressor, until no
group's loss exceeds a bound. What comes out is a lottery: each forecast is drawn from several
regressors at random. A forecast that changes when it is asked for twice is none that a city can
explain, so it is never exported nor served; here its expected error is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from fairlearn.reductions import BoundedGroupLoss, ExponentiatedGradient, SquareLoss
from sklearn.linear_model import Ridge

from benchmarks.mitigation.scores import week_before
from models.contracts import FloatArray, IntArray
from models.windows import WindowBuilder
from training.dataset import CityDataset
from training.groups import NodeGroups

BOUNDS = (1.0, 0.95, 0.9)
"""Of the worst group's loss, as shares of what it is without a bound."""
ORIGINS, TRAIN_ROWS, TEST_ROWS, SEED = 200, 20_000, 60_000, 0
MOST = 5.0
"""Targets beyond so many typical naive errors from the week before are held to it in training."""


@dataclass(frozen=True)
class Rows:
    """Single targets, all told beside the week before in units of the node's typical naive error.

    Attributes:
        features: [R, F]: lags, last values, last day's mean, forcings over the horizon, hour, lead.
        target: [R].
        unit: [R] the typical error.
        group: [R].
    """

    features: FloatArray
    target: FloatArray
    unit: FloatArray
    group: IntArray


def drawn(
    dataset: CityDataset,
    builder: WindowBuilder,
    origins: IntArray,
    groups: NodeGroups,
    unit: FloatArray | None,
    count: int,
) -> tuple[Rows, FloatArray]:
    """Up to ``count`` rows of windows spread over ``origins``; units [N] as given, or their own."""
    origins = origins[:: -(-len(origins) // ORIGINS)]
    window = builder.batch(origins, with_target=True)
    assert window.target is not None
    naive = week_before(dataset, origins)
    distance = window.target - naive
    unit = _typical(distance) if unit is None else unit
    day = builder.spec.steps_per_day
    recent = window.past[:, -min(day, window.past.shape[1]) :]
    seen = np.isfinite(recent)
    mean = np.where(seen, recent, 0).sum(1) / np.maximum(seen.sum(1), 1)
    beside = [*np.moveaxis(window.lags, 1, 0)]
    beside += [np.broadcast_to(window.past[:, -k, None], naive.shape) for k in (1, 2, 3, 6)]
    beside.append(np.broadcast_to(mean[:, None], naive.shape))
    columns = [(part - naive) / unit for part in beside]
    turn = 2 * np.pi * window.future_calendar[..., 0] / day
    lead = np.broadcast_to(np.arange(naive.shape[1]) / naive.shape[1], turn.shape)
    common = [np.sin(turn), np.cos(turn), lead, *np.moveaxis(window.future_forcings.mean(2), 2, 0)]
    columns += [np.broadcast_to(part[..., None], naive.shape) for part in common]
    usable = np.flatnonzero((np.isfinite(distance) & (groups.of_node >= 0)).ravel())
    chosen = np.random.default_rng(SEED).choice(usable, min(count, len(usable)), replace=False)
    features = np.stack([part.ravel()[chosen] for part in columns], axis=1)
    node = chosen % naive.shape[2]
    scaled = (distance / unit).ravel()[chosen]
    # An unknown value says nothing beyond the week before.
    found = Rows(np.nan_to_num(features), scaled, unit[node], groups.of_node[node])
    return found, unit


def _typical(distance: FloatArray) -> FloatArray:
    """[N] mean size of distances [B, H, N] that are known."""
    seen = np.isfinite(distance)
    found = np.where(seen, abs(distance), 0).sum((0, 1)) / np.maximum(seen.sum((0, 1)), 1)
    return np.maximum(found, 1e-3 * found.max())


def reference_record(
    dataset: CityDataset, groups: NodeGroups, lags: tuple[int, ...], thin: int
) -> dict[str, Any]:
    """Expected relative errors of all and of each group on the test span, with and without bounds.

    Args:
        dataset: an opened dataset.
        groups: whose losses are bounded.
        lags: single earlier values, in steps.
        thin: every so many test origins.
    """
    spec = dataset.spec.with_lags(lags)
    builder, numbers = dataset.builder(spec), range(len(groups.names))
    train, unit = drawn(dataset, builder, dataset.splits.train(spec), groups, None, TRAIN_ROWS)
    origins = dataset.splits.test(spec, dataset.start)[::thin]
    test, _ = drawn(dataset, builder, origins, groups, unit, TEST_ROWS)
    target = np.clip(train.target, -MOST, MOST)
    free = Ridge().fit(train.features, target)
    square = np.square(free.predict(train.features) - target)
    base = max(float(square[train.group == g].mean()) for g in numbers)
    found = [{"share": None, "drawn_from": 1} | _errors([free], [1.0], test, numbers)]
    for share in BOUNDS:
        bound = BoundedGroupLoss(SquareLoss(-MOST, MOST), upper_bound=share * base)
        lottery = ExponentiatedGradient(Ridge(), bound, max_iter=30, eps=0.01)
        lottery.fit(train.features, target, sensitive_features=train.group)
        every = range(len(lottery.predictors_))
        shares = lottery.weights_.reindex(every, fill_value=0.0).tolist()
        weights = {k: share for k, share in enumerate(shares) if share > 1e-6}
        predictors = [lottery.predictors_[k] for k in weights]
        found.append(
            {"share": share, "drawn_from": len(weights)}
            | _errors(predictors, list(weights.values()), test, numbers)
        )
    return {"bounds": found}


def _errors(
    predictors: list[Any], weights: list[float], test: Rows, numbers: range
) -> dict[str, Any]:
    """Relative errors that a lottery of predictors has on average."""
    error = np.zeros(len(test.target))
    for predictor, weight in zip(predictors, weights, strict=True):
        error += weight * abs(predictor.predict(test.features) - test.target) * test.unit
    naive = abs(test.target) * test.unit
    parts = [test.group == g for g in numbers]
    return {
        "all": float(error.sum() / naive.sum()),
        "groups": [float(error[part].sum() / naive[part].sum()) for part in parts],
    }
