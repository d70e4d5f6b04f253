"""A forecast as rules read it, and what people are told of a node under a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.alerts.rules import Rule, within_text
from serving.catalogue import Answer, is_stale, now
from serving.formats import node_entry
from serving.runtime import Runtime
from serving.schemas import iso


@dataclass(frozen=True)
class Issue:
    """What is evaluated at one time.

    Attributes:
        runtime: of the release that is served.
        answer: its latest forecast.
        observed: node to what was observed at its ``init_time``, where something was.
    """

    runtime: Runtime
    answer: Answer
    observed: dict[str, float]

    def event(self) -> dict[str, Any]:
        """The data of a ``forecast`` event."""
        dataset = self.runtime.release.spec.dataset
        return {
            "dataset": dataset,
            "init_time": iso(self.answer.forecast.init_time),
            "data_as_of": iso(self.answer.data_as_of),
            "release": self.answer.forecast.release,
            "url": f"/v1/forecasts/{dataset}",
        }

    def describe(self, rule: Rule, node: str, probability: float) -> dict[str, Any]:
        """What people are told of a node (``schemas.Alert``, but for the alert's own record)."""
        release, forecast = self.runtime.release, self.answer.forecast
        spec, n = release.spec, release.graph.ids.index(node)
        level = float(release.graph.thresholds[n, rule.threshold - 1])
        assert forecast.exceedance_within is not None
        by_lead = forecast.exceedance_within[: rule.within, n, rule.threshold - 1]
        onset = int(np.argmax(by_lead >= min(rule.raise_at, probability)))
        entry = node_entry(release, n)
        return {
            "rule": rule.id,
            "dataset": spec.dataset,
            "domain": spec.domain,
            "node": node,
            **{key: entry[key] for key in ("name", "area", "lon", "lat")},
            "target": spec.target,
            "threshold": rule.threshold,
            "level": level,
            "unit": spec.unit,
            "probability": round(probability, 4),
            "within_lead": rule.within,
            "within_text": within_text(rule.within, spec),
            "valid_from": iso(forecast.valid_times[0]),
            "onset": iso(forecast.valid_times[onset]),
            "valid_to": iso(forecast.valid_times[rule.within - 1]),
            "timezone": spec.timezone,
            "last_seen": iso(forecast.init_time),
            "reached": self.observed.get(node, -np.inf) >= level,
            "stale": is_stale(self.answer.data_as_of, spec.seconds),
            "release": release.id,
            "manifest_sha256": release.sha256,
            "approval": release.approval.state,
            "decision": release.approval.decision,
            "synthetic": release.manifest["data"]["synthetic"],
            "withdrawn": False,
            "note": None,
        }


def over(said: dict[str, Any]) -> bool:
    """Whether the time that is warned of has passed, as when a history of real data is posted."""
    return not said["synthetic"] and said["valid_to"] <= iso(now())
