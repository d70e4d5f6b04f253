"""What silence hides: areas are left out whole, nothing of them is seen, and that shows."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fairness.groups import Areas, own_areas
from models.contracts import FelsinaError
from pipelines.audit import audit_release
from pipelines.left_out import INDUCTIVE, VARIANTS, folds_of, leave_out, nearby, read_left_out
from pipelines.left_out_map import draw_map, write_geojson
from pipelines.train import open_registered, settings_for
from tests.factories import Silent, make_graph
from tests.fixtures.tiny import SETTINGS, Tiny


@pytest.fixture(scope="module")
def record(tiny: Tiny, tmp_path_factory) -> dict:
    settings = settings_for(tiny.dataset, assignments=[*SETTINGS, *INDUCTIVE])
    work = tmp_path_factory.mktemp("left-out")
    return leave_out(tiny.dataset, None, 2, settings, work, Silent())


def test_each_area_is_left_out_once_and_whole_with_its_neighbours():
    graph = make_graph(20)
    of_node = np.repeat(np.arange(5), 4)
    of_node[-1] = -1
    fold = folds_of(Areas(of_node, {"area": tuple("abcde")}, np.full(5, 900.0)), graph, 3)
    assert fold[-1] == -1, "a node in no area is never left out"
    assert sorted(set(fold[:-1])) == [0, 1, 2]
    for area in range(5):
        assert len(set(fold[of_node == area])) == 1
    one = Areas(np.zeros(20, np.int64), {"area": ("a",)}, np.array([900.0]))
    with pytest.raises(FelsinaError, match="sensors stand in 1 areas"):
        folds_of(one, graph, 3)


def test_the_nearest_sensors_stand_in_and_the_one_that_is_gone_has_no_say():
    graph = make_graph(8)
    values = np.tile(np.arange(8.0), (5, 1))
    values[0, 1] = np.nan
    values[1, 1:] = np.nan
    held, known = np.array([0]), np.arange(1, 8)
    found = nearby(values, graph, held, known)[:, 0]
    weights = 1 / np.arange(1, 5)
    assert found[2] == pytest.approx((np.arange(1, 5) * weights).sum() / weights.sum())
    assert found[0] == pytest.approx((np.arange(2, 5) * weights[1:]).sum() / weights[1:].sum())
    assert np.isnan(found[1]), "nobody near was observed"
    own = values.copy()
    own[:, 0] = 1e6
    assert nearby(own, graph, held, known)[2:, 0] == pytest.approx(found[2:])
    nowhere = replace(graph, lon=np.full(8, np.nan))
    assert nearby(values, nowhere, held, known)[2, 0] == pytest.approx(4)


def test_where_no_sensor_is_errors_are_larger_and_bands_hold_less(record: dict, tiny: Tiny):
    assert [row["name"] for row in record["areas"]] == ["one", "two"]
    assert record["folds"] == 2
    assert record["without"] == []
    assert record["data"] == tiny.dataset.digests
    everywhere = record["all"]
    assert everywhere["blind"]["wape"] > 1.5 * everywhere["seen"]["wape"]
    assert everywhere["blind"]["coverage_90"] < everywhere["seen"]["coverage_90"]
    assert everywhere["new"]["wape"] < everywhere["blind"]["wape"]
    ratio = everywhere["blind"]["wape"] / everywhere["seen"]["wape"] - 1
    assert record["worse_by"] == {
        "estimate": pytest.approx(ratio, rel=0.02),
        "low": None,
        "high": None,
    }


def test_it_is_mapped_and_shown_in_the_audit_of_the_same_data(
    record: dict, tiny: Tiny, tmp_path: Path, monkeypatch
):
    path = tmp_path / "left_out.json"
    path.write_text(json.dumps(record))
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 2)
    dataset = open_registered(tiny.folder)
    assert set(own_areas(dataset.graph).levels["area"]) == {"one", "two"}
    assert audit_release(tiny.release, dataset, left_out=path)["left_out"] == record
    square = [np.array([[0.0, 0], [1, 0], [1, 1], [0, 0]])]
    write_geojson(record, {"one": [square]}, tmp_path / "areas.geojson")
    one, two = json.loads((tmp_path / "areas.geojson").read_text())["features"]
    assert one["geometry"]["type"] == "MultiPolygon"
    assert two["geometry"]["type"] == "Point"
    for variant in VARIANTS:
        assert two["properties"][f"{variant}_wape"] == record["areas"][1][variant]["wape"]
    draw_map(record, {"one": [square]}, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_of_other_data_is_refused(record: dict, tiny: Tiny, tmp_path: Path):
    path = tmp_path / "left_out.json"
    path.write_text(json.dumps(record))
    assert read_left_out(path, tiny.dataset) == record
    path.write_text(json.dumps(record | {"data": {}}))
    with pytest.raises(FelsinaError, match="is of other data than"):
        read_left_out(path, tiny.dataset)
    path.write_text("{}")
    with pytest.raises(FelsinaError, match="no record of what was left out"):
        read_left_out(path, tiny.dataset)
