"""How a rule would have done on what was held after its release was trained, issue by issue.

The forecasts are made by the runtime that serves, with bands that follow what came true from the
first issue on, at every observation and through the hysteresis, as live. POD is the share of events
that an alert came before; FAR, the false alarm *ratio* of Wilks, *Statistical Methods in the
Atmospheric Sciences*, 2011, ch. 8.2, is that of issues: each one that has an alert up is a forecast
of its own, that the level is reached ``within`` leads. So a rule that is always up, or whose alerts
last until something comes, warns of all and is found out by its FAR.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from models.adaptive import AdaptiveBands
from models.contracts import BoolArray, FloatArray, IntArray
from models.windows import WindowBuilder
from serving.alerts.held import Held
from serving.alerts.rules import Rule, problem, rules_of
from serving.bands import MOST_MISSING
from serving.catalogue import Catalogue
from serving.gate.pressure import PRESSURE
from serving.held_windows import HeldWindows
from serving.runtime import Runtime
from serving.schemas import iso

MOST_ISSUES = 5000
"""Issues that are replayed, the latest ones; some minutes in the background."""
_PAUSES, _LONG_PAUSES = 4, 30
"""After each issue, times what it took, so that requests hardly wait for the replay; under load."""
FEW = 10
"""With fewer events POD and FAR say next to nothing, and that is said."""

Read = Callable[[np.datetime64, int], WindowBuilder]
"""Held observations up to a time, so that windows of that time and of ``n`` rows before it fit."""


@dataclass(frozen=True)
class Replay:
    """Issues of a release, one at each step.

    Attributes:
        runtime: of the release.
        first: time of the first issue.
        probability: rule to [I, X] of its watched nodes; NaN where nothing came and none was made.
        values: [I, N] what was observed.
    """

    runtime: Runtime
    first: np.datetime64
    probability: dict[str, FloatArray]
    values: FloatArray

    def score(self, rule: Rule) -> dict[str, Any]:
        """What ``schemas.Backtest`` answers."""
        release = self.runtime.release
        spec, nodes = release.spec, rule.watched(release.graph)
        limits = release.graph.thresholds[nodes, rule.threshold - 1]
        probability = self.probability[rule.id]
        up, issued = raised_alerts(rule, probability), ~np.isnan(probability)
        total = Score()
        for x, values in enumerate(self.values[:, nodes].T):
            total += score_node(up[:, x], issued[:, x], crossed(values, limits[x]), rule.within)
        step = np.timedelta64(spec.seconds, "s")
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
    """Counts of one node, or of several added up.

    Attributes:
        hits: events that an alert was up before.
        misses: other events.
        judged: issues with an alert up whose outcome is known.
        false_alarms: those of them that nothing followed.
        up: issues with an alert up.
        issues: all issues.
        leads: steps from alert to event, of each hit.
    """

    hits: int = 0
    misses: int = 0
    judged: int = 0
    false_alarms: int = 0
    up: int = 0
    issues: int = 0
    leads: tuple[int, ...] = ()

    def __add__(self, other: Score) -> Score:
        """The counts of both."""
        return Score(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    @property
    def events(self) -> int:
        """Events that an alert could have come before."""
        return self.hits + self.misses

    def told(self, hours: float) -> dict[str, Any]:
        """Counts and what follows from them, a step being so many hours."""

        def share(part: int, whole: int) -> float | None:
            return round(part / whole, 4) if whole else None

        return {
            "events": self.events,
            "hits": self.hits,
            "misses": self.misses,
            "issues_up": self.judged,
            "false_alarms": self.false_alarms,
            "pod": share(self.hits, self.events),
            "far": share(self.false_alarms, self.judged),
            "up_share": share(self.up, self.issues),
            "lead_time_hours_median": float(np.median(self.leads)) * hours if self.leads else None,
        }


def backtest_due(catalogue: Catalogue, held: Held) -> int:
    """Replay what no backtest was kept of, or one of much less; how many were.

    Much less: what has come since is a quarter of what was replayed. A backtest of the first hours
    is soon replaced, and all of them together take five times as long as the last.
    """
    made = 0
    for dataset, runtime in catalogue.runtimes().items():
        release, rules = runtime.release, rules_of(runtime, held.rules(dataset))
        known = held.backtests(release.id)
        _, latest = catalogue.store.state(dataset)
        if latest is None:
            continue
        due = [r for r in rules if not problem(r, runtime) and _outgrown(known.get(r.id), latest)]
        if not due:
            continue
        # windows of its own: a replay reads what no request does
        windows = HeldWindows(runtime, catalogue.store)
        found = replay(runtime, due, windows.builder, latest)
        if found is None:
            continue
        for rule in due:
            held.keep_backtest(rule.id, release.id, found.score(rule))
            made += 1
    return made


def _outgrown(known: dict[str, Any] | None, latest: np.datetime64) -> bool:
    if known is None:
        return True
    begin, end = (np.datetime64(known[key].rstrip("Z"), "s") for key in ("from", "to"))
    return bool(latest > end and 4 * (latest - end) >= end - begin)


def crossed(values: FloatArray, limit: float) -> FloatArray:
    """1 where a value reaches a limit, 0 where not, NaN where nothing was observed."""
    return np.where(np.isnan(values), np.nan, values >= np.float32(limit))


def raised_alerts(rule: Rule, probability: FloatArray) -> BoolArray:
    """[I, X] whether an alert is up after each issue, from the probabilities [I, X]."""
    active = np.zeros(probability.shape[1], bool)
    below = np.zeros(probability.shape[1], np.int64)
    up = np.zeros(probability.shape, bool)
    for i, row in enumerate(probability):
        active, below = rule.hold(active, below, row)
        up[i] = active
    return up


@dataclass(frozen=True)
class Judged:
    """One node's events, and its issues with an alert up, one by one; row 0 is the first issue.

    Attributes:
        begins: [E] first steps of events that an alert could have come before.
        leads: [E] steps from alert to event, 0 where none was up.
        alarms: [J] issues with an alert up whose outcome is known.
        false: [J] whether nothing followed them.
    """

    begins: IntArray
    leads: IntArray
    alarms: IntArray
    false: BoolArray


def judge_node(up: BoolArray, issued: BoolArray, crossed: FloatArray, within: int) -> Judged:
    """Judge one node; all by step, row 0 at the first issue.

    An event is a run of observed crossings that begins after the first issue; a gap inside a run
    does not part it. It is a hit where the last issue before its begin had an alert up and lies at
    most ``within`` leads before. The lead time counts from the raise, or from the last step of the
    event before where that was later, and is ``within`` at most: no more was forecast.

    A false alarm is an issue with an alert up after which nothing was reached ``within`` leads. One
    whose time is not over, or that nothing was observed in, is not judged.

    Args:
        up: [I] whether an alert is up.
        issued: [I] whether a forecast was made.
        crossed: [I] 1, 0 or NaN.
        within: leads that the rule looks ahead.
    """
    issues = np.flatnonzero(issued)
    if not len(issues):
        none = np.zeros(0, np.int64)
        return Judged(none, none, none, none.astype(bool))
    known = np.flatnonzero(~np.isnan(crossed))
    change = np.diff(crossed[known], prepend=1.0, append=0.0)
    begins, ends = known[np.flatnonzero(change[:-1] > 0)], known[np.flatnonzero(change[1:] < 0)]
    begins = begins[begins > issues[0]]
    raises = np.flatnonzero(np.diff(up.astype(np.int8), prepend=0) > 0)
    leads = np.zeros(len(begins), np.int64)
    for e, begin in enumerate(begins):
        issue = issues[np.searchsorted(issues, begin) - 1]
        if up[issue] and begin - issue <= within:
            over = ends[ends < begin]
            since = max([raises[raises <= issue][-1], *over[-1:]])
            leads[e] = min(within, int(begin - since))
    alarms = issues[up[issues]]
    past = alarms[alarms + within < len(crossed)]
    reached, seen = np.cumsum(crossed == 1), np.cumsum(~np.isnan(crossed))
    judged = past[seen[past + within] > seen[past]]
    return Judged(begins, leads, judged, reached[judged + within] == reached[judged])


def score_node(up: BoolArray, issued: BoolArray, crossed: FloatArray, within: int) -> Score:
    """Count what ``judge_node`` finds at one node."""
    found = judge_node(up, issued, crossed, within)
    hits = int((found.leads > 0).sum())
    return Score(
        hits=hits,
        misses=len(found.begins) - hits,
        judged=len(found.alarms),
        false_alarms=int(found.false.sum()),
        up=int((up & issued).sum()),
        issues=int(issued.sum()),
        leads=tuple(found.leads[found.leads > 0].tolist()),
    )


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
    spec, data = runtime.release.spec, runtime.release.manifest["data"]
    step = np.timedelta64(spec.seconds, "s")
    first = np.datetime64(data["validation_end"].rstrip("Z"), "s") - step
    if latest <= first:
        return None
    rows = min(int((latest - first) / step), MOST_ISSUES - 1)
    builder = read(latest, rows)
    probability = _issue(runtime, rules, builder, len(builder.values) - 1 - rows)
    return Replay(runtime, latest - rows * step, probability, builder.values[-1 - rows :])


def _issue(
    runtime: Runtime, rules: list[Rule], builder: WindowBuilder, start: int
) -> dict[str, FloatArray]:
    """Probabilities by rule of an issue at each row from ``start`` on.

    Bands have learned from the issues before it, those at the hours that the release was tested at;
    at other hours they are the latest one's, as in what is served (``serving.bands``).
    """
    spec, graph = runtime.release.spec, runtime.release.graph
    every = int(runtime.release.manifest["data"].get("issue_every") or spec.seconds)
    rows = np.arange(start, len(builder.values))
    after = builder.times(rows + 1).astype("datetime64[s]").astype(np.int64)
    teaches = (after % every == 0) | (every == spec.seconds)
    bands = AdaptiveBands(spec.quantiles, spec.horizon, graph.nodes, every // spec.seconds)
    found: dict[str, list[FloatArray]] = {rule.id: [] for rule in rules}
    past: list[int] = []
    issued: list[FloatArray] = []
    for origin, taught in zip(rows.tolist(), teaches, strict=True):
        began = time.perf_counter()
        if taught:
            for row in range(past[-1] + 1 if past else origin, origin + 1):
                bands.learn(row, builder.values[row], np.array(past, int), issued)
        window = builder.batch(np.array([origin]))
        forecast = runtime.forecast(builder, window, origin, bands.correction)
        within = forecast.exceedance_within
        assert within is not None
        if np.isnan(builder.values[origin]).all():  # nothing came, so nothing is issued
            within = np.full_like(within, np.nan)
        for rule in rules:
            found[rule.id].append(rule.probability(within, graph))
        if taught:
            blind = np.isnan(window.past[0]).mean(axis=0) > MOST_MISSING
            issued.append(np.where(blind[None, :, None], np.nan, forecast.quantiles))
            past.append(origin)
            while past[0] <= origin - spec.horizon:
                del past[0], issued[0]
        pauses = _LONG_PAUSES if PRESSURE.busy else _PAUSES
        time.sleep(pauses * (time.perf_counter() - began))
    return {name: np.array(found[name]) for name in found}
