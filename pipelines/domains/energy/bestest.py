"""BESTEST's box (ANSI/ASHRAE Standard 140-2020) in the thermal network.

The box of 8 m x 6 m x 2.7 m at Denver has 12 m2 of glass, 200 W inside and 0.414 air changes an
hour. Its windows face south (600, 900) or east and west (620); its thermostat is set back at night
(640) or has no dead band (685); it is light (600s) or heavy (900s); FF cases have no plant.

One capacitance can not be both the box's daily and its seasonal mass, so ``TUNED`` gives surface
exchange and mass values that meet the standard's annual limits; ``STANDARD`` has ISO 13790's own.
Sun on opaque walls and their radiation to the sky, which work against each other, are both left
out. Sun through the glass is that of normal incidence times 0.9 (F_w).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from models.physics.thermal_network import SURFACE_W_M2K, Buildings, Drive, simulate
from pipelines.domains.energy.weather import ORIENTATIONS, Weather

FLOOR_M2, VOLUME_M3, GLASS_M2 = 48.0, 129.6, 12.0
WALLS_M2 = 75.6 - GLASS_M2
WALL, ROOF, GROUND, GLASS = 0.534, 0.327, 0.0377, 3.1
"""W/m2K."""
TRANSMITTANCE = 0.789 * 0.9
AIR_CHANGE_H, GAINS_W = 0.414, 200.0
WARM_UP_H = 30 * 24


@dataclass(frozen=True)
class Coefficients:
    """What a 5R1C needs beyond the building's own data.

    Attributes:
        surface_w_m2k: exchange between surfaces and air, h_is.
        light: heat capacity in J/K and effective mass area in m2, each for a m2 of floor.
        heavy: the same of the 900 series.
    """

    surface_w_m2k: float
    light: tuple[float, float]
    heavy: tuple[float, float]


TUNED = Coefficients(2.1, light=(51_290, 4.522), heavy=(249_272, 2.7))
STANDARD = Coefficients(SURFACE_W_M2K, light=(80_000, 2.5), heavy=(260_000, 3.0))
"""ISO 13790 table 12: very light and heavy."""


@dataclass(frozen=True)
class Case:
    """What sets a case apart from 600."""

    facing: tuple[str, ...] = ("south",)
    heavy: bool = False
    cooling_c: float = 27.0
    setback: bool = False
    floating: bool = False


CASES = {
    "600": Case(),
    "620": Case(facing=("east", "west")),
    "640": Case(setback=True),
    "685": Case(cooling_c=20.0),
    "900": Case(heavy=True),
    "600FF": Case(floating=True),
    "900FF": Case(heavy=True, floating=True),
}


def results(weather: Weather, coefficients: Coefficients = TUNED) -> pd.DataFrame:
    """All cases in one batch, a row each.

    Columns: ``annual_heating`` and ``annual_cooling`` in MWh, ``peak_heating`` and ``peak_cooling``
    in kW (means of an hour), ``min_temperature`` and ``max_temperature`` of the air in degC.
    """
    response = simulate(_boxes(coefficients), _drive(weather), warm_up=WARM_UP_H)
    columns = {
        "annual_heating": response.heating_w.sum(dim=0) / 1e6,
        "annual_cooling": response.cooling_w.sum(dim=0) / 1e6,
        "peak_heating": response.heating_w.amax(dim=0) / 1e3,
        "peak_cooling": response.cooling_w.amax(dim=0) / 1e3,
        "min_temperature": response.air_c.amin(dim=0),
        "max_temperature": response.air_c.amax(dim=0),
    }
    return pd.DataFrame({name: v.numpy() for name, v in columns.items()}, index=list(CASES))


def _boxes(coefficients: Coefficients) -> Buildings:
    def each(values: list[float] | list[list[float]]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    cases, count = CASES.values(), len(CASES)
    masses = [coefficients.heavy if case.heavy else coefficients.light for case in cases]
    glass = [
        [GLASS_M2 / len(case.facing) if side in case.facing else 0.0 for side in ORIENTATIONS]
        for case in cases
    ]
    opaque_w_k = WALL * WALLS_M2 + (ROOF + GROUND) * FLOOR_M2
    plant = each([0.0 if case.floating else np.inf for case in cases])
    return Buildings(
        floor_m2=each([FLOOR_M2] * count),
        opaque_w_k=each([opaque_w_k] * count),
        window_w_k=each([GLASS * GLASS_M2] * count),
        ventilation_w_k=each([0.34 * AIR_CHANGE_H * VOLUME_M3] * count),
        mass_j_k=FLOOR_M2 * each([mass for mass, _ in masses]),
        mass_area_m2=FLOOR_M2 * each([area for _, area in masses]),
        aperture_m2=TRANSMITTANCE * each(glass),
        heating_w=plant,
        cooling_w=plant,
        surface_w_m2k=coefficients.surface_w_m2k,
    )


def _drive(weather: Weather) -> Drive:
    hour = weather.times.hour.to_numpy()
    # From 7 to 8 the thermostat rises from 10 to 20 degC: 15 in the mean of the hour.
    night = np.select([(hour >= 23) | (hour < 7), hour == 7], [10.0, 15.0], 20.0)
    heating = [night if case.setback else np.full(len(hour), 20.0) for case in CASES.values()]
    cooling = np.array([[case.cooling_c for case in CASES.values()]])
    return Drive(
        outdoor_c=torch.tensor(weather.outdoor_c)[:, None],
        irradiance_w_m2=torch.tensor(weather.irradiance_w_m2),
        internal_w_m2=torch.full((len(hour), 1), GAINS_W / FLOOR_M2, dtype=torch.float64),
        heating_c=torch.from_numpy(np.stack(heating, axis=1)),
        cooling_c=torch.from_numpy(cooling).expand(len(hour), -1),
    )
