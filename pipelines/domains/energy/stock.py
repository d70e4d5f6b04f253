"""A building stock: what the simulator knows of each building, and its losses, plants and gains."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contracts import FloatArray
from models.physics.thermal_network import Buildings
from pipelines.domains.energy.weather import ORIENTATIONS

MASSES = {
    "very light": (80e3, 2.5),
    "light": (110e3, 2.5),
    "medium": (165e3, 2.5),
    "heavy": (260e3, 3.0),
    "very heavy": (370e3, 3.5),
}
"""Heat capacity in J/K and effective area in m2, a m2 of floor (ISO 13790 table 12)."""

FACINGS = {
    "all": dict.fromkeys(("north", "east", "south", "west"), 0.25),
    "north-south": {"north": 0.5, "south": 0.5},
    "east-west": {"east": 0.5, "west": 0.5},
}
"""How the glass is shared out."""

GLASS = 0.9 * (1 - 0.3) * 0.6
"""Of the sun on a window, what g lets in: slanting rays, frame, shade (TABULA's F_w, F_f, F_sh)."""

HEAT_SOURCES = ("gas_boiler", "oil_boiler", "district_heat", "heat_pump", "electric")

OVERSIZE = 1.5
"""Of a plant that nobody stated, over the losses of the coldest hours; it lifts cold mornings."""


@dataclass(frozen=True)
class Stock:
    """B buildings, each field [B].

    Attributes:
        id: unique name.
        area: id of the area it stands in.
        archetype: name of its archetype, or empty.
        heat_source: of ``HEAT_SOURCES``; it heats rooms and water.
        mass: of ``MASSES``.
        facing: of ``FACINGS``.
        built_year: NaN where unknown.
        floor_m2: conditioned floor.
        wall_m2: walls to the outdoors, doors with them.
        roof_m2: roof or ceiling below an unheated attic.
        ground_m2: floor above soil or cellar.
        window_m2: windows with their frames.
        wall_w_m2k: U-value.
        roof_w_m2k: U-value.
        ground_w_m2k: U-value times what the soil saves.
        window_w_m2k: U-value.
        window_g: solar transmittance at normal incidence.
        bridge_w_m2k: thermal bridges, a m2 of envelope.
        air_change_h: outdoor air, volumes an hour.
        height_m: of the rooms.
        heating_c: set-point.
        cooling_c: set-point; NaN without cooling.
        heating_kw: what the plant can deliver; NaN until ``with_plants``.
        pv_kwp: solar panels.
    """

    id: NDArray[np.str_]
    area: NDArray[np.str_]
    archetype: NDArray[np.str_]
    heat_source: NDArray[np.str_]
    mass: NDArray[np.str_]
    facing: NDArray[np.str_]
    built_year: FloatArray
    floor_m2: FloatArray
    wall_m2: FloatArray
    roof_m2: FloatArray
    ground_m2: FloatArray
    window_m2: FloatArray
    wall_w_m2k: FloatArray
    roof_w_m2k: FloatArray
    ground_w_m2k: FloatArray
    window_w_m2k: FloatArray
    window_g: FloatArray
    bridge_w_m2k: FloatArray
    air_change_h: FloatArray
    height_m: FloatArray
    heating_c: FloatArray
    cooling_c: FloatArray
    heating_kw: FloatArray
    pv_kwp: FloatArray

    def __len__(self) -> int:
        """How many buildings."""
        return len(self.id)

    def part(self, rows: slice | NDArray[np.bool_]) -> Stock:
        """Some of the buildings, in order."""
        return Stock(*(getattr(self, f.name)[rows] for f in fields(self)))

    @property
    def opaque_w_k(self) -> FloatArray:
        """[B] transmission through walls, roof, ground and bridges."""
        envelope = self.wall_m2 + self.roof_m2 + self.ground_m2 + self.window_m2
        walls = self.wall_m2 * self.wall_w_m2k + self.roof_m2 * self.roof_w_m2k
        return walls + self.ground_m2 * self.ground_w_m2k + envelope * self.bridge_w_m2k

    @property
    def window_w_k(self) -> FloatArray:
        """[B] transmission through windows."""
        return self.window_m2 * self.window_w_m2k

    @property
    def ventilation_w_k(self) -> FloatArray:
        """[B] heat that leaves with the air."""
        return 0.34 * self.air_change_h * self.height_m * self.floor_m2

    def with_plants(self, coldest_c: float) -> Stock:
        """With ``heating_kw`` where it was NaN: the losses at ``coldest_c``, and more."""
        loss = self.opaque_w_k + self.window_w_k + self.ventilation_w_k
        sized = OVERSIZE * loss * np.maximum(self.heating_c - coldest_c, 5.0) / 1000
        return replace(self, heating_kw=np.where(np.isnan(self.heating_kw), sized, self.heating_kw))

    def warmer(self, change_k: float) -> Stock:
        """With set-points of heating so much higher, but never above those of cooling."""
        return replace(self, heating_c=np.fmin(self.heating_c + change_k, self.cooling_c))

    def buildings(self) -> Buildings:
        """As the thermal network takes them, in single precision."""

        def tensor(values: FloatArray) -> Tensor:
            return torch.tensor(values.astype(np.float32))

        masses = np.array([MASSES[name] for name in self.mass]).reshape(-1, 2)
        ways = {name: [way.get(o, 0.0) for o in ORIENTATIONS] for name, way in FACINGS.items()}
        shares = np.array([ways[name] for name in self.facing]).reshape(-1, len(ORIENTATIONS))
        glass = GLASS * self.window_m2 * self.window_g
        return Buildings(
            floor_m2=tensor(self.floor_m2),
            opaque_w_k=tensor(self.opaque_w_k),
            window_w_k=tensor(self.window_w_k),
            ventilation_w_k=tensor(self.ventilation_w_k),
            mass_j_k=tensor(self.floor_m2 * masses[:, 0]),
            mass_area_m2=tensor(self.floor_m2 * masses[:, 1]),
            aperture_m2=tensor(glass[:, None] * shares),
            heating_w=tensor(self.heating_kw * 1000),
            cooling_w=tensor(np.where(np.isnan(self.cooling_c), 0.0, np.inf)),
        )
