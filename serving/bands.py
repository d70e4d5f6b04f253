"""Served bands that follow what came true: the correction that each issue of a release had.

A correction follows from the one before it and from what has come true since (``models.adaptive``).
Each is kept in the store, so that every worker, and one that starts anew, goes on from the same.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.adaptive import AdaptiveBands, corrected
from models.contracts import FloatArray, IntArray
from models.windows import WindowBuilder
from serving.runtime import Runtime
from serving.store import Store

WARM_UP = 200
"""Past issues at most that are caught up with, as by a release that has issued none."""
MOST_NUMBERS = 20_000_000
"""Corrections pending x bands x leads x nodes; a larger city keeps the bands of its release."""
MOST_MISSING = 0.5
"""Share of a node's past without which its forecast says nothing of the bands."""
_BATCH = 64

Held = Callable[[np.datetime64, int], WindowBuilder]
"""Held observations up to a time, so that windows of that time and of ``n`` rows before it fit."""


def correction(
    runtime: Runtime, store: Store, init: np.datetime64, held: Held
) -> FloatArray | None:
    """The correction [P, H, N] of the forecast of ``init``; between issues the latest one's.

    None where later ones were issued already and this one's is no longer kept, and where a city is
    too large.

    Args:
        runtime: of the release.
        store: keeps the corrections.
        init: time of the last observation shown to the model.
        held: reads observations.
    """
    release = runtime.release
    spec, nodes = release.spec, release.graph.nodes
    stride = int(release.manifest["data"].get("issue_every") or spec.seconds) // spec.seconds
    pending = -(-spec.horizon // stride)
    if pending * len(spec.quantiles) // 2 * spec.horizon * nodes > MOST_NUMBERS:
        return None
    step = np.timedelta64(spec.seconds, "s")
    every = stride * step
    past_issue = int((init + step).astype(np.int64)) % (stride * spec.seconds)
    last = init - np.timedelta64(past_issue, "s")
    shape = (len(spec.quantiles) // 2, spec.horizon, nodes)
    kept = store.corrections(release.id, shape)
    if last in kept or (kept and max(kept) > last):
        return kept.get(last)
    before = max(kept, default=last - WARM_UP * every)
    fresh = int(min((last - before) / every, WARM_UP))
    count = fresh + min(len(kept), pending)
    issues = last - np.arange(count - 1, -1, -1) * every
    builder = held(last, (count - 1) * stride)
    origins = len(builder.values) - 1 - np.arange(count - 1, -1, -1) * stride
    bands = AdaptiveBands(spec.quantiles, spec.horizon, nodes, stride)
    bands.correction = kept.get(before, bands.correction)
    found: dict[np.datetime64, FloatArray] = {}
    issued: list[FloatArray] = []
    static = _static(runtime, builder, origins[:-1])
    for b, time in enumerate(issues):
        moved = kept.get(time, bands.correction)
        if b >= count - fresh:
            for row in range(origins[b] - stride + 1, origins[b] + 1):
                bands.learn(row, builder.values[row], origins[:b], issued)
            moved = found[time] = bands.correction.copy()
        if b < count - 1:
            issued.append(corrected(static[b], moved, spec.quantiles, spec.nonnegative))
    store.keep_corrections(release.id, found, last - pending * every)
    return store.corrections(release.id, shape)[last]


def _static(runtime: Runtime, builder: WindowBuilder, origins: IntArray) -> list[FloatArray]:
    """Forecasts [H, N, Q] with the release's own bands; NaN where most of the past was missing."""
    found: list[FloatArray] = []
    for start in range(0, len(origins), _BATCH):
        window = builder.batch(origins[start : start + _BATCH])
        blind = np.isnan(window.past).mean(axis=1) > MOST_MISSING
        found += list(np.where(blind[:, None, :, None], np.nan, runtime.predict(window)))
    return found
