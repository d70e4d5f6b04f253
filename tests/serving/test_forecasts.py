"""Parts of a forecast, and its formats."""

import csv
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from serving.formats import negotiated
from tests.fixtures.tiny import Tiny

URL = "/v1/forecasts/tiny"


def get(client: TestClient, **query: str):
    answer = client.get(URL, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(answer) -> list[str]:
    return [feature["id"] for feature in answer["features"]]


def test_nodes_are_chosen_by_area_and_box(client: TestClient) -> None:
    assert ids(get(client)) == ["a", "b", "c", "d"]
    assert ids(get(client, areas="one")) == ["b", "d"]
    assert ids(get(client, areas="two,one")) == ["a", "b", "c", "d"]
    assert ids(get(client, nodes="d,a,b", areas="one")) == ["d", "b"]
    assert ids(get(client, bbox="11.3,44.4,11.35,44.45")) == ["a", "b"]
    assert ids(get(client, bbox="11.33,44,12,45", areas="two")) == ["c"]
    assert ids(get(client, bbox="0,0,1,1")) == []


def test_leads_and_levels_are_chosen(client: TestClient) -> None:
    whole, part = get(client), get(client, leads="5-6,1", quantiles="0.9,.5,0.10")
    assert part["valid_times"] == [whole["valid_times"][h] for h in (0, 4, 5)]
    for feature, same in zip(part["features"], whole["features"], strict=True):
        assert list(feature["quantiles"]) == ["0.1", "0.5", "0.9"]
        for level, values in feature["quantiles"].items():
            assert values == [same["quantiles"][level][h] for h in (0, 4, 5)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"nodes": "a,nosuch"}, "unknown node nosuch; known: a, b, c, d"),
        ({"areas": "nosuch"}, "unknown area 'nosuch'; known: one, two"),
        ({"bbox": "1,2,3"}, "west,south,east,north"),
        ({"bbox": "12,44,11,45"}, "west,south,east,north"),
        ({"bbox": "11,44,nan,45"}, "'nan' is no number"),
        ({"leads": "0"}, "not within 1-6"),
        ({"leads": "2-7"}, "not within 1-6"),
        ({"leads": "3-2"}, "not within 1-6"),
        ({"leads": "1,,2"}, "'' is no lead"),
        ({"leads": "²"}, "'²' is no lead"),
        ({"quantiles": "0.33"}, "known: 0.05, 0.1"),
        ({"quantiles": "inf"}, "'inf' is no number"),
        ({"format": "xml"}, "'geojson'"),
        ({"node": "a"}, "node"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(client, tiny: Tiny, query, said) -> None:
    body = tiny.window(int(tiny.origins[0]), with_lags=True)
    for answer in (client.get(URL, params=query), client.post(URL, params=query, json=body)):
        assert answer.status_code == 422
        assert said in answer.json()["detail"]


def test_every_format_shows_the_same_part(client: TestClient, tiny: Tiny) -> None:
    query = {"nodes": "c,a", "leads": "2,4-5", "quantiles": "0.1,0.9", "bands": "released"}
    plain = get(client, **query)
    body = tiny.window(len(tiny.dataset.values) - 1 - tiny.spec.horizon, with_lags=True)
    part = {key: value for key, value in query.items() if key != "bands"}
    brought = client.post(URL, params=part, json=body).json()
    assert [len(f["quantiles"]["0.1"]) for f in brought["features"]] == [3, 3]
    geo = get(client, **query, format="geojson")
    for feature, same in zip(geo["features"], plain["features"], strict=True):
        assert (feature["id"], feature["properties"]["quantiles"]) == (
            same["id"],
            same["quantiles"],
        )
    flat = [
        (feature["id"], lead, time, *(feature["quantiles"][q][h] for q in ("0.1", "0.9")))
        for feature in plain["features"]
        for h, (lead, time) in enumerate(zip((2, 4, 5), plain["valid_times"], strict=True))
    ]
    text = client.get(URL, params=query | {"format": "csv"}).text
    rows = list(csv.DictReader(io.StringIO(text)))
    numbers = np.array([[float(row["q0.1"]), float(row["q0.9"])] for row in rows])
    assert [(r["node"], int(r["lead"]), r["valid_time"]) for r in rows] == [r[:3] for r in flat]
    np.testing.assert_array_equal(numbers.astype("f4"), np.array([r[3:] for r in flat], "f4"))
    answer = client.get(URL, params=query | {"format": "arrow"})
    table = pa.ipc.open_stream(answer.content).read_all()
    assert table.column_names == ["node", "lead", "valid_time", "q0.1", "q0.9"]
    for row, same in zip(table.to_pylist(), flat, strict=True):
        told = (row["node"], row["lead"], f"{row['valid_time']:%Y-%m-%dT%H:%M:%SZ}")
        assert told == same[:3]
        assert [np.float32(row["q0.1"]), np.float32(row["q0.9"])] == [
            np.float32(v) for v in same[3:]
        ]
    head = json.loads(table.schema.metadata[b"felsina"])
    assert head == {key: value for key, value in plain.items() if key != "features"}


def test_accept_chooses_where_no_format_is_named(client: TestClient) -> None:
    for media in ("application/geo+json", "text/csv", "application/vnd.apache.arrow.stream"):
        answer = client.get(URL, headers={"accept": media})
        assert answer.headers["content-type"].startswith(media)
        named = client.get(URL, params={"format": "json"}, headers={"accept": media})
        assert named.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/csv;q=0.5, application/geo+json", "geojson"),
        ("text/csv, application/geo+json", "csv"),
        ("TEXT/CSV; q=0.2", "csv"),
        ("text/csv;q=0", "json"),
        ("text/csv;q=x, application/json", "json"),
    ],
)
def test_the_format_that_is_liked_best(accept: str, form: str) -> None:
    assert negotiated(accept) == form
