"""``felsina audit`` on the tiny dataset: the backtest's own figures, told by group."""

import json

import numpy as np
import pandas as pd
import pytest

from fairness.areas import read_areas
from models.contracts import FelsinaError
from pipelines.audit import audit_trained
from pipelines.commands import audit as command
from pipelines.train import open_trained
from tests.fixtures.tiny import SETTINGS, Tiny

TOML = """
table = "areas.csv"
code = "code"
levels = ["area"]
residents = "people"
"""


@pytest.fixture
def areas(tiny: Tiny, tmp_path):
    """Two areas; the first holds three of the four sensors, or else all four."""
    names = sorted(set(tiny.dataset.graph.areas))
    rows = [f"{name},{name},{1000 + i}" for i, name in enumerate(names)]
    (tmp_path / "areas.csv").write_text("\n".join(["code,area,people", *rows]) + "\n")
    (tmp_path / "areas.toml").write_text(TOML)
    return tmp_path / "areas.toml"


def test_nodes_that_nothing_tells_apart_are_said_so(tiny: Tiny, areas):
    trained = open_trained(tiny.trained, tiny.dataset)
    assert len(set(read_areas(areas, tiny.dataset.graph).of_node.tolist())) > 1
    with pytest.raises(FelsinaError, match=r"no column of nodes.csv tells two groups"):
        audit_trained(trained, areas)


def test_a_groups_error_is_that_of_its_nodes_in_the_backtest(tiny: Tiny, monkeypatch, capsys):
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 2)
    graph = tiny.dataset.graph
    graph.attributes["side"] = ("left", "left", "right", "right")
    try:
        monkeypatch.setenv("FELSINA_HOME", str(tiny.home))
        monkeypatch.setattr(
            command, "trained_for", lambda *_: open_trained(tiny.trained, tiny.dataset)
        )
        command.audit_one(tiny.folder, None, "quick", 0, None, SETTINGS, None, json=True)
    finally:
        del graph.attributes["side"]
    found = json.loads(capsys.readouterr().out)
    (record,) = [r for r in found["groupings"] if r["attribute"] == "side"]
    forecasts = pd.read_parquet(tiny.trained / "forecasts.parquet")
    series = pd.DataFrame(
        tiny.dataset.values,
        columns=list(graph.ids),
        index=pd.DatetimeIndex(tiny.builder.times(np.arange(len(tiny.dataset.values))), tz="UTC"),
    )
    step = pd.Timedelta(seconds=tiny.spec.seconds)
    valid = forecasts["init_time"] + forecasts["lead"] * step
    forecasts["true"] = (
        series.stack().reindex(list(zip(valid, forecasts["node"], strict=True))).to_numpy()
    )
    assert record["groups"][0]["sensors"] == 2
    for g, nodes in enumerate((graph.ids[:2], graph.ids[2:])):
        wapes = []
        for area in sorted({graph.areas[graph.ids.index(n)] for n in nodes}):
            own = [n for n in nodes if graph.areas[graph.ids.index(n)] == area]
            part = forecasts[forecasts["node"].isin(own)].dropna()
            wapes.append((part["q0.5"] - part["true"]).abs().sum() / part["true"].abs().sum())
        judged = record["weighted"]["area"]["figures"][g]
        assert judged["wape"] == pytest.approx(np.mean(wapes), rel=1e-5)
