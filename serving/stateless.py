"""A forecast from a window that the caller brings: nothing held is read, nothing is kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.contracts import FelsinaError, FloatArray
from models.windows import WindowBuilder
from serving.catalogue import Answer, check_grid, input_warnings, now
from serving.runtime import Runtime
from serving.schemas import Column, WindowBody, utc


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
    forcings = _forcings(runtime, body)
    builder = WindowBuilder(spec, start, past, forcings)
    window = builder.batch(np.array([spec.lookback - 1]))
    lags = window.lags
    for text, columns in body.lag_values.items():
        if text not in (known := [str(lag) for lag in spec.lags]):
            raise FelsinaError(
                f"lag_values {text!r}: the model reads lags {', '.join(known) or 'none'}"
            )
        given = _columns(runtime, columns, spec.horizon, f"lag_values {text}")
        held = lags[0, known.index(text)]
        lags[0, known.index(text)] = np.where(np.isnan(given), held, given)
    window = replace(window, lags=lags)
    answer = runtime.forecast(builder, window, spec.lookback - 1)
    return Answer(answer, init, now(), tuple(input_warnings(runtime, window, forcings)))


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


def _forcings(runtime: Runtime, body: WindowBody) -> FloatArray:
    """[T + H, M, F] from the posted forcings, NaN where left out."""
    spec, graph = runtime.release.spec, runtime.release.graph
    names = [forcing.name for forcing in spec.forcings]
    places = runtime.forcing_places
    table = np.full((spec.lookback + spec.horizon, places, len(names)), np.nan)
    for column in sorted(body.forcings, key=lambda c: "@" in c):
        window = body.forcings[column]
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
