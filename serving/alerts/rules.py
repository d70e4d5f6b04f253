"""Alert rules: when a node's probability of reaching a threshold raises an alert, and ends it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.contracts import BoolArray, CityGraph, FelsinaError, FloatArray, ForecastSpec, IntArray
from serving.runtime import Runtime

HOURS = 6
"""What the default rule looks ahead."""
RAISE_AT, CLEAR_AT, CLEAR_AFTER = 0.4, 0.3, 2
DEFAULT = "default-"
"""How the id of a dataset's default rule begins."""


@dataclass(frozen=True)
class Rule:
    """Raise an alert where a threshold is likely enough to be reached soon.

    Attributes:
        id: its name; that of a default rule is ``default-`` and the dataset.
        dataset: whose forecasts it reads.
        threshold: which of a node's thresholds, 1 to 3.
        within: leads within which it must be reached.
        raise_at: probability from which on an alert is raised.
        clear_at: probability below which an issue speaks for its end; it lies below ``raise_at``,
            so that a probability that trembles about one number raises one alert and not ten.
        clear_after: such issues in a row that end it.
        nodes: the nodes it watches; None for all that have the threshold.
    """

    id: str
    dataset: str
    threshold: int
    within: int
    raise_at: float = RAISE_AT
    clear_at: float = CLEAR_AT
    clear_after: int = CLEAR_AFTER
    nodes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that could never end, or never rest."""
        if not 0 < self.clear_at < self.raise_at <= 1:
            raise FelsinaError(
                f"clear_at {self.clear_at:g} must lie above 0 and below raise_at "
                f"{self.raise_at:g}, which is at most 1"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``from_dict`` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> Rule:
        """Build a rule from ``to_dict``'s output as JSON keeps it."""
        nodes = record["nodes"]
        values: dict[str, Any] = record | {"nodes": None if nodes is None else tuple(nodes)}
        return cls(**values)

    def watched(self, graph: CityGraph) -> IntArray:
        """Indices of the nodes that it watches: those named, or all, that have the threshold."""
        has = ~np.isnan(graph.thresholds[:, self.threshold - 1])
        if self.nodes is not None:
            has &= np.isin(graph.ids, self.nodes)
        return np.flatnonzero(has)

    def probability(self, within: FloatArray, graph: CityGraph) -> FloatArray:
        """[X] of the watched nodes, from ``Forecast.exceedance_within`` [H, N, 3]."""
        return within[self.within - 1, self.watched(graph), self.threshold - 1]

    def hold(
        self, active: BoolArray, below: IntArray, probability: FloatArray
    ) -> tuple[BoolArray, IntArray]:
        """One issue's step of the hysteresis, the same for what is live and what is replayed.

        Args:
            active: [X] whether an alert is up.
            below: [X] issues in a row that spoke for its end.
            probability: [X]; NaN, where it is unknown, changes nothing.

        Returns:
            Both after the issue.
        """
        unknown = np.isnan(probability)
        counted = np.where(active & (probability < self.clear_at), below + 1, 0)
        counted = np.where(unknown, below, counted)
        after = np.where(active, counted < self.clear_after, probability >= self.raise_at)
        after = np.where(unknown, active, after)
        return after, np.where(after, counted, 0)


def default_rule(runtime: Runtime) -> Rule | None:
    """The rule of a dataset that has none of its own: threshold 2 within six hours at 40 %.

    Where no node has a threshold 2 it is the highest that is given; None where there is none, or
    where the release cannot say how likely a crossing *within* some time is.
    """
    spec = runtime.release.spec
    given = np.any(~np.isnan(runtime.release.graph.thresholds), axis=0)
    if not given.any():
        return None
    threshold = 2 if given[1] else int(np.flatnonzero(given)[-1]) + 1
    within = int(np.clip(round(HOURS * 3600 / spec.seconds), 1, spec.horizon))
    rule = Rule(DEFAULT + spec.dataset, spec.dataset, threshold, within)
    return None if problem(rule, runtime) else rule


def rules_of(runtime: Runtime, own: list[Rule]) -> list[Rule]:
    """The rules of a dataset: its own, else the default one."""
    if own:
        return own
    rule = default_rule(runtime)
    return [] if rule is None else [rule]


def problem(rule: Rule, runtime: Runtime) -> str | None:
    """Why a release cannot answer a rule, in a sentence; None where it can."""
    release = runtime.release
    spec, graph = release.spec, release.graph
    if rule.within > spec.horizon:
        return f"within {rule.within} leads is more than the {spec.horizon} of {release.id}"
    if rule.nodes is not None and (unknown := sorted(set(rule.nodes) - set(graph.ids))):
        return f"nodes: unknown node {', '.join(unknown[:5])} in {spec.dataset}"
    if not len(rule.watched(graph)):
        return f"threshold {rule.threshold}: no node that it watches in {spec.dataset} has one"
    if not len(runtime.template):
        return f"release {release.id} has no joint members, so it knows no crossing within a time"
    return None


def within_text(leads: int, spec: ForecastSpec) -> str:
    """A number of leads for people, such as ``6 h`` or ``45 min``."""
    seconds = leads * spec.seconds
    return f"{seconds / 3600:g} h" if seconds % 1800 == 0 else f"{seconds / 60:g} min"
