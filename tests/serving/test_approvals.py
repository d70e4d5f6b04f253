"""What a process lets be served: approved, promoted, intact; else what was before it."""

import json
import logging
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from fairness.board import CHARTER
from models.errors import FelsinaError
from models.record import canonical_json, sha256_bytes, write_atomic
from serving import approvals as module
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.release import GRAPH, MANIFEST, MODEL, champion_pointer
from serving.reports import Reports
from serving.store import Store
from tests.fixtures.boards import seats, terms_of
from tests.fixtures.greenhouse import Sealed
from tests.fixtures.housed import URL, House, at
from tests.serving.test_openapi import faults


def test_nothing_is_served_before_it_is_approved_and_promoted(house: House) -> None:
    house.withheld("nothing of it was approved by the board and promoted")
    of = terms_of(house.home, house.first)
    house.board.vote(of, "a")
    house.withheld("nothing of it was approved")
    decision = house.board.vote(of, "b").decided[-1].id
    house.withheld("nothing of it was approved")
    house.board.promote(of, decision)
    assert house.served() == house.first.name
    entry = house.client.get(URL).json()
    assert (entry["approval"], entry["decision"]) == ("approved", decision)


def test_answers_name_the_decision_they_were_made_under(house: House) -> None:
    first = house.promote(house.first)
    url = "/v1/forecasts/tiny"
    before = house.client.get(url)
    assert before.json()["model"]["decision"] == first
    assert house.client.get(url).content == before.content
    renewed = house.board.approve(terms_of(house.home, house.first, expires="2998-01-01"))
    after = house.client.get(url)
    assert after.json()["model"]["decision"] == renewed
    assert after.json()["features"] == before.json()["features"]
    assert after.headers["etag"] != before.headers["etag"]
    for path in (URL, f"{URL}/card"):
        assert house.client.get(path).json()["decision"] == renewed
    arrow = house.client.get(url, params={"format": "arrow"}).content
    told = json.loads(pa.ipc.open_stream(arrow).schema.metadata[b"felsina"])
    assert (told["approval"], told["model"]["decision"]) == ("approved", renewed)
    ngsi = house.client.get(url, params={"format": "ngsi-ld"}).json()[0]
    assert ngsi["decision"]["value"] == renewed
    assert ngsi["manifestSha256"]["value"] == after.json()["model"]["manifest_sha256"]


@pytest.mark.parametrize("why", ["expired", "alarm", "rejected"])
def test_what_is_no_longer_approved_gives_way_to_the_one_before(
    house: House, monkeypatch, why: str
) -> None:
    house.promote(house.first)
    house.promote(house.second, expires="2030-06-01")
    assert house.served() == house.second.name
    of = terms_of(house.home, house.second)
    if why == "expired":
        at(monkeypatch, "2030-06-01")
        assert house.served() == house.second.name
        at(monkeypatch, "2030-06-02")
    elif why == "alarm":
        named = (of.dataset, of.release, of.manifest_sha256)
        house.board.register("c").alarm(*named, "misses floods")
    else:
        house.board.vote(replace(of, decision="reject", expires=None), "b", "c")
    assert house.served() == house.first.name
    house.restart()
    assert house.served() == house.first.name


def test_where_there_is_none_before_it_says_why_and_renewal_brings_it_back(house: House) -> None:
    house.promote(house.first)
    of = terms_of(house.home, house.first)
    house.board.register("op").alarm(of.dataset, of.release, of.manifest_sha256, "misses floods")
    told = house.withheld(of.release, "was suspended by op", "misses floods")
    for path in ("/v1/forecasts/tiny", f"{URL}/card", "/v1/observations/tiny", "/v2/models/tiny"):
        answer = house.client.get(path)
        assert (answer.status_code, answer.json()["detail"]) == (503, told)
    assert house.client.get("/v2/health/ready").status_code == 503
    house.board.vote(of, "a")
    house.withheld("was suspended by op")
    house.board.vote(of, "c")
    assert house.served() == house.first.name
    assert house.client.get("/v2/health/ready").json() == {"ready": True}


def test_a_rollback_does_not_fall_forward(house: House, monkeypatch) -> None:
    house.promote(house.first, expires="2030-06-01")
    house.promote(house.second)
    of = terms_of(house.home, house.first)
    ruling = house.board.board().ruling(of.manifest_sha256, datetime.now(UTC))
    house.board.promote(of, str(ruling.decision), "second is worse by night")
    assert house.served() == house.first.name
    at(monkeypatch, "2030-06-02")
    house.withheld("until 2030-06-01, which is over")


@pytest.mark.parametrize("name", [MODEL, GRAPH, MANIFEST])
def test_a_file_swapped_after_signing_is_not_served(house: House, caplog, name: str) -> None:
    house.promote(house.first)
    house.promote(house.second)
    assert house.served() == house.second.name
    content = (house.second / name).read_bytes()
    (house.second / name).write_bytes(content.replace(b"0", b"1", 1) + b" ")
    house.restart()
    with caplog.at_level(logging.ERROR):
        assert house.served() == house.first.name
    assert str(house.second / name) in caplog.text
    shutil.rmtree(house.first)
    house.restart()
    house.withheld(f"{house.second.name} is missing or was changed")
    (house.second / name).write_bytes(content)
    assert house.served() == house.second.name


def test_a_release_sealed_anew_under_the_approved_name_is_not_served(house: House, caplog) -> None:
    """Another manifest needs another name; one that is made to fit 12 digits still differs."""
    house.promote(house.first)
    assert house.served() == house.first.name
    manifest = json.loads((house.first / MANIFEST).read_bytes())
    manifest["thresholds"] = {"a": [1.0, 2.0, 3.0]}
    (house.first / MANIFEST).write_bytes(canonical_json(manifest))
    house.restart()
    with caplog.at_level(logging.ERROR):
        house.withheld("is missing or was changed")
    assert "is not the one in the folder's name" in caplog.text


def test_pointers_move_nothing_where_a_board_decides(house: House) -> None:
    house.promote(house.first)
    pointer = {"release": house.second.name}
    write_atomic(champion_pointer(house.home, "tiny"), canonical_json(pointer))
    assert house.served() == house.first.name
    without = TestClient(create_app(Catalogue(house.home, house.store)))
    assert without.get(URL).json()["release"] == house.second.name


def test_surrogates_are_decided_on_alike(house: House, sealed: Sealed) -> None:
    folder = house.home / "releases" / sealed.release.name
    shutil.copytree(sealed.release, folder)
    url, body = "/v1/scenarios/beds", {"inputs": {"glass_share": 0.5}}
    house.promote(house.first)
    for name in ("beds", folder.name):
        assert house.client.post(f"/v1/scenarios/{name}", json=body).status_code in (404, 503)
    assert house.client.get(url).status_code == 503
    listed = house.client.get("/v1/scenarios").json()
    assert (listed["surrogates"], [one["name"] for one in listed["withheld"]]) == ([], ["beds"])
    decision = house.promote(folder)
    for name in ("beds", folder.name):
        answer = house.client.post(f"/v1/scenarios/{name}", json=body).json()
        assert (answer["approval"], answer["decision"]) == ("approved", decision)
    assert house.served() == house.first.name
    assert house.client.get("/v1/datasets").json()["withheld"] == []


def test_the_public_register_tells_all_that_was_decided(house: House) -> None:
    bare = TestClient(create_app(Catalogue(house.home, house.store)))
    assert bare.get("/v1/decisions").status_code == 404
    decision = house.promote(house.first)
    against = replace(terms_of(house.home, house.second), decision="reject", expires=None)
    house.board.vote(replace(against, conditions=("Misses floods.",)), "a", "c")
    found = house.client.get("/v1/decisions").json()
    assert [one["decision"] for one in found["decisions"]] == ["approve", "reject"]
    assert [one["state"] for one in found["decisions"]] == ["approved", "rejected"]
    assert found["decisions"][1]["conditions"] == ["Misses floods."]
    assert [one["decision"] for one in found["promoted"]] == [decision]
    last = house.stream.read_bytes().splitlines()[-1]
    assert (found["entries"], found["head"]) == (6, sha256_bytes(last))
    document = house.client.get("/openapi.json").json()
    schema = document["components"]["schemas"]["Decisions"]
    assert faults(found, schema, document) == []


def test_a_report_changed_after_signing_is_not_shown(house: House) -> None:
    house.promote(house.first)
    path = house.home / "reports" / house.first.name / "report.json"
    release = Catalogue(house.home, house.store, house.approvals).runtime("tiny").release
    reports = Reports(house.home)
    content = path.read_bytes()
    found = reports.of(release)
    assert found is not None
    assert (found.asset.plain, found.sha256) == (content, release.approval.report_sha256)
    path.write_bytes(content + b" ")
    assert reports.of(release) is None
    path.write_bytes(content)
    assert reports.of(release) is not None
    path.unlink()
    assert reports.of(release) is None


def test_a_whole_board_made_anew_is_another_board(house: House) -> None:
    """Charter, keys and stream replaced in the home: the server has its charter from elsewhere."""
    house.promote(house.first)
    assert house.served() == house.first.name
    shutil.rmtree(house.board.folder)
    house.board = seats(house.board.folder, "a", 1)
    house.promote(house.second)
    assert house.served() == house.first.name
    house.restart()
    detail = house.client.get(URL).json()["detail"]
    assert "is signed by key" in detail
    house.charter = house.board.folder / CHARTER
    house.restart()
    assert house.served() == house.second.name


def test_a_charter_with_a_lower_threshold_opens_nothing(house: House) -> None:
    house.promote(house.first)
    of = terms_of(house.home, house.second)
    house.board.vote(of, "a")
    lower = replace(house.board.charter, threshold=1)
    for path in (house.charter, house.board.folder / CHARTER):
        path.write_bytes(canonical_json(lower.to_dict()))
    house.restart()
    assert "and the charter's is" in house.client.get(URL).json()["detail"]


def test_a_demo_board_is_trusted_when_it_is_said_so(tmp_path: Path, monkeypatch) -> None:
    board = seats(tmp_path / "board", "a", 1, demo=True)
    store = Store(tmp_path / "o.db")
    monkeypatch.delenv("FELSINA_BOARD", raising=False)
    with pytest.raises(FelsinaError, match="FELSINA_BOARD is not set"):
        module.trusted(tmp_path, store)
    monkeypatch.setenv("FELSINA_BOARD", str(board.folder / CHARTER))
    with pytest.raises(FelsinaError, match="demo board"):
        module.trusted(tmp_path, store)
    monkeypatch.setenv("FELSINA_DEMO", "1")
    assert module.trusted(tmp_path, store).charter == board.charter
