"""A building as a surrogate sees it: a square metre of floor, described by named inputs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contracts import FloatArray
from models.physics.thermal_network import Buildings, Drive
from models.scenario import Input
from pipelines.domains.energy.assumptions import Assumptions, use_shape
from pipelines.domains.energy.climate import WALLS
from pipelines.domains.energy.stock import FACINGS, GLASS, MASSES, Stock
from pipelines.domains.energy.weather import ORIENTATIONS, Weather

INPUTS = (
    Input("wall_ratio", "m2/m2", 0.0, 2.4, "Walls to the outdoors, a m2 of floor.", 0.7),
    Input("wall_w_m2k", "W/m2K", 0.1, 3.5, "U-value of the walls.", 1.2),
    Input("roof_ratio", "m2/m2", 0.0, 1.4, "Roof or upper ceiling, a m2 of floor.", 0.22),
    Input("roof_w_m2k", "W/m2K", 0.1, 3.5, "U-value of the roof.", 1.5),
    Input("ground_ratio", "m2/m2", 0.0, 1.4, "Floor above soil or cellar, a m2 of floor.", 0.22),
    Input("ground_w_m2k", "W/m2K", 0.1, 2.5, "U-value of the ground, with what soil saves.", 0.8),
    Input("window_ratio", "m2/m2", 0.03, 0.4, "Windows with frames, a m2 of floor.", 0.13),
    Input("window_w_m2k", "W/m2K", 0.7, 6.0, "U-value of the windows.", 4.9),
    Input("window_g", "", 0.25, 0.9, "Solar transmittance at normal incidence.", 0.85),
    Input("bridge_w_m2k", "W/m2K", 0.0, 0.25, "Thermal bridges, a m2 of envelope.", 0.1),
    Input("air_change_h", "1/h", 0.15, 1.5, "Outdoor air, volumes an hour.", 0.8),
    Input("height_m", "m", 2.2, 4.5, "Height of the rooms.", 2.8),
    Input("mass_kj_m2k", "kJ/m2K", 80.0, 370.0, "Heat capacity, a m2 of floor.", 165.0),
    Input("glass_north_south", "", 0.0, 1.0, "Share of the glass facing north and south.", 0.5),
    Input("heating_c", "degC", 12.0, 24.0, "Set-point of heating in hours that are on.", 20.0),
    Input("setback_k", "K", 0.0, 8.0, "So much lower in the season's other hours.", 4.0),
    Input("on_from_h", "h", 3.0, 10.0, "Hour of the day at which heating goes on.", 6.0),
    Input("on_hours", "h", 8.0, 24.0, "Hours a day at the set-point.", 16.0),
    Input("internal_w_m2", "W/m2", 0.0, 8.0, "Mean gain from people and appliances.", 3.0),
    Input("cooled", "", 0.0, 1.0, "1 with cooling, 0 without.", 0.0),
    Input("cooling_c", "degC", 24.0, 28.0, "Set-point of cooling.", 26.0),
    Input("heating_w_m2", "W/m2", 10.0, 400.0, "What the heating plant can deliver.", 100.0),
)
_DEFAULTS = {one.name: one.default for one in INPUTS}
NAMES = tuple(one.name for one in INPUTS)
_CAPACITIES = [capacity / 1000 for capacity, _ in MASSES.values()]
_AREAS = [area for _, area in MASSES.values()]


def mass_area(mass_kj_m2k: FloatArray) -> FloatArray:
    """Effective area of the mass, m2 a m2 of floor, between ISO 13790's classes (table 12)."""
    return np.interp(mass_kj_m2k, _CAPACITIES, _AREAS)


def described(stock: Stock, assumptions: Assumptions) -> FloatArray:
    """[B, F] the ``INPUTS`` of a stock's buildings; their plants' sizes must be known."""
    begin, later = assumptions.on_h[0], assumptions.later(stock.id)
    cooled = ~np.isnan(stock.cooling_c)
    values = {
        **{f"{part}_ratio": getattr(stock, f"{part}_m2") / stock.floor_m2 for part in _PARTS},
        **{f"{part}_w_m2k": getattr(stock, f"{part}_w_m2k") for part in _PARTS},
        **{name: getattr(stock, name) for name in _SAME},
        "mass_kj_m2k": _looked_up(stock.mass, {n: c / 1000 for n, (c, _) in MASSES.items()}),
        "glass_north_south": _looked_up(
            stock.facing, {name: 2 * way.get("north", 0.0) for name, way in FACINGS.items()}
        ),
        "setback_k": np.full(len(stock), assumptions.setback_k),
        "on_from_h": (begin + later).astype(float),
        "on_hours": np.full(len(stock), float(assumptions.on_h[1] - begin)),
        "internal_w_m2": np.full(len(stock), assumptions.internal_w_m2),
        "cooled": cooled.astype(float),
        "cooling_c": np.where(cooled, stock.cooling_c, 26.0),
        "heating_w_m2": 1000 * stock.heating_kw / stock.floor_m2,
    }
    for part in _PARTS:  # a part that is not there has no U-value to speak of
        values[f"{part}_w_m2k"] = np.where(
            values[f"{part}_ratio"] > 0, values[f"{part}_w_m2k"], _DEFAULTS[f"{part}_w_m2k"]
        )
    return np.stack([values[name] for name in NAMES], axis=1).astype(np.float32)


def _looked_up(names: NDArray[np.str_], numbers: dict[str, float]) -> FloatArray:
    """[B] each name's number."""
    found = np.full(len(names), np.nan)
    for name, number in numbers.items():
        found[names == name] = number
    return found


_PARTS = ("wall", "roof", "ground", "window")
_SAME = ("window_g", "bridge_w_m2k", "air_change_h", "height_m", "heating_c")


def buildings_of(scalars: FloatArray) -> Buildings:
    """The simulator's buildings of one square metre each, from [B, F] ``INPUTS``."""
    v = {name: scalars[:, i].astype(float) for i, name in enumerate(NAMES)}
    envelope = sum(v[f"{part}_ratio"] for part in _PARTS)
    opaque = sum(v[f"{part}_ratio"] * v[f"{part}_w_m2k"] for part in _PARTS[:3])
    share = v["glass_north_south"] / 2
    shares = np.zeros((len(scalars), len(ORIENTATIONS)))
    for wall in WALLS:
        own = share if wall in ("north", "south") else 0.5 - share
        shares[:, list(ORIENTATIONS).index(wall)] = own
    glass = GLASS * v["window_ratio"] * v["window_g"]
    return Buildings(
        floor_m2=torch.ones(len(scalars)),
        opaque_w_k=_tensor(opaque + envelope * v["bridge_w_m2k"]),
        window_w_k=_tensor(v["window_ratio"] * v["window_w_m2k"]),
        ventilation_w_k=_tensor(0.34 * v["air_change_h"] * v["height_m"]),
        mass_j_k=_tensor(1000 * v["mass_kj_m2k"]),
        mass_area_m2=_tensor(mass_area(v["mass_kj_m2k"])),
        aperture_m2=_tensor(glass[:, None] * shares),
        heating_w=_tensor(v["heating_w_m2"]),
        cooling_w=_tensor(np.where(v["cooled"] > 0.5, np.inf, 0.0)),
    )


def drive_of(scalars: FloatArray, weather: Weather, assumptions: Assumptions) -> Drive:
    """What a weather year does to the buildings of [B, F] ``INPUTS``.

    Of the assumptions the season and nothing else is taken; use is the building's own.
    """
    v = {name: scalars[:, i].astype(float) for i, name in enumerate(NAMES)}
    hour = weather.times.hour.to_numpy()[:, None]
    on = torch.from_numpy((hour - v["on_from_h"].round()) % 24 < v["on_hours"].round())
    season = torch.from_numpy(assumptions.in_season(weather.times))[:, None]
    wanted, setback = _tensor(v["heating_c"]), _tensor(v["setback_k"])
    cooling = _tensor(np.where(v["cooled"] > 0.5, v["cooling_c"], np.inf))
    shape = _tensor(use_shape(weather.times))[:, None]
    return Drive(
        outdoor_c=_tensor(weather.outdoor_c)[:, None],
        irradiance_w_m2=_tensor(weather.irradiance_w_m2),
        internal_w_m2=shape * _tensor(v["internal_w_m2"]),
        heating_c=torch.where(season, torch.where(on, wanted, wanted - setback), -torch.inf),
        cooling_c=cooling.expand(len(weather.times), -1),
    )


def _tensor(values: FloatArray) -> Tensor:
    return torch.tensor(np.asarray(values, np.float32))
