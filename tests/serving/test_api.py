import csv
import io
from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from models.contracts import QUANTILES
from models.mixture import mix
from models.record import sha256_file
from pipelines.run import hold_observations
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.release import MANIFEST, load_release
from serving.store import OBSERVED, Store
from tests.factories import NODES
from tests.fixtures.tiny import Tiny

LEVELS = [f"{level:g}" for level in QUANTILES]


def stamps(start: str, steps: int) -> list[str]:
    times = pd.date_range(start, periods=steps, freq="1h")
    return [f"{t:%Y-%m-%dT%H:%M:%SZ}" for t in times]


def get(client: TestClient, path: str, **query):
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(client: TestClient, path: str, body):
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def table(answer) -> np.ndarray:
    """[N, Q, H]"""
    return np.array([list(feature["quantiles"].values()) for feature in answer["features"]])


def test_datasets_are_listed_and_filtered(client: TestClient, tiny: Tiny) -> None:
    expected = {
        "name": "tiny",
        "title": "Tiny: flow",
        "domain": "traffic",
        "target": "flow",
        "unit": "veh/h",
        "step": "1h",
        "timezone": "Europe/Rome",
        "horizon": 6,
        "lookback": 48,
        "lags": [24, 168],
        "nodes": 4,
        "release": tiny.release.name,
        "manifest_sha256": sha256_file(tiny.release / MANIFEST),
        "approval": "none",
        "decision": None,
        "synthetic": True,
        "data_as_of": tiny.times(0, len(tiny.dataset.values))[-1],
    }
    assert expected in get(client, "/v1/datasets")["datasets"]
    traffic = get(client, "/v1/datasets", domain="traffic")["datasets"]
    assert expected in traffic
    assert {one["domain"] for one in traffic} == {"traffic"}
    assert expected not in get(client, "/v1/datasets", domain="flood")["datasets"]
    detail = get(client, "/v1/datasets/tiny")
    assert {key: detail[key] for key in expected} == expected
    assert detail["forcings"] == [
        {"name": "temp_c", "unit": "degC", "known_future": True},
        {"name": "rain_mm", "unit": "mm", "known_future": False},
    ]
    said = load_release(tiny.release).manifest["privacy"]
    assert detail["privacy"] == {
        "statement": said["statement"],
        "statement_it": said["statement_it"],
        "not_protected": [],
        "not_protected_it": [],
        "epsilon": None,
        "delta": None,
        "unit": None,
        "audit": None,
    }
    assert detail["node_list"][0] == {
        "id": "a",
        "name": "node a",
        "lon": 11.3,
        "lat": 44.4,
        "area": "two",
        "thresholds": [None, None, None],
    }
    assert [node["id"] for node in detail["node_list"]] == list(NODES)


def test_a_forecast_says_everything_needed_to_judge_it(client: TestClient, tiny: Tiny) -> None:
    before = datetime.now().astimezone().replace(microsecond=0)
    answer = get(client, "/v1/forecasts/tiny", bands="released")
    after = datetime.now().astimezone()
    end = len(tiny.dataset.values)
    release = load_release(tiny.release)
    features = answer.pop("features")
    assert before <= datetime.fromisoformat(answer.pop("issued_at")) <= after
    assert answer == {
        "dataset": "tiny",
        "domain": "traffic",
        "target": "flow",
        "unit": "veh/h",
        "units": {"flow": "veh/h"},
        "init_time": tiny.times(end - 1, end)[0],
        "data_as_of": tiny.times(end - 1, end)[0],
        "stale": True,
        "step": "1h",
        "timezone": "Europe/Rome",
        "valid_times": tiny.times(end, end + 6),
        "model": {
            "name": "tiny",
            "version": release.id,
            "manifest_sha256": release.sha256,
            "decision": None,
        },
        "approval": "none",
        "synthetic": True,
        "interval": release.manifest["interval"],
        "attribution": ["made by a test"],
        "warnings": [
            "temp_c is not known for 6 of 6 leads; the value of a day earlier, or the mean, "
            "stands in"
        ],
    }
    assert {"method", "nominal", "empirical", "window"} <= set(answer["interval"])
    for node, feature in zip(NODES, features, strict=True):
        assert feature["id"] == node
        assert list(feature["quantiles"]) == LEVELS
        values = np.array(list(feature["quantiles"].values()))
        assert values.shape == (11, 6)
        assert (values >= 0).all()
        assert (np.diff(values, axis=0) >= 0).all()
    past = tiny.dataset.values[end - 48 :]
    seen = [feature["observed_fraction"] for feature in features]
    assert seen == pytest.approx(list((~np.isnan(past)).mean(axis=0)), abs=1e-4)


def test_a_forecast_of_held_past_is_the_backtest(client: TestClient, tiny: Tiny) -> None:
    backtested = pd.read_parquet(tiny.trained / "forecasts.parquet")
    for origin in tiny.origins[[0, 1, 30, 100, -1]]:
        init = tiny.times(origin, origin + 1)[0]
        answer = get(client, "/v1/forecasts/tiny", init_time=init, bands="released")
        assert answer["init_time"] == init
        assert answer["warnings"] == []
        rows = backtested[backtested["init_time"] == pd.Timestamp(init)]
        for feature in answer["features"]:
            expected = rows[rows["node"] == feature["id"]].sort_values("lead")
            for level in LEVELS:
                np.testing.assert_allclose(
                    feature["quantiles"][level], expected[f"q{level}"], rtol=1e-5
                )


def test_what_came_later_changes_no_earlier_forecast(
    client: TestClient, tiny: Tiny, empty_store: Store, tmp_path
) -> None:
    origin = int(tiny.origins[50])
    init = tiny.times(origin, origin + 1)[0]
    with_future = get(client, "/v1/forecasts/tiny", init_time=init, bands="released")
    other = TestClient(create_app(Catalogue(tiny.home, Store(tmp_path / "earlier.db"))))
    first = origin - tiny.spec.reach + 1
    post(other, "/v1/observations/tiny", tiny.observed(first, origin + 1))
    post(other, "/v1/forcings/tiny", tiny.forced(first, origin + 1))
    post(other, "/v1/forcings/tiny", tiny.forced(origin + 1, origin + 7, "temp_c"))
    without = get(other, "/v1/forecasts/tiny", bands="released")
    assert without["init_time"] == without["data_as_of"] == init
    assert without["features"] == with_future["features"]
    assert without["warnings"] == []


def test_nodes_are_chosen_in_the_order_asked(client: TestClient) -> None:
    whole = {f["id"]: f for f in get(client, "/v1/forecasts/tiny")["features"]}
    some = get(client, "/v1/forecasts/tiny", nodes="c,a")["features"]
    assert some == [whole["c"], whole["a"]]


def test_the_formats_agree(client: TestClient) -> None:
    plain = get(client, "/v1/forecasts/tiny", nodes="b,d")
    answer = client.get("/v1/forecasts/tiny", params={"nodes": "b,d", "format": "geojson"})
    assert answer.headers["content-type"] == "application/geo+json"
    geo = answer.json()
    assert geo["type"] == "FeatureCollection"
    aside = {"features", "issued_at", "type"}
    envelope = {key: value for key, value in geo.items() if key not in aside}
    assert envelope == {key: value for key, value in plain.items() if key not in aside}
    for feature, same in zip(geo["features"], plain["features"], strict=True):
        assert feature["type"] == "Feature"
        place = {"type": "Point", "coordinates": [same["lon"], same["lat"]]}
        assert feature["geometry"] == place
        assert {"id": feature["id"], "lon": same["lon"], "lat": same["lat"]} | feature[
            "properties"
        ] == same
    answer = client.get("/v1/forecasts/tiny", params={"nodes": "b,d", "format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == 12
    features = {feature["id"]: feature for feature in plain["features"]}
    for row in rows:
        lead = int(row["lead"]) - 1
        assert row["init_time"] == plain["init_time"]
        assert row["valid_time"] == plain["valid_times"][lead]
        for level in LEVELS:
            value = np.float32(features[row["node"]]["quantiles"][level][lead])
            assert np.float32(row[f"q{level}"]) == value


def test_a_window_of_ones_own_gives_the_same_forecast(client: TestClient, tiny: Tiny) -> None:
    across_the_clock_change = int(tiny.origins[3])
    for origin in (across_the_clock_change, int(tiny.origins[-1])):
        body = tiny.window(origin, with_lags=True)
        held = get(client, "/v1/forecasts/tiny", init_time=body["init_time"], bands="released")
        brought = post(client, "/v1/forecasts/tiny", body)
        for answer in (held, brought):
            answer.pop("issued_at")
        assert held.pop("data_as_of") >= brought.pop("data_as_of") == body["init_time"]
        assert brought == held


def test_a_window_without_lags_is_a_store_that_holds_the_lookback_alone(
    client: TestClient, empty_client: TestClient, tiny: Tiny
) -> None:
    origin = int(tiny.origins[20])
    body = tiny.window(origin, with_lags=False)
    brought = post(client, "/v1/forecasts/tiny", body)
    post(empty_client, "/v1/observations/tiny", tiny.observed(origin - 47, origin + 1))
    post(empty_client, "/v1/forcings/tiny", tiny.forced(origin - 47, origin + 7))
    held = get(empty_client, "/v1/forecasts/tiny", bands="released")
    assert held["features"] == brought["features"]
    whole = post(client, "/v1/forecasts/tiny", tiny.window(origin, with_lags=True))
    assert whole["features"] != brought["features"]


def test_a_window_leaves_no_trace(empty_client: TestClient, tiny: Tiny) -> None:
    post(empty_client, "/v1/forecasts/tiny", tiny.window(int(tiny.origins[0]), with_lags=True))
    assert get(empty_client, "/v1/datasets/tiny")["data_as_of"] is None
    assert empty_client.get("/v1/forecasts/tiny").status_code == 404


def test_a_window_may_hold_one_node_and_nulls(client: TestClient, tiny: Tiny) -> None:
    body = tiny.window(int(tiny.origins[0]), with_lags=False)
    body["past"] = {"b": [None] * 47 + [100.0]}
    body["forcings"] = {}
    query = {"nodes": "b", "format": "csv"}
    answer = client.post("/v1/forecasts/tiny", json=body, params=query)
    assert answer.text.count("\n") == 7
    answer = post(client, "/v1/forecasts/tiny", body)
    seen = {f["id"]: f["observed_fraction"] for f in answer["features"]}
    assert seen == {"a": 0, "b": pytest.approx(1 / 48, abs=1e-4), "c": 0, "d": 0}
    assert np.isfinite(table(answer)).all()


def test_new_observations_change_the_next_forecast(client: TestClient, tiny: Tiny) -> None:
    end = len(tiny.dataset.values)
    first = get(client, "/v1/forecasts/tiny")
    (init,) = tiny.times(end - 1, end)
    posted = post(client, "/v1/observations/tiny", {"times": [init], "values": {"a": [400.0]}})
    assert posted == {"dataset": "tiny", "accepted": 1, "data_as_of": init}
    second = get(client, "/v1/forecasts/tiny")
    assert second["init_time"] == first["init_time"]
    assert (table(second)[0] != table(first)[0]).any()
    (later,) = tiny.times(end, end + 1)
    values = {node: [80.0] for node in NODES}
    posted = post(client, "/v1/observations/tiny", {"times": [later], "values": values})
    assert posted == {"dataset": "tiny", "accepted": 4, "data_as_of": later}
    third = get(client, "/v1/forecasts/tiny")
    assert third["init_time"] == later
    assert third["valid_times"] == tiny.times(end + 1, end + 7)


def test_a_forecast_is_computed_once_a_revision(tiny: Tiny, store: Store) -> None:
    catalogue = Catalogue(tiny.home, store)
    first = catalogue.forecast("tiny")
    assert catalogue.forecast("tiny") is first
    store.write("tiny", OBSERVED, first.forecast.init_time[None], ["a"], np.array([[1.0]]))
    assert catalogue.forecast("tiny") is not first


def test_a_forecast_of_weather_changes_the_forecast(client: TestClient, tiny: Tiny) -> None:
    end = len(tiny.dataset.values)
    first = get(client, "/v1/forecasts/tiny")
    times = tiny.times(end, end + 6)

    def issue(day: int, value: float) -> None:
        body = {"times": times, "values": {"temp_c": [value] * 6}}
        body["issued_at"] = f"2024-04-{day:02}T00:00:00.25+02:00"
        post(client, "/v1/forcings/tiny", body)

    issue(15, 30.0)
    second = get(client, "/v1/forecasts/tiny")
    assert second["warnings"] == []
    assert second["data_as_of"] == first["data_as_of"]
    assert (table(second) != table(first)).any()
    issue(14, -5.0)
    assert (table(get(client, "/v1/forecasts/tiny")) == table(second)).all()
    issue(16, -5.0)
    assert (table(get(client, "/v1/forecasts/tiny")) != table(second)).any()


def test_what_is_missing_is_said(empty_client: TestClient, tiny: Tiny) -> None:
    end = len(tiny.dataset.values)
    body = tiny.observed(end - 60, end)
    body["values"].pop("c")
    post(empty_client, "/v1/observations/tiny", body)
    warnings = get(empty_client, "/v1/forecasts/tiny")["warnings"]
    assert [w.partition(";")[0] for w in warnings] == [
        "temp_c is not known for 6 of 6 leads",
        "no past temp_c is held",
        "no past rain_mm is held",
        "nothing was observed in the last 48 steps at c",
    ]


def test_observations_come_back_with_their_gaps(client: TestClient, tiny: Tiny) -> None:
    end = len(tiny.dataset.values)
    answer = get(client, "/v1/observations/tiny")
    assert answer["times"] == tiny.times(end - 72, end)
    assert (answer["dataset"], answer["unit"], answer["step"]) == ("tiny", "veh/h", "1h")
    expected = tiny.observed(end - 72, end)["values"]
    assert None in [v for column in expected.values() for v in column]
    assert {f["id"]: f["values"] for f in answer["features"]} == expected
    some = get(client, "/v1/observations/tiny", nodes="d,b", last=3)
    assert some["times"] == answer["times"][-3:]
    assert [f["id"] for f in some["features"]] == ["d", "b"]
    assert some["features"][0]["values"] == expected["d"][-3:]


def test_null_clears_an_observation(client: TestClient, tiny: Tiny) -> None:
    times = tiny.times(len(tiny.dataset.values) - 2, len(tiny.dataset.values))
    post(client, "/v1/observations/tiny", {"times": times, "values": {"a": [None, 5.0]}})
    answer = get(client, "/v1/observations/tiny", nodes="a", last=2)
    assert answer["features"][0]["values"] == [None, 5.0]


def test_stamps_of_any_zone_are_understood(empty_client: TestClient) -> None:
    body = {"times": ["2024-05-01T12:00:00+02:00"], "values": {"a": [1.0]}}
    posted = post(empty_client, "/v1/observations/tiny", body)
    assert posted["data_as_of"] == "2024-05-01T10:00:00Z"
    query = {"init_time": "2024-05-01T12:00:00+02:00"}
    assert get(empty_client, "/v1/forecasts/tiny", **query)["init_time"] == "2024-05-01T10:00:00Z"


def test_the_page_and_its_files_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert client.get("/static/now/app.js").status_code == 200


def test_a_fresh_observation_is_not_stale(empty_client: TestClient) -> None:
    now = np.datetime64("now", "h")
    body = {"times": [f"{now}:00:00Z"], "values": {"a": [50.0]}}
    post(empty_client, "/v1/observations/tiny", body)
    assert get(empty_client, "/v1/forecasts/tiny")["stale"] is False


def test_loading_the_dataset_again_changes_no_answer(
    client: TestClient, tiny: Tiny, store: Store
) -> None:
    first = get(client, "/v1/forecasts/tiny")
    hold_observations(tiny.dataset, tiny.spec.reach, store)
    assert get(client, "/v1/forecasts/tiny")["features"] == first["features"]


def test_an_ensemble_of_weather_is_the_mixture_of_its_members(
    client: TestClient, tiny: Tiny
) -> None:
    body = tiny.window(int(tiny.origins[20]), with_lags=True)
    past = body["forcings"]["temp_c"]["past"]

    def quantiles(**changes: object) -> np.ndarray:
        """[N, H, Q]"""
        return np.moveaxis(table(post(client, "/v1/forecasts/tiny", body | changes)), 1, -1)

    def forced(future: list[float]) -> dict[str, object]:
        return body["forcings"] | {"temp_c": {"past": past, "future": future}}

    members = [{"temp_c": [value] * 6} for value in (-5.0, 12.0, 30.0)]
    alone = np.stack([quantiles(forcings=forced(member["temp_c"])) for member in members])
    mixed = quantiles(ensemble=members)
    np.testing.assert_allclose(mixed, mix(alone, QUANTILES), rtol=1e-4, atol=1e-2)
    widths = [(found[..., -1] - found[..., 0]).mean() for found in (mixed, *alone)]
    assert widths[0] > max(widths[1:])
    np.testing.assert_allclose(quantiles(ensemble=members[:1] * 3), alone[0], rtol=1e-4, atol=1e-2)
    lacking = body | {"ensemble": [*members, {"temp_c": [None] * 6}]}
    (warning,) = post(client, "/v1/forecasts/tiny", lacking)["warnings"]
    assert "temp_c is not known for 6 of 6 leads" in warning
