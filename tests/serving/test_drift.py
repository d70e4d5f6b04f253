"""What monitoring found is told as it lies on disk, of the release that is served, to all."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from models.record import canonical_json, write_atomic
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.drift import KINDS, Drift, read_record, record_path
from serving.gate.metrics import Metrics
from serving.store import Store
from tests.factories import NODES
from tests.fixtures.aged import drift_of, silent
from tests.fixtures.housed import House
from tests.fixtures.tiny import Tiny

URL = "/v1/datasets/tiny/drift"


def kept(home: Path, drift: Drift) -> None:
    write_atomic(record_path(home, "tiny"), canonical_json(drift.model_dump()))


@pytest.fixture
def place(tiny: Tiny, house: House) -> House:
    house.promote(house.first)
    return house


def test_the_record_is_told_as_it_is_now(place: House) -> None:
    nobody = place.client.get(URL).json()
    assert (nobody["checked_at"], nobody["alarms"], nobody["days"]) == (None, [], 0)
    for drift in (drift_of(place.first.name, silent(NODES[1])), drift_of(place.first.name)):
        kept(place.home, drift)
        answer = place.client.get(URL)
        assert answer.status_code == 200, answer.text
        assert answer.json() == drift.model_dump()


def test_of_another_release_or_dataset_nothing_is_told(place: House) -> None:
    kept(place.home, drift_of(place.second.name, silent(NODES[1])))
    assert place.client.get(URL).json()["checked_at"] is None
    place.promote(place.second)
    assert place.client.get(URL).json()["alarms"] != []
    kept(place.home, drift_of(place.second.name, silent(NODES[1]), dataset="other"))
    assert place.client.get(URL).json()["checked_at"] is None
    assert place.client.get("/v1/datasets/other/drift").status_code == 404


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"dataset":"tiny"}'])
def test_a_broken_record_is_none(place: House, content: bytes) -> None:
    write_atomic(record_path(place.home, "tiny"), content)
    assert read_record(place.home, "tiny", place.first.name) is None
    assert place.client.get(URL).json()["checked_at"] is None


def test_prometheus_is_told(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    for part in ("releases", "champions"):
        (home / part).symlink_to(tiny.home / part)
    catalogue = Catalogue(home, store)
    TestClient(create_app(catalogue)).get("/v1/datasets").raise_for_status()

    def told() -> list[str]:
        lines = Metrics([], catalogue).text().decode().splitlines()
        return [line for line in lines if line.startswith("felsina_drift")]

    assert told() == []
    kept(home, drift_of(tiny.release.name, silent(NODES[1]), silent(NODES[2])))
    lines = told()
    assert 'felsina_drift_alarms{dataset="tiny",kind="silent"} 2.0' in lines
    assert sum(line.startswith("felsina_drift_alarms") for line in lines) == len(KINDS)
    assert 'felsina_drift_evidence{dataset="tiny",sequence="residual"} 0.2' in lines
    assert 'felsina_drift_figure{dataset="tiny",figure="coverage",of="usual"} 0.8' in lines
    assert 'felsina_drift_stability{dataset="tiny"} 0.04' in lines
    assert 'felsina_drift_checked_seconds{dataset="tiny"} 1.7183352e+09' in lines
