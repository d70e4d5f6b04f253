"""The template of joint members: ranks of the forecaster's own errors on validation windows.

The template of a Schaake shuffle is usually drawn from past observations. Here it is drawn from
where the truth fell in its *forecast* (the probability integral transform, PIT), so that members
hang together as forecast errors do and not as the daily round does, which the forecast knows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from models.contracts import FloatArray, IntArray
from models.joint import TAIL, Ranks, cumulative
from models.windows import WindowBuilder
from training.dataset import CityDataset
from training.fit import Fitted, forecasts

MEMBERS = 100
"""M where there are as many windows; ranks fit one byte."""
LEAST = 20
"""With fewer windows than this the 5 and 95 % quantiles of a sum would be guesses."""
MOST_BYTES = 64 * 2**20
"""A larger template is left out: at 24 leads and 100 members, more than some 27 000 nodes."""
_SEED = 12


def error_template(dataset: CityDataset, fitted: Fitted) -> tuple[Ranks, dict[str, Any]]:
    """Ranks of the calibrated forecaster's PIT on validation windows spread over the span.

    Returns:
        [M, H, N] ranks, M = 0 where there are too few windows or too many nodes; and what a
        manifest says of them.
    """
    spec = fitted.spec
    builder = dataset.builder(spec)
    origins = _origins(dataset, builder)
    size = min(MEMBERS, len(origins)) * spec.horizon * dataset.graph.nodes
    record: dict[str, Any] = {
        "method": "empirical copula of ranks of forecast errors (PIT) on validation windows",
        "count": 0,
        "tail": TAIL,
    }
    reason = ""
    if len(origins) < LEAST:
        reason = f"{len(origins)} validation windows with a target are fewer than {LEAST}"
    elif size > MOST_BYTES:
        reason = f"{dataset.graph.nodes} nodes x {spec.horizon} leads are over {MOST_BYTES} bytes"
    if reason:
        shape = (0, spec.horizon, dataset.graph.nodes)
        return np.zeros(shape, np.uint8), record | {"left_out": reason}
    rng = np.random.default_rng(_SEED)
    chosen = _spread(origins, MEMBERS, rng)
    quantiles, target = forecasts(fitted.predict, builder, chosen)
    pit = cumulative(quantiles, spec.quantiles, target, spec.nonnegative)
    first, last = builder.times(np.array([chosen[0] + 1, chosen[-1] + spec.horizon]))
    span = f"{str(first)[:10]} to {str(last)[:10]}"
    record["disjoint_windows"] = _disjoint(chosen, spec.horizon)
    return ranks(pit, rng), record | {"count": len(chosen), "span": span}


def _origins(dataset: CityDataset, builder: WindowBuilder) -> IntArray:
    """Validation origins with a target; those at issue hours alone where there are enough."""
    spec, splits = builder.spec, dataset.splits
    origins = np.sort(np.concatenate(splits.validation(spec)))
    seen = ~np.isnan(builder.values).all(axis=1)
    ahead = np.any(sliding_window_view(seen, spec.horizon), axis=1)
    origins = origins[ahead[origins + 1]]
    issued = splits.issued(spec, dataset.start, origins)
    return issued if len(issued) >= MEMBERS else origins


def _disjoint(origins: IntArray, horizon: int) -> int:
    """How many windows one after the other share no target, a measure of how much they tell."""
    count, free = 0, -1
    for origin in origins:
        if origin >= free:
            count, free = count + 1, origin + horizon
    return count


def _spread(origins: IntArray, most: int, rng: np.random.Generator) -> IntArray:
    """One origin at random from each of ``most`` equal parts: no hour of the day is favoured."""
    if len(origins) <= most:
        return origins
    edges = np.linspace(0, len(origins), most + 1)
    return origins[(edges[:-1] + rng.random(most) * np.diff(edges)).astype(int)]


def ranks(pit: FloatArray, rng: np.random.Generator) -> Ranks:
    """Rank each lead's and node's PIT among the windows, ties by lot.

    A missing one takes the window's nearest earlier lead, else its next later one, else the mean of
    the other nodes, else the middle.

    Args:
        pit: [M, H, N] in 0 ... 1, NaN where the target is missing.
        rng: of the lot.

    Returns:
        [M, H, N] of one byte: M is at most 256.
    """
    filled = _carry(_carry(pit)[:, ::-1])[:, ::-1]
    seen = ~np.isnan(filled)
    count = seen.sum(axis=2, keepdims=True)
    mean = np.where(seen, filled, 0).sum(axis=2, keepdims=True) / np.maximum(count, 1)
    filled = np.where(seen, filled, np.where(count > 0, mean, 0.5))
    order = np.lexsort((rng.random(pit.shape), filled), axis=0)
    template = np.empty(pit.shape, np.uint8)
    rank = np.arange(len(pit), dtype=np.uint8)[:, None, None]
    np.put_along_axis(template, order, np.broadcast_to(rank, pit.shape), axis=0)
    return template


def _carry(values: FloatArray) -> FloatArray:
    """Fill gaps [M, H, N] with the value of the lead before."""
    lead = np.arange(values.shape[1])[None, :, None]
    latest = np.maximum.accumulate(np.where(np.isnan(values), 0, lead), axis=1)
    return np.take_along_axis(values, latest, axis=1)
