"""Warnings by group, from the very events that the alert rules are backtested on."""

import numpy as np

from fairness.floods import COUNTS
from pipelines import floods
from pipelines.audit import audit_release, tell_apart
from pipelines.train import open_registered
from serving.release import load_release
from tests.fixtures.alarmed import with_thresholds
from tests.fixtures.tiny import Tiny


def test_events_are_those_of_the_alert_rule(tiny: Tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 1)
    dataset = open_registered(tiny.folder)
    dataset.graph.attributes["side"] = ("left", "left", "right", "right")
    release = load_release(with_thresholds(tiny, tmp_path))
    areas, found = tell_apart(dataset, None)
    kept = []
    monkeypatch.setattr(floods, "audit_floods", lambda daily, *rest: kept.append(daily) or [])
    record = floods.warnings_by_group(release, dataset, found, areas)
    assert record is not None
    score, total = record["score"], dict(zip(COUNTS, kept[0].sum(axis=(0, 1)), strict=True))
    assert record["rule"] == {"threshold": 2, "within_h": 6, "raise_at": 0.4}
    assert score["events"] > 5
    assert total["events"] == score["events"]
    assert total["hits"] == score["hits"]
    assert total["alarms"] == score["issues_up"]
    assert total["false"] == score["false_alarms"]
    assert total["lead_h"] >= total["hits"], "an hour's lead each, or more"
    node = kept[0].sum(axis=0)[:, 0]
    assert node[[0, 1, 3]].min() > 0
    assert node[2] == 0, "a node without a threshold"
    monkeypatch.undo()
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 1)
    whole = audit_release(release.folder, dataset)
    groups = {g["attribute"]: g["groups"] for g in whole["floods"]["groupings"]}
    assert sum(group["events"] for group in groups["side"]) == score["events"]


def test_a_release_without_thresholds_says_nothing_of_floods(tiny: Tiny, monkeypatch):
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 1)
    dataset = open_registered(tiny.folder)
    assert np.isnan(dataset.graph.thresholds).all()
    assert "floods" not in audit_release(tiny.release, dataset)
