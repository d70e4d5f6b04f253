"""A forecast from a window that the caller brings: nothing held is read, nothing is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.contracts import INPUTS, FelsinaError, FloatArray, Window
from models.windows import WindowBuilder
from serving.catalogue import Answer, check_grid, input_warnings, now
from serving.runtime import Runtime
from serving.schemas import Column, ForcingWindow, WindowBody, utc

MOST_MIXED = 200_000
"""Members x leads x nodes of an ensemble: some four seconds on one core."""


def forecast_window(runtime: Runtime, body: WindowBody) -> Answer:
    """Forecast from a posted window.

    Raises:
        FelsinaError: naming the node, lag or forcing that does not fit.
    """
    spec = runtime.release.spec
    init = utc(body.init_time)
    check_grid(runtime, init)
    start = init - np.timedelta64((spec.lookback - 1) * spec.seconds, "s")
    past = _columns(runtime, body.past, spec.lookback, "past")
    if np.isnan(past).all():
        raise FelsinaError("past holds no value; give the lookback of at least one node")
    tables = [_forcings(runtime, forcings) for forcings in _members(runtime, body)]
    builders = [WindowBuilder(spec, start, past, table) for table in tables]
    windows = [builder.batch(np.array([spec.lookback - 1])).inputs() for builder in builders]
    window = Window(**{name: np.concatenate([w[name] for w in windows]) for name in INPUTS})
    lags = window.lags
    for text, columns in body.lag_values.items():
        if text not in (known := [str(lag) for lag in spec.lags]):
            raise FelsinaError(
                f"lag_values {text!r}: the model reads lags {', '.join(known) or 'none'}"
            )
        given = _columns(runtime, columns, spec.horizon, f"lag_values {text}")
        held = lags[:, known.index(text)]
        lags[:, known.index(text)] = np.where(np.isnan(given), held, given)
    window = replace(window, lags=lags)
    answer = runtime.forecast(builders[0], window, spec.lookback - 1)
    lacking = np.sum(tables, axis=0)  # NaN where any member lacks a value
    return Answer(answer, init, now(), tuple(input_warnings(runtime, window, lacking)))


def _members(runtime: Runtime, body: WindowBody) -> list[dict[str, ForcingWindow]]:
    """The forcings of each member of the ensemble; of the body alone where there is none."""
    spec, nodes = runtime.release.spec, runtime.release.graph.nodes
    if (size := len(body.ensemble) * spec.horizon * nodes) > MOST_MIXED:
        raise FelsinaError(
            f"ensemble: {len(body.ensemble)} members of {nodes} nodes x {spec.horizon} leads are "
            f"{size} forecasts, over {MOST_MIXED}; send fewer members"
        )
    found = []
    for number, futures in enumerate(body.ensemble, 1):
        if absent := [column for column in futures if column not in body.forcings]:
            raise FelsinaError(
                f"ensemble: member {number} gives {absent[0]!r}, whose past is not under forcings; "
                "add it there"
            )
        given = {c: body.forcings[c].model_copy(update={"future": futures[c]}) for c in futures}
        found.append(body.forcings | given)
    return found or [body.forcings]


def _columns(runtime: Runtime, columns: dict[str, Column], length: int, what: str) -> FloatArray:
    """[length, N] from node columns, NaN where a node is left out."""
    graph, spec = runtime.release.graph, runtime.release.spec
    table = np.full((length, graph.nodes), np.nan)
    for node, index in zip(columns, graph.index(list(columns), what), strict=True):
        if len(columns[node]) != length:
            raise FelsinaError(f"{what}: node {node} has {len(columns[node])} values, not {length}")
        table[:, index] = np.array(columns[node], float)
    if spec.nonnegative and (table < 0).any():
        node = graph.ids[int(np.argwhere(table < 0)[0][1])]
        raise FelsinaError(f"{what}: node {node}: negative value; {spec.target} is never below 0")
    return table


def _forcings(runtime: Runtime, forcings: dict[str, ForcingWindow]) -> FloatArray:
    """[T + H, M, F] from the posted forcings, NaN where left out."""
    spec, graph = runtime.release.spec, runtime.release.graph
    names = [forcing.name for forcing in spec.forcings]
    places = runtime.forcing_places
    table = np.full((spec.lookback + spec.horizon, places, len(names)), np.nan)
    for column in sorted(forcings, key=lambda c: "@" in c):
        window = forcings[column]
        name, at, node = column.partition("@")
        if name not in names:
            raise FelsinaError(
                f"forcing {name!r} is unknown; the model reads {', '.join(names) or 'none'}"
            )
        forcing = spec.forcings[names.index(name)]
        if at and places == 1:
            raise FelsinaError(
                f"forcing {column!r}: the model reads {name} for the whole city; drop @{node}"
            )
        where = slice(None) if not at else int(graph.index([node], f"forcing {column}")[0])
        for part, length, first in (
            (window.past, spec.lookback, 0),
            (window.future, spec.horizon, spec.lookback),
        ):
            if part is None:
                continue
            if len(part) != length:
                raise FelsinaError(f"forcing {column}: {len(part)} values, not {length}")
            if first and not forcing.known_future:
                raise FelsinaError(f"forcing {column}: the model reads its past only; drop future")
            values = np.array(part, float)
            table[first : first + length, where, names.index(name)] = (
                values if at else values[:, None]
            )
    return table
