"""Pressure in a slope: more rain never lowers it, and each cell is on its own."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.pore_pressure import (
    Storm,
    ierfc,
    iverson_response,
    steady_wetness,
    transient_head,
)
from tests.models.physics.mantle import COUNT, between, make_soil

STEPS = 12
seeds = st.integers(0, 2**31)
TIMES = torch.arange(0, 30, dtype=torch.float64) * 1800


def make_storm(seed: int, cells: int = COUNT) -> Storm:
    rain = between(0, 2e-5, seed + 60, STEPS * cells).reshape(STEPS, cells)
    rain[between(0, 1, seed + 70, STEPS) < 0.3] = 0
    return Storm(torch.arange(STEPS, dtype=torch.float64) * 3600, rain)


def heads_of(seed: int, storm: Storm, sealed: bool, cells: Tensor | slice = slice(None)) -> Tensor:
    soil, slope = make_soil(seed), between(0.1, 0.9, seed + 1)
    soil = type(soil)(*(getattr(soil, name)[cells] for name in soil.__dataclass_fields__))
    depth = 0.6 * soil.depth_m
    return transient_head(slope[cells], soil, depth, soil.depth_m, storm, TIMES, sealed)


@settings(deadline=None, max_examples=20)
@given(seed=seeds, sealed=st.booleans(), step=st.integers(0, STEPS - 1))
def test_more_rain_never_lowers_the_head_and_never_reaches_back(seed, sealed, step):
    storm = make_storm(seed)
    more = storm.rain_m_s.clone()
    more[step] += 3e-6
    before = heads_of(seed, storm, sealed)
    after = heads_of(seed, replace(storm, rain_m_s=more), sealed)
    assert (after >= before - 1e-12).all()
    earlier = storm.time_s[step] >= TIMES
    assert (after[earlier] == before[earlier]).all()


@settings(deadline=None, max_examples=20)
@given(seed=seeds, sealed=st.booleans())
def test_the_head_is_that_of_a_full_slope_at_most_and_starts_at_rest(seed, sealed):
    heads = heads_of(seed, make_storm(seed), sealed)
    soil, slope = make_soil(seed), between(0.1, 0.9, seed + 1)
    full = 0.6 * soil.depth_m * slope.cos() ** 2
    assert (heads <= full).all()
    torch.testing.assert_close(heads[0], -0.4 * soil.depth_m * slope.cos() ** 2)


@settings(deadline=None, max_examples=10)
@given(seed=seeds, sealed=st.booleans())
def test_cells_in_another_order_and_one_by_one_are_the_same(seed, sealed):
    storm = make_storm(seed)
    whole = heads_of(seed, storm, sealed)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
    turned = replace(storm, rain_m_s=storm.rain_m_s[:, order])
    torch.testing.assert_close(heads_of(seed, turned, sealed, order), whole[:, order])
    one = slice(5, 6)
    alone = heads_of(seed, storm.part(one), sealed, one)
    torch.testing.assert_close(alone, whole[:, one])


def test_a_grid_is_its_cells_in_a_row():
    storm = make_storm(0)
    soil, slope = make_soil(), between(0.1, 0.9, 1)
    names = soil.__dataclass_fields__
    grid = type(soil)(*(getattr(soil, name).reshape(4, 6) for name in names))
    rained = Storm(storm.time_s, storm.rain_m_s.reshape(STEPS, 4, 6))
    table = soil.depth_m
    row = transient_head(slope, soil, soil.depth_m, table, storm, TIMES)
    maps = transient_head(
        slope.reshape(4, 6), grid, grid.depth_m, table.reshape(4, 6), rained, TIMES
    )
    torch.testing.assert_close(maps.reshape(len(TIMES), -1), row, rtol=0, atol=0)


def test_rain_beyond_the_conductivity_runs_off():
    soil, slope = make_soil(), between(0.1, 0.9, 1)
    times = torch.tensor([0.0, 7200.0]).double()
    heads = [
        transient_head(slope, soil, soil.depth_m, 2 * soil.depth_m, Storm(times, rain), TIMES)
        for rain in (torch.tensor([1e-3, 0]).double(), torch.tensor([1.0, 0]).double())
    ]
    assert (heads[0] == heads[1]).all()


def test_without_rain_nothing_moves():
    heads = heads_of(0, Storm(torch.zeros(1), torch.zeros(1)), sealed=False)
    assert (heads == heads[0]).all()


def test_a_sealed_base_holds_what_endless_ground_lets_pass():
    storm = make_storm(2)
    assert (heads_of(2, storm, True) >= heads_of(2, storm, False) - 1e-12).all()
    assert heads_of(2, storm, True).sum() > heads_of(2, storm, False).sum()


def test_a_sealed_mantle_keeps_all_that_soaks_in():
    """The stored head, over the depth, is the diffusivity times what came in by conductivity."""
    soil = replace(make_soil(0, 1), depth_m=torch.tensor([2.0]).double())
    slope, times = torch.tensor([0.4]).double(), torch.tensor([3e3, 3e4, 3e5]).double()
    storm = Storm(torch.tensor([0.0, 3000.0]).double(), torch.tensor([1e-8, 0.0]).double())
    depths = (torch.arange(400, dtype=torch.float64) + 0.5) / 400 * 2
    table = torch.tensor([1e3]).double()
    rest = (depths - 1e3) * slope.cos() ** 2
    heads = torch.cat(
        [transient_head(slope, soil, z[None], table, storm, times, True) for z in depths], dim=1
    )
    stored = (heads - rest).mean(dim=1) * 2
    entered = 1e-8 / soil.conductivity_m_s * soil.diffusivity_m2_s * slope.cos() ** 2 * 3000
    torch.testing.assert_close(stored, entered.expand(3), rtol=1e-4, atol=0)


def test_the_response_is_continuous_where_its_series_change():
    soil, slope = make_soil(0, 1), torch.tensor([0.3]).double()
    change = 0.3 * soil.depth_m**2 / (soil.diffusivity_m2_s * slope.cos() ** 2)
    times = torch.cat([change * (1 - 1e-9), change * (1 + 1e-9)])
    storm = Storm(torch.zeros(1).double(), torch.tensor([1e-9]).double())
    heads = transient_head(slope, soil, soil.depth_m, 9 * soil.depth_m, storm, times, True)
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-9, atol=1e-12)


def test_responses_rise_from_zero():
    time = torch.logspace(-4, 6, 300, dtype=torch.float64)
    response = iverson_response(time)
    assert (response.diff() >= 0).all()
    assert response[0] == 0
    assert ierfc(torch.zeros(1).double()).item() == pytest.approx(1 / math.sqrt(math.pi))


@settings(deadline=None, max_examples=20)
@given(seed=seeds)
def test_wetness_rises_with_rain_and_area_up_to_one(seed):
    soil, slope = make_soil(seed), between(0, 0.9, seed + 1)
    rain, reach = between(0, 1e-7, seed + 2), between(5, 300, seed + 3)
    wet = steady_wetness(rain, reach, slope, soil)
    assert ((wet >= 0) & (wet <= 1)).all()
    assert (steady_wetness(1.1 * rain, reach, slope, soil) >= wet).all()
    assert (steady_wetness(rain, 1.1 * reach, slope, soil) >= wet).all()
    assert (steady_wetness(0 * rain, reach, 0 * slope, soil) == 0).all()
    assert (steady_wetness(rain + 1e-9, reach, 0 * slope, soil) == 1).all()


@pytest.mark.parametrize(
    ("times", "rain", "said"),
    [
        ([0, 3600, 3600], [1, 1, 0], "rise strictly from 0"),
        ([60, 3600], [1, 0], "rise strictly from 0"),
        ([0, 3600], [1, -1], "rain is -1.0 m/s in step 1"),
        ([0, 3600], [math.nan, 0], "rain is nan m/s in step 0"),
        ([0, 3600], [1, 1, 0], "one intensity for each time"),
    ],
)
def test_rain_that_cannot_be_is_refused(times, rain, said):
    with pytest.raises(FelsinaError, match=said):
        Storm(torch.tensor(times).double(), torch.tensor(rain).double())


def test_below_a_sealed_base_there_is_no_answer():
    soil, slope, storm = make_soil(), between(0.1, 0.9, 1), make_storm(0)
    with pytest.raises(FelsinaError, match="24 cells are asked below the sealed base"):
        transient_head(slope, soil, 1.1 * soil.depth_m, soil.depth_m, storm, TIMES, sealed=True)
