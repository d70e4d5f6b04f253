"""The board's report of a served release: its bytes, its digest, its pages, and no other file."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from models.record import canonical_json, sha256_bytes
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.reports import DIGEST, PAGES, RECORD
from serving.store import Store
from tests.fixtures.guarded import problem
from tests.fixtures.reported import report, reported_home
from tests.fixtures.tiny import Tiny

PATH = "/v1/datasets/tiny/report"


@pytest.fixture
def place(tiny: Tiny, tmp_path: Path) -> Path:
    return reported_home(tiny, tmp_path / "home")


@pytest.fixture
def reader(place: Path, empty_store: Store) -> TestClient:
    return TestClient(create_app(Catalogue(place, empty_store)))


def test_a_report_is_given_to_the_byte_with_the_digest_that_is_signed(tiny, place, reader) -> None:
    content = (place / "reports" / tiny.release.name / RECORD).read_bytes()
    answer = reader.get(PATH)
    assert answer.content == content
    assert answer.headers[DIGEST] == sha256_bytes(content)
    assert answer.headers["felsina-release"] == tiny.release.name
    again = reader.get(PATH, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "unsafe" not in reader.get("/reports/tiny/it").headers["content-security-policy"]


def test_a_new_report_is_seen_at_once(tiny, place, reader) -> None:
    first = reader.get(PATH)
    report(tiny.release, place, missing=["purpose"])
    second = reader.get(PATH, headers={"if-none-match": first.headers["etag"]})
    assert second.json()["missing"] == ["purpose"]
    assert second.headers[DIGEST] != first.headers[DIGEST]


def test_what_has_no_report_says_so(client: TestClient) -> None:
    assert "felsina report build" in problem(client.get(PATH), 404)
    assert "felsina report build" in problem(client.get("/reports/tiny/it"), 404)
    assert "no release of dataset" in problem(client.get("/v1/datasets/none/report"), 404)
    assert "no release of dataset" in problem(client.get("/reports/none/it"), 404)


@pytest.mark.parametrize("fault", ["other", "no json", "no digest", "odd pages"])
def test_a_report_of_something_else_is_no_report(tiny, place, reader, caplog, fault: str) -> None:
    path = place / "reports" / tiny.release.name / RECORD
    assert reader.get(PATH).status_code == 200
    record = json.loads(path.read_bytes())
    changed = {
        "other": record | {"manifest_sha256": "0" * 64},
        "no digest": {"format": 1},
        "odd pages": record | {"pages": 1},
    }
    path.write_bytes(canonical_json(changed[fault]) if fault in changed else b"{")
    problem(reader.get(PATH), 404)
    problem(reader.get("/reports/tiny/it"), 404)
    assert "build it anew" in caplog.text
    assert "no report on it" in reader.get("/neighbourhoods").text


def test_every_page_is_there_in_both_languages(reader: TestClient) -> None:
    assert len(PAGES) == 12
    for name, file in PAGES.items():
        answer = reader.get(f"/reports/tiny/{name}")
        assert answer.status_code == 200
        assert f">{file}</h1>" in answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_page_is_shown_only_as_the_report_names_it(tiny, place, reader) -> None:
    page = place / "reports" / tiny.release.name / "report.it.html"
    kept = page.read_bytes()
    for changed in (kept.replace(b"report", b"praise"), b""):
        page.write_bytes(changed)
        assert "that its report names" in problem(reader.get("/reports/tiny/it"), 404)
        assert reader.get("/reports/tiny/en").status_code == 200
        assert reader.get(PATH).status_code == 200
        page.write_bytes(kept)
        assert reader.get("/reports/tiny/it").content == kept
    report(tiny.release, place, pages={})
    problem(reader.get("/reports/tiny/it"), 404)
    assert reader.get(PATH).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/reports/tiny/report.json",
        "/reports/tiny/..%2f..%2freleases",
        "/reports/tiny/%2e%2e",
        "/reports/..%2f..%2fetc/it",
        "/reports/tiny%2f..%2ftiny/it",
        "/reports/tiny/it%00",
    ],
)
def test_no_path_of_a_request_reaches_the_disk(reader: TestClient, path: str) -> None:
    assert reader.get("/reports/tiny/it").status_code == 200
    problem(reader.get(path), 404)
