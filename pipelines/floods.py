"""The audit of warnings: a release's alerts over its test span, as they would have been raised."""

from __future__ import annotations

from typing import Any

import numpy as np

from fairness.floods import COUNTS, audit_floods
from fairness.groups import Areas, Grouping
from models.contracts import FloatArray
from pipelines.replay import check_data
from serving.alerts.backtest import Replay, crossed, judge_node, raised_alerts, replay
from serving.alerts.rules import Rule, default_rule
from serving.release import Release
from serving.runtime import Runtime
from training.dataset import CityDataset


def warnings_by_group(
    release: Release, dataset: CityDataset, found: tuple[Grouping, ...], areas: Areas
) -> dict[str, Any] | None:
    """Replay the default alert rule, and judge whom its warnings reach.

    Args:
        release: that forecasts.
        dataset: it was made from.
        found: how nodes are told apart.
        areas: where nodes stand.

    Returns:
        ``rule`` (``threshold``, ``within_h``, ``raise_at``); ``score`` of all nodes together, as
        the alert rules show it (docs/alerts.md); ``groupings`` of ``fairness.floods.audit_floods``.
        None where no node has a threshold, or the release knows no crossing within a time.
    """
    check_data(release, dataset)
    runtime = Runtime(release)
    rule = default_rule(runtime)
    if rule is None:
        return None
    builder = dataset.builder(release.spec)
    latest = builder.times(np.array([len(builder.values) - 1]))[0]
    replayed = replay(runtime, [rule], lambda time, rows: builder, latest)
    if replayed is None:
        return None
    daily = _daily(replayed, rule)
    watched = np.isin(np.arange(dataset.graph.nodes), rule.watched(release.graph))
    return {
        "rule": {
            "threshold": rule.threshold,
            "within_h": rule.within * release.spec.seconds / 3600,
            "raise_at": rule.raise_at,
        },
        "score": replayed.score(rule),
        "groupings": audit_floods(daily, watched, found, areas),
    }


def _daily(replayed: Replay, rule: Rule) -> FloatArray:
    """[D, N, C] of ``fairness.floods.COUNTS``, by the day of the issue, or of the event's begin."""
    release = replayed.runtime.release
    seconds, nodes = release.spec.seconds, rule.watched(release.graph)
    limits = release.graph.thresholds[nodes, rule.threshold - 1]
    probability = replayed.probability[rule.id]
    up, issued = raised_alerts(rule, probability), ~np.isnan(probability)
    times = replayed.first + np.arange(len(probability)) * np.timedelta64(seconds, "s")
    day = (times.astype("datetime64[D]") - times[0].astype("datetime64[D]")).astype(int)
    out = np.zeros((day[-1] + 1, release.graph.nodes, len(COUNTS)))
    for x, node in enumerate(nodes.tolist()):
        reached = crossed(replayed.values[:, node], limits[x])
        found = judge_node(up[:, x], issued[:, x], reached, rule.within)
        hours = found.leads * seconds / 3600
        np.add.at(out[:, node], day[found.begins], _columns(1, found.leads > 0, hours, 0, 0))
        np.add.at(out[:, node], day[found.alarms], _columns(0, 0, 0, 1, found.false))
    return out


def _columns(*values: Any) -> FloatArray:
    """[E, C] from ``COUNTS``, each a number or one an event."""
    return np.stack(np.broadcast_arrays(*(np.asarray(v, float) for v in values)), axis=-1)
