"""The page's files, its model card and its network; test_browser.py looks at the page itself."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.page import WEB
from tests.fixtures.tiny import Tiny
from tests.serving.test_openapi import faults

OWN = sorted(path for path in WEB.glob("*.*") if path.suffix in {".js", ".css", ".html"})
MOST_VENDORED = 2_500_000
"""Bytes of JavaScript that others wrote."""
MOST_LINES = 250
SVG = "http://www.w3.org/2000/svg"
"""The name of a namespace; nothing is asked of it."""


def linked(client: TestClient) -> list[str]:
    return re.findall(r'(?:src|href)="(/static/[^"]+)"', client.get("/").text)


def test_all_that_the_page_names_is_there_and_cached_for_good(client: TestClient) -> None:
    files = linked(client)
    assert len(files) > 5
    for path in files:
        answer = client.get(path)
        assert answer.status_code == 200, path
        assert "immutable" in answer.headers["cache-control"]


def test_an_old_name_of_a_file_is_not_cached(client: TestClient) -> None:
    answer = client.get("/static/0123456789ab/app.js")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


def test_every_module_that_is_imported_is_there() -> None:
    imported = {
        (path.parent / name).resolve()
        for path in OWN
        for name in re.findall(r'(?:from|import\()\s*"(\.[^"]+)"', path.read_text())
    }
    assert len(imported) > 10
    assert [str(path) for path in imported if not path.is_file()] == []


def test_files_are_sent_packed_and_not_twice(client: TestClient) -> None:
    path = next(path for path in linked(client) if path.endswith("/app.js"))
    plain = client.get(path, headers={"accept-encoding": "identity"})
    packed = client.get(path, headers={"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.content == plain.content == (WEB / "app.js").read_bytes()
    sizes = [int(answer.headers["content-length"]) for answer in (plain, packed)]
    assert sizes[1] == len(gzip.compress(plain.content, 6)) < sizes[0]
    assert packed.headers["etag"] != plain.headers["etag"]
    unwanted = client.get(path, headers={"accept-encoding": "gzip;q=0, br"})
    assert "content-encoding" not in unwanted.headers
    for answer, coding in ((plain, "identity"), (packed, "gzip")):
        tag = answer.headers["etag"]
        for known in (tag, f'"other", W/{tag}', "*"):
            sent = {"accept-encoding": coding, "if-none-match": known}
            again = client.get(path, headers=sent)
            assert (again.status_code, again.content) == (304, b"")
    changed = client.get(path, headers={"if-none-match": '"other"'})
    assert changed.status_code == 200


def test_the_page_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "unsafe" not in policy
    assert "http" not in policy
    text = client.get("/").text
    assert re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", text) is None


def test_no_own_file_names_another_host() -> None:
    texts = {path.name: path.read_text().replace(SVG, "") for path in OWN}
    names = {name: re.findall(r"https?://|//\w+\.\w+/", text) for name, text in texts.items()}
    assert {name: found for name, found in names.items() if found} == {}
    assert "https://" in (WEB / "vendor/maplibre/maplibre-gl.mjs").read_text()  # the look sees


def test_files_are_short_and_what_is_vendored_is_small() -> None:
    long = {path.name: n for path in OWN if (n := len(path.read_text().splitlines())) > MOST_LINES}
    assert long == {}
    vendored = [path for path in (WEB / "vendor").rglob("*") if path.suffix in {".js", ".mjs"}]
    assert 10**6 < sum(path.stat().st_size for path in vendored) < MOST_VENDORED
    folders = {path.parent for path in (WEB / "vendor").rglob("*") if path.is_file()}
    assert all((folder / "LICENSE").is_file() for folder in folders)


def test_every_phrase_is_there_in_both_languages() -> None:
    text = (WEB / "words.js").read_text().partition("export const WARNINGS")[0]
    phrase = re.compile(r'^  (\w+): \["((?:[^"\\]|\\.)*)",\s+"((?:[^"\\]|\\.)*)"\],', re.MULTILINE)
    phrases = {key: (english, italian) for key, english, italian in phrase.findall(text)}
    keys = re.findall(r"^  (\w+): \[", text, re.MULTILINE)
    assert len(keys) > 80
    assert set(phrases) == set(keys)
    for key, said in phrases.items():
        blanks = [sorted(set(re.findall(r"\{(\w+)\}", words))) for words in said]
        assert blanks[0] == blanks[1], key


def test_every_phrase_that_is_said_is_known() -> None:
    known = set(re.findall(r"^  (\w+): \[", (WEB / "words.js").read_text(), re.MULTILINE))
    said = {
        key
        for path in OWN
        for key in re.findall(
            r'(?:say\(|data-(?:word|label)=|section\(|fact\()"(\w+)"', path.read_text()
        )
    }
    assert len(said) > 50
    assert said - known == set()


def documented(client: TestClient, answer: dict, model: str) -> dict:
    """The answer, when it is as the OpenAPI document says."""
    document = client.get("/openapi.json").json()
    assert faults(answer, {"$ref": f"#/components/schemas/{model}"}, document) == []
    return answer


@pytest.fixture
def card(client: TestClient) -> dict:
    answer = client.get("/v1/datasets/tiny/card")
    return documented(client, answer.json(), "Card")


def test_a_card_tells_the_release_as_it_was_sealed(card: dict, tiny: Tiny) -> None:
    manifest = tiny.report["models"]
    assert card["release"] == tiny.release.name
    assert card["release"].endswith(card["manifest_sha256"][:12])
    assert card["own"]["name"] == "felsina"
    others = [score["name"] for score in card["baselines"]]
    assert {card["own"]["name"], *others} == set(manifest)
    errors = [score["crps"] for score in card["baselines"]]
    assert errors == sorted(errors)
    assert card["trained"]["begin"] < card["trained"]["end"] <= card["tested"]["begin"]
    assert card["tested"]["begin"] < card["tested"]["end"]
    assert card["privacy"]["statement"]


def test_a_card_says_how_old_the_data_are(
    card: dict, client: TestClient, empty_client: TestClient
) -> None:
    assert card["freshness"]["stale"] is True
    as_of = client.get("/v1/datasets").json()["datasets"][0]["data_as_of"]
    assert card["freshness"]["data_as_of"] == as_of
    nothing = {"data_as_of": None, "stale": None}
    assert empty_client.get("/v1/datasets/tiny/card").json()["freshness"] == nothing
    hour = np.datetime64("now", "h")
    body = {"times": [f"{hour}:00:00Z"], "values": {"a": [50.0]}}
    assert empty_client.post("/v1/observations/tiny", json=body).status_code == 200
    fresh = empty_client.get("/v1/datasets/tiny/card").json()["freshness"]
    assert fresh == {"data_as_of": f"{hour}:00:00Z", "stale": False}


def test_a_network_is_the_graph_without_ways_back(client: TestClient, tiny: Tiny) -> None:
    answer = client.get("/v1/datasets/tiny/network")
    documented(client, answer.json(), "Network")
    graph = tiny.dataset.graph
    lines = answer.json()["geometry"]["coordinates"]
    pairs = {
        tuple(sorted(pair))
        for pair in zip(graph.source.tolist(), graph.target.tolist(), strict=True)
    }
    assert len(lines) == len(pairs) > 0
    for start, end in lines:
        assert (start, end) != (end, start)
        for lon, lat in (start, end):
            assert ((graph.lon == lon) & (graph.lat == lat)).any()


@pytest.mark.parametrize("part", ["card", "network"])
def test_an_unknown_dataset_has_neither(client: TestClient, part: str) -> None:
    assert client.get(f"/v1/datasets/nosuch/{part}").status_code == 404
    assert client.get(f"/v1/datasets/tiny/{part}").status_code == 200


def test_the_areas_are_small_and_name_their_source() -> None:
    folder: Path = WEB / "vendor" / "bologna"
    assert (folder / "areas.json").stat().st_size < 150_000
    assert "Comune di Bologna" in (folder / "LICENSE").read_text()
    assert "Comune di Bologna, CC BY 4.0" in (WEB / "legend.js").read_text()
