import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from models.record import sha256_file
from pipelines.digests import DATASET_FILES, data_digests
from pipelines.present import released
from pipelines.release import build_release
from pipelines.run import hold_observations, run_chain
from pipelines.settings import home as home_folder
from pipelines.settings import store_place
from pipelines.train import open_registered, settings_for, train
from serving.release import champion_pointer, load_release
from serving.store import FORCED, OBSERVED, Store
from tests.factories import NODES, Silent, make_dataset
from tests.fixtures.tiny import ROOT, SET_FLAGS, SETTINGS, Tiny, environment
from training.dataset import FILES
from training.tracking import Tracker


def test_the_chain_goes_through_its_stages(tiny: Tiny) -> None:
    assert tiny.stages == ["validate", "backbone", "train", "export", "backtest", "release"]
    folders = {path.name for path in tiny.home.iterdir() if path.is_dir()}
    assert {"trained", "releases", "champions"} <= folders
    pointer = json.loads(champion_pointer(tiny.home, "tiny").read_bytes())
    assert pointer["release"] == tiny.release.name
    assert not list(tiny.home.glob("*/.*.part"))
    assert not [path for path in (tiny.home / "work").iterdir() if path.is_dir()]


def test_the_manifest_says_where_a_release_comes_from(tiny: Tiny) -> None:
    manifest = load_release(tiny.release).manifest
    assert manifest["data"]["digests"] == tiny.dataset.digests
    assert manifest["data"]["synthetic"] is True
    assert manifest["data"]["quality"] == {"flags": 0, "kinds": {}, "nodes": {}}
    assert json.loads((tiny.trained / "quality.json").read_bytes())["flags"] == []
    assert manifest["data"]["attribution"] == "made by a test"
    assert manifest["training"]["settings"]["steps"] == 20
    assert manifest["export"]["largest_relative_difference"] <= 1e-4
    baselines = set(tiny.report["models"])
    assert set(manifest["metrics"]) == baselines
    assert {"felsina", "persistence", "seasonal_naive_day"} <= baselines
    assert manifest["metrics"]["felsina"]["mae"] == tiny.report["models"]["felsina"]["mae"]
    assert manifest["weather"] == tiny.report["weather"]
    assert manifest["weather"]["without"]["mae"] > manifest["weather"]["observed"]["mae"]
    adaptive = manifest["calibration"]["adaptive"]
    assert "quantile tracking" in adaptive.pop("rule")
    assert adaptive == tiny.report["adaptive"]
    whole = json.dumps(manifest)
    assert str(tiny.home) not in whole
    assert str(tiny.folder) not in whole


def test_the_model_that_was_backtested_is_the_one_released(tiny: Tiny) -> None:
    assert sha256_file(tiny.release / "model.onnx") == sha256_file(tiny.trained / "model.onnx")
    forecasts = pd.read_parquet(tiny.trained / "forecasts.parquet")
    assert len(forecasts) == len(tiny.origins) * 6 * 4
    assert set(forecasts["node"]) == set(NODES)


def test_a_release_holds_no_path_of_the_machine(tiny: Tiny) -> None:
    for path in tiny.release.iterdir():
        content = path.read_bytes()
        for place in (ROOT, tiny.home, Path(sys.prefix)):
            assert str(place).encode() not in content, path.name


def test_a_second_run_finds_the_work_done(tiny: Tiny) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.release.iterdir()}
    listener = Silent()
    release, report = run_chain(tiny.folder, tiny.home, listener, assignments=SETTINGS)
    assert listener.stages == []
    assert release == tiny.release
    assert report == tiny.report
    assert {path: path.stat().st_mtime_ns for path in release.iterdir()} == before


def test_what_would_run_is_told_and_nothing_heavy_is_loaded(tiny: Tiny) -> None:
    program = (
        "import sys; from pipelines import cli; sys.argv[0] = 'felsina'\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "heavy = ('torch', 'pandas', 'mlflow', 'lightning', 'onnxruntime', 'scipy')\n"
        "print('loaded:', [m for m in heavy if m in sys.modules])"
    )
    before = sorted(str(path) for path in tiny.home.rglob("*"))

    def told(*more: str) -> str:
        words = ["run", "--dry-run", "--dataset", str(tiny.folder), *SET_FLAGS, *more]
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            cwd=ROOT,
            env=environment(tiny.home),
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.endswith("loaded: []\n"), done.stdout
        return done.stdout

    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in told().splitlines()}
    for stage in ("ingest", "validate", "prepare", "train", "backtest", "release"):
        assert lines[stage] == "no nothing changed"
    assert lines["evaluate"] == "yes not done yet"
    lines = {
        line.split()[0]: " ".join(line.split()[1:]) for line in told("--seed", "1").splitlines()
    }
    assert lines["validate"] == "no nothing changed"
    assert lines["prepare"] == "yes asked seed 0, now 1"
    assert lines["train"] == "perhaps if prepare makes something else"
    assert sorted(str(path) for path in tiny.home.rglob("*")) == before


def test_files_are_told_apart_as_an_opened_dataset_does(tiny: Tiny) -> None:
    assert data_digests(tiny.folder) == tiny.dataset.digests
    assert set(DATASET_FILES) == set(FILES)


def test_a_chain_is_one_run_with_its_stages_under_it(tiny: Tiny) -> None:
    tracker = Tracker(tiny.home, "look")
    runs = {run.info.run_id: run for run in tracker.client.search_runs(["1"])}
    tracker.end()
    key = "mlflow.parentRunId"
    stages = {run.data.tags["stage"]: run for run in runs.values() if key in run.data.tags}
    assert {"validate", "prepare", "train", "backtest", "release"} <= set(stages)
    (parent,) = {run.data.tags[key] for run in stages.values()}
    assert runs[parent].data.tags["dataset"] == "tiny"
    assert runs[parent].info.status == "FINISHED"
    trained = json.loads((tiny.trained / "run.json").read_bytes())
    assert stages["train"].info.run_id == trained["mlflow_run"]
    assert stages["release"].data.tags["made.release"] == tiny.release.name
    assert stages["release"].data.metrics["seconds"] > 0


def test_a_lost_release_is_built_again_to_the_byte(tiny: Tiny, tmp_path: Path) -> None:
    settings = settings_for(tiny.dataset, assignments=SETTINGS)
    trained = train(tiny.dataset, settings, tiny.home, Silent())
    assert trained.folder == tiny.trained
    aside = tmp_path / tiny.release.name
    shutil.move(tiny.release, aside)
    try:
        assert build_release(trained, tiny.home) == tiny.release
        for path in aside.iterdir():
            assert (tiny.release / path.name).read_bytes() == path.read_bytes()
    finally:
        shutil.rmtree(tiny.release, ignore_errors=True)
        shutil.move(aside, tiny.release)


def test_other_data_or_settings_are_other_work(tiny: Tiny, tmp_path: Path) -> None:
    class Began(Exception): ...

    class Stops(Silent):
        def progress(self, stage: str, share: float) -> None:
            raise Began(stage)

    other = open_registered(make_dataset(tmp_path / "tiny", seed=1))
    settings = settings_for(tiny.dataset, assignments=SETTINGS)
    with pytest.raises(Began, match="backbone"):
        train(other, settings, tmp_path, Stops())
    changed = settings_for(tiny.dataset, seed=1, assignments=SETTINGS)
    with pytest.raises(Began, match="backbone"):
        train(tiny.dataset, changed, tmp_path, Stops())


def test_observations_reach_back_as_far_as_forecasts_read(tiny: Tiny, empty_store: Store) -> None:
    for _ in range(2):
        hold_observations(tiny.dataset, tiny.spec.reach, empty_store)
    first = tiny.dataset.splits.validation_end - tiny.spec.reach
    steps = len(tiny.dataset.values) - first
    start = tiny.builder.times(np.array([first]))[0]
    held = empty_store.read("tiny", OBSERVED, list(NODES), start, steps, 3600)
    np.testing.assert_array_equal(held, tiny.dataset.values[first:])
    names = [forcing.name for forcing in tiny.spec.forcings]
    assert tiny.dataset.forcings is not None
    forced = empty_store.read("tiny", FORCED, names, start, steps, 3600)
    np.testing.assert_array_equal(forced, tiny.dataset.forcings[first:, 0])
    before = empty_store.read("tiny", OBSERVED, list(NODES), start - steps * 3600, steps, 3600)
    assert np.isnan(before).all()


def test_what_is_there_is_found(tiny: Tiny, tmp_path: Path, monkeypatch) -> None:
    assert released(tiny.home, "tiny")
    assert not released(tiny.home, "other")
    assert not released(tmp_path, "tiny")
    copy = tmp_path / "home"
    for part in ("releases", "champions"):
        shutil.copytree(tiny.home / part, copy / part)
    assert released(copy, "tiny")
    (copy / "releases" / tiny.release.name / "graph.json").write_text("{}")
    assert not released(copy, "tiny")
    monkeypatch.setenv("FELSINA_STORE", str(tmp_path / "empty.db"))
    assert not released(tiny.home, "tiny")


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"release": "tiny-000000000000"}'])
def test_a_broken_pointer_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    pointer = champion_pointer(tmp_path, "tiny")
    pointer.parent.mkdir()
    pointer.write_text(content)
    assert not released(tmp_path, "tiny")


def test_places_follow_the_environment(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path))
    assert home_folder() == tmp_path
    assert store_place() == tmp_path / "observations.db"
    monkeypatch.setenv("FELSINA_STORE", "postgresql://city/felsina")
    assert store_place() == "postgresql://city/felsina"
    monkeypatch.delenv("FELSINA_HOME")
    assert home_folder().name == "mlruns"


def test_an_unknown_domain_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    folder = make_dataset(tmp_path / "odd", domain="odd")
    with pytest.raises(FelsinaError, match="domain 'odd' is not registered"):
        run_chain(folder, tmp_path / "home", Silent(), assignments=SETTINGS)
    assert not (tmp_path / "home").exists()
