"""EPW files are read whole or refused by file and line; the sun is where it should be."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.domains.energy.weather import (
    HOURS,
    ORIENTATIONS,
    Weather,
    embedded_weather,
    read_weather,
)

FIRST = 8
"""Lines before the first hour."""


def make_epw(path: Path) -> list[str]:
    """A bright year at Bologna's place, without clouds or seasons of temperature; its lines."""
    head = ["LOCATION,Nowhere,-,ITA,made up,000000,44.49,11.34,1.0,50.0"]
    head += [f"HEADER {n}" for n in range(2, FIRST + 1)]
    lines = head
    for hour in pd.date_range("2001-01-01", periods=HOURS, freq="1h"):
        up = max(0.0, np.sin(np.pi * (hour.hour - 5.5) / 13))
        sun = [round(700 * up), round(600 * up), round(150 * up)]
        fields: list[object] = [hour.year, hour.month, hour.day, hour.hour + 1, 60, "?"]
        fields += [10.0, 5.0, 70, 101325, 0, 1415, 300, *sun, *[0] * 19]
        lines.append(",".join(map(str, fields)))
    path.write_text("\n".join(lines) + "\n")
    return lines


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return make_epw(tmp_path_factory.mktemp("epw") / "year.epw")


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def side(weather: Weather, name: str) -> np.ndarray:
    return weather.irradiance_w_m2[:, list(ORIENTATIONS).index(name)].reshape(-1, 24)


def check_sun(weather: Weather) -> None:
    """What holds anywhere between the tropic and the arctic circle."""
    sun = weather.irradiance_w_m2
    assert sun.shape == (HOURS, len(ORIENTATIONS))
    assert np.isfinite(sun).all()
    assert (sun >= 0).all()
    night = side(weather, "roof")[:, :2]
    assert night.max() < 1
    hour = np.arange(24) + 0.5
    centre = {
        name: (side(weather, name) * hour).sum() / side(weather, name).sum()
        for name in ("east", "south", "west")
    }
    assert centre["east"] < centre["south"] < centre["west"]
    year = {name: side(weather, name).sum() for name in ORIENTATIONS}
    assert year["north"] < min(year["east"], year["west"]) < year["south"]
    assert year["array"] > max(year["roof"], year["south"])
    january = slice(0, 31)
    assert side(weather, "south")[january].sum() > side(weather, "roof")[january].sum()


def test_the_embedded_year_has_a_sun_and_seasons() -> None:
    weather = embedded_weather()
    check_sun(weather)
    day = weather.outdoor_c.reshape(-1, 24).mean(axis=1)
    assert day[:31].mean() < 6
    assert day[181:212].mean() > 22
    assert 1200 < side(weather, "roof").sum() / 1000 < 1700
    again = embedded_weather()
    np.testing.assert_array_equal(again.irradiance_w_m2, weather.irradiance_w_m2)


@pytest.mark.skipif(not os.environ.get("FELSINA_DATA"), reason="needs FELSINA_DATA")
@pytest.mark.parametrize("name", ["ITA_Torino.160590_IWEC", "USA_Chicago", "JPN_Tokyo"])
def test_published_years_are_read(name: str) -> None:
    path = Path(os.environ["FELSINA_DATA"], "data", "weather", f"{name}.epw")
    weather = read_weather(path)
    check_sun(weather)
    flat = np.loadtxt(path, delimiter=",", skiprows=FIRST, usecols=13)
    assert side(weather, "roof").sum() == pytest.approx(flat.sum(), rel=0.02)


def test_a_whole_year_is_read(lines: list[str], tmp_path: Path) -> None:
    weather = read_weather(write(tmp_path / "year.epw", lines))
    assert weather.name == "Nowhere (made up)"
    assert weather.times[0] == pd.Timestamp("2023-01-01 00:00")
    assert (weather.outdoor_c == 10).all()


def refused(path: Path) -> str:
    with pytest.raises(FelsinaError) as caught:
        read_weather(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def test_a_gap_is_named_by_its_line(lines: list[str], tmp_path: Path) -> None:
    path = write(tmp_path / "gap.epw", lines[: FIRST + 30] + lines[FIRST + 31 :])
    assert "line 39: month, day, hour are 1, 2, 8 where 1, 2, 7 was due" in refused(path)


def test_a_wrong_length_is_refused(lines: list[str], tmp_path: Path) -> None:
    short = write(tmp_path / "short.epw", lines[:-24])
    assert "has 8736 hours, not 8760: it ends before" in refused(short)
    long = write(tmp_path / "long.epw", [*lines, lines[-1]])
    assert "has 8761 hours, not 8760: line 8769 is after" in refused(long)


def test_a_file_that_is_no_epw_is_refused(lines: list[str], tmp_path: Path) -> None:
    assert "is no EPW file: its first line" in refused(write(tmp_path / "a.epw", ["time,temp"]))
    assert "is missing; name an EPW" in refused(tmp_path / "b.epw")
    odd = write(tmp_path / "c.epw", ["LOCATION,Nowhere", *lines[1:]])
    assert "is no EPW file that can be read" in refused(odd)
    binary = tmp_path / "d.epw"
    binary.write_bytes(bytes(range(256)))
    assert "is no EPW file" in refused(binary)


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [
        (6, "99.9", "dry-bulb temperature 99.9 is not within -70 to 70"),
        (14, "9999", "direct normal irradiance 9999 is not within 0 to 1500"),
        (13, "-5", "global horizontal irradiance -5 is not within"),
        (15, "n/a", "diffuse horizontal irradiance nan is not within"),
    ],
)
def test_a_missing_value_is_named_by_its_line(
    lines: list[str], tmp_path: Path, column: int, text: str, said: str
) -> None:
    fields = lines[100].split(",")
    fields[column] = text
    changed = [*lines[:100], ",".join(fields), *lines[101:]]
    assert f"line 101: {said}" in refused(write(tmp_path / "hole.epw", changed))
