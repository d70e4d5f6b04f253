"""Drainage: nothing is lost, planes are exact, hollows and flats drain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.drainage import drain, filled, receivers, surface_slope_rad

seeds = st.integers(0, 2**31)


def rough(seed: int, rows: int = 17, columns: int = 23) -> Tensor:
    """Noise in whole steps: hollows, and flats within them."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randint(0, 6, (rows, columns), generator=chance).double()


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_all_water_leaves(seed):
    drained = drain(rough(seed), 10.0)
    assert drained.left_m2.sum().item() == pytest.approx(17 * 23 * 100, rel=1e-12)
    assert (drained.left_m2[1:-1, 1:-1] == 0).all()
    assert (drained.area_m2 >= 100 * (1 - 1e-12)).all()


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_hollows_are_raised_to_their_rim_and_no_further(seed):
    bed = rough(seed).numpy()
    level = filled(bed)
    assert (level >= bed).all()
    assert (level[[0, -1]] == bed[[0, -1]]).all()
    around = np.pad(level, 1, constant_values=np.inf)
    lowest = np.min(
        [
            around[1 + r : 1 + r + 17, 1 + c : 1 + c + 23]
            for r in (-1, 0, 1)
            for c in (-1, 0, 1)
            if r or c
        ],
        axis=0,
    )
    assert (lowest < level)[1:-1, 1:-1].all()
    raised = level > bed
    # A raised cell is level with its lowest neighbour but for what a float can just tell.
    assert (level - lowest < 1e-9)[raised].all()


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_water_goes_down(seed):
    level = filled(rough(seed).numpy())
    to, share, way = receivers(level)
    flat = level.ravel()
    given_to = share > 0
    assert (flat[to] < flat)[given_to].all()
    assert (share.sum(axis=0) <= 1 + 1e-12).all()
    assert ((way >= 1 - 1e-12) & (way <= math.sqrt(2) + 1e-12)).all()


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_a_plane_drains_row_by_row_whichever_way_it_faces(turn):
    plane = -0.2 * 5 * torch.arange(9, dtype=torch.float64)[:, None].expand(-1, 7)
    exact = 5 * (torch.arange(9, dtype=torch.float64) + 1)[:, None].expand(-1, 7)
    bed, expected = (torch.rot90(v, turn) for v in (plane, exact))
    torch.testing.assert_close(drain(bed.contiguous(), 5.0).per_contour_m, expected)
    tangent = surface_slope_rad(bed.contiguous(), 5.0).tan()
    torch.testing.assert_close(tangent, torch.full_like(tangent, 0.2))


@pytest.mark.parametrize("degrees", [0, 10, 22.5, 30, 45, 60])
def test_a_slanting_plane_has_its_area_by_contour(degrees):
    """Far from the corner, but for half a cell at the upper edge, where water begins."""
    angle, side = math.radians(degrees), torch.arange(121, dtype=torch.float64)
    south, east = side[:, None] + 0.5, side + 0.5
    bed = -(math.cos(angle) * south + math.sin(angle) * east)
    along_south = (south / math.cos(angle)).expand(121, 121)
    along_east = (east / max(math.sin(angle), 1e-12)).expand(121, 121)
    exact = torch.minimum(along_south, along_east)
    found = drain(bed, 1.0).per_contour_m / exact
    assert found[60:, 60:].mean().item() == pytest.approx(1, abs=0.01)
    tangent = surface_slope_rad(bed, 1.0).tan()
    torch.testing.assert_close(tangent, torch.ones_like(tangent))


def test_a_valley_gathers_and_a_ridge_sheds():
    side = torch.arange(31, dtype=torch.float64)
    valley = -side[:, None] + 0.5 * (side - 15).abs()
    assert drain(valley, 1.0).area_m2[-1, 15] > 200
    ridge = -side[:, None] - 0.5 * (side - 15).abs()
    assert drain(ridge, 1.0).area_m2[-1, 15] < 40


def test_the_slope_takes_batches():
    beds = torch.stack([rough(1), rough(2)])
    together = surface_slope_rad(beds, 10.0)
    torch.testing.assert_close(together[1], surface_slope_rad(beds[1], 10.0), rtol=0, atol=0)


def test_level_ground_drains_too():
    drained = drain(torch.full((9, 9), 3.0).double(), 2.0)
    assert drained.left_m2.sum().item() == pytest.approx(81 * 4)
    assert (surface_slope_rad(torch.full((9, 9), 3.0), 2.0) == 0).all()


def test_terrain_that_cannot_drain_is_refused():
    gap = rough(0)
    gap[3, 4] = math.nan
    with pytest.raises(FelsinaError, match="lacks 1 of 391 elevations, the first at row 3, column"):
        drain(gap, 1.0)
    with pytest.raises(FelsinaError, match="at least 3 by 3"):
        surface_slope_rad(torch.zeros(2, 9), 1.0)
    with pytest.raises(FelsinaError, match="cell_m is 0"):
        drain(rough(0), 0.0)
    with pytest.raises(FelsinaError, match="one at a time"):
        drain(torch.stack([rough(0), rough(1)]), 1.0)
