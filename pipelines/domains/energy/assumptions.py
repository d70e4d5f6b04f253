"""What a scenario of buildings takes for granted; every number can be set and is in the report."""

from __future__ import annotations

from typing import Annotated
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.contracts import FloatArray
from pipelines.domains.scenarios import Frozen

CARRIERS = ("gas", "heating_oil", "district_heat", "electricity")
BURNT = {"gas_boiler": "gas", "oil_boiler": "heating_oil", "district_heat": "district_heat"}
"""Heat source to the carrier it takes; the other sources take electricity."""

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Hour = Annotated[int, Field(ge=0, le=24)]


class ByCarrier(Frozen):
    """One number for each carrier."""

    gas: NotNegative
    heating_oil: NotNegative
    district_heat: NotNegative
    electricity: NotNegative

    def array(self) -> FloatArray:
        """In the order of ``CARRIERS``."""
        return np.array([getattr(self, name) for name in CARRIERS])


class Assumptions(Frozen):
    """Of use, plants, emissions and prices.

    Attributes:
        season: first and last day of heating, month-day; Bologna's rule is 15 October to 15 April.
        on_h: hours of the day in which rooms are held at their set-point.
        spread_h: buildings are on so many hours earlier or later, or as stated, in equal parts.
        setback_k: so much lower in the season's other hours.
        internal_w_m2: mean gain from people and appliances (TABULA).
        appliances_kwh_m2: electricity of lighting and appliances in a year.
        hot_water_kwh_m2: heat in a year (TABULA, homes in blocks).
        boiler_efficiency: of gas and oil boilers, of the year.
        district_efficiency: of the substation.
        heat_pump_quality: share of Carnot's performance, in each hour.
        heat_pump_supply_c: temperature of the water it makes.
        cooling_performance: heat taken out for each unit of electricity.
        panel_performance: yield over what peak power and irradiance say.
        co2_t_mwh: t CO2-equivalent; those of Bologna's Climate City Contract for 2018.
        price_eur_kwh: round figures; set the city's own.
        export_eur_kwh: for solar electricity that is not used.
        warm_c: hours below it are counted (the World Health Organization's 18 degC).
    """

    season: tuple[str, str] = ("10-15", "04-15")
    on_h: tuple[Hour, Hour] = (6, 22)
    spread_h: Annotated[int, Field(ge=0, le=6)] = 1
    setback_k: NotNegative = 4.0
    internal_w_m2: NotNegative = 3.0
    appliances_kwh_m2: NotNegative = 25.0
    hot_water_kwh_m2: NotNegative = 15.0
    boiler_efficiency: Positive = 0.88
    district_efficiency: Positive = 0.95
    heat_pump_quality: Positive = 0.45
    heat_pump_supply_c: float = 50.0
    cooling_performance: Positive = 3.0
    panel_performance: Positive = 0.8
    co2_t_mwh: ByCarrier = ByCarrier(
        gas=0.202, heating_oil=0.268, district_heat=0.196, electricity=0.296
    )
    price_eur_kwh: ByCarrier = ByCarrier(
        gas=0.11, heating_oil=0.13, district_heat=0.12, electricity=0.28
    )
    export_eur_kwh: NotNegative = 0.08
    warm_c: float = 18.0

    @model_validator(mode="after")
    def _season_and_hours_exist(self) -> Assumptions:
        for day in self.season:
            try:
                pd.Timestamp(f"2023-{day}")
            except ValueError:
                raise ValueError(f"season's {day!r} is no day; write month-day, 10-15") from None
        if self.on_h[0] >= self.on_h[1]:
            raise ValueError(f"on_h {list(self.on_h)} must rise; write [6, 20]")
        return self

    def in_season(self, times: pd.DatetimeIndex) -> NDArray[np.bool_]:
        """[T] whether rooms are heated on that day; the season may pass the year's end."""
        day = (times.month * 100 + times.day).to_numpy()
        first, last = (int(text.replace("-", "")) for text in self.season)
        inside = (day >= first, day <= last)
        return inside[0] & inside[1] if first <= last else inside[0] | inside[1]

    def later(self, ids: NDArray[np.str_]) -> NDArray[np.int64]:
        """[B] hours by which each building is on later than ``on_h``, or earlier."""
        ways = 2 * self.spread_h + 1
        return np.array([crc32(n.encode()) % ways - self.spread_h for n in ids.tolist()], np.int64)

    def switched_on(self, times: pd.DatetimeIndex, ids: NDArray[np.str_]) -> NDArray[np.bool_]:
        """[T, B] whether each building's rooms are held at their set-point in that hour.

        A building's hours follow from its id, so that it behaves alike in any company.
        """
        begin, end = self.on_h
        since = (times.hour.to_numpy()[:, None] - begin - self.later(ids)) % 24
        return self.in_season(times)[:, None] & (since < end - begin)

    def efficiency(self, source: str) -> float:
        """Heat that one of ``BURNT`` makes of a unit of its carrier."""
        return self.district_efficiency if source == "district_heat" else self.boiler_efficiency

    def performance(self, outdoor_c: FloatArray) -> FloatArray:
        """[T] heat that a heat pump makes of a unit of electricity, from 1 to 6."""
        lift = np.maximum(self.heat_pump_supply_c - outdoor_c, 5.0)
        carnot = (self.heat_pump_supply_c + 273.15) / lift
        return np.clip(self.heat_pump_quality * carnot, 1.0, 6.0)


def use_shape(times: pd.DatetimeIndex) -> FloatArray:
    """[T] how gains, appliances and hot water spread over the day: mean 1, evenings and mornings.

    A plain curve, alike for all homes and days: 0.6 at night, peaks at 8 and 20.
    """
    hour = times.hour.to_numpy() + 0.5
    curve = 0.6 + 0.6 * np.exp(-(((hour - 8) / 1.5) ** 2)) + 1.2 * np.exp(-(((hour - 20) / 3) ** 2))
    return curve / curve.mean()
