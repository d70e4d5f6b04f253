"""Flows from tables and from a peak and a volume."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import FelsinaError
from pipelines.domains.flood.hydrographs import (
    gamma_hydrograph,
    read_hydrograph,
    read_hyetograph,
    triangular_hydrograph,
)


def test_a_table_in_hours_or_seconds(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("hours, flow_m3_s\n0, 10\n0.5, 40\n1, 20\n")
    (tmp_path / "s.csv").write_text("time_s,flow_m3_s,note\n0,10,a\n1800,40,b\n3600,20,c\n")
    for name in ("h.csv", "s.csv"):
        found = read_hydrograph(tmp_path / name)
        assert found.time_s.tolist() == [0, 1800, 3600]
        assert found.flow_m3_s.tolist() == [10, 40, 20]
        assert found.volume_m3 == pytest.approx(1800 * 55)


def test_each_row_of_rain_holds_a_step(tmp_path: Path) -> None:
    (tmp_path / "rain.csv").write_text("hours,rain_mm_h\n0,10\n0.5,40\n")
    storm = read_hyetograph(tmp_path / "rain.csv")
    assert storm.time_s.tolist() == [0, 1800, 3600]
    assert float(storm.depth_mm()) == pytest.approx(25)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hours,flow_m3_s\n0,1\n1,\n2,3\n", "row 3: flow_m3_s nan is no number"),
        ("hours,flow_m3_s\n0,1\n1,x\n2,y\n", "row 3 and 1 more: flow_m3_s x is no number"),
        ("hours,flow_m3_s\n0,1\n1,-2\n", "row 3: flow_m3_s -2 is negative"),
        ("hours,flow_m3_s\n0,1\n2,2\n1,2\n", "row 4: hours 1 does not rise"),
        ("hours,flow_m3_s\n0,1\n1,2\n2,3\n4,3\n", "row 5: hours 4 follows at another step than 1"),
        ("hours,flow_m3_s\n1,1\n2,2\n", "hours begins at 1; .* the first is 0"),
        ("hours,flow_m3_s\n0,1\n", "has 1 rows"),
        ("hours,flow\n0,1\n1,1\n", "needed are time_s or hours"),
        ("hours,time_s,flow_m3_s\n0,0,1\n1,3600,1\n", "one of them"),
    ],
)
def test_a_bad_table_is_refused_by_row(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "flows.csv").write_text(text)
    with pytest.raises(FelsinaError, match=rf"flows.csv.*{says}") as refused:
        read_hydrograph(tmp_path / "flows.csv")
    assert "\n" not in str(refused.value)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FelsinaError, match=r"flows.csv is missing"):
        read_hydrograph(tmp_path / "flows.csv")


@settings(max_examples=40, deadline=None)
@given(
    base=st.floats(0, 100),
    above=st.floats(1, 2000),
    rise=st.floats(0.5, 30),
    fullness=st.floats(0.4, 2.5),
)
def test_a_gamma_wave_has_its_peak_and_volume(
    base: float, above: float, rise: float, fullness: float
) -> None:
    volume = fullness * above * rise * 3600
    wave = gamma_hydrograph(base + above, rise, volume, base)
    assert wave.flow_m3_s.max() == pytest.approx(base + above, rel=0.01)
    assert wave.time_s[np.argmax(wave.flow_m3_s)] == pytest.approx(rise * 3600, rel=0.06)
    assert wave.volume_m3 - base * wave.time_s[-1] == pytest.approx(volume, rel=0.01)


def test_a_triangle_has_its_volume() -> None:
    wave = triangular_hydrograph(400, 6, 20, 50)
    assert wave.volume_m3 - 50 * 20 * 3600 == pytest.approx(350 * 20 * 3600 / 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: gamma_hydrograph(100, 5, 1e12), "volume_m3 = 1e.12 is not within"),
        (lambda: gamma_hydrograph(100, 5, 1e6, 120), "base_m3_s = 120"),
        (lambda: gamma_hydrograph(100, 0, 1e6), "to_peak_h = 0"),
        (lambda: triangular_hydrograph(100, 5, 4), "duration_h = 4 is not above to_peak_h = 5"),
    ],
)
def test_what_no_wave_can_be_is_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(FelsinaError, match=says):
        make()
