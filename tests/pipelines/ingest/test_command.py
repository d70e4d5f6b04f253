"""``felsina data ingest`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from models.contracts import FelsinaError
from pipelines.cli import app
from pipelines.domains.registry import sources
from tests.fixtures.tiny import ROOT
from tests.pipelines.ingest.test_csv import ITALIAN, LONG, MAPPING, long_text, truth
from training.dataset import open_dataset


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["data", "ingest", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_own_city_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "mapping.toml").write_text(MAPPING.format(keys=ITALIAN + LONG))
    (tmp_path / "data.csv").write_text(long_text(truth()))
    command = "csv", str(tmp_path / "mapping.toml"), "--dataset", str(tmp_path / "city")
    said = run(*command, "--dry-run")
    assert f"data-data.csv  new         {tmp_path / 'data.csv'}" in said
    assert not (tmp_path / "city").exists()
    said = run(*command)
    assert "2 documents new or revised, 0 unchanged" in said
    assert "2 nodes x 961 steps of 1h; values: 1922 new, 0 revised, 0 withdrawn" in said
    again = json.loads(run(*command, "--json"))
    assert (again["fetched"], again["unchanged"]) == (0, 2)
    assert again["changes"]["written"] == []


def test_what_is_asked_of_a_portal_is_told_and_not_asked(tmp_path: Path) -> None:
    span = "--since", "2024-01-15", "--until", "2024-03-01", "--dry-run", "--json"
    plan = json.loads(run("bologna-loops", "--dataset", str(tmp_path / "loops"), *span))
    assert [one["key"] for one in plan] == [
        "2024-01",
        "2024-01-accuracy",
        "2024-02",
        "2024-02-accuracy",
    ]
    assert plan[2]["place"].startswith("https://opendata.comune.bologna.it/api/explore/v2.1/")
    assert "date%272024-02-01%27" in plan[2]["place"]
    assert not (tmp_path / "loops").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["csv"], "csv needs its mapping file: felsina data ingest csv MAPPING.toml"),
        (["etth1"], r"etth1 needs its file: felsina data ingest etth1 PATH \(ETTh1.csv"),
        (["etth1", "x.csv", "--since", "2024-01-01"], "etth1: --since is for sources that go on"),
        (["csv", "x.toml", "--horizon", "3"], "csv: --horizon is for public benchmarks"),
        (["terna-load", "x.csv"], "terna-load comes from the network; leave x.csv out"),
        (["road-graph", "x", "--since", "2024-01-01"], "road-graph is taken whole; leave --since"),
        (["bologna-loops", "--set", "accuracy"], "--set 'accuracy': write key=value"),
        (["odd"], "source 'odd' is unknown; use one of csv, open-meteo"),
    ],
)
def test_misuse_is_one_line(tmp_path: Path, arguments: list[str], said: str) -> None:
    with pytest.raises(FelsinaError, match=said):
        run(*arguments, "--dataset", str(tmp_path / "city"))
    assert not (tmp_path / "city").exists()


def test_the_documents_own_city_works(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "ingest.md").read_text()
    mapping = text.partition("```toml\n")[2].partition("```")[0]
    assert len(mapping.strip().splitlines()) <= 22
    (tmp_path / "mapping.toml").write_text(mapping)
    places = 'codice;geo_point_2d;via\na;"44.64, 10.92";Via Emilia\nb;"44.65, 10.93";Via Giardini\n'
    (tmp_path / "stations.csv").write_text(places)
    rows = long_text(truth().round()).replace("day;hour;meter;kW", "giorno;ora;postazione;transiti")
    rows = "\n".join(row.replace(".00;", ":00;", 1) for row in rows.splitlines())
    (tmp_path / "counts-2024.csv").write_text(rows + "\n")
    run("csv", str(tmp_path / "mapping.toml"), "--dataset", str(tmp_path / "modena"))
    dataset = open_dataset(tmp_path / "modena")
    assert np.array_equal(dataset.values, truth().round().to_numpy(np.float32))
    assert dataset.graph.names == ("Via Emilia", "Via Giardini")
    (tmp_path / "counts-2024.csv").write_text(
        rows.replace("\n10/10/2024;00:00;b;", "\n10/10/2024;00:00;b;1,234.5")
    )
    with pytest.raises(FelsinaError) as error:
        run("csv", str(tmp_path / "mapping.toml"), "--dataset", str(tmp_path / "modena"))
    shown = text.partition("felsina: counts-2024.csv: ")[2].partition("\n")[0]
    assert str(error.value).partition(" is no number ")[2] == shown.partition(" is no number ")[2]


def test_the_documents_table_lists_every_source() -> None:
    text = (ROOT / "docs" / "ingest.md").read_text()
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(sources())
