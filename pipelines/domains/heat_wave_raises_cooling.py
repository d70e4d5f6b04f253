"""The chain from a heat wave to cooling: a warmer climate, and what a stock takes in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from pipelines.domains.chains import (
    INSIDE,
    SIMULATED,
    Chained,
    Hop,
    HopKeys,
    Hops,
    Progress,
    digests,
    errors_of,
    told_errors,
)
from pipelines.domains.energy import scenario as energy
from pipelines.domains.energy.answering import Answerer
from pipelines.domains.energy.cooling import Cooling
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.heat_wave import HeatKeys, HeatWave, heat_wave
from pipelines.domains.energy.outcome import Outcome
from pipelines.domains.energy.weather import Weather, embedded_weather, read_weather
from pipelines.domains.scenarios import Frozen, read_keys
from serving.surrogate import SurrogateRelease

CLIMATE = "climate.parquet"
_OUTPUT = "cooling_kwh_m2"
_VERIFIED = (
    "physics verify holds annual cooling of BESTEST 600, 620, 640, 685 and 900 to Standard 140's"
    " limits, with tuned coefficients; in this stock nothing of it is measured"
)
_NOTES = (
    "Sun, wind and humidity stay as they were: the model has neither wind nor moisture, so drying"
    " the air, which coolers do too, is left out.",
    "Coolers hold their set-point however hot it is; real ones run short, which lowers the peak.",
    "Homes without a cooler in the stock stay without one.",
    "The scenario's measures are left out: it is the stock as it stands.",
)


class ChainKeys(Frozen):
    """The file's keys.

    Attributes:
        name: for people.
        chain: as registered.
        heat: the heat wave.
        energy: a building stock's scenario, in whose weather the wave comes.
    """

    name: str = Field(min_length=1)
    chain: str
    heat: HeatKeys
    energy: HopKeys


def run_chain(scenario: dict[str, Any], hops: Hops) -> Chained:
    """Warm a climate, and ask what the stock takes in both.

    Args:
        scenario: the parsed file (``ChainKeys``).
        hops: where to run.
    """
    asked = read_keys(ChainKeys, scenario)
    stock, base = hops.read("energy", asked.energy, "energy")
    for key in ("measures", "budget_eur", "hourly_by_building"):
        stock.pop(key, None)
    plan = read_keys(energy.Scenario, stock)
    surrogates = hops.surrogates("energy", asked.energy)
    usual = _weather(plan, base)
    wave = heat_wave(usual, asked.heat, hops.base)

    heat = asked.heat.model_dump(mode="json")
    key = [heat, digests(heat, hops.base), plan.weather, digests(plan.weather, base)]
    _, warmed = hops.kept("1-heat", key, partial(_write_climate, wave))
    sealed = [one.sha256 for one in surrogates[:1]]
    key = [*key, stock, digests(stock, base), sealed]
    question = Question(plan, base, wave, asked.heat.error_k, next(iter(surrogates), None))
    _, taken = hops.kept("2-energy", key, question.answered)
    tables = taken.pop("tables")
    lines = (_heat(warmed, asked.heat), Hop(**taken.pop("hop")))
    return Chained(lines, taken, tables, _NOTES)


def _weather(plan: energy.Scenario, base: Path) -> Weather:
    """The year that the scenario names."""
    return (
        embedded_weather() if plan.weather == energy.EMBEDDED else read_weather(base / plan.weather)
    )


def _write_climate(wave: HeatWave, place: Path, tell: Progress) -> dict[str, Any]:
    """Write both climates by the hour."""
    table = {"time": wave.usual.times, "outdoor_c": wave.usual.outdoor_c}
    table |= {"outdoor_c_wave": wave.outdoor_c, "wave": wave.rows}
    pd.DataFrame(table).to_parquet(place / CLIMATE, index=False)
    tell("written", 1.0)
    begin, end = wave.span
    return {
        "weather": wave.usual.name,
        "begin": f"{begin:%m-%d}",
        "end": f"{end:%m-%d}",
        "hours": int(wave.rows.sum()),
        "warming_k": wave.warming_k,
        "hottest_c": wave.hottest_c,
        "hottest_usual_c": float(wave.usual.outdoor_c.max()),
    }


def _heat(warmed: dict[str, Any], keys: HeatKeys) -> Hop:
    """The climate's line."""
    by = (
        f"{keys.delta_k:+g} K in every hour"
        if keys.file is None
        else f"temperatures of {keys.file}"
    )
    return Hop(
        "heat",
        "rule",
        f"{by}, {warmed['begin']} to {warmed['end']}",
        "none known: the wave is what is asked, not a forecast",
        f"hottest hour {warmed['hottest_c']:.1f} degC; {warmed['hottest_usual_c']:.1f} in the year",
        f"{warmed['weather']}: {warmed['hours']} hours warmer by {warmed['warming_k']:.1f} K",
        warmed,
    )


@dataclass(frozen=True)
class Question:
    """What a stock takes in a climate with a heat wave and without.

    Attributes:
        plan: the stock's scenario.
        base: folder that its paths are relative to.
        wave: the climates.
        error_k: by how much the wave is moved.
        surrogate: what is asked; the simulator where there is none.
    """

    plan: energy.Scenario
    base: Path
    wave: HeatWave
    error_k: float
    surrogate: SurrogateRelease | None

    def answered(self, place: Path, tell: Progress) -> dict[str, Any]:
        """Run both climates and the wave's two ends, write the files, and say what came out."""
        outside = self._outside(self.wave.usual) or self._outside(self.wave.weather())
        # A building that two engines answer would show what these differ by, not what heat does.
        surrogate = None if outside else self.surrogate
        city = energy.open_city(self.plan, self.base, tell, surrogate)

        def outcome(stage: str, weather: Weather) -> Outcome:
            set_up = self.plan.assumptions
            engine = Simulator(weather, set_up)
            if surrogate is not None:
                engine = Answerer(weather, set_up, surrogate)
            demand = engine.run(city.stock, partial(tell, stage))
            return Outcome(city.stock, demand, set_up)

        usual = outcome("The usual year", self.wave.usual)
        cooling = Cooling(self.wave, usual, outcome("With the heat wave", self.wave.weather()))
        rises: list[float | None] = []
        for more in (-self.error_k, self.error_k):
            weather = self.wave.weather(more)
            if surrogate is not None and self._outside(weather):
                rises.append(None)
            else:
                end = outcome(f"With {more:+g} K", weather)
                rises.append(Cooling(self.wave, usual, end).rise_mwh)
        cooling.write(place)
        ends = {
            f"{-self.error_k:+g} K": rises[0],
            "as asked": cooling.rise_mwh,
            f"{self.error_k:+g} K": rises[1],
        }
        sensitivity = [{"wave": name, "rise_mwh": rise} for name, rise in ends.items()]
        return {
            **city.about(),
            "hop": self._hop(outside, cooling, surrogate).__dict__,
            "city": cooling.city(),
            "sensitivity": sensitivity,
            "tables": cooling.tables() | {"Cooling, if the wave were another": sensitivity},
        }

    def _outside(self, weather: Weather) -> list[str]:
        """What of a climate the surrogate was not trained on; nothing where none is asked."""
        if self.surrogate is None:
            return []
        return Answerer(weather, self.plan.assumptions, self.surrogate).climate_outside()

    def _hop(self, outside: list[str], cooling: Cooling, surrogate: SurrogateRelease | None) -> Hop:
        before, after = (figures["cooling_mwh"] for figures in cooling.city().values())
        handed = f"cooling {before:.1f} to {after:.1f} MWh a year, {after - before:+.1f} MWh"
        if before:
            handed += f" ({after / before - 1:+.0%})"
        if surrogate is None:
            where = SIMULATED
            if outside and self.surrogate is not None:
                more = f" and {len(outside) - 1} more" if len(outside) > 1 else ""
                where = (
                    f"outside what {self.surrogate.id} learned ({outside[0]}{more}): simulated"
                    " instead"
                )
            return Hop("energy", "physics", "ISO 13790 5R1C, hourly", _VERIFIED, where, handed)
        assert cooling.hot.demand.simulated is not None
        rows = cooling.hot.demand.simulated
        simulated = int(rows.sum())
        where = f"{INSIDE}; {simulated} of {len(rows)} buildings are not and were simulated"
        where = where if simulated else INSIDE
        errors = errors_of(surrogate.report["tests"], [_OUTPUT])
        error = told_errors(errors) + "; of a year's cooling, not of its rise"
        return Hop("energy", "surrogate", surrogate.id, error, where, handed, {"errors": errors})
