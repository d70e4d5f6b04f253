"""A new city served by a model that never saw it, without training."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from pipelines.adopt import adopt
from pipelines.release import build_release
from pipelines.run import run_chain
from pipelines.train import STATE, Trained, open_registered, score, settings_for, train
from serving.release import champion_pointer, load_release
from tests.factories import Silent, make_dataset, make_part
from tests.fixtures.tiny import SETTINGS, Tiny
from training.checkpoint import read

INDUCTIVE = [*SETTINGS, "architecture.inductive=true"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adopt")


@pytest.fixture(scope="module")
def model(place: Path) -> Trained:
    """Trained on a, b and c."""
    known = {name: name for name in "abc"}
    dataset = open_registered(make_part(place / "known", known, name="known"))
    return train(dataset, settings_for(dataset, assignments=INDUCTIVE), place / "home", Silent())


@pytest.fixture(scope="module")
def folder(place: Path) -> Path:
    """Nodes d and e, never seen, in other weather and noise."""
    return make_part(place / "new", {"d": "d", "b": "e"}, seed=5, name="new")


@pytest.fixture(scope="module")
def adopted(place: Path, model: Trained, folder: Path) -> Trained:
    return adopt(open_registered(folder), model.folder, place / "home", Silent())


def test_the_weights_are_the_models_and_nothing_is_trained(model: Trained, adopted: Trained):
    assert adopted.folder.name.startswith("new-")
    assert adopted.run["adopted"]["dataset"] == "known"
    theirs, ours = (read(t.folder / STATE) for t in (model, adopted))
    assert theirs.keys() == ours.keys()
    for name, value in theirs.items():
        if name != "offset":
            assert torch.equal(value, ours[name]), name
    assert not torch.equal(theirs["offset"], ours["offset"])  # calibrated on the new city


def test_it_is_made_once(place: Path, model: Trained, folder: Path, adopted: Trained):
    before = (adopted.folder / STATE).stat().st_mtime_ns
    again = adopt(open_registered(folder), model.folder, place / "home", Silent())
    assert again.folder == adopted.folder
    assert (again.folder / STATE).stat().st_mtime_ns == before


def test_backtest_and_release_take_it_as_any_other(place: Path, adopted: Trained):
    report = score(adopted, place / "home", lambda share: None)
    assert np.isfinite(report["models"]["felsina"]["mae"])
    assert report["models"]["felsina"]["mae"] < report["models"]["persistence"]["mae"]
    release = load_release(build_release(adopted, place / "home"))
    assert release.spec.dataset == "new"
    assert release.manifest["training"]["adopted"] == adopted.run["adopted"]
    assert str(place) not in json.dumps(release.manifest)


def test_the_chain_serves_it(place: Path, model: Trained, folder: Path, monkeypatch):
    monkeypatch.setenv("FELSINA_STORE", str(place / "observations.db"))
    listener = Silent()
    release, _ = run_chain(folder, place / "home", listener, like=model.folder)
    assert "train" not in listener.stages
    pointer = json.loads(champion_pointer(place / "home", "new").read_bytes())
    assert pointer["release"] == release.name


def test_without_a_validation_target_the_models_bands_stay(place: Path, model: Trained):
    dataset = open_registered(make_part(place / "mute", {"d": "d"}, name="mute"))
    values, splits = dataset.values.copy(), dataset.splits
    values[splits.train_end : splits.validation_end] = np.nan
    silent = adopt(replace(dataset, values=values), model.folder, place / "home", Silent())
    offsets = (t.fitted.forecaster.offset for t in (model, silent))
    assert torch.equal(*offsets)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"horizon": 5}, ["horizon is 6", "is 5"]),
        ({"lookback": 72}, ["lookback is 48", "is 72"]),
        ({"nonnegative": False}, ["nonnegative"]),
        ({"forcings": []}, ["forcings is temp_c (degC, known ahead), rain_mm (mm)", "none"]),
    ],
)
def test_another_spec_is_refused(tmp_path: Path, model: Trained, changes, words):
    dataset = open_registered(make_part(tmp_path / "other", {"d": "d"}, name="other", **changes))
    with pytest.raises(FelsinaError) as caught:
        adopt(dataset, model.folder, tmp_path, Silent())
    for part in [*words, str(model.folder)]:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_edges_where_the_model_had_none_are_refused(tmp_path: Path, model: Trained):
    dataset = open_registered(make_dataset(tmp_path / "ring"))
    with pytest.raises(FelsinaError, match=r"edges: .*architecture\.graph=false"):
        adopt(dataset, model.folder, tmp_path, Silent())


def test_a_model_that_knows_its_nodes_is_refused(tiny: Tiny, tmp_path: Path, folder: Path):
    with pytest.raises(FelsinaError, match=r"architecture\.inductive=true"):
        adopt(open_registered(folder), tiny.trained, tmp_path, Silent())
    with pytest.raises(FelsinaError, match=r"no trained folder"):
        adopt(open_registered(folder), tmp_path, tmp_path, Silent())


def test_the_command_line_says_what_is_wrong(
    place: Path, model: Trained, folder: Path, adopted: Trained, run, monkeypatch
):
    monkeypatch.setenv("FELSINA_HOME", str(place / "home"))
    flags = ["backtest", "--dataset", str(folder), "--like", str(model.folder)]
    code, _, err = run(*flags, "--seed", "1")
    assert code == 2
    assert err.startswith("felsina: --like takes the settings of its model")
    assert err.count("\n") == 1
    code, _, err = run(*flags)
    assert code == 0, err
