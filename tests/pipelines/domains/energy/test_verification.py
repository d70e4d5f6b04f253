"""The building simulator against what is published: BESTEST's limits, TABULA's heating needs."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from models.contracts import FelsinaError
from pipelines.commands.physics import verify_all
from pipelines.domains.energy import bestest
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.stock_table import read_archetypes, read_stock
from pipelines.domains.energy.tabula import read_tabula
from pipelines.domains.energy.verification import DENVER, LIMITS, TABULA, verify
from pipelines.domains.energy.weather import read_weather
from pipelines.domains.registry import registered

needs_data = pytest.mark.skipif(not os.environ.get("FELSINA_DATA"), reason="needs FELSINA_DATA")


@pytest.fixture
def reference() -> Path:
    return Path(os.environ["FELSINA_DATA"], "data")


@needs_data
def test_every_published_number_is_reproduced(reference: Path) -> None:
    checks = verify(reference)
    missed = [check for check in checks if not check.ok]
    assert missed == []
    assert sum(check.case.startswith("BESTEST") for check in checks) == 10
    assert sum(check.case.startswith("TABULA") for check in checks) == 42
    assert all(check.low < check.high for check in checks)


@needs_data
def test_a_gate_can_fail(reference: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    folder = tmp_path / "data" / "energy"
    folder.mkdir(parents=True)
    for name in (DENVER, TABULA):
        shutil.copy(reference / "energy" / name, folder)
    limits = (reference / "energy" / LIMITS).read_text()
    tight = limits.replace("900,annual_cooling,MWh,2.35,2.60", "900,annual_cooling,MWh,2.50,2.60")
    (folder / LIMITS).write_text(tight)
    monkeypatch.setenv("FELSINA_DATA", str(tmp_path))
    alone = {"energy": registered()["energy"]}
    monkeypatch.setattr("pipelines.commands.physics.registered", lambda: alone)
    with pytest.raises(FelsinaError, match=r"^1 of 52 checks missed: BESTEST 900 annual_cooling"):
        verify_all(tmp_path / "checks.json")
    records = json.loads((tmp_path / "checks.json").read_text())
    assert [r["case"] for r in records if not r["ok"]] == ["BESTEST 900"]
    assert set(records[0]) == {"domain", "case", "quantity", "value", "low", "high", "ok"}
    assert "NO" in capsys.readouterr().out


def test_without_the_reference_data_one_line_says_so(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("FELSINA_DATA", raising=False)
    with pytest.raises(FelsinaError, match="FELSINA_DATA is not set"):
        verify_all(None)
    with pytest.raises(FelsinaError, match=r"bestest_std140.*csv is missing; FELSINA_DATA must"):
        verify(tmp_path)


@needs_data
def test_mass_evens_out_and_the_dead_band_saves(reference: Path) -> None:
    """What any simulator of BESTEST's cases shows, whatever its coefficients."""
    weather = read_weather(reference / "energy" / DENVER)
    for coefficients in (bestest.TUNED, bestest.STANDARD):
        found = bestest.results(weather, coefficients)
        for quantity in ("annual_heating", "annual_cooling", "peak_cooling"):
            assert found.loc["900", quantity] < found.loc["600", quantity]
        assert found.loc["640", "annual_heating"] < found.loc["600", "annual_heating"]
        assert found.loc["685", "annual_cooling"] > found.loc["600", "annual_cooling"]
        assert found.loc["620", "annual_cooling"] < found.loc["600", "annual_cooling"]
        assert found.loc["600FF", "max_temperature"] > found.loc["900FF", "max_temperature"]
        assert found.loc["600FF", "min_temperature"] < found.loc["900FF", "min_temperature"]


@needs_data
def test_the_hourly_network_and_the_season_agree(reference: Path, tmp_path: Path) -> None:
    """TABULA's variants by the hour in Torino, whose season has TABULA's kelvin days."""
    path = reference / "energy" / TABULA
    archetypes = read_archetypes(path)
    rows = ["id,area,floor_m2,heat_source,archetype"]
    rows += [f"{n},one,1000,gas_boiler,{name}" for n, name in enumerate(archetypes.names)]
    (tmp_path / "stock.csv").write_text("\n".join(rows))
    stock = read_stock(tmp_path / "stock.csv", archetypes).with_plants(-5.0)
    weather = read_weather(reference / "weather" / "ITA_Torino.160590_IWEC.epw")
    steady = Simulator(weather, Assumptions(on_h=(0, 24), setback_k=0))
    ratio = steady.run(stock).heat_kwh / stock.floor_m2 / read_tabula(path)["q_h_nd"]
    assert 0.95 < ratio.min() < ratio.max() < 1.2
    assert 0.98 < ratio.median() < 1.06
