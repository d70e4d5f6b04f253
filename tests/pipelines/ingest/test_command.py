"""``felsina data ingest`` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.contracts import FelsinaError
from pipelines.cli import app
from pipelines.domains.registry import sources
from tests.fixtures.tiny import ROOT
from tests.pipelines.ingest.test_csv import ITALIAN, LONG, MAPPING, long_text, truth


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


def test_the_documents_table_lists_every_source() -> None:
    text = (ROOT / "docs" / "ingest.md").read_text()
    listed = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert sorted(listed) == sorted(sources())
