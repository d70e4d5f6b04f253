"""Mitigation through the chain: the attribute steers losses and bands, and no forecast reads it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from models.contracts import FelsinaError
from models.exported import open_session, predictor
from pipelines.adopt import adopt
from pipelines.groups import groups_of
from pipelines.release import build_release
from pipelines.train import (
    GRAPH,
    STATE,
    Trained,
    open_registered,
    open_trained,
    score,
    settings_for,
    train,
)
from serving.release import load_release
from tests.factories import Silent, make_dataset, make_part
from tests.fixtures.tiny import SETTINGS
from training.checkpoint import read
from training.settings import Fairness

FAIR = ["fairness.attribute=side", "fairness.weights=dro", "fairness.calibration=group"]
INDUCTIVE = ["architecture.inductive=true", "architecture.graph=false"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mitigation")


@pytest.fixture(scope="module")
def folder(place: Path) -> Path:
    """The tiny dataset, with a column that tells its sensors apart."""
    made = make_dataset(place / "tiny")
    sided(made, ("left", "left", "right", "right"))
    return made


@pytest.fixture(scope="module")
def trained(place: Path, folder: Path) -> Trained:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fairness.groups.LEAST_SENSORS", 2)
        patch.setattr("training.export._REPEATS", 1)
        dataset = open_registered(folder)
        settings = settings_for(dataset, assignments=[*SETTINGS, *INDUCTIVE, *FAIR])
        made = train(dataset, settings, place / "home", Silent())
        again = train(dataset, settings, place / "home", Silent())
        assert again.folder == made.folder
        return made


def sided(folder: Path, sides: tuple[str, ...]) -> None:
    nodes = pd.read_csv(folder / "nodes.csv")
    nodes.assign(side=sides).to_csv(folder / "nodes.csv", index=False)


def test_the_graph_that_is_exported_holds_the_bands_of_each_group(trained: Trained):
    assert trained.run["groups"]["groups"] == {"left": ["a", "b"], "right": ["c", "d"]}
    offsets = read(trained.folder / STATE)["node_offset"]
    assert torch.equal(offsets[:, 0], offsets[:, 1])
    assert not torch.equal(offsets[:, 1], offsets[:, 2])
    dataset, spec = trained.dataset, trained.fitted.spec
    window = dataset.builder(spec).batch(dataset.splits.test(spec, dataset.start)[:5])
    served = predictor(open_session(trained.folder / GRAPH))(window)
    np.testing.assert_allclose(served, trained.fitted.predict(window), rtol=1e-4, atol=1e-2)
    assert (np.diff(served, axis=-1) >= 0).all()


def test_the_attribute_is_no_input_and_moving_a_node_changes_no_forecast(
    trained: Trained, folder: Path, tmp_path: Path
):
    names = {node.name for node in open_session(trained.folder / GRAPH).get_inputs()}
    window_inputs = set(
        trained.dataset.builder(trained.fitted.spec).batch(np.array([400])).inputs()
    )
    assert names <= window_inputs
    moved = shutil.copytree(folder, tmp_path / "tiny")
    sided(moved, ("right", "left", "right", "left"))
    other = open_registered(moved)
    assert other.graph.attributes["side"] != trained.dataset.graph.attributes["side"]
    spec = trained.fitted.spec
    origins = other.splits.test(spec, other.start)[:5]
    predict = predictor(open_session(trained.folder / GRAPH))
    before = predict(trained.dataset.builder(spec).batch(origins))
    np.testing.assert_array_equal(predict(other.builder(spec).batch(origins)), before)


def test_a_release_says_whose_bands_they_are(trained: Trained, place: Path):
    assert open_trained(trained.folder, trained.dataset).fitted.forecaster.node_offset is not None
    score(trained, place / "home", lambda share: None)
    release = build_release(trained, place / "home")
    manifest = json.loads((release / "manifest.json").read_bytes())
    assert load_release(release).spec.dataset == "tiny"
    assert manifest["calibration"]["method"].endswith("by group (side)")
    assert manifest["training"]["groups"]["attribute"] == "side"
    fairness = manifest["training"]["settings"]["fairness"]
    assert fairness["weights"] == "dro"
    assert "areas" not in fairness


def test_another_city_takes_the_weights_and_calibrates_its_own_bands(
    trained: Trained, place: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its sensors stand in no group of the first one's."""
    monkeypatch.setattr("training.export._REPEATS", 1)
    new = make_part(place / "new", {"d": "d", "b": "e"}, seed=5, name="new")
    adopted = adopt(open_registered(new), trained.folder, place / "home", Silent())
    state = read(adopted.folder / STATE)
    assert "node_offset" not in state
    assert (state["offset"] != 0).any()


def test_groups_come_from_a_column_or_from_an_areas_file_and_from_nowhere_else(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 2)
    dataset = open_registered(folder)
    assert groups_of(dataset, Fairness.model_validate({"attribute": "side"})) is None
    (tmp_path / "areas.csv").write_text("code,area,people,rent\none,one,900,7\ntwo,two,900,9\n")
    (tmp_path / "areas.toml").write_text(
        'table = "areas.csv"\ncode = "code"\nlevels = ["area"]\nresidents = "people"\n'
        'attributes = ["rent"]\n'
    )
    said = {"attribute": "rent", "areas": tmp_path / "areas.toml", "weights": "group"}
    by_rent = Fairness.model_validate(said)
    groups = groups_of(dataset, by_rent)
    assert groups is not None
    rents = np.where(np.array(dataset.graph.areas) == "one", "7", "9")
    assert [groups.names[g] for g in groups.of_node] == rents.tolist()
    for wrong in ("rent", ""):
        with pytest.raises(FelsinaError, match=r"use one of .*side"):
            groups_of(dataset, by_rent.model_copy(update={"attribute": wrong, "areas": None}))
    bare = replace(dataset, graph=replace(dataset.graph, areas=("",) * 4, attributes={}))
    with pytest.raises(FelsinaError, match=r"give fairness.areas=FILE"):
        groups_of(bare, by_rent.model_copy(update={"areas": None}))
