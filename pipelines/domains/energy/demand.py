"""From a stock and a weather year to what it takes: carriers by the hour, comfort, peaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.contracts import FloatArray
from models.physics.thermal_network import Drive, simulate
from pipelines.domains.energy.assumptions import BURNT, CARRIERS, Assumptions, use_shape
from pipelines.domains.energy.stock import Stock
from pipelines.domains.energy.weather import HOURS, ORIENTATIONS, Weather

CHUNK = 1000
"""Buildings at once: more of them take memory, fewer of them time."""

WARM_UP_H = 21 * 24


@dataclass(frozen=True)
class Demand:
    """What B buildings of A areas take in a year.

    Attributes:
        areas: names of the areas, sorted.
        delivered_kwh: [B, C] each of ``CARRIERS``; electricity is what the grid gives.
        exported_kwh: [B] solar electricity that the grid takes.
        heat_kwh: [B] heat brought to the rooms, before any plant's losses.
        heat_peak_kw: [B] most of it in an hour.
        cold_h: [B] hours of the heating season with the air below ``warm_c``.
        cooling_kwh: [B] electricity that cooling takes, whether the grid or panels give it.
        electricity_peak_kw: [B] most taken from the grid in an hour; the simulator's alone.
        hourly_kw: [T, A, C] each area's demand by carrier; the simulator's alone.
        cooling_kw: [T, A] each area's electricity for cooling; the simulator's alone.
        heat_kwh_band: [B, 2] within which the simulator's heat lies in 80 of 100 buildings; the
            surrogate's alone.
        simulated: [B] whether a surrogate handed the building to the simulator.
    """

    areas: NDArray[np.str_]
    delivered_kwh: FloatArray
    exported_kwh: FloatArray
    heat_kwh: FloatArray
    heat_peak_kw: FloatArray
    cold_h: FloatArray
    cooling_kwh: FloatArray
    electricity_peak_kw: FloatArray | None = None
    hourly_kw: FloatArray | None = None
    cooling_kw: FloatArray | None = None
    heat_kwh_band: FloatArray | None = None
    simulated: NDArray[np.bool_] | None = None


Sink = Callable[[Stock, Tensor], None]
"""Takes a chunk of the stock and its demand in kW, [C, T, b]."""


@dataclass(frozen=True)
class Simulator:
    """One weather year and one set of assumptions, ready to take stocks."""

    weather: Weather
    assumptions: Assumptions

    def run(
        self,
        stock: Stock,
        progress: Callable[[float], None] = lambda share: None,
        sink: Sink | None = None,
    ) -> Demand:
        """Simulate every building; its plant's size must be known.

        Args:
            stock: B buildings.
            progress: told the share that is done.
            sink: shown each chunk's demand by building and hour.
        """
        areas, where = np.unique(stock.area, return_inverse=True)
        member = torch.from_numpy(np.eye(len(areas), dtype=np.float32)[where])
        hours = len(self.weather.times)
        hourly = torch.zeros(len(CARRIERS), hours, len(areas)).double()
        cooling = torch.zeros(hours, len(areas)).double()
        parts: list[dict[str, Tensor]] = []
        for begin in range(0, len(stock), CHUNK):
            rows = slice(begin, begin + CHUNK)
            part = stock.part(rows)
            kw, cooling_kw, found = self._chunk(part)
            if sink is not None:
                sink(part, kw)
            hourly += kw @ member[rows]
            cooling += cooling_kw @ member[rows]
            parts.append(found)
            progress(min(1.0, (begin + CHUNK) / len(stock)))
        joined = {name: torch.cat([p[name] for p in parts]).double().numpy() for name in parts[0]}
        by_hour = {"hourly_kw": hourly.permute(1, 2, 0).numpy(), "cooling_kw": cooling.numpy()}
        return Demand(areas=areas, **by_hour, **joined)

    def _chunk(self, stock: Stock) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        set_up, times = self.assumptions, self.weather.times
        response = simulate(stock.buildings(), self.drive(stock), warm_up=WARM_UP_H)
        heat_kw = response.heating_w / 1000
        floor = _tensor(stock.floor_m2)
        spread = _tensor(use_shape(times))[:, None] * floor / HOURS
        to_make = heat_kw + set_up.hot_water_kwh_m2 * spread
        electricity = set_up.appliances_kwh_m2 * spread
        cooling_kw = response.cooling_w / 1000 / set_up.cooling_performance
        electricity += cooling_kw
        kw = torch.zeros(len(CARRIERS), *heat_kw.shape)
        for source in np.unique(stock.heat_source):
            own = torch.from_numpy(np.flatnonzero(stock.heat_source == source))
            if source in BURNT:
                burnt = to_make[:, own] / set_up.efficiency(source)
                kw[CARRIERS.index(BURNT[source])][:, own] = burnt
            elif source == "heat_pump":
                performance = _tensor(set_up.performance(self.weather.outdoor_c))
                electricity[:, own] += to_make[:, own] / performance[:, None]
            else:
                electricity[:, own] += to_make[:, own]
        sun = _tensor(self.weather.irradiance_w_m2[:, list(ORIENTATIONS).index("array")]) / 1000
        electricity -= set_up.panel_performance * sun[:, None] * _tensor(stock.pv_kwp)
        torch.clamp(electricity, min=0, out=kw[CARRIERS.index("electricity")])
        cold = response.air_c < set_up.warm_c
        cold &= torch.from_numpy(set_up.in_season(times))[:, None]
        return (
            kw,
            cooling_kw,
            {
                "delivered_kwh": kw.sum(dim=1).T,
                "exported_kwh": (-electricity).clamp(min=0).sum(dim=0),
                "heat_kwh": heat_kw.sum(dim=0),
                "heat_peak_kw": heat_kw.amax(dim=0),
                "electricity_peak_kw": kw[CARRIERS.index("electricity")].amax(dim=0),
                "cold_h": cold.sum(dim=0),
                "cooling_kwh": cooling_kw.sum(dim=0),
            },
        )

    def drive(self, stock: Stock) -> Drive:
        """What the year does to these buildings."""
        set_up, weather = self.assumptions, self.weather
        on = torch.from_numpy(set_up.switched_on(weather.times, stock.id))
        season = torch.from_numpy(set_up.in_season(weather.times))[:, None]
        wanted = _tensor(stock.heating_c)
        held = torch.where(on, wanted, wanted - set_up.setback_k)
        cooling = np.where(np.isnan(stock.cooling_c), np.inf, stock.cooling_c)
        return Drive(
            outdoor_c=_tensor(weather.outdoor_c)[:, None],
            irradiance_w_m2=_tensor(weather.irradiance_w_m2),
            internal_w_m2=_tensor(set_up.internal_w_m2 * use_shape(weather.times))[:, None],
            heating_c=torch.where(season, held, -torch.inf),
            cooling_c=_tensor(cooling).expand(len(weather.times), -1),
        )


def _tensor(values: FloatArray) -> Tensor:
    return torch.tensor(np.asarray(values, np.float32))
