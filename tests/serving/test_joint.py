"""Crossings, members and sums as the API answers them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from models.contracts import QUANTILES, FelsinaError
from models.record import canonical_json, sha256_file
from serving import schemas
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.formats import _chance
from serving.release import GRAPH, MEMBERS, load_release
from serving.runtime import Runtime
from serving.store import Store
from tests.fixtures.tiny import Tiny, reseal

LIMITS = {"a": [60.0, 1e5, None], "b": [None, 120.0, None]}


def changed(tiny: Tiny, place: Path, unit: str = "veh/h", template: np.ndarray | None = None):
    """The tiny release with thresholds, and another unit or template where given; its folder."""
    draft = place / "draft"
    shutil.copytree(tiny.release, draft)
    graph = json.loads((draft / GRAPH).read_bytes())
    rows = [LIMITS.get(node, [None] * 3) for node in graph["ids"]]
    graph["thresholds"] = [limit for row in rows for limit in row]
    (draft / GRAPH).write_bytes(canonical_json(graph))
    if template is not None:
        np.save(draft / MEMBERS, template)

    def change(manifest):
        manifest["spec"]["unit"] = unit
        for name in (GRAPH, MEMBERS):
            manifest["files"][name] = sha256_file(draft / name)
        if template is not None and not len(template):
            manifest["members"]["left_out"] = "too few windows"

    return reseal(draft, place, change)


def client_of(place: Path, store: Store) -> TestClient:
    return TestClient(create_app(Catalogue(place, store)))


@pytest.fixture
def alert(tiny: Tiny, store: Store, tmp_path: Path) -> TestClient:
    changed(tiny, tmp_path)
    return client_of(tmp_path, store)


def get(client: TestClient, path: str, **query):
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, path: str, **query) -> str:
    answer = client.get(path, params=query)
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"]


def test_nodes_with_thresholds_say_how_likely_they_are_reached(alert: TestClient) -> None:
    answer = get(alert, "/v1/forecasts/tiny")
    schemas.ForecastAnswer.model_validate(answer)
    features = {f["id"]: f for f in answer["features"]}
    assert {node: set(f["exceedance"]) for node, f in features.items()} == {
        "a": {"threshold_1", "threshold_2"},
        "b": {"threshold_2"},
        "c": set(),
        "d": set(),
    }
    for node, name, level in (("a", "threshold_1", 60.0), ("b", "threshold_2", 120.0)):
        told = features[node]["exceedance"][name]
        assert (told["level"], told["unit"]) == (level, "veh/h")
        at_lead, up_to_lead = np.array(told["by_lead"]), np.array(told["within_lead"])
        assert len(at_lead) == len(up_to_lead) == 6
        assert told["within_horizon"] == up_to_lead[-1]
        assert (np.diff(up_to_lead) >= 0).all()
        assert (up_to_lead >= np.maximum.accumulate(at_lead) - 1e-4).all()
        assert (up_to_lead <= np.minimum(1, np.cumsum(at_lead)) + 1e-3).all()
        quantiles = np.array([features[node]["quantiles"][f"{v:g}"] for v in QUANTILES])
        for h in range(6):
            share = np.interp(level, quantiles[:, h], QUANTILES)
            if quantiles[0, h] < level < quantiles[-1, h]:
                assert at_lead[h] == pytest.approx(1 - share, abs=1e-4)
    never = features["a"]["exceedance"]["threshold_2"]
    assert never["within_horizon"] < 0.05
    assert never["tail"] is True
    assert never["text"] == "< 5 %"


def test_geojson_and_posted_windows_say_the_same(alert: TestClient, tiny: Tiny) -> None:
    told = [f["exceedance"] for f in get(alert, "/v1/forecasts/tiny")["features"]]
    shown = get(alert, "/v1/forecasts/tiny", format="geojson")["features"]
    assert [f["properties"]["exceedance"] for f in shown] == told
    window = tiny.window(int(tiny.origins[-1]), with_lags=True)
    answer = alert.post("/v1/forecasts/tiny", json=window).json()
    assert set(answer["features"][0]["exceedance"]) == {"threshold_1", "threshold_2"}


def test_ngsi_ld_says_the_same_of_thresholds(alert: TestClient) -> None:
    features = get(alert, "/v1/forecasts/tiny")["features"]
    for number, entity in enumerate(get(alert, "/v1/forecasts/tiny", format="ngsi-ld")):
        told, lead = features[number // 6]["exceedance"], number % 6
        said = {term: part for term, part in entity.items() if term.startswith("exceedance_")}
        assert {term.removeprefix("exceedance_") for term in said} == set(told)
        for name, exceedance in told.items():
            part = said[f"exceedance_{name}"]
            assert part["value"] == exceedance["by_lead"][lead]
            assert part["level"]["value"] == exceedance["level"]


@pytest.mark.parametrize(
    ("share", "tail", "text"),
    [
        (0.0, True, "< 5 %"),
        (0.049, True, "< 5 %"),
        (0.12, True, "12 %, by a fitted tail"),
        (0.12, False, "12 %"),
        (0.374, False, "37 %"),
        (0.951, True, "> 95 %"),
        (np.nan, False, "unknown: this release has no joint members"),
    ],
)
def test_people_read_no_more_than_was_trained(share: float, tail: bool, text: str) -> None:
    assert _chance(share, 1 - 0.95, 1 - 0.05, tail) == text


def test_members_have_the_quantiles_of_the_forecast(client: TestClient, tiny: Tiny) -> None:
    answer = get(client, "/v1/forecasts/tiny/members")
    forecast = get(client, "/v1/forecasts/tiny")
    assert answer["members"] == 100
    assert "fitted" not in answer["method"]
    assert "exponential" in answer["tail"]
    assert answer["valid_times"] == forecast["valid_times"]
    assert answer["model"] == forecast["model"]
    for feature, node in zip(answer["features"], forecast["features"], strict=True):
        assert feature["id"] == node["id"]
        values = np.array(feature["values"])
        assert values.shape == (100, 6)
        for level in ("0.1", "0.5", "0.9"):
            quantile = np.array(node["quantiles"][level])
            share = (values <= quantile + 1e-3).mean(axis=0)
            np.testing.assert_allclose(share, float(level), atol=0.011)


def test_members_of_some_nodes_are_those_of_all(client: TestClient, tiny: Tiny) -> None:
    (init,) = tiny.times(int(tiny.origins[3]), int(tiny.origins[3]) + 1)
    everything = get(client, "/v1/forecasts/tiny/members", init_time=init)
    some = get(client, "/v1/forecasts/tiny/members", init_time=init, nodes="d,a")
    assert some["init_time"] == init
    assert some["features"] == [everything["features"][3], everything["features"][0]]


def test_areas_are_the_sums_of_their_members(client: TestClient, tiny: Tiny) -> None:
    answer = get(client, "/v1/forecasts/tiny/areas")
    members = get(client, "/v1/forecasts/tiny/members")["features"]
    joint = np.array([feature["values"] for feature in members])
    nodes = {"one": [1, 3], "two": [0, 2]}
    assert [part["area"] for part in answer["areas"]] == ["one", "two"]
    for part in [answer["total"], *answer["areas"]]:
        inside = nodes.get(part["area"], [0, 1, 2, 3])
        assert part["nodes"] == len(inside)
        expected = np.quantile(joint[inside].sum(axis=0), QUANTILES, axis=0, method="hazen")
        np.testing.assert_allclose(list(part["quantiles"].values()), expected, rtol=1e-5)
    assert answer["total"]["area"] == ""


def test_what_does_not_add_up_is_refused(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    changed(tiny, tmp_path, unit="km/h")
    client = client_of(tmp_path, store)
    detail = refused(client, "/v1/forecasts/tiny/areas")
    assert "flow in km/h does not add up" in detail
    assert get(client, "/v1/forecasts/tiny/members")["unit"] == "km/h"


def test_a_release_without_members_says_why(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    changed(tiny, tmp_path, template=np.zeros((0, 6, 4), np.uint8))
    client = client_of(tmp_path, store)
    for path in ("members", "areas"):
        assert "too few windows" in refused(client, f"/v1/forecasts/tiny/{path}")
    told = get(client, "/v1/forecasts/tiny")["features"][0]["exceedance"]["threshold_1"]
    assert told["within_horizon"] is None
    assert "unknown" in told["text"]
    assert all(0 <= p <= 1 for p in told["by_lead"])


def test_a_template_of_other_nodes_is_not_served(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    folder = changed(tiny, tmp_path, template=np.zeros((1, 6, 3), np.uint8))
    with pytest.raises(FelsinaError, match="no template for horizon 6 and 4 nodes"):
        Runtime(load_release(folder))
    assert client_of(tmp_path, store).get("/v1/forecasts/tiny").status_code == 404


def test_too_many_values_are_refused(client: TestClient, monkeypatch) -> None:
    monkeypatch.setattr("serving.joint.MOST_VALUES", 2000)
    detail = refused(client, "/v1/forecasts/tiny/members")
    assert "members of 4 nodes are 2400 values" in detail
    assert get(client, "/v1/forecasts/tiny/members", nodes="a,b")["members"] == 100


@pytest.mark.parametrize("path", ["members", "areas"])
def test_an_unknown_dataset_or_an_empty_store_is_not_found(
    client: TestClient, empty_client: TestClient, path: str
) -> None:
    assert client.get(f"/v1/forecasts/nosuch/{path}").status_code == 404
    assert empty_client.get(f"/v1/forecasts/tiny/{path}").status_code == 404


def test_the_manifest_says_how_members_are_made(tiny: Tiny) -> None:
    record = load_release(tiny.release).manifest["members"]
    assert record["count"] == 100
    assert set(record) == {"method", "count", "span", "disjoint_windows", "tail"}
