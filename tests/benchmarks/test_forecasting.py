import os
import subprocess
import sys

import pytest

from benchmarks import forecasting
from benchmarks.contenders import BASELINES, records
from models.contracts import FelsinaError
from pipelines.train import open_registered
from tests.factories import make_dataset
from tests.fixtures.tiny import ROOT


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path / "home"))
    return open_registered(make_dataset(tmp_path / "tiny"))


def test_baselines_are_scored_once_and_kept(dataset, tmp_path):
    first = forecasting.run(dataset, 2, list(BASELINES))
    assert all(len(found) == 1 for found in first.values())
    kept = list((tmp_path / "home").rglob("*.json"))
    assert len(kept) == len(BASELINES)
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    assert forecasting.run(dataset, 2, list(BASELINES)) == first
    assert stamps == {path: path.stat().st_mtime_ns for path in kept}
    text = forecasting.section(dataset, first)
    assert text.count("\n| ridge | 1 |") == 1


def test_an_unknown_model_is_refused(dataset):
    with pytest.raises(FelsinaError, match="--model 'prophet' is unknown; use felsina or"):
        records(dataset, 0, ["prophet"])


def test_sections_are_replaced_and_ordered(tmp_path):
    page = tmp_path / "page.md"
    for name, text in (("los-loop", "old"), ("bologna-mts", "b"), ("los-loop", "new")):
        forecasting.write(name, f"## {name}\n\n{text}\n", page)
    parts = page.read_text().split("\n## ")
    assert parts[0] == forecasting.HEAD
    assert parts[1:] == ["bologna-mts\n\nb\n", "los-loop\n\nnew\n"]


def test_the_command_names_the_datasets_it_knows():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.forecasting", "--dataset", "mars"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "bologna-mts" in done.stderr
