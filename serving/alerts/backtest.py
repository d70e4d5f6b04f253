"""How a rule would have done on what was held after its release was trained, issue by issue.

The forecasts are made by the runtime that serves, with bands that follow what came true from the
first issue on, and go through the hysteresis that is live. Events, hits and false alarms are those
of Wilks, *Statistical Methods in the Atmospheric Sciences*, 2011, ch. 8.2: POD = hits / (hits +
misses), FAR = false alarms / (hits + false alarms), the false alarm *ratio*.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.adaptive import AdaptiveBands
from models.contracts import BoolArray, FloatArray
from models.windows import WindowBuilder
from serving.alerts.held import Held
from serving.alerts.rules import Rule, problem, rules_of
from serving.bands import MOST_MISSING
from serving.catalogue import Catalogue
from serving.held_windows import HeldWindows
from serving.runtime import Runtime
from serving.schemas import iso

MOST_ISSUES = 5000
"""Issues that are replayed, the latest ones; a few minutes in the background."""
_PAUSE = 0.002
"""After each issue, so that requests need not wait for the replay."""
FEW = 10
"""With fewer events POD and FAR say next to nothing, and that is said."""

Read = Callable[[np.datetime64, int], WindowBuilder]
"""Held observations up to a time, so that windows of that time and of ``n`` rows before it fit."""


@dataclass(frozen=True)
class Replay:
    """Issues of a release, one after the other.

    Attributes:
        runtime: of the release.
        first: time of the first issue.
        stride: steps from one issue to the next.
        probability: rule to [I, X] of its watched nodes.
        values: [S, N] what was observed, row 0 at the first issue; S may exceed the issues'.
    """

    runtime: Runtime
    first: np.datetime64
    stride: int
    probability: dict[str, FloatArray]
    values: FloatArray

    def score(self, rule: Rule) -> dict[str, Any]:
        """What ``schemas.Backtest`` answers."""
        release = self.runtime.release
        spec, nodes = release.spec, rule.watched(release.graph)
        limits = release.graph.thresholds[nodes, rule.threshold - 1]
        probability = self.probability[rule.id]
        up = raised_alerts(rule, probability)
        total = Score()
        for x, node in enumerate(nodes.tolist()):
            values = self.values[:, node]
            crossed = np.where(np.isnan(values), np.nan, values >= np.float32(limits[x]))
            total += score_node(up[:, x], crossed, self.stride, rule.within)
        step = np.timedelta64(spec.seconds * self.stride, "s")
        found = total.told(spec.seconds / 3600)
        weather = release.manifest.get("forcings_over_horizon", "none used")
        notes = [f"{total.events} events are too few to say"] if total.events < FEW else []
        notes += [weather] if weather != "none used" else []
        return {
            "from": iso(self.first),
            "to": iso(self.first + (len(probability) - 1) * step),
            "issues": len(probability),
            **found,
            "note": "; ".join(notes) or None,
        }


@dataclass(frozen=True)
class Score:
    """Counts of one node, or of several added up."""

    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    leads: tuple[int, ...] = ()

    def __add__(self, other: Score) -> Score:
        """The counts of both."""
        return Score(
            self.hits + other.hits,
            self.misses + other.misses,
            self.false_alarms + other.false_alarms,
            self.leads + other.leads,
        )

    @property
    def events(self) -> int:
        """Events that an alert could have come before."""
        return self.hits + self.misses

    def told(self, hours: float) -> dict[str, Any]:
        """Counts and what follows from them, a step being so many hours."""
        alarms = self.hits + self.false_alarms
        return {
            "events": self.events,
            "hits": self.hits,
            "misses": self.misses,
            "false_alarms": self.false_alarms,
            "pod": round(self.hits / self.events, 4) if self.events else None,
            "far": round(self.false_alarms / alarms, 4) if alarms else None,
            "lead_time_hours_median": float(np.median(self.leads)) * hours if self.leads else None,
        }


def backtest_missing(catalogue: Catalogue, held: Held) -> int:
    """Replay what no backtest was kept of, rule by release; how many were."""
    made = 0
    for dataset, runtime in catalogue.runtimes().items():
        release, rules = runtime.release, rules_of(runtime, held.rules(dataset))
        known = held.backtests(release.id)
        lacking = [r for r in rules if r.id not in known and not problem(r, runtime)]
        _, latest = catalogue.store.state(dataset)
        if not lacking or latest is None:
            continue
        windows = HeldWindows(
            runtime, catalogue.store
        )  # its own: a replay reads what no request does
        found = replay(runtime, lacking, windows.builder, latest)
        if found is None:
            continue
        for rule in lacking:
            held.keep_backtest(rule.id, release.id, found.score(rule))
            made += 1
    return made


def raised_alerts(rule: Rule, probability: FloatArray) -> BoolArray:
    """[I, X] whether an alert is up after each issue, from the probabilities [I, X]."""
    active = np.zeros(probability.shape[1], bool)
    below = np.zeros(probability.shape[1], np.int64)
    up = np.zeros(probability.shape, bool)
    for i, row in enumerate(probability):
        active, below = rule.hold(active, below, row)
        up[i] = active
    return up


def score_node(up: BoolArray, crossed: FloatArray, stride: int, within: int) -> Score:
    """Score one node.

    An event is a run of observed crossings that begins after the first issue; a gap inside a run
    does not part it. It is a hit where an alert was up at the last issue before its begin. The lead
    time counts from the raise, or from the last step of the event before where that was later. A
    false alarm is an alert in whose time, from its raise to ``within`` leads after the last issue
    that had it up, nothing was reached; one whose time is not over, or that nothing was observed
    in, is not counted.

    Args:
        up: [I] whether an alert is up after each issue.
        crossed: [S] 1, 0 or NaN by step, row 0 at the first issue.
        stride: steps from one issue to the next.
        within: leads that the rule looks ahead.
    """
    known = np.flatnonzero(~np.isnan(crossed))
    change = np.diff(crossed[known], prepend=1.0, append=0.0)
    begins, ends = known[np.flatnonzero(change[:-1] > 0)], known[np.flatnonzero(change[1:] < 0)]
    begins = begins[begins > 0]
    flips = np.diff(up.astype(np.int8), prepend=0, append=0)
    raises, downs = np.flatnonzero(flips > 0) * stride, np.flatnonzero(flips < 0) * stride
    last = (len(up) - 1) * stride
    hits, leads = 0, []
    begins = begins[begins <= last + stride]
    for begin in begins:
        issue = (begin - 1) // stride
        if up[issue]:
            hits += 1
            since = raises[raises <= issue * stride][-1]
            over = ends[ends < begin]
            leads.append(int(begin - max([since, *over[-1:]])))
    false_alarms = 0
    for begin, down in zip(raises, downs, strict=True):
        stop = down - stride + within
        window = crossed[begin : stop + 1]
        seen = window[~np.isnan(window)]
        if len(seen) and not seen.any() and stop < len(crossed):
            false_alarms += 1
    return Score(hits, len(begins) - hits, false_alarms, tuple(leads))


def replay(runtime: Runtime, rules: list[Rule], read: Read, latest: np.datetime64) -> Replay | None:
    """Make every forecast that followed the release's training and calibration, in order.

    Args:
        runtime: of the release.
        rules: that it can answer.
        read: gives observations.
        latest: time of the latest observation.

    Returns:
        None where nothing was observed after the training span.
    """
    release = runtime.release
    spec, data = release.spec, release.manifest["data"]
    step = np.timedelta64(spec.seconds, "s")
    every = int(data.get("issue_every") or spec.seconds)
    stride = every // spec.seconds
    end = np.datetime64(data["validation_end"].rstrip("Z"), "s")
    first = end - step  # the last row of the span before
    if stride > 1:  # the issue hours that the release was tested at
        first += np.timedelta64(-int(end.astype(np.int64)) % every, "s")
    if latest <= first:
        return None
    count = int((latest - first) / step) // stride + 1
    first += max(0, count - MOST_ISSUES) * stride * step
    rows = int((latest - first) / step)
    builder = read(latest, rows)
    start = len(builder.values) - 1 - rows
    origins = np.arange(start, len(builder.values), stride)
    probability = _issue(runtime, rules, builder, origins, stride)
    return Replay(runtime, first, stride, probability, builder.values[start:])


def _issue(
    runtime: Runtime, rules: list[Rule], builder: WindowBuilder, origins: np.ndarray, stride: int
) -> dict[str, FloatArray]:
    """Probabilities by rule of each issue, whose bands have learned from those before it."""
    spec, graph = runtime.release.spec, runtime.release.graph
    bands = AdaptiveBands(spec.quantiles, spec.horizon, graph.nodes, stride)
    found: dict[str, list[FloatArray]] = {rule.id: [] for rule in rules}
    past: list[int] = []
    issued: list[FloatArray] = []
    for origin in origins.tolist():
        for row in range(past[-1] + 1 if past else origin, origin + 1):
            bands.learn(row, builder.values[row], np.array(past, int), issued)
        window = builder.batch(np.array([origin]))
        forecast = runtime.forecast(builder, window, origin, bands.correction)
        within = forecast.exceedance_within
        assert within is not None
        if np.isnan(window.past).all():  # nothing is served then
            within = np.full_like(within, np.nan)
        for rule in rules:
            found[rule.id].append(rule.probability(within, graph))
        blind = np.isnan(window.past[0]).mean(axis=0) > MOST_MISSING
        issued.append(np.where(blind[None, :, None], np.nan, forecast.quantiles))
        past.append(origin)
        while past[0] <= origin - spec.horizon:
            del past[0], issued[0]
        time.sleep(_PAUSE)
    return {name: np.array(rows) for name, rows in found.items()}
