import json
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from serving.gate import MOST_BYTES
from tests.fixtures.tiny import Tiny

LATER = "2024-05-01T00:00:00Z"
POSTED = ("/v1/observations/tiny", "/v1/forcings/tiny", "/v1/forecasts/tiny")


def reason(answer, status: int = 422) -> str:
    """The detail of a problem document (RFC 9457)."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert set(problem) == {"type", "title", "status", "detail"}
    assert problem["status"] == status
    assert problem["detail"]
    return problem["detail"]


def observe(client: TestClient, times=(LATER,), **values):
    body = {"times": list(times), "values": values or {"a": [1.0]}}
    return client.post("/v1/observations/tiny", json=body)


@pytest.mark.parametrize("name", ["nosuch", "TINY", "tiny ", "tiny' OR 1=1 --", "..", "%00", "*"])
def test_an_unknown_dataset_is_not_found(client: TestClient, name: str) -> None:
    for path in ("datasets", "forecasts", "observations"):
        reason(client.get(f"/v1/{path}/{name}"), 404)
    body = {"times": [LATER], "values": {"a": [1.0]}}
    for path in ("observations", "forcings"):
        reason(client.post(f"/v1/{path}/{name}", json=body), 404)
    detail = reason(client.get("/v1/datasets/nosuch"), 404)
    assert "nosuch" in detail
    assert "tiny" in detail


@pytest.mark.parametrize(
    "path",
    [
        "/v1/datasets/..%2f..%2fmlflow.db",
        "/v1/datasets/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/static/now/..%2f..%2fapi.py",
        "/static/now/%2e%2e/%2e%2e/api.py",
        "/static/now/../../api.py",
        "/static/now//etc/passwd",
        "/v1/nosuch",
    ],
)
def test_no_path_leads_out(client: TestClient, path: str) -> None:
    reason(client.get(path), 404)


@pytest.mark.parametrize(
    "nodes", ["", "nosuch", "a,nosuch", "a,", "A", "a b", "a'--", '"; DROP TABLE "values"; --']
)
def test_unknown_nodes_are_named(client: TestClient, tiny: Tiny, nodes: str) -> None:
    window = tiny.window(int(tiny.origins[0]), with_lags=False)
    answers = [
        client.get("/v1/forecasts/tiny", params={"nodes": nodes}),
        client.get("/v1/observations/tiny", params={"nodes": nodes}),
        client.post("/v1/forecasts/tiny", params={"nodes": nodes}, json=window),
    ]
    for answer in answers:
        detail = reason(answer)
        assert f"unknown node {nodes.removeprefix('a,')}" in detail
        assert "known: a, b, c, d" in detail
    assert client.get("/v1/observations/tiny").status_code == 200


def test_a_node_that_stands_twice_is_named(client: TestClient, tiny: Tiny) -> None:
    window = tiny.window(int(tiny.origins[0]), with_lags=False)
    for nodes, fits in (("b,a", True), ("b,a,b", False), (",".join("a" * 2000), False)):
        for answer in (
            client.get("/v1/forecasts/tiny", params={"nodes": nodes}),
            client.get("/v1/observations/tiny", params={"nodes": nodes}),
            client.post("/v1/forecasts/tiny", params={"nodes": nodes}, json=window),
        ):
            if fits:
                assert [one["id"] for one in answer.json()["features"]] == ["b", "a"]
            else:
                assert f"{nodes[0]!r} stands twice" in reason(answer)


def test_a_forecast_of_too_many_values_is_refused(
    client: TestClient, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.selection.MOST_VALUES", 2 * 3 * 5)
    window = tiny.window(int(tiny.origins[0]), with_lags=False)
    part = "/v1/forecasts/tiny?leads=1-3&quantiles=0.1,0.3,0.5,0.7,0.9&nodes="
    for nodes, fits in (("a,b", True), ("a,b,c", False)):
        for answer in (client.get(part + nodes), client.post(part + nodes, json=window)):
            if fits:
                assert answer.status_code == 200
            else:
                assert "are 45 values, over 30" in reason(answer)


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("/v1/datasets", "domain=demo"),
        ("/v1/datasets/tiny", ""),
        ("/v1/datasets/tiny/card", ""),
        ("/v1/datasets/tiny/network", ""),
        ("/v1/observations/tiny", "nodes=a&last=2"),
        ("/v1/forecasts/tiny", "nodes=a"),
    ],
)
def test_unknown_query_parameters_are_named(client: TestClient, path: str, known: str) -> None:
    """Each would be one more answer to keep."""
    assert client.get(f"{path}?{known}").status_code == 200
    assert "nosuch" in reason(client.get(f"{path}?{known}&nosuch=1"))


def test_an_unknown_node_is_not_written(client: TestClient) -> None:
    for name in ("nosuch", "a'); DELETE FROM columns; --", "../a"):
        assert name in reason(observe(client, a=[1.0], **{name: [1.0]}))
    assert client.get("/v1/datasets/tiny").json()["data_as_of"] < LATER


def test_unknown_forcings_are_named(client: TestClient) -> None:
    for name in ("wind", "temp_c@nosuch", "wind@a", ""):
        body = {"times": [LATER], "values": {name: [1.0]}}
        assert name.rpartition("@")[2] in reason(client.post("/v1/forcings/tiny", json=body))


def test_a_forcing_at_a_node_is_refused_where_the_model_reads_it_for_the_city(
    client: TestClient, tiny: Tiny
) -> None:
    body = {"times": [LATER], "values": {"temp_c@a": [1.0]}}
    assert "temp_c@a" in reason(client.post("/v1/forcings/tiny", json=body))
    window = tiny.window(int(tiny.origins[0]), with_lags=False)
    window["forcings"]["temp_c@a"] = window["forcings"].pop("temp_c")
    assert "temp_c@a" in reason(client.post("/v1/forecasts/tiny", json=window))


@pytest.mark.parametrize("stamp", ["2024-05-01T00:30:00Z", "2024-05-01T00:00:01Z"])
def test_off_grid_times_are_refused(client: TestClient, tiny: Tiny, stamp: str) -> None:
    window = tiny.window(int(tiny.origins[0]), with_lags=False) | {"init_time": stamp}
    forcing = {"times": [stamp], "values": {"temp_c": [1.0]}}
    for answer in (
        observe(client, [stamp]),
        client.post("/v1/forcings/tiny", json=forcing),
        client.get("/v1/forecasts/tiny", params={"init_time": stamp}),
        client.post("/v1/forecasts/tiny", json=window),
    ):
        detail = reason(answer)
        assert "off the grid" in detail
        assert "2024-05-01T00:00:00Z" in detail


@pytest.mark.parametrize(
    "stamp",
    ["2024-05-01T00:00:00", "2024-05-01", "yesterday", "", None, [], "2024-13-01T00:00:00Z"],
)
def test_times_without_a_zone_are_refused(client: TestClient, tiny: Tiny, stamp) -> None:
    window = tiny.window(int(tiny.origins[0]), with_lags=False) | {"init_time": stamp}
    forcing = {"times": [stamp], "values": {"temp_c": [1.0]}}
    assert "times.0" in reason(observe(client, [stamp]))
    assert "times.0" in reason(client.post("/v1/forcings/tiny", json=forcing))
    assert "init_time" in reason(client.post("/v1/forecasts/tiny", json=window))
    if isinstance(stamp, str):
        query = {"init_time": stamp}
        assert "init_time" in reason(client.get("/v1/forecasts/tiny", params=query))


def test_a_fraction_of_a_second_is_refused(client: TestClient) -> None:
    assert "fraction" in reason(observe(client, ["2024-05-01T00:00:00.5Z"]))


@pytest.mark.parametrize(
    "stamp",
    ["0001-01-01T00:00:00Z", "9999-12-31T23:00:00Z", "0001-01-01T00:00:00+14:00"],
)
def test_times_at_the_ends_of_the_calendar_are_refused(
    client: TestClient, tiny: Tiny, stamp: str
) -> None:
    window = tiny.window(int(tiny.origins[0]), with_lags=False) | {"init_time": stamp}
    reason(client.get("/v1/forecasts/tiny", params={"init_time": stamp}))
    answer = client.post("/v1/forecasts/tiny", json=window)
    assert answer.status_code in (200, 422)
    assert observe(client, [stamp]).status_code in (200, 422)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_are_not_finite_are_refused(
    client: TestClient, tiny: Tiny, number: str
) -> None:
    window = tiny.window(int(tiny.origins[0]), with_lags=True)
    window["past"]["a"][3] = "HERE"
    lagged = tiny.window(int(tiny.origins[0]), with_lags=True)
    lagged["lag_values"]["168"]["b"][0] = "HERE"
    forced = tiny.window(int(tiny.origins[0]), with_lags=True)
    forced["forcings"]["temp_c"]["future"][5] = "HERE"
    for path, body in (
        ("/v1/observations/tiny", {"times": [LATER], "values": {"a": ["HERE"]}}),
        ("/v1/forcings/tiny", {"times": [LATER], "values": {"temp_c": ["HERE"]}}),
        ("/v1/forecasts/tiny", window),
        ("/v1/forecasts/tiny", lagged),
        ("/v1/forecasts/tiny", forced),
    ):
        raw = json.dumps(body).replace('"HERE"', number)
        head = {"content-type": "application/json"}
        assert "finite" in reason(client.post(path, content=raw, headers=head))


def test_a_number_too_large_for_a_float_is_refused(client: TestClient) -> None:
    raw = json.dumps({"times": [LATER], "values": {"a": [10**400]}})
    head = {"content-type": "application/json"}
    reason(client.post("/v1/observations/tiny", content=raw, headers=head))


def test_a_number_that_the_model_cannot_hold_is_refused(client: TestClient) -> None:
    reason(observe(client, a=[1e300]))
    forcing = {"times": [LATER], "values": {"temp_c": [-1e39]}}
    reason(client.post("/v1/forcings/tiny", json=forcing))


def test_negative_values_are_refused(client: TestClient, tiny: Tiny) -> None:
    detail = reason(observe(client, a=[1.0], b=[-0.5]))
    assert "node b" in detail
    assert "-0.5" in detail
    assert "2024-05-01T00:00:00Z" in detail
    body = tiny.window(int(tiny.origins[0]), with_lags=True)
    body["past"]["c"][7] = -1.0
    assert "past: node c" in reason(client.post("/v1/forecasts/tiny", json=body))
    body = tiny.window(int(tiny.origins[0]), with_lags=True)
    body["lag_values"]["168"]["d"][0] = -1.0
    assert "lag_values 168: node d" in reason(client.post("/v1/forecasts/tiny", json=body))
    forcing = {"times": [LATER], "values": {"temp_c": [-12.0]}}
    assert client.post("/v1/forcings/tiny", json=forcing).status_code == 200


def test_future_observations_are_refused_and_future_forcings_are_not(client: TestClient) -> None:
    assert "future" in reason(observe(client, ["2099-01-01T00:00:00Z"]))
    forcing = {"times": ["2099-01-01T00:00:00Z"], "values": {"temp_c": [1.0]}}
    assert client.post("/v1/forcings/tiny", json=forcing).status_code == 200


def test_columns_of_another_length_are_refused(client: TestClient, tiny: Tiny) -> None:
    times = [LATER, "2024-05-01T01:00:00Z"]
    for column in ([], [1.0], [1.0, 2.0, 3.0]):
        detail = reason(observe(client, times, a=[1.0, 2.0], b=column))
        assert "'b'" in detail
        assert f"{len(column)} for 2 times" in detail.replace(" given", "")
    origin = int(tiny.origins[0])
    for change, what in (
        (lambda body: body["past"]["a"].pop(), "past: node a has 47 values, not 48"),
        (lambda body: body["lag_values"]["24"]["a"].append(1.0), "node a has 7 values, not 6"),
        (lambda body: body["forcings"]["temp_c"]["past"].pop(), "temp_c: 47 values, not 48"),
        (lambda body: body["forcings"]["temp_c"]["future"].pop(), "temp_c: 5 values, not 6"),
    ):
        body = tiny.window(origin, with_lags=True)
        change(body)
        assert what in reason(client.post("/v1/forecasts/tiny", json=body))


def test_windows_that_do_not_fit_the_model_are_refused(client: TestClient, tiny: Tiny) -> None:
    def refused(change) -> str:
        body = tiny.window(int(tiny.origins[0]), with_lags=True)
        change(body)
        return reason(client.post("/v1/forecasts/tiny", json=body))

    assert "reads lags 24, 168" in refused(lambda b: b["lag_values"].update({"25": {}}))
    assert "wind" in refused(lambda b: b["forcings"].update(wind={"past": [1.0] * 48}))
    assert "past only" in refused(lambda b: b["forcings"]["rain_mm"].update(future=[0.0] * 6))
    assert "nosuch" in refused(lambda b: b["past"].update(nosuch=[1.0] * 48))
    assert "nosuch" in refused(lambda b: b["lag_values"]["24"].update(nosuch=[1.0] * 6))
    assert "no value" in refused(lambda b: b.update(past={}))
    assert "no value" in refused(lambda b: b.update(past={"a": [None] * 48}))


def test_times_that_stand_twice_are_refused(client: TestClient) -> None:
    times = [LATER, "2024-05-01T02:00:00+02:00"]
    assert "2024-05-01T00:00:00Z stands twice" in reason(observe(client, times, a=[1.0, 2.0]))


@pytest.mark.parametrize("path", POSTED)
@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"7", b'"a"', b"{}", b"\xff\xfe\x00"])
def test_malformed_bodies_are_refused(client: TestClient, path: str, raw: bytes) -> None:
    answer = client.post(path, content=raw, headers={"content-type": "application/json"})
    reason(answer, 400 if raw.startswith(b"\xff") else 422)


@pytest.mark.parametrize("path", POSTED)
def test_bodies_that_nest_too_deep_are_refused(client: TestClient, path: str) -> None:
    raw = b'{"values":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    answer = client.post(path, content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    reason(answer, answer.status_code)


@pytest.mark.parametrize("path", POSTED)
def test_unknown_keys_are_refused(client: TestClient, tiny: Tiny, path: str) -> None:
    bodies = {
        "/v1/observations/tiny": {"times": [LATER], "values": {"a": [1.0]}},
        "/v1/forcings/tiny": {"times": [LATER], "values": {"temp_c": [1.0]}},
        "/v1/forecasts/tiny": tiny.window(int(tiny.origins[0]), with_lags=True),
    }
    assert client.post(path, json=bodies[path]).status_code == 200
    assert "surprise" in reason(client.post(path, json=bodies[path] | {"surprise": 1}))


@pytest.mark.parametrize("value", ["1.0", True, [], {}])
def test_values_that_are_no_numbers_are_refused(client: TestClient, value) -> None:
    assert "values.a.0" in reason(observe(client, a=[value]))


@pytest.mark.parametrize("times", [[], None])
def test_no_times_or_values_are_refused(client: TestClient, times) -> None:
    for body in ({"times": times, "values": {"a": []}}, {"times": [LATER], "values": {}}):
        reason(client.post("/v1/observations/tiny", json=body))


@pytest.mark.parametrize(
    "query",
    [{"format": "xml"}, {"format": ""}, {"init_time": "2030-01-01T00:00:00Z"}],
)
def test_queries_that_do_not_fit_are_refused(client: TestClient, query: dict[str, str]) -> None:
    reason(client.get("/v1/forecasts/tiny", params=query))


@pytest.mark.parametrize("last", ["0", "-1", "100001", "many", "1.5", ""])
def test_spans_that_do_not_fit_are_refused(client: TestClient, last: str) -> None:
    assert "last" in reason(client.get("/v1/observations/tiny", params={"last": last}))


def test_an_answer_has_its_limit(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.api.MOST_VALUES", 20)
    query = {"nodes": "a,b,c,d", "last": 5}
    assert client.get("/v1/observations/tiny", params=query).status_code == 200
    query["last"] = 6
    assert "ask for fewer" in reason(client.get("/v1/observations/tiny", params=query))


def test_nothing_observed_says_so(client: TestClient, empty_client: TestClient) -> None:
    assert "/v1/observations/tiny" in reason(empty_client.get("/v1/forecasts/tiny"), 404)
    reason(empty_client.get("/v1/observations/tiny"), 404)
    query = {"init_time": "2023-01-01T00:00:00Z"}
    detail = reason(client.get("/v1/forecasts/tiny", params=query))
    assert "nothing of tiny was observed in the 48 steps" in detail


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_other_methods_are_refused(client: TestClient, method: str) -> None:
    reason(client.request(method, "/v1/forecasts/tiny"), 405)


@pytest.mark.parametrize("path", POSTED)
def test_oversized_bodies_are_refused(client: TestClient, path: str) -> None:
    head = {"content-type": "application/json"}
    whole = b" " * (MOST_BYTES + 1)
    assert str(MOST_BYTES) in reason(client.post(path, content=whole, headers=head), 413)

    def pieces() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 2**20 + 1):
            yield b" " * 2**20

    reason(client.post(path, content=pieces(), headers=head), 413)


def test_a_body_at_the_limit_is_read(client: TestClient) -> None:
    raw = json.dumps({"times": [LATER], "values": {"a": [1.0]}}).encode()
    raw += b" " * (MOST_BYTES - len(raw))
    head = {"content-type": "application/json"}
    assert client.post("/v1/observations/tiny", content=raw, headers=head).status_code == 200
    reason(client.post("/v1/observations/tiny", content=raw + b" ", headers=head), 413)


def test_an_ensemble_that_does_not_fit_is_named(
    client: TestClient, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = tiny.window(int(tiny.origins[0]), with_lags=False)

    def refused(*members: dict[str, list[float]], **changes: object) -> str:
        body = window | {"ensemble": list(members)} | changes
        return reason(client.post("/v1/forecasts/tiny", json=body))

    whole = {"temp_c": [1.0] * 6}
    assert "member 2 gives 'wind'" in refused(whole, {"wind": [1.0] * 6})
    assert "member 1 gives 'temp_c'" in refused(whole, forcings={})
    assert "forcing temp_c: 5 values, not 6" in refused(whole, {"temp_c": [1.0] * 5})
    assert "its past only" in refused({"rain_mm": [1.0] * 6})
    assert "ensemble" in refused(*[whole] * 52)
    monkeypatch.setattr("serving.stateless.MOST_MIXED", 47)
    assert "2 members of 4 nodes x 6 leads are 48 forecasts, over 47" in refused(whole, whole)
