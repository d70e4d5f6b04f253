"""Storms keep their depth whatever their shape, and depths follow their return periods."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import FelsinaError
from pipelines.domains.flood.rasters import write_raster
from pipelines.domains.flood.storms import (
    DepthDuration,
    Gumbel,
    chicago_storm,
    rain_grid,
    uniform_storm,
)
from pipelines.domains.flood.terrain import Terrain

CURVE = DepthDuration(38.0, 0.33)


@settings(max_examples=60, deadline=None)
@given(
    a=st.floats(1, 120),
    n=st.floats(0.05, 1),
    hours=st.floats(0.1, 72),
    peak=st.floats(0, 1),
    step=st.floats(1, 120),
)
def test_a_chicago_storm_keeps_the_curves_depth(
    a: float, n: float, hours: float, peak: float, step: float
) -> None:
    curve = DepthDuration(a, n)
    storm = chicago_storm(curve, hours, peak, step)
    assert float(storm.depth_mm()) == pytest.approx(curve.depth_mm(hours), rel=1e-9)
    assert (storm.intensity_mm_h >= 0).all()


@pytest.mark.parametrize("peak", [0.2, 0.4, 0.8])
def test_every_duration_about_the_peak_has_its_design_depth(peak: float) -> None:
    storm = chicago_storm(CURVE, 10, peak, 1)
    fallen = np.append(0, np.cumsum(np.diff(storm.time_s) * storm.intensity_mm_h)) / 3600
    for hours in (0.5, 1, 3, 6):
        ends = peak * 10 + hours * np.array([-peak, 1 - peak])
        first, last = np.interp(ends * 3600, storm.time_s, fallen)
        assert last - first == pytest.approx(CURVE.depth_mm(hours), rel=1e-6)


@pytest.mark.parametrize("peak", [0.0, 0.3, 1.0])
def test_the_peak_stands_where_it_was_asked(peak: float) -> None:
    storm = chicago_storm(CURVE, 6, peak, 5)
    middle = (storm.time_s[:-1] + storm.time_s[1:])[np.argmax(storm.intensity_mm_h)] / 2
    assert middle == pytest.approx(peak * 6 * 3600, abs=300)


def test_a_uniform_storm_keeps_its_depth() -> None:
    storm = uniform_storm(CURVE.depth_mm(3), 3)
    assert float(storm.depth_mm()) == pytest.approx(CURVE.depth_mm(3))
    assert len(storm.intensity_mm_h) == 1


def test_gumbel_through_two_depths_gives_the_third_of_vergato() -> None:
    """Daily rain at Vergato: 86, 120 and 130 mm in 10, 100 and 200 years."""
    law = Gumbel.through((10, 86), (100, 120))
    assert law.depth_mm(10) == pytest.approx(86)
    assert law.depth_mm(100) == pytest.approx(120)
    assert law.depth_mm(200) == pytest.approx(130, abs=0.1)


def test_gumbels_quantile_is_exceeded_once_in_so_many_years() -> None:
    law = Gumbel(50, 15)
    depth = law.depth_mm(50)
    assert 1 - np.exp(-np.exp(-(depth - 50) / 15)) == pytest.approx(1 / 50)


def test_a_rain_grid_is_read_nearest_at_the_terrains_cells(tmp_path: Path) -> None:
    terrain = Terrain(np.zeros((6, 8)), 10.0, 100.0, 260.0, "EPSG:25832")
    coarse = Terrain(np.zeros((3, 4)), 20.0, 100.0, 260.0, "EPSG:25832")
    bands = np.arange(24.0).reshape(2, 3, 4)
    write_raster(tmp_path / "rain.tif", bands, coarse, "mm/h")
    storm = rain_grid(tmp_path / "rain.tif", terrain, 30)
    assert storm.time_s.tolist() == [0, 1800, 3600]
    assert np.array_equal(storm.intensity_mm_h, bands.repeat(2, axis=1).repeat(2, axis=2))
    assert np.allclose(storm.depth_mm(), storm.intensity_mm_h.sum(axis=0) / 2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: DepthDuration(30, 1.2), "n = 1.2 is not above 0 and to 1"),
        (lambda: DepthDuration(30, 0), "n = 0 is not above 0"),
        (lambda: DepthDuration(-3, 0.3), "a_mm = -3 is not above 0"),
        (lambda: chicago_storm(CURVE, 6, 1.4), "peak = 1.4 is not within 0 to 1"),
        (lambda: chicago_storm(CURVE, 0), "hours = 0 is not above 0"),
        (lambda: chicago_storm(CURVE, 1, 0.4, 0), "step_minutes = 0 is not above 0"),
        (lambda: uniform_storm(-4, 2), "-4 mm is negative"),
        (lambda: Gumbel(50, -1), "scale -1 mm"),
        (lambda: Gumbel(50, 10).depth_mm(1), "return period of 1 years"),
        (lambda: Gumbel.through((10, 80), (10, 90)), "both depths are of 10 years"),
    ],
)
def test_what_no_storm_has_is_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(FelsinaError, match=says) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_negative_rain_in_a_grid_is_refused_by_its_place(tmp_path: Path) -> None:
    terrain = Terrain(np.zeros((3, 4)), 10.0, 0.0, 30.0, "EPSG:25832")
    bands = np.zeros((2, 3, 4))
    bands[1, 0, 2] = -1.5
    write_raster(tmp_path / "rain.tif", bands, terrain, "mm/h")
    with pytest.raises(FelsinaError, match=r"rain.tif: -1.5 mm/h in band 2 at x = 25, y = 25"):
        rain_grid(tmp_path / "rain.tif", terrain, 10)
