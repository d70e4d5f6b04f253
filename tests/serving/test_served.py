"""Surrogates come, go and break while they are served; test_catalogue does so with forecasters."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from models.record import canonical_json
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.release import INPUTS, MANIFEST, champion_pointer, release_id
from serving.store import Store
from tests.fixtures.greenhouse import Sealed

BODY = {"inputs": {"glass_share": 0.5}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home that is looked through at every call."""
    monkeypatch.setattr("serving.served._RESCAN_SECONDS", 0.0)
    (tmp_path / "home" / "releases").mkdir(parents=True)
    return tmp_path / "home"


@pytest.fixture
def client(place: Path, empty_store: Store) -> TestClient:
    return TestClient(create_app(Catalogue(place, empty_store)))


def bring(release: Path, home: Path, second: int, note: str = "") -> Path:
    """A copy of a release in a home, dated; with a note it is another one."""
    content = (release / MANIFEST).read_bytes()
    if note:
        content = canonical_json(json.loads(content) | {"note": note})
    folder = home / "releases" / release_id("beds", content)
    shutil.copytree(release, folder)
    (folder / MANIFEST).write_bytes(content)
    os.utime(folder, (second, second))
    return folder


def served(client: TestClient) -> list[str]:
    return [one["release"] for one in client.get("/v1/scenarios").json()["surrogates"]]


def answering(client: TestClient, name: str) -> str:
    answer = client.post(f"/v1/scenarios/{name}", json=BODY)
    assert answer.status_code == 200, answer.text
    return answer.json()["release"]


def test_releases_come_and_go_while_it_runs(
    sealed: Sealed, place: Path, client: TestClient
) -> None:
    assert served(client) == []
    first = bring(sealed.release, place, 1000)
    assert served(client) == [first.name]
    second = bring(sealed.release, place, 2000, "newer")
    assert served(client) == [second.name]
    for name in ("beds", second.name, first.name):
        assert answering(client, name) == (first if name == first.name else second).name
    pointer = champion_pointer(place, "beds")
    pointer.parent.mkdir()
    pointer.write_bytes(canonical_json({"release": first.name}))
    assert served(client) == [first.name]
    shutil.rmtree(first)
    pointer.unlink()
    assert served(client) == [second.name]
    assert client.get(f"/v1/scenarios/{first.name}").status_code == 404


@pytest.mark.parametrize("name", [INPUTS, "model.onnx", "report.json"])
def test_a_broken_release_leaves_the_one_before(
    sealed: Sealed, place: Path, client: TestClient, caplog, name: str
) -> None:
    first = bring(sealed.release, place, 1000)
    assert served(client) == [first.name]
    broken = bring(sealed.release, place, 2000, "broken")
    (broken / name).write_bytes((broken / name).read_bytes() + b" ")
    os.utime(broken, (2000, 2000))
    with caplog.at_level(logging.ERROR):
        assert served(client) == [first.name]
    assert str(broken / name) in caplog.text
    assert answering(client, "beds") == first.name
    answer = client.post(f"/v1/scenarios/{broken.name}", json=BODY)
    assert answer.status_code == 404
    assert broken.name in answer.text
    assert str(place) not in answer.text
