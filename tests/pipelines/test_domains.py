"""A domain is one folder and one line: a fourth one goes through the whole chain."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from models.contracts import FelsinaError
from pipelines import domains
from pipelines.domains.registry import domain_of, registered
from pipelines.run import embedded_folder, run_chain
from pipelines.settings import store_place
from pipelines.train import open_registered, settings_for
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.store import Store
from tests.factories import Silent


@pytest.fixture
def fourth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "DOMAINS", (*domains.DOMAINS, "tests.fixtures.noise.domain"))


def test_three_domains_are_registered() -> None:
    assert list(registered()) == ["traffic", "energy", "flood"]
    for name, domain in registered().items():
        assert domain_of(name) is domain
        assert domain.title
        assert domain.synthesise is not None
        assert domain.embedded == f"embedded-{name}"


def test_an_unknown_domain_names_the_known_ones() -> None:
    with pytest.raises(FelsinaError, match="'noise' is not registered; use one of traffic, energy"):
        domain_of("noise")


def test_a_fourth_domain_is_one_more_line(fourth: None, tmp_path: Path, monkeypatch) -> None:
    assert list(registered()) == ["traffic", "energy", "flood", "noise"]
    folder = embedded_folder(domain_of("noise"), tmp_path)
    dataset = open_registered(folder)
    assert dataset.spec.domain == "noise"
    assert settings_for(dataset).architecture.width == 16
    monkeypatch.undo()
    with pytest.raises(FelsinaError, match="noise"):
        open_registered(folder)


def test_the_embedded_city_is_made_once(fourth: None, tmp_path: Path) -> None:
    folder = embedded_folder(domain_of("noise"), tmp_path)
    before = (folder / "series.parquet").stat().st_mtime_ns
    assert embedded_folder(domain_of("noise"), tmp_path) == folder
    assert (folder / "series.parquet").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_fourth_domain_goes_through_the_chain_and_is_served(
    fourth: None, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path))
    folder = embedded_folder(domain_of("noise"), tmp_path)
    release, report = run_chain(folder, tmp_path, Silent())
    assert report["domain"] == "noise"
    assert json.loads((release / "manifest.json").read_bytes())["domain"] == "noise"
    client = TestClient(create_app(Catalogue(tmp_path, Store(store_place()))))
    listed = client.get("/v1/datasets", params={"domain": "noise"}).json()["datasets"]
    assert [entry["name"] for entry in listed] == ["embedded-noise"]
    (run,) = (tmp_path / "trained").glob("*/forecasts.parquet")
    forecasts = pd.read_parquet(run)
    init = forecasts["init_time"].max()
    query = {"init_time": init.isoformat()}
    answer = client.get("/v1/forecasts/embedded-noise", params=query).json()
    assert (answer["domain"], answer["unit"], answer["warnings"]) == ("noise", "dB", [])
    last = forecasts[forecasts["init_time"] == init]
    for feature in answer["features"]:
        assert (feature["lon"], feature["lat"]) == (None, None)
        expected = last[last["node"] == feature["id"]].sort_values("lead")["q0.5"]
        np.testing.assert_allclose(feature["quantiles"]["0.5"], expected, rtol=1e-5)
    geo = client.get("/v1/forecasts/embedded-noise", params={"format": "geojson"}).json()
    assert [feature["geometry"] for feature in geo["features"]] == [None] * 3
    below = {"times": [answer["init_time"]], "values": {"n1": [-3.0]}}
    assert client.post("/v1/observations/embedded-noise", json=below).status_code == 200
