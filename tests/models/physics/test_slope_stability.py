"""The infinite slope: what strengthens it, what weakens it, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.slope_stability import (
    critical_head,
    critical_rain_m_s,
    factor_of_safety,
    failure_probability,
    sampled_probability,
)
from models.physics.soil import Scatter, Soil
from tests.models.physics.mantle import COUNT, between, make_soil

seeds = st.integers(0, 2**31)


def make_case(seed: int) -> tuple[Tensor, Soil, Tensor]:
    """Slopes, their soil, and heads that they can hold."""
    soil = make_soil(seed)
    slope = between(0.05, 1.2, seed + 1)
    return slope, soil, between(0, 1, seed + 2) * soil.depth_m * slope.cos() ** 2


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_what_strengthens_and_what_weakens(seed):
    slope, soil, head = make_case(seed)
    factor = factor_of_safety(slope, soil, head)
    assert (factor > 0).all()
    assert (factor_of_safety(slope, soil, 1.1 * head) < factor).all()
    for name in ("cohesion_pa", "friction_rad"):
        firmer = replace(soil, **{name: 1.05 * getattr(soil, name)})
        assert (factor_of_safety(slope, firmer, head) > factor).all(), name


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_a_steeper_slope_is_less_safe_to_forty_five_degrees(seed):
    """Beyond, shear stress falls with the slope again, and so cohesion may carry more."""
    _, soil, _ = make_case(seed)
    slope = between(0.05, 0.7, seed + 1)
    share = between(0, 1, seed + 2)  # of the depth, saturated

    def factor(angle: Tensor) -> Tensor:
        return factor_of_safety(angle, soil, share * soil.depth_m * angle.cos() ** 2)

    assert (factor(slope + 0.05) < factor(slope)).all()


@settings(deadline=None, max_examples=25)
@given(seed=seeds)
def test_at_its_critical_head_a_slope_is_at_its_limit(seed):
    slope, soil, _ = make_case(seed)
    limit = critical_head(slope, soil)
    able = limit > 0
    factor = factor_of_safety(slope, soil, limit)
    torch.testing.assert_close(factor[able], torch.ones_like(factor[able]))
    assert (factor[~able] <= 1 + 1e-12).all()


def test_level_ground_stands():
    soil = make_soil()
    level = torch.zeros(COUNT, dtype=torch.float64)
    assert (factor_of_safety(level, soil, soil.depth_m) == math.inf).all()
    assert (critical_rain_m_s(level, soil, torch.ones_like(level)) == math.inf).all()
    chance = failure_probability(level, soil, Scatter(1000.0, 0.1), 0 * level)
    assert (chance < 0.05).all()


def test_suction_adds_no_strength():
    slope, soil, head = make_case(3)
    dry = factor_of_safety(slope, soil, 0 * head)
    torch.testing.assert_close(factor_of_safety(slope, soil, -head), dry)


def test_a_batch_is_its_cells_one_by_one():
    slope, soil, head = make_case(4)
    whole = factor_of_safety(slope, soil, head)
    for cell in range(COUNT):
        one = slice(cell, cell + 1)
        alone = factor_of_safety(slope[one], soil.part(one), head[one])
        torch.testing.assert_close(alone, whole[one], rtol=0, atol=0)


def test_more_drained_area_needs_less_rain():
    slope, soil, _ = make_case(5)
    near = critical_rain_m_s(slope, soil, torch.full_like(slope, 20.0))
    far = critical_rain_m_s(slope, soil, torch.full_like(slope, 40.0))
    finite = near.isfinite() & (near > 0)
    assert finite.any()
    torch.testing.assert_close(far[finite], near[finite] / 2)
    assert (far[~finite] == near[~finite]).all()


@settings(deadline=None, max_examples=25)
@given(seed=seeds, correlation=st.floats(-1, 1))
def test_probability_is_a_half_at_the_limit_and_falls_with_the_factor(seed, correlation):
    slope, soil, head = make_case(seed)
    scatter = Scatter(1500.0, 0.08, correlation)
    chance = failure_probability(slope, soil, scatter, head)
    assert ((chance >= 0) & (chance <= 1)).all()
    factor = factor_of_safety(slope, soil, head)
    assert ((chance > 0.5) == (factor < 1)).all()
    firmer = replace(soil, cohesion_pa=soil.cohesion_pa + 500)
    assert (failure_probability(slope, firmer, scatter, head) <= chance).all()


def test_without_scatter_failure_is_certain_or_impossible():
    slope, soil, head = make_case(6)
    chance = failure_probability(slope, soil, Scatter(0.0, 0.0), head)
    factor = factor_of_safety(slope, soil, head)
    assert (factor < 1).any()
    assert (factor > 1).any()
    assert (chance == (factor < 1).double()).all()


def test_drawn_soils_agree_with_the_closed_form():
    slope, soil, head = make_case(7)
    scatter = Scatter(800.0, 0.06)

    def draw(chance: torch.Generator) -> Soil:
        one, two = torch.randn(2, COUNT, generator=chance, dtype=torch.float64)
        return replace(
            soil,
            cohesion_pa=(soil.cohesion_pa + 800 * one).clamp_min(0),
            friction_rad=(soil.friction_rad.tan() + 0.06 * two).atan(),
        )

    count = 4000
    sampled = sampled_probability(draw, lambda s: factor_of_safety(slope, s, head), count)
    closed = failure_probability(slope, soil, scatter, head)
    assert ((sampled - closed).abs() < 4 * (closed * (1 - closed) / count).sqrt() + 1e-3).all()


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("cohesion_pa", -1.0, "give at least 0, finite"),
        ("friction_rad", 30.0, "give more than 0 and below 1.571"),
        ("unit_weight_n_m3", 1900.0, "give more than 9810"),
        ("depth_m", 0.0, "give more than 0"),
        ("conductivity_m_s", math.inf, "finite"),
        ("diffusivity_m2_s", math.nan, "give more than 0"),
    ],
)
def test_a_soil_out_of_range_is_refused_in_one_line(name, value, remedy):
    changed = getattr(make_soil(), name).clone()
    changed[2] = value
    with pytest.raises(FelsinaError) as refused:
        replace(make_soil(), **{name: changed})
    message = str(refused.value)
    assert message.startswith(f"soil {name} is {value:.6g} in 1 of {COUNT} cells")
    assert remedy in message
    assert "\n" not in message


def test_shapes_that_do_not_go_together_are_refused():
    with pytest.raises(FelsinaError, match="unlike shapes"):
        replace(make_soil(), depth_m=torch.ones(COUNT + 1))
    with pytest.raises(FelsinaError, match="on a terrain of"):
        make_soil().flat(torch.Size([4, 4]))


def test_scatter_out_of_range_is_refused():
    with pytest.raises(FelsinaError, match=r"friction_tan is -0\.1"):
        Scatter(0.0, -0.1)
    with pytest.raises(FelsinaError, match="correlation is 2"):
        Scatter(1.0, 0.1, 2)
    with pytest.raises(FelsinaError, match="samples is 0"):
        sampled_probability(lambda _: make_soil(), lambda s: s.depth_m, samples=0)
