"""Invented hills: seeded, steep where they shall be, and lived in."""

import math

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from models.physics.drainage import drain, surface_slope_rad
from pipelines.domains.flood.synthetic_hills import (
    HillsDesign,
    synthetic_hill_homes,
    synthetic_hills,
)
from pipelines.domains.scenarios import read_keys

TINY = {"rows": 40, "columns": 40, "cell_m": 2}
SMALL = {"rows": 90, "columns": 110}
MIDDLE = {"rows": 180, "columns": 180}


@pytest.mark.parametrize("seed", [0, 5])
def test_a_seed_is_a_valley(seed):
    one, again = (synthetic_hills(HillsDesign(seed=seed, **SMALL)) for _ in range(2))
    other = synthetic_hills(HillsDesign(seed=seed + 1, **SMALL))
    np.testing.assert_array_equal(one.terrain.bed_m, again.terrain.bed_m)
    assert not np.allclose(one.terrain.bed_m, other.terrain.bed_m)
    assert one.terrain.bed_m.shape == one.floor.shape == (90, 110)


@pytest.mark.parametrize("seed", range(4))
def test_hillsides_are_as_steep_as_asked_and_the_floor_is_flat(seed):
    hills = synthetic_hills(HillsDesign(seed=seed, slope_degrees=(22, 34), **MIDDLE))
    slope = torch.rad2deg(surface_slope_rad(torch.from_numpy(hills.terrain.bed_m), 10.0)).numpy()
    sides = slope[~hills.floor]
    assert 22 < np.median(sides) < 34
    assert np.quantile(sides, 0.99) < 42
    assert np.median(slope[hills.floor]) < 3
    assert 60 < np.ptp(hills.terrain.bed_m) < 1500
    area = drain(torch.from_numpy(hills.terrain.bed_m), 10.0).area_m2.numpy()
    # Streams: some tenths of a square kilometre come together outside the valley's floor.
    assert area[~hills.floor].max() > 5e4


@pytest.mark.parametrize("seed", range(3))
def test_homes_stand_on_the_terrain_off_the_steep(seed):
    hills = synthetic_hills(HillsDesign(seed=seed, **MIDDLE))
    homes = synthetic_hill_homes(hills, seed)
    again = synthetic_hill_homes(hills, seed)
    np.testing.assert_array_equal(homes.cell, again.cell)
    assert len(homes.id) == len(set(homes.id)) == len(homes.cell) > 100
    assert (homes.people >= 1).all()
    np.testing.assert_array_equal(hills.terrain.cells(homes.x_m, homes.y_m), homes.cell)
    south, east = np.gradient(hills.terrain.bed_m, 10.0)
    slope = np.degrees(np.arctan(np.hypot(south, east))).ravel()[homes.cell]
    assert slope.max() < 24
    assert len(set(homes.area)) == 4
    assert math.isclose(float(homes.people.sum()), float(again.people.sum()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "homes: synthetic hills of 40 x 40 cells of 2 m have no place .*leave homes out"),
        ({"streams_m": 3000}, "streams_m = 3000 leaves no stream on 80 m of river; give a smaller"),
        ({"slope_degrees": (0, 35)}, "slope_degrees.0 = 0: .*greater than or equal to 5"),
        ({"slope_degrees": (20, 90)}, "slope_degrees.1 = 90: .*to 60"),
        ({"slope_degrees": (35, 20)}, "slope_degrees.*least slope first"),
    ],
)
def test_hills_that_cannot_be_are_refused_in_one_line(changes, says):
    with pytest.raises(FelsinaError, match=says) as refused:
        synthetic_hill_homes(synthetic_hills(read_keys(HillsDesign, TINY | changes)))
    assert "\n" not in str(refused.value)
