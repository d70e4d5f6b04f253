"""The 5R1C network: balances, monotony, limits, and what can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.thermal_network import (
    AREA_RATIO,
    MASS_W_M2K,
    Buildings,
    Drive,
    simulate,
)

HOURS, COUNT, SIDES = 400, 7, 5
seeds = st.integers(0, 2**31)


def make_buildings(seed: int = 0, count: int = COUNT) -> Buildings:
    rng = torch.Generator().manual_seed(seed)

    def between(low: float, high: float, *more: int) -> Tensor:
        shape = (count, *more)
        return low + (high - low) * torch.rand(shape, generator=rng, dtype=torch.float64)

    floor = between(60, 2000)
    return Buildings(
        floor_m2=floor,
        opaque_w_k=floor * between(0.2, 3.0),
        window_w_k=floor * between(0.1, 0.8),
        ventilation_w_k=floor * between(0.0, 1.0),
        mass_j_k=floor * between(50e3, 370e3),
        mass_area_m2=floor * between(2.5, 3.5),
        aperture_m2=floor[:, None] * between(0, 0.05, SIDES),
        heating_w=floor * between(10, 60),
        cooling_w=floor * between(0, 40),
    )


def make_drive(seed: int = 0, hours: int = HOURS) -> Drive:
    rng = torch.Generator().manual_seed(seed)
    hour = torch.arange(hours, dtype=torch.float64)
    wave = torch.sin(2 * torch.pi * (hour - 9) / 24)
    noise = torch.randn(hours, generator=rng, dtype=torch.float64)
    sun = 500 * wave.clamp(min=0)[:, None] * torch.linspace(0.2, 1, SIDES, dtype=torch.float64)
    outdoor = 10 + 12 * torch.sin(2 * torch.pi * hour / hours) + 5 * wave + noise
    heating = torch.where((hour % 24 < 6) | (hour % 24 > 22), 16.0, 20.0).double()
    return Drive(
        outdoor_c=outdoor[:, None],
        irradiance_w_m2=sun,
        internal_w_m2=(3 + 2 * wave)[:, None],
        heating_c=heating[:, None],
        cooling_c=torch.full((hours, 1), 26.0, dtype=torch.float64),
    )


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_heat_is_conserved_at_each_node(seed):
    b, drive = make_buildings(seed), make_drive(seed)
    start = torch.full_like(b.floor_m2, 17.0)
    response = simulate(b, drive, start)
    internal = drive.internal_w_m2 * b.floor_m2
    radiant = internal / 2 + drive.irradiance_w_m2 @ b.aperture_m2.T
    room_m2 = AREA_RATIO * b.floor_m2
    to_mass = b.mass_area_m2 / room_m2 * radiant
    lost = b.window_w_k / (MASS_W_M2K * room_m2) * radiant  # Annex C lets it out through the glass
    power = response.heating_w - response.cooling_w
    exchange, coupling = b.surface_w_m2k * room_m2, MASS_W_M2K * b.mass_area_m2
    air, outdoor = response.air_c, drive.outdoor_c
    surface = (response.operative_c - 0.3 * air) / 0.7
    at_air = internal / 2 + power + b.ventilation_w_k * (outdoor - air) + exchange * (surface - air)
    assert at_air.abs().max() < 1e-6
    arriving = radiant - to_mass - lost + b.window_w_k * (outdoor - surface)
    mass = surface + (exchange * (surface - air) - arriving) / coupling
    through_walls = (outdoor - mass) / (1 / b.opaque_w_k - 1 / coupling)
    stored = (to_mass + coupling * (surface - mass) + through_walls).sum(dim=0) * 3600
    torch.testing.assert_close(stored, b.mass_j_k * (response.mass_c - start), rtol=1e-7, atol=1)


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_more_insulation_never_raises_heating(seed):
    b, drive = make_buildings(seed), make_drive(seed)
    unlimited = replace(b, heating_w=torch.full_like(b.floor_m2, torch.inf))
    before = simulate(unlimited, drive, warm_up=200).heating_w.sum(dim=0)
    for name in ("opaque_w_k", "window_w_k", "ventilation_w_k"):
        better = replace(unlimited, **{name: 0.7 * getattr(b, name)})
        after = simulate(better, drive, warm_up=200).heating_w.sum(dim=0)
        assert (after <= before + 1e-6).all(), name


@settings(deadline=None, max_examples=15)
@given(seed=seeds)
def test_capacity_holds_and_set_points_are_met_within_it(seed):
    b, drive = make_buildings(seed), make_drive(seed)
    response = simulate(b, drive)
    assert (response.heating_w >= 0).all()
    assert (response.heating_w <= b.heating_w).all()
    assert (response.cooling_w >= 0).all()
    assert (response.cooling_w <= b.cooling_w).all()
    assert not ((response.heating_w > 0) & (response.cooling_w > 0)).any()
    spare = (response.heating_w > 0) & (response.heating_w < b.heating_w)
    assert spare.any()
    reached = drive.heating_c.expand(-1, COUNT)[spare]
    torch.testing.assert_close(response.air_c[spare], reached)
    idle = (response.heating_w == 0) & (response.cooling_w == 0)
    assert (response.air_c >= drive.heating_c - 1e-9)[idle].all()


def test_a_batch_is_its_buildings_one_by_one():
    b, drive = make_buildings(), make_drive()
    together = simulate(b, drive, warm_up=48)
    for n in range(COUNT):
        alone = simulate(b.part(slice(n, n + 1)), drive, warm_up=48)
        torch.testing.assert_close(alone.heating_w[:, 0], together.heating_w[:, n])
        torch.testing.assert_close(alone.operative_c[:, 0], together.operative_c[:, n])


def test_hours_may_be_run_in_parts():
    b, drive = make_buildings(), make_drive()
    whole = simulate(b, drive)
    first = simulate(b, drive.part(slice(0, 131)))
    second = simulate(b, drive.part(slice(131, None)), first.mass_c)
    torch.testing.assert_close(torch.cat([first.air_c, second.air_c]), whole.air_c)


def test_the_future_changes_nothing_before_it():
    b, drive = make_buildings(), make_drive()
    outdoor = drive.outdoor_c.clone()
    outdoor[200:] += 10
    later = simulate(b, replace(drive, outdoor_c=outdoor))
    torch.testing.assert_close(later.air_c[:200], simulate(b, drive).air_c[:200], rtol=0, atol=0)
    assert (later.air_c[200] > simulate(b, drive).air_c[200]).any()


def test_steady_heating_is_u_a_delta_t():
    """One building worked out by hand: the network between room and outdoors, without gains.

    Air at 20 and outdoors at 0 degC; walls 180, windows 30 and air change 40 W/K; exchange of room
    and surfaces 3.45 * 4.5 * 100 = 1552.5 W/K, of surfaces and mass 9.1 * 250 = 2275 W/K.
    """

    def one(value: float) -> Tensor:
        return torch.tensor([value], dtype=torch.float64)

    b = Buildings(
        floor_m2=one(100),
        opaque_w_k=one(180),
        window_w_k=one(30),
        ventilation_w_k=one(40),
        mass_j_k=one(165e5),
        mass_area_m2=one(250),
        aperture_m2=torch.zeros(1, SIDES, dtype=torch.float64),
        heating_w=one(torch.inf),
        cooling_w=one(0),
    )
    hours = 2000
    still = Drive(
        outdoor_c=torch.zeros(hours, 1, dtype=torch.float64),
        irradiance_w_m2=torch.zeros(hours, SIDES, dtype=torch.float64),
        internal_w_m2=torch.zeros(hours, 1, dtype=torch.float64),
        heating_c=torch.full((hours, 1), 20.0, dtype=torch.float64),
        cooling_c=torch.full((hours, 1), torch.inf, dtype=torch.float64),
    )
    response = simulate(b, still)
    by_hand = 20 * (40 + 1 / (1 / 1552.5 + 1 / (30 + 180)))
    assert float(response.heating_w[-1]) == pytest.approx(by_hand, rel=1e-9)
    floating = simulate(replace(b, heating_w=one(0)), still)
    assert float(floating.air_c[-1]) == pytest.approx(0, abs=1e-6)
    assert float(floating.heating_w.sum()) == 0


def test_a_sealed_building_without_glass_or_losses_stays_as_it_is():
    b = make_buildings()
    none = torch.zeros_like(b.floor_m2)
    sealed = replace(b, opaque_w_k=none, window_w_k=none, ventilation_w_k=none, heating_w=none)
    drive = make_drive()
    dark = replace(
        drive,
        irradiance_w_m2=torch.zeros_like(drive.irradiance_w_m2),
        internal_w_m2=torch.zeros_like(drive.internal_w_m2),
    )
    response = simulate(sealed, dark)
    torch.testing.assert_close(response.air_c, torch.full_like(response.air_c, 20.0))


def test_what_cannot_be_is_refused():
    b, drive = make_buildings(), make_drive()
    with pytest.raises(FelsinaError, match=r"window_w_k is out of range in buildings \[2\]"):
        replace(b, window_w_k=b.window_w_k * torch.tensor([1, 1, -1, 1, 1, 1, 1]))
    with pytest.raises(FelsinaError, match=r"opaque_w_k of buildings \[0, 1, .*\] reaches 9.1"):
        replace(b, opaque_w_k=b.opaque_w_k * 1000)
    with pytest.raises(FelsinaError, match=r"mass_j_k is \(3,\) for 7 buildings"):
        replace(b, mass_j_k=b.mass_j_k[:3])
    with pytest.raises(FelsinaError, match="parts differ in hours"):
        replace(drive, heating_c=drive.heating_c[1:])
    with pytest.raises(FelsinaError, match="heating set-point is above"):
        replace(drive, cooling_c=drive.heating_c - 1)
