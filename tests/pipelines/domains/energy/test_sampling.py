"""Drawn buildings in drawn climates: what is held out is held out, and a kill loses one climate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from pipelines.domains.energy import sampling as module
from pipelines.domains.energy.abstraction import INPUTS
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.climate import FIELDS, monthly_climate, varied
from pipelines.domains.energy.sampling import drawn, sample
from pipelines.domains.energy.weather import STATIONS, embedded_weather, station_weather
from pipelines.domains.scenarios import FINISHED
from tests.fixtures.buildings import EXAMPLES
from training.experiments import open_experiments

DESIGN = {
    "name": "buildings",
    "domain": "energy",
    "weather": ["embedded"],
    "archetypes": [str(EXAMPLES / "archetypes.csv")],
    "climates": 60,
    "buildings": 8,
}


def silent(stage: str, share: float) -> None:
    """Nobody is told."""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The simulator is replaced by zeros; what it was asked for is listed."""
    asked: list[str] = []

    def simulated(part: module.Part) -> dict[str, np.ndarray]:
        asked.append(part.split)
        climate = monthly_climate(part.weather, part.assumptions)
        return {
            "scalars": part.scalars,
            "fields": np.repeat(climate[None], len(part.scalars), axis=0),
            "target": np.zeros((len(part.scalars), 1, 5), np.float32),
        }

    monkeypatch.setattr(module, "simulated", simulated)
    return asked


def test_splits_are_of_whole_climates_and_archetypes_are_never_trained(
    quick: list[str], tmp_path: Path
) -> None:
    sample(DESIGN, tmp_path, tmp_path / "out", silent)
    made = open_experiments(tmp_path / "out")
    assert made.tests == ["archetypes"]
    climates = {name: set(made.fields[made.rows(name)][:, 0, 1].tolist()) for name in made.split}
    names = list(climates)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not climates[one] & climates[other]
    assert len(climates["train"]) > len(climates["calibration"]) > 0
    assert len(made.rows("archetypes")) == 2 * 4 * 6  # climates, works, archetypes
    rows = made.rows("train")
    assert made.spec.outside(made.scalars[rows], made.fields[rows]) == []
    assert not (tmp_path / "out" / FINISHED).exists()
    assert list(made.spec.presets) == ["the embedded city (synthetic)"]


def test_a_killed_sampling_goes_on(
    quick: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(stage: str, share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        sample(DESIGN, tmp_path, out, killed)
    before = len(quick)
    sample(DESIGN, tmp_path, out, silent)
    assert len(quick) == 62
    assert 0 < before < 62
    whole = open_experiments(out)
    sample(DESIGN, tmp_path, tmp_path / "other", silent)
    for name in ("scalars", "fields", "split"):
        np.testing.assert_array_equal(
            getattr(whole, name), getattr(open_experiments(tmp_path / "other"), name)
        )


def test_drawn_buildings_fill_their_ranges() -> None:
    found = drawn(400, np.random.default_rng(0))
    low, high = np.array([(one.low, one.high) for one in INPUTS]).T
    assert (found >= low - 1e-5).all()
    assert (found <= high + 1e-4).all()
    reach = np.ptp(found, axis=0) / (high - low)
    assert (reach > 0.85).all()


def test_a_varied_year_is_another_year_of_the_climate() -> None:
    year = embedded_weather()
    found = varied(year, np.random.default_rng(1))
    assert found.outdoor_c.shape == year.outdoor_c.shape
    assert found.irradiance_w_m2.shape == year.irradiance_w_m2.shape
    assert abs(found.outdoor_c.mean() - year.outdoor_c.mean()) < 6
    assert np.corrcoef(found.outdoor_c, year.outdoor_c)[0, 1] > 0.8
    assert not np.allclose(found.outdoor_c, year.outdoor_c, atol=1)
    night = year.irradiance_w_m2.sum(axis=1).reshape(-1, 24)[:, 0]
    assert (night == 0).all()
    assert found.irradiance_w_m2.reshape(-1, 24, 6)[:, 0].max() == 0


def test_years_may_lie_between_climates() -> None:
    """Some have another's sun on the same dates; they are as warm as one, the other, or between."""
    year, other = embedded_weather(), station_weather("Sand Point")
    winters = []
    for seed in range(12):
        found = varied(year, np.random.default_rng(seed), [other])
        assert found.outdoor_c.shape == year.outdoor_c.shape
        assert other.outdoor_c.mean() - 5 < found.outdoor_c.mean() < year.outdoor_c.mean() + 5
        assert found.irradiance_w_m2.reshape(-1, 24, 6)[:, 0].max() == 0
        winters.append(found.irradiance_w_m2[year.times.month == 1, 4].mean())
    assert max(winters) > 3 * min(winters)  # a roof in Alaska is dark in January


@pytest.mark.parametrize("station", STATIONS)
def test_stations_are_whole_years(station: str) -> None:
    year = station_weather(station)
    assert len(year.times) == len(year.outdoor_c) == len(year.irradiance_w_m2) == 8760
    assert np.isfinite(year.irradiance_w_m2).all()
    assert -30 < year.outdoor_c.min() < year.outdoor_c.max() < 45
    noon, night = (year.irradiance_w_m2.reshape(-1, 24, 6)[:, h, 4].mean() for h in (12, 0))
    assert noon > 200
    assert night < 1


def test_a_month_is_what_its_hours_amount_to() -> None:
    year, set_up = embedded_weather(), Assumptions()
    found = dict(zip(FIELDS, monthly_climate(year, set_up).T, strict=True))
    january = year.times.month == 1
    cold = np.maximum(8 - year.outdoor_c[january], 0).mean()
    assert found["hours_below_8_k"][0] == pytest.approx(cold, rel=1e-5)
    shares = found["heated_share"]
    assert shares[[0, 6]].tolist() == [1, 0]
    assert shares[9] == pytest.approx(17 / 31)
    assert (np.diff([found[f"hours_below_{b}_k"] for b in range(-8, 24, 2)], axis=0) >= 0).all()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"weather": []}, "weather"),
        ({"weather": ["none.epw"]}, "none.epw is missing; name an EPW file or 'embedded'"),
        ({"archetypes": ["none.csv"]}, "none.csv"),
        ({"climates": 3}, "climates = 3"),
        ({"luck": 3}, "luck = 3"),
    ],
)
def test_a_design_that_makes_no_sense_is_refused(tmp_path: Path, keys: dict, said: str) -> None:
    with pytest.raises(FelsinaError, match=said) as caught:
        sample(DESIGN | keys, tmp_path, tmp_path / "out", silent)
    assert "\n" not in str(caught.value)
