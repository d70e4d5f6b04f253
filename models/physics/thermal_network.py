"""Hourly heating and cooling of buildings: ISO 13790's simple method, batched over buildings.

Each building is five resistances and one capacitance (5R1C, ISO 13790:2008 clause 7.2.2 and
Annex C): air, surfaces and mass are nodes, and only the mass has a memory. Air temperature is
linear in the power delivered, so the need is solved exactly in each hour, not iterated, and
clipped to what the plant can deliver. There is one loop, over hours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from models.contracts import FelsinaError

AREA_RATIO = 4.5
"""Surface facing the room for each m2 of floor (clause 7.2.2.2)."""

SURFACE_W_M2K = 3.45
"""Exchange between surfaces and air, h_is (clause 7.2.2.2)."""

MASS_W_M2K = 9.1
"""Exchange between surfaces and mass, h_ms (clause 12.2.2)."""

_BLOCK_H = 168
"""Hours whose forcing is computed at once; more would only take memory."""


@dataclass(frozen=True)
class Buildings:
    """B buildings.

    Attributes:
        floor_m2: [B] conditioned floor area.
        opaque_w_k: [B] transmission through walls, roof, floor and bridges, H_op.
        window_w_k: [B] transmission through windows and glazed doors, H_w.
        ventilation_w_k: [B] 0.34 W h/m3K times the outdoor air in m3/h, H_ve.
        mass_j_k: [B] heat capacity C_m.
        mass_area_m2: [B] effective area of the mass, A_m.
        aperture_m2: [B, S] effective solar collecting area of each of S orientations.
        heating_w: [B] largest heating power; zero lets the building float, inf never binds.
        cooling_w: [B] largest cooling power, alike.
        surface_w_m2k: exchange between surfaces and air, the standard's unless tuned.
    """

    floor_m2: Tensor
    opaque_w_k: Tensor
    window_w_k: Tensor
    ventilation_w_k: Tensor
    mass_j_k: Tensor
    mass_area_m2: Tensor
    aperture_m2: Tensor
    heating_w: Tensor
    cooling_w: Tensor
    surface_w_m2k: float = SURFACE_W_M2K

    def __post_init__(self) -> None:
        """Refuse shapes that differ, values out of range, and mass too weakly coupled for H_op."""
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        for name, value in values.items():
            if value.shape[:1] != self.floor_m2.shape:
                given = tuple(value.shape)
                raise FelsinaError(f"{name} is {given} for {len(self.floor_m2)} buildings")
            low = value <= 0 if name in ("floor_m2", "mass_j_k", "mass_area_m2") else value < 0
            if (bad := low | value.isnan()).any():
                rows = bad.reshape(len(bad), -1).any(dim=1).nonzero().flatten().tolist()
                raise FelsinaError(f"{name} is out of range in buildings {rows[:5]} (from 0)")
        if (bad := self.opaque_w_k >= MASS_W_M2K * self.mass_area_m2).any():
            rows = bad.nonzero().flatten().tolist()
            raise FelsinaError(
                f"opaque_w_k of buildings {rows[:5]} reaches {MASS_W_M2K} W/m2K times mass_area_m2"
            )

    def part(self, rows: slice) -> Buildings:
        """Some of the buildings, in order."""
        tensors = {
            f.name: getattr(self, f.name)[rows]
            for f in fields(self)
            if isinstance(getattr(self, f.name), Tensor)
        }
        return Buildings(**tensors, surface_w_m2k=self.surface_w_m2k)


@dataclass(frozen=True)
class Drive:
    """What T hours do to the buildings. Where B stands, 1 means alike for all.

    Attributes:
        outdoor_c: [T, B] outdoor air temperature, also that of the supplied air.
        irradiance_w_m2: [T, S] global irradiance on each orientation.
        internal_w_m2: [T, B] gains of people and appliances by floor area.
        heating_c: [T, B] set-point of heating; -inf switches it off.
        cooling_c: [T, B] set-point of cooling; inf switches it off.
    """

    outdoor_c: Tensor
    irradiance_w_m2: Tensor
    internal_w_m2: Tensor
    heating_c: Tensor
    cooling_c: Tensor

    def __post_init__(self) -> None:
        """Refuse parts of unlike length, and set-points that cross."""
        hours = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(hours.values())) > 1:
            raise FelsinaError(f"the drive's parts differ in hours: {hours}")
        if (self.heating_c > self.cooling_c).any():
            raise FelsinaError("a heating set-point is above the cooling set-point of its hour")

    def part(self, hours: slice) -> Drive:
        """Some of the hours, in order."""
        return Drive(*(getattr(self, f.name)[hours] for f in fields(self)))


@dataclass(frozen=True)
class Response:
    """What the buildings did in T hours.

    Attributes:
        heating_w: [T, B] mean heating power delivered in the hour.
        cooling_w: [T, B] mean heat taken out in the hour, positive.
        air_c: [T, B] air temperature.
        operative_c: [T, B] 0.3 air and 0.7 surfaces, what is felt (Annex C.3).
        mass_c: [B] mass temperature at the end.
    """

    heating_w: Tensor
    cooling_w: Tensor
    air_c: Tensor
    operative_c: Tensor
    mass_c: Tensor


class _Network:
    """Annex C as linear maps: from mass, forcing and power to air, surfaces and the next mass.

    ``H_1 / H_ve`` is written ``H_is / (H_is + H_ve)``, so that a sealed building needs no case.
    """

    def __init__(self, buildings: Buildings) -> None:
        b = self.buildings = buildings
        surface_m2 = AREA_RATIO * b.floor_m2
        exchange = b.surface_w_m2k * surface_m2
        coupling = MASS_W_M2K * b.mass_area_m2
        self.to_outdoor = 1 / (1 / b.opaque_w_k - 1 / coupling)  # H_em; zero where H_op is
        self.mass_share = b.mass_area_m2 / surface_m2
        self.surface_share = 1 - self.mass_share - b.window_w_k / (MASS_W_M2K * surface_m2)
        self.air_w_k = exchange + b.ventilation_w_k
        self.from_surface = exchange / self.air_w_k
        self.surface_out = b.ventilation_w_k * self.from_surface + b.window_w_k  # H_2
        self.surface_w_k = self.surface_out + coupling
        self.from_mass = coupling / self.surface_w_k
        capacity = b.mass_j_k / 3600  # W/K at a step of an hour
        loss = self.from_mass * self.surface_out + self.to_outdoor
        self.mass_w_k = capacity + loss / 2
        self.mass_kept = (capacity - loss / 2) / self.mass_w_k
        self.mass_felt = capacity / self.mass_w_k  # of the hour's mean mass temperature
        self.surface_per_w = self.from_surface * (
            self.from_mass**2 / (2 * self.mass_w_k) + 1 / self.surface_w_k
        )
        self.air_per_w = self.from_surface * self.surface_per_w + 1 / self.air_w_k
        self.mass_per_w = self.from_mass * self.from_surface / self.mass_w_k

    def forced(self, drive: Drive) -> tuple[Tensor, Tensor, Tensor]:
        """Air, surfaces and the mass's increment with neither memory nor power, each [T, B]."""
        b, outdoor = self.buildings, drive.outdoor_c
        internal = drive.internal_w_m2 * b.floor_m2 / 2
        radiant = internal + drive.irradiance_w_m2 @ b.aperture_m2.T
        surface = (
            self.surface_share * radiant + self.surface_out * outdoor + self.from_surface * internal
        )
        mass = self.mass_share * radiant + self.to_outdoor * outdoor + self.from_mass * surface
        mass = mass / self.mass_w_k
        surface = self.from_mass * mass / 2 + surface / self.surface_w_k
        air = self.from_surface * surface + (b.ventilation_w_k * outdoor + internal) / self.air_w_k
        return air, surface, mass


def simulate(
    buildings: Buildings, drive: Drive, mass_c: Tensor | None = None, warm_up: int = 0
) -> Response:
    """Run the buildings through the hours.

    Args:
        buildings: B of them.
        drive: T hours.
        mass_c: [B] mass temperature at the start; 20 degC when left out.
        warm_up: so many of the last hours run first and are not returned: a typical year closes.

    Returns:
        Mean powers and temperatures of each hour, and the mass's temperature at the end.
    """
    hours, count = len(drive.outdoor_c), len(buildings.floor_m2)
    if warm_up:
        mass_c = simulate(buildings, drive.part(slice(-warm_up, None)), mass_c).mass_c
    mass = torch.full_like(buildings.floor_m2, 20.0) if mass_c is None else mass_c
    network = _Network(buildings)
    surface_felt = network.from_mass * network.mass_felt
    air_felt = network.from_surface * surface_felt
    need_per_k = air_felt / network.air_per_w
    heating, cooling, air, operative = (mass.new_empty(hours, count) for _ in range(4))
    for begin in range(0, hours, _BLOCK_H):
        rows = slice(begin, begin + _BLOCK_H)
        part = drive.part(rows)
        free, surface, increment = network.forced(part)
        # Power that lifts (lowers) the air to its set-point, short of what the mass holds.
        lift = (part.heating_c - free) / network.air_per_w
        lower = (free - part.cooling_c) / network.air_per_w
        masses = torch.empty_like(free)
        for t in range(len(free)):
            masses[t] = mass
            held = need_per_k * mass
            heat = torch.minimum((lift[t] - held).clamp_min_(0), buildings.heating_w)
            cold = torch.minimum((lower[t] + held).clamp_min_(0), buildings.cooling_w)
            power = heat - cold
            mass = network.mass_kept * mass + increment[t] + network.mass_per_w * power
            heating[begin + t], cooling[begin + t] = heat, cold
        power = heating[rows] - cooling[rows]
        air[rows] = free + air_felt * masses + network.air_per_w * power
        felt = surface + surface_felt * masses + network.surface_per_w * power
        operative[rows] = 0.3 * air[rows] + 0.7 * felt
    return Response(heating, cooling, air, operative, mass)
