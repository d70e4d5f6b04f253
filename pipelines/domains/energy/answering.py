"""From a stock to what it takes in a year, by the surrogate: heat, cold and carriers at once.

What the surrogate was not trained on is simulated. Solar electricity is netted hour by hour, with
the year's cooling and heating spread over its hours by the outdoor air. There are no hourly
curves of areas and no peaks of electricity: those are the simulator's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.energy.abstraction import NAMES, described
from pipelines.domains.energy.assumptions import BURNT, CARRIERS, Assumptions, use_shape
from pipelines.domains.energy.climate import FIELDS, monthly_climate
from pipelines.domains.energy.demand import Demand, Simulator
from pipelines.domains.energy.stock import Stock
from pipelines.domains.energy.weather import HOURS, ORIENTATIONS, Weather
from serving.surrogate import SurrogateRelease

_COOLED_ABOVE_C, _HEATED_BELOW_C = 20.0, 18.0
"""Outdoor air from which on cooling, and below which electric heating, is spread over the hours."""


@dataclass(frozen=True)
class Answerer:
    """One weather year, one set of assumptions and a surrogate, ready to take stocks.

    Raises:
        FelsinaError: if the assumptions are others than the surrogate's.
    """

    weather: Weather
    assumptions: Assumptions
    surrogate: SurrogateRelease

    def __post_init__(self) -> None:
        """Refuse plants and comfort limits that the surrogate does not know."""
        spec, set_up = self.surrogate.spec, self.assumptions
        facts = spec.facts
        odd = {one.name for one in spec.fields} - set(FIELDS)
        odd |= {one.name for one in spec.scalars} ^ set(NAMES)
        if odd:
            raise FelsinaError(
                f"surrogate {self.surrogate.id} knows buildings by other inputs ({min(odd)});"
                " build it anew: felsina scenario sample, then felsina release build"
            )
        known = {"warm_c": facts["warm_c"]}
        known |= {f"heat_pump_{name}": value for name, value in facts["heat_pump"].items()}
        for name, value in known.items():
            if getattr(set_up, name) != value:
                raise FelsinaError(
                    f"assumptions.{name} is {getattr(set_up, name):g}; surrogate"
                    f" {self.surrogate.id} knows {value:g}: use --engine physics"
                )

    @cached_property
    def climate(self) -> FloatArray:
        """[12, C] the weather year as the surrogate sees it."""
        columns = [list(FIELDS).index(one.name) for one in self.surrogate.spec.fields]
        return monthly_climate(self.weather, self.assumptions)[:, columns]

    def inside(self, stock: Stock) -> NDArray[np.bool_]:
        """[B] whether the surrogate was trained on buildings such as these, in this climate."""
        asked = described(stock, self.assumptions)
        rows = np.ones(len(stock), bool)
        if self.climate_outside():
            return ~rows
        for one in self.surrogate.spec.outside(asked, np.zeros((0, *self.climate.shape))):
            rows[one.scenario] = False
        return rows

    def climate_outside(self) -> list[str]:
        """What of the weather year the surrogate was not trained on, a sentence each."""
        nobody = np.zeros((0, len(self.surrogate.spec.scalars)))
        return [str(one) for one in self.surrogate.spec.outside(nobody, self.climate[None])]

    def run(self, stock: Stock, progress: Callable[[float], None] = lambda share: None) -> Demand:
        """Answer for every building; its plant's size must be known.

        Args:
            stock: B buildings.
            progress: told the share that is done.
        """
        inside = self.inside(stock)
        demand = self._answered(stock)
        if not inside.all():
            rest = ~inside
            found = Simulator(self.weather, self.assumptions).run(stock.part(rest))
            for name in _BY_BUILDING:
                getattr(demand, name)[rest] = getattr(found, name)
            assert demand.heat_kwh_band is not None
            demand.heat_kwh_band[rest] = found.heat_kwh[:, None]  # what is simulated has no band
        progress(1.0)
        return replace(demand, simulated=~inside)

    def _answered(self, stock: Stock) -> Demand:
        spec, set_up = self.surrogate.spec, self.assumptions
        asked = described(stock, set_up)
        fields = np.broadcast_to(self.climate, (len(stock), *self.climate.shape))
        quantiles = self.surrogate.answer(asked, fields, os.cpu_count() or 1)
        year = {o.name: quantiles[:, 0, i].astype(float) for i, o in enumerate(spec.outputs)}
        middle = {name: values[:, spec.median] for name, values in year.items()}
        floor = stock.floor_m2
        heat = middle["heating_kwh_m2"] * floor
        made = heat + set_up.hot_water_kwh_m2 * floor
        cooling = middle["cooling_kwh_m2"] * floor / set_up.cooling_performance
        own = stock.heat_source == "heat_pump"
        electric = stock.heat_source == "electric"
        warmth = np.where(own, middle["heat_pump_kwh_m2"] * floor, np.where(electric, heat, 0.0))
        delivered = np.zeros((len(stock), len(CARRIERS)))
        for source, carrier in BURNT.items():
            rows = stock.heat_source == source
            delivered[rows, CARRIERS.index(carrier)] = made[rows] / set_up.efficiency(source)
        flat = set_up.appliances_kwh_m2 * floor
        flat = flat + np.where(electric, set_up.hot_water_kwh_m2 * floor, 0.0)
        flat = flat + np.where(own, self._hot_water_by_pump * floor, 0.0)
        taken = flat + cooling + warmth
        exported = np.zeros(len(stock))
        for b in np.flatnonzero(stock.pv_kwp > 0):
            taken[b], exported[b] = self._netted(stock.pv_kwp[b], flat[b], cooling[b], warmth[b])
        delivered[:, CARRIERS.index("electricity")] = taken
        low, high = spec.quantiles.index(0.1), spec.quantiles.index(0.9)
        band = year["heating_kwh_m2"][:, [low, high]] * floor[:, None]
        return Demand(
            areas=np.unique(stock.area),
            delivered_kwh=delivered,
            exported_kwh=exported,
            heat_kwh=heat,
            heat_peak_kw=middle["heating_peak_w_m2"] * floor / 1000,
            cold_h=middle["cold_h"],
            cooling_kwh=cooling,
            heat_kwh_band=band,
        )

    @cached_property
    def _hot_water_by_pump(self) -> float:
        """Electricity in kWh a m2 of floor that a heat pump takes for hot water."""
        shape = use_shape(self.weather.times) / HOURS
        performance = self.assumptions.performance(self.weather.outdoor_c)
        return float(self.assumptions.hot_water_kwh_m2 * (shape / performance).sum())

    @cached_property
    def _shapes(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """By the hour, of a year: use, cooling and electric heating; and a kWp's yield."""
        parts = [use_shape(self.weather.times) / HOURS]
        outdoor = self.weather.outdoor_c
        day = np.repeat(outdoor.reshape(-1, 24).mean(axis=1), 24)  # mass spreads the day's heat
        for degrees in (day - _COOLED_ABOVE_C, _HEATED_BELOW_C - outdoor):
            weight = np.maximum(degrees, 0) + 1e-6
            parts.append(weight / weight.sum())
        sun = self.weather.irradiance_w_m2[:, list(ORIENTATIONS).index("array")] / 1000
        return parts[0], parts[1], parts[2], self.assumptions.panel_performance * sun

    def _netted(
        self, kwp: float, flat: float, cooling: float, warmth: float
    ) -> tuple[float, float]:
        """What the grid gives and takes in a year, kWh."""
        use, cool, warm, sun = self._shapes
        net = flat * use + cooling * cool + warmth * warm - kwp * sun
        return float(np.maximum(net, 0).sum()), float(np.maximum(-net, 0).sum())


_BY_BUILDING = (
    "delivered_kwh",
    "exported_kwh",
    "heat_kwh",
    "heat_peak_kw",
    "cold_h",
    "cooling_kwh",
)
