"""Warnings by group: whom a warning reaches in time, whom it misses, whom it cries wolf to.

What an event, a hit and a false alarm are is decided where alerts are backtested; here they are
counted by group. Events are few and come to many places at once, so intervals leave out contiguous
batches of days, and no verdict is given on fewer than ``LEAST_EVENTS``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fairness.audit import INSUFFICIENT, compared
from fairness.groups import Areas, Grouping
from fairness.metrics import Units, mean_of_groups, mean_of_others, rounded
from models.contracts import BoolArray, FloatArray

COUNTS = ("events", "hits", "lead_h", "alarms", "false")
"""Sums a day and node: events, those an alert came before, hours it came before them; issues with
an alert up whose outcome is known, those that nothing followed."""
WARNED = ("pod", "far", "lead_h")
LEAST_EVENTS = 10
TOLERATED = 0.10
_HARMS = {"missed": ("pod", -1), "false_alarms": ("far", 1)}


def audit_floods(
    daily: FloatArray, watched: BoolArray, groupings: tuple[Grouping, ...], areas: Areas
) -> list[dict[str, Any]]:
    """Judge whom warnings reach.

    Args:
        daily: [D, N, C] of ``COUNTS``, days in order.
        watched: [N] nodes that have the threshold.
        groupings: how nodes are told apart.
        areas: where nodes stand.

    Returns:
        One record a grouping: ``attribute``; ``groups`` with ``name``, ``sensors`` that have the
        threshold, ``events``; ``weighted`` by ``area`` and, where they are known, ``residents`` and
        ``vulnerable`` residents: ``figures`` (``pod``, ``far``, ``lead_h``: the mean of the hits)
        a group, of ``all`` together, and ``harms`` (``missed``, ``false_alarms``) a group as in
        ``fairness.audit.audit``.
    """
    records = []
    for grouping in groupings:
        units = Units.of(grouping, areas, watched.astype(float))
        if not len(units.of_node) or (units.equal.sum(axis=1) > 0).sum() < 2:
            continue
        by_unit = np.einsum("un,dnc->duc", units.of_node, daily)
        events = [
            int(daily[:, group.nodes, COUNTS.index("events")].sum()) for group in grouping.groups
        ]
        weights = {
            "area": units.equal,
            "residents": units.residents,
            "vulnerable": units.vulnerable,
        }
        records.append(
            {
                "attribute": grouping.attribute,
                "groups": [
                    {"name": group.name, "sensors": int(watched[group.nodes].sum()), "events": n}
                    for group, n in zip(grouping.groups, events, strict=True)
                ],
                "weighted": {
                    name: _judged(by_unit, weight, events)
                    for name, weight in weights.items()
                    if weight is not None
                },
            }
        )
    return records


def warned(sums: FloatArray) -> FloatArray:
    """[..., W] ``WARNED`` of sums [..., C]; NaN where there was nothing to warn of, or no alarm."""
    part = dict(zip(COUNTS, np.moveaxis(sums, -1, 0), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (
            part["hits"] / part["events"],
            part["false"] / part["alarms"],
            part["lead_h"] / part["hits"],
        )
    return np.stack(found, axis=-1)


def _judged(by_unit: FloatArray, weights: FloatArray, events: list[int]) -> dict[str, Any]:
    whole = warned(by_unit.sum(axis=0))
    everyone = weights.sum(axis=0)[None]
    harms: dict[str, Any] = {}
    for name, (figure, sign) in _HARMS.items():
        at = WARNED.index(figure)

        def worse(sums: FloatArray, at: int = at, sign: int = sign) -> FloatArray:
            found = warned(sums)[..., at : at + 1]
            return sign * (mean_of_groups(found, weights) - mean_of_others(found, weights))[..., 0]

        harms[name] = [
            found if n >= LEAST_EVENTS else found | {"verdict": INSUFFICIENT}
            for found, n in zip(
                compared(by_unit, worse, len(events), TOLERATED), events, strict=True
            )
        ]
    return {
        "figures": [_named(row) for row in mean_of_groups(whole, weights)],
        "all": _named(mean_of_groups(whole, everyone)[0]),
        "harms": harms,
    }


def _named(row: FloatArray) -> dict[str, float | None]:
    return dict(zip(WARNED, map(rounded, row), strict=True))
