"""Who gains and who loses by a scenario: sums by hand, from a table of areas or a report."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fairness.groups import Areas
from models.contracts import FelsinaError
from pipelines.audit import audit_release
from pipelines.commands.scenario_audit import audit_one
from pipelines.scenario_audit import audit_scenario, figures_of, read_scenario
from pipelines.train import open_registered
from tests.fixtures.tiny import Tiny

AREAS = Areas(
    np.zeros(0, np.int64),
    {"area": ("a", "b", "c", "d"), "quartiere": ("west", "west", "east", "east")},
    np.array([1000.0, 2000, 3000, 90]),
    {"income": np.array([10.0, 20, 30, np.nan])},
)


@pytest.fixture
def flood(tmp_path: Path) -> Path:
    """A scenario's folder with a table of areas."""
    folder = tmp_path / "flood"
    folder.mkdir()
    rows = [("a", 60.0), ("b", 20.0), ("c", 0.0), ("d", 9.0), ("elsewhere", 5.0)]
    pd.DataFrame(rows, columns=["area", "people_wet"]).to_parquet(folder / "areas.parquet")
    (folder / "report.json").write_text(json.dumps({"name": "The levee breaks"}))
    return folder


@pytest.fixture
def works(tmp_path: Path) -> Path:
    """A scenario's folder whose report holds its areas."""
    folder = tmp_path / "works"
    folder.mkdir()
    bills = {"a": (100, 100), "b": (100, 70), "c": (100, 110)}
    areas = {n: {"today": {"eur": t}, "after": {"eur": w}} for n, (t, w) in bills.items()}
    (folder / "report.json").write_text(json.dumps({"name": "Works", "areas": areas}))
    return folder


def told(record, attribute):
    (grouping,) = [g for g in record["groupings"] if g["attribute"] == attribute]
    return {group["name"]: group for group in grouping["groups"]}


def test_people_in_water_are_told_by_district_and_by_income(flood: Path):
    record = audit_scenario(flood, "people_wet", AREAS)
    assert (record["scenario"], record["areas"], record["change"]) == ("The levee breaks", 4, 89)
    assert record["unmatched"] == ["elsewhere"]
    west = told(record, "quartiere")["west"]
    assert (west["residents"], west["change"], west["lose"]) == (3000, 80, 2)
    assert west["per_1000"] == pytest.approx(26.6667)
    assert told(record, "area")["the rest"]["merged"] == ["d"]
    assert [told(record, "income")[name]["per_1000"] for name in ("10", "20", "30")] == [60, 10, 0]
    assert record["worst"] == {"attribute": "income", "name": "10", "per_1000": 60}


def test_a_difference_has_those_who_gain_and_those_who_lose(works: Path):
    record = audit_scenario(works, "after.eur - today.eur", AREAS)
    areas = told(record, "area")
    assert [(areas[n]["gain"], areas[n]["lose"]) for n in "abc"] == [(0, 0), (1, 0), (0, 1)]
    assert record["change"] == -20
    assert record["worst"]["name"] == "30"
    more = audit_scenario(works, "after.eur - today.eur", AREAS, more=True)
    assert told(more, "area")["b"]["lose"] == 1
    assert more["worst"]["name"] == "20"


def test_a_run_before_is_taken_away(flood: Path, tmp_path: Path):
    dry = tmp_path / "dry"
    dry.mkdir()
    pd.DataFrame({"area": ["a"], "people_wet": [50.0]}).to_parquet(dry / "areas.parquet")
    record = audit_scenario(flood, "people_wet", AREAS, before=dry)
    assert told(record, "area")["a"]["change"] == 10


def test_what_is_not_there_is_said_in_one_line(flood: Path, works: Path, tmp_path: Path):
    assert figures_of(flood, "people_wet")["a"] == 60
    with pytest.raises(FelsinaError, match="no figure 'people'; areas have people_wet"):
        figures_of(flood, "people")
    with pytest.raises(FelsinaError, match=r"neither areas.parquet nor areas in report.json"):
        figures_of(tmp_path, "people_wet")
    other = Areas(AREAS.of_node, {"area": ("x",)}, np.array([900.0]))
    with pytest.raises(FelsinaError, match="are none of the city's"):
        audit_scenario(works, "after.eur", other)


def test_it_is_written_and_shown_in_the_audit_of_a_release(
    works: Path, tiny: Tiny, tmp_path: Path, monkeypatch, capsys
):
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 2)
    report = json.loads((works / "report.json").read_text())
    report["areas"] = {"one": report["areas"]["b"], "two": report["areas"]["c"]}
    (works / "report.json").write_text(json.dumps(report))
    file = tmp_path / "works.json"
    audit_one(works, "after.eur - today.eur", tiny.folder, None, None, False, file, json=False)
    assert "Works" in capsys.readouterr().out
    dataset = open_registered(tiny.folder)
    shown = audit_release(tiny.release, dataset, scenarios=[file])["scenarios"]
    assert shown == [read_scenario(file)]
    file.write_text("{}")
    with pytest.raises(FelsinaError, match="no audit of a scenario"):
        read_scenario(file)
