"""From a terrain and a storm to maps of failure."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.drainage import surface_slope_rad
from models.physics.pore_pressure import Storm, transient_head
from models.physics.slope_response import followed_times, slope_response
from models.physics.slope_stability import factor_of_safety
from models.physics.soil import Scatter, Soil

ROWS, COLUMNS, CELL_M = 9, 12, 10.0
TIME_S = torch.arange(13, dtype=torch.float64) * 3600
seeds = st.integers(0, 2**31)


def terrain(seed: int = 0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    y = torch.arange(ROWS, dtype=torch.float64)[:, None]
    x = torch.arange(COLUMNS, dtype=torch.float64)
    bumps = torch.rand(ROWS, COLUMNS, generator=chance, dtype=torch.float64)
    return -6 * y + 0.3 * (x - 6) ** 2 + 2 * bumps


def soil_of(**changes: float) -> Soil:
    values = {
        "cohesion_pa": 3000.0,
        "friction_rad": 0.6,
        "unit_weight_n_m3": 19000.0,
        "depth_m": 1.5,
        "conductivity_m_s": 1e-5,
        "diffusivity_m2_s": 5e-5,
    }
    return Soil(**{n: torch.tensor(v, dtype=torch.float64) for n, v in (values | changes).items()})


def rain_of(mm_h: float) -> Tensor:
    rain = torch.zeros(13, dtype=torch.float64)
    rain[2:9] = mm_h / 3.6e6
    return rain


@settings(deadline=None, max_examples=10)
@given(seed=seeds, sealed=st.booleans())
def test_more_rain_before_or_in_the_storm_is_less_safe(seed, sealed):
    bed, scatter = terrain(seed), Scatter(1000.0, 0.05)

    def answer(mm_h: float, antecedent: float):
        return slope_response(
            bed,
            CELL_M,
            soil_of(),
            TIME_S,
            rain_of(mm_h),
            antecedent_m_s=antecedent,
            scatter=scatter,
            sealed=sealed,
        )

    mild = answer(5, 1e-9)
    for harder in (answer(15, 1e-9), answer(5, 1e-8)):
        assert (harder.factor_of_safety <= mild.factor_of_safety + 1e-12).all()
        assert (harder.failure_s <= mild.failure_s).all()
        assert (harder.probability >= mild.probability - 1e-12).all()
        assert harder.factor_of_safety.sum() < mild.factor_of_safety.sum()
        torch.testing.assert_close(harder.critical_rain_m_s, mild.critical_rain_m_s)


def test_it_is_the_least_over_all_times_and_depths():
    bed, soil = terrain(), soil_of()
    found = slope_response(bed, CELL_M, soil, TIME_S, rain_of(20), antecedent_m_s=3e-9)
    slope = surface_slope_rad(bed, CELL_M)
    storm = Storm(TIME_S, rain_of(20))
    times = followed_times(storm)
    table = (1 - found.wetness) * 1.5
    factors = []
    for fraction in (0.25, 0.5, 0.75, 1.0):
        depth = torch.full_like(slope, fraction * 1.5)
        heads = transient_head(slope, soil, depth, table, storm, times)
        factors.append(factor_of_safety(slope, soil, heads, depth))
    least = torch.stack(factors)
    torch.testing.assert_close(found.factor_of_safety, least.amin(dim=(0, 1)))
    fails = (least < 1).any(dim=0)
    assert fails.any()
    first = torch.where(fails.any(dim=0), times[fails.to(torch.uint8).argmax(dim=0)], math.inf)
    torch.testing.assert_close(found.failure_s, first)
    chosen = factor_of_safety(slope, soil, found.head_m, found.depth_m)
    torch.testing.assert_close(found.factor_of_safety, chosen)
    assert found.probability.isnan().all()
    assert (found.time_s <= times[-1]).all()


def test_blocks_make_no_difference(monkeypatch):
    rain = rain_of(20)[:, None, None] * torch.linspace(0.2, 1, COLUMNS, dtype=torch.float64)
    rain = rain.expand(-1, ROWS, -1)
    whole = slope_response(terrain(), CELL_M, soil_of(), TIME_S, rain)
    monkeypatch.setattr("models.physics.slope_response._BLOCK", {"cpu": 7})
    parts = slope_response(terrain(), CELL_M, soil_of(), TIME_S, rain)
    for name in whole.__dataclass_fields__:
        torch.testing.assert_close(
            getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-12, equal_nan=True
        )


def test_soil_may_differ_by_cell():
    weak = soil_of()
    cohesion = torch.full((ROWS, COLUMNS), 3000.0, dtype=torch.float64)
    cohesion[4, 5] = 9000.0
    mixed = Soil(cohesion, *(getattr(weak, n) for n in list(weak.__dataclass_fields__)[1:]))
    alike = slope_response(terrain(), CELL_M, weak, TIME_S, rain_of(20)).factor_of_safety
    found = slope_response(terrain(), CELL_M, mixed, TIME_S, rain_of(20)).factor_of_safety
    differs = found != alike
    assert differs[4, 5]
    assert differs.sum() == 1


def test_a_wetness_that_is_known_stands_for_the_rain_before():
    given = {"antecedent_m_s": 5e-8}
    steady = slope_response(terrain(), CELL_M, soil_of(), TIME_S, rain_of(20), **given)
    known = slope_response(
        terrain(), CELL_M, soil_of(), TIME_S, rain_of(20), wetness=steady.wetness
    )
    torch.testing.assert_close(known.factor_of_safety, steady.factor_of_safety)
    dry, full = (
        slope_response(
            terrain(), CELL_M, soil_of(), TIME_S, rain_of(20), wetness=torch.tensor(value)
        )
        for value in (0.0, 1.0)
    )
    assert (full.factor_of_safety <= dry.factor_of_safety).all()
    assert full.wetness.min() == 1


def test_single_precision_is_kept_and_close():
    double = slope_response(terrain(), CELL_M, soil_of(), TIME_S, rain_of(20))
    soft = soil_of()
    single = Soil(*(getattr(soft, name).float() for name in soft.__dataclass_fields__))
    found = slope_response(terrain().float(), CELL_M, single, TIME_S, rain_of(20).float())
    assert found.factor_of_safety.dtype == torch.float32
    torch.testing.assert_close(
        found.factor_of_safety.double(), double.factor_of_safety, rtol=1e-3, atol=1e-3
    )


def test_what_cannot_be_is_refused():
    bed, soil, rain = terrain(), soil_of(), rain_of(5)
    with pytest.raises(FelsinaError, match="antecedent_m_s is -1"):
        slope_response(bed, CELL_M, soil, TIME_S, rain, antecedent_m_s=-1)
    with pytest.raises(FelsinaError, match=r"wetness is 1.5 .* a wetness from 0 to 1"):
        slope_response(bed, CELL_M, soil, TIME_S, rain, wetness=torch.tensor(1.5))
    with pytest.raises(FelsinaError, match="give one of the two"):
        slope_response(
            bed, CELL_M, soil, TIME_S, rain, wetness=torch.tensor(0.5), antecedent_m_s=1e-8
        )
    with pytest.raises(FelsinaError, match="fractions are"):
        slope_response(bed, CELL_M, soil, TIME_S, rain, fractions=(0.5, 1.5))
    with pytest.raises(FelsinaError, match="on a terrain of"):
        slope_response(bed, CELL_M, soil, TIME_S, rain[:, None, None].expand(-1, 4, 4))
    with pytest.raises(FelsinaError, match="never ends"):
        slope_response(bed, CELL_M, soil, TIME_S[:1], rain[:1])
    with pytest.raises(FelsinaError, match="rain is -5"):
        slope_response(bed, CELL_M, soil, TIME_S, rain - 5)
