"""From a posted body to a surrogate's arrays: defaults, a preset, what is common, what differs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from models.contracts import FelsinaError, FloatArray
from models.scenario import Outside, ScenarioSpec
from serving.scenario_schemas import ScenariosBody, Value

_LISTED = 40
_SHOWN = 3


def scenario_arrays(spec: ScenarioSpec, body: ScenariosBody) -> tuple[FloatArray, FloatArray]:
    """Scalars [B, F] and fields [B, P, C] of the scenarios asked.

    Raises:
        FelsinaError: naming what is unknown, what has the wrong form, or what must be given.
    """
    count = len(body.scenarios)
    scalars = np.full((count, len(spec.scalars)), np.nan)
    fields = np.full((count, len(spec.places), len(spec.fields)), np.nan)
    # Views, so that a value is written where it belongs: [B] of a scalar, [B, P] of a field.
    columns = {one.name: scalars[:, f] for f, one in enumerate(spec.scalars)}
    columns |= {one.name: fields[:, :, c] for c, one in enumerate(spec.fields)}
    for one in (*spec.scalars, *spec.fields):
        if one.default is not None:
            columns[one.name][:] = one.default
    if body.preset is not None:
        if body.preset not in spec.presets:
            raise FelsinaError(
                f"preset {body.preset!r} is unknown; presets: {listed(spec.presets) or 'none'}"
            )
        fields[:] = spec.presets[body.preset]
    own = [(slice(b, b + 1), f"scenario {b}", one) for b, one in enumerate(body.scenarios)]
    for rows, where, given in [(slice(None), "inputs", body.inputs), *own]:
        for name, value in given.items():
            if name not in columns:
                raise FelsinaError(f"{where}: input {name!r} is unknown; inputs: {listed(columns)}")
            _put(columns[name][rows], value, f"{where}: {name}", spec)
    for name, column in columns.items():
        if (lacking := np.isnan(column)).any():
            b, *place = np.argwhere(lacking)[0].tolist()
            at = f" at {spec.axis} {spec.places[place[0]]}" if place else ""
            raise FelsinaError(
                f"scenario {b}: {name} has no default{at}; give it there or in inputs"
            )
    return scalars, fields


def _put(column: FloatArray, value: Value, what: str, spec: ScenarioSpec) -> None:
    """Write a value into [B] of a scalar or [B, P] of a field."""
    if isinstance(value, int | float):
        column[:] = value
    elif column.ndim == 1:
        raise FelsinaError(f"{what} is one number, not one a {spec.axis}")
    elif isinstance(value, list):
        if len(value) != len(spec.places):
            raise FelsinaError(
                f"{what}: {len(value)} values for {len(spec.places)} places; give one a place, in "
                "the order of places"
            )
        column[:] = value
    else:
        at = {place: p for p, place in enumerate(spec.places)}
        for place, number in value.items():
            if place not in at:
                raise FelsinaError(
                    f"{what}: {spec.axis} {place!r} is unknown; places: {listed(at)}"
                )
            column[:, at[place]] = number


def refuse_outside(outside: list[Outside]) -> None:
    """Refuse values that the surrogate was not trained on."""
    if outside:
        shown = "; ".join(f"scenario {one.scenario}: {one}" for one in outside[:_SHOWN])
        more = f"; and {len(outside) - _SHOWN} more" if len(outside) > _SHOWN else ""
        raise FelsinaError(f"{shown}{more}; ask with extrapolate=true to be answered and warned")


def listed(names: Iterable[str]) -> str:
    """Names for a message, a part of them where there are many."""
    every = list(names)
    more = f" and {len(every) - _LISTED} more" if len(every) > _LISTED else ""
    return ", ".join(every[:_LISTED]) + more
