"""A synthetic city's electricity: hourly load of 18 districts, March to September 2024.

Planted, for forecasters: habits on the civil clock (residential, office or mixed; the clocks change
on 31 March, in training), weekends, holidays and the August exodus; electric heating in proportion
to how far the air, slowed by the walls' mass, falls below ``HEATING_BASE_C`` and cooling above
``COOLING_BASE_C``, both larger in old, leaky buildings; sun that adds to cooling and saves light;
autoregressive noise, partly common to all districts. The test span runs from late August, while the
city fills again, into September. There is no graph.

Planted, for audits: what ``synthesis`` states. Canale Basso and Borgo Officine have 2 metered
districts each for 34 000 and 29 000 residents (15 750 a district); the other areas have 14 for
103 000 (7 360 a district). ``canale-basso-2`` appears late; ``fossa-verde-3`` dies. Buildings in
the two poor areas date from 1958 to 1970 and leak, as some elsewhere do, so that their load leans
more on the weather.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from models.contracts import FloatArray
from pipelines.domains import synthesis
from pipelines.domains.synthesis import AREAS, CivilClock, bump
from training.dataset import write_dataset

NAME = "embedded-energy"
DAYS = 200
LATE, DEAD = "canale-basso-2", "fossa-verde-3"
HEATING_BASE_C, COOLING_BASE_C = 16.0, 23.0

_OFFICE_SHARE = {"office": 1.0, "mixed": 0.45, "residential": 0.0}
_DISTRICTS = {  # habit and typical year of building of each district
    "Portavecchia": (("office", 1890), ("mixed", 1875), ("mixed", 1910), ("office", 1930)),
    "Colle Alto": (("residential", 1965), ("residential", 1988), ("mixed", 1972)),
    "Certosa Nuova": (("residential", 1968), ("mixed", 1975), ("residential", 2004)),
    "Fossa Verde": (("residential", 1971), ("mixed", 1995), ("office", 2008), ("office", 1985)),
    "Canale Basso": (("residential", 1962), ("mixed", 1970)),
    "Borgo Officine": (("mixed", 1966), ("residential", 1958)),
}


def districts(rng: np.random.Generator) -> pd.DataFrame:
    """The table of districts, with habit, year of building and floor area in m2."""
    rows = []
    for area, members in _DISTRICTS.items():
        for i, (habit, built) in enumerate(members, start=1):
            node = f"{area.lower().replace(' ', '-')}-{i}"
            angle = 2 * np.pi * i / len(members) + rng.uniform(-0.3, 0.3)
            east = AREAS[area].east_km + 0.7 * np.cos(angle)
            north = AREAS[area].north_km + 0.7 * np.sin(angle)
            floor = round(rng.uniform(70e3, 160e3), -2)
            rows.append((node, area, habit, built, floor, east, north))
    columns = ["id", "area", "habit", "built_year", "floor_m2", "east_km", "north_km"]
    nodes = pd.DataFrame(rows, columns=columns)
    nodes["name"] = nodes["area"] + ", district " + nodes["id"].str[-1] + " (synthetic)"
    return nodes


def use_w_m2(clock: CivilClock, habit: str) -> FloatArray:
    """Lighting, appliances and machines in W for each m2 of floor, [T], from the civil clock."""
    hour = clock.hour
    if habit == "mixed":
        office = _OFFICE_SHARE[habit]
        homes = (1 - office) * use_w_m2(clock, "residential")
        return homes + office * use_w_m2(clock, "office")
    if habit == "office":
        rise, fall = 1 / (1 + np.exp(-(hour - 7.5) / 0.5)), 1 / (1 + np.exp((hour - 18.5) / 0.7))
        open_hours = rise * fall * (1 - 0.12 * bump(hour, 13, 0.8))
        staffed = np.where(clock.rest_day, 0.06, np.where(clock.day_off, 0.22, 1.0))
        return 2.2 + 9.0 * open_hours * staffed * np.where(clock.vacation, 0.65, 1.0)
    at_home = np.where(clock.day_off, 0.75, 0.25)
    use = (
        1.4
        + np.where(clock.day_off, 0.7 * bump(hour, 10, 1.8), 1.4 * bump(hour, 7.5, 1.0))
        + at_home * 1.6 * bump(hour, 13, 1.6)
        + 3.0 * bump(hour, 20.5, 2.0)
    )
    return use * np.where(clock.vacation, 0.78, 1.0)


def leak_w_m2_k(built_year: FloatArray) -> FloatArray:
    """Heat lost for each m2 of floor and kelvin: falls from 2.6 before 1950 to 0.9 after 2005."""
    return np.interp(built_year, [1950, 1975, 1990, 2005], [2.6, 2.3, 1.5, 0.9])


def weather_w_m2(
    temp_c: FloatArray,
    ghi_wm2: FloatArray,
    clock: CivilClock,
    nodes: pd.DataFrame,
    electric: FloatArray,
) -> FloatArray:
    """Heating, cooling and lighting that answer to the weather, in W for each m2, [T, N].

    Args:
        temp_c: [T] air temperature.
        ghi_wm2: [T] global horizontal irradiance.
        clock: civil clock, [T].
        nodes: table from ``districts``.
        electric: [N] watts of electricity for each watt of heat moved, by share of homes equipped.
    """
    decay = np.exp(-1 / 8)
    # Started at the first value, else the walls would be at 0 degC in the first hours.
    felt = temp_c[0] + synthesis.recurrence((temp_c - temp_c[0]) * (1 - decay), decay)
    sun = synthesis.recurrence(ghi_wm2 * (1 - decay), decay)
    office_on = np.where(clock.day_off, 0.3, 0.5 + 0.5 * bump(clock.hour, 14, 4))
    home_on = 0.6 + 0.4 * bump(clock.hour, 20, 4)
    habit = np.array([_OFFICE_SHARE[name] for name in nodes["habit"]])
    running = office_on[:, None] * habit + home_on[:, None] * (1 - habit)
    leak = leak_w_m2_k(nodes["built_year"].to_numpy(float))
    heating = np.maximum(HEATING_BASE_C - felt, 0)[:, None] * leak
    cooling = np.maximum(felt + 0.006 * sun - COOLING_BASE_C, 0)[:, None] * (0.8 + 0.5 * leak)
    lighting = 0.6 * np.exp(-ghi_wm2 / 120)[:, None] * (bump(clock.hour, 19, 4.5)[:, None])
    return electric * (0.7 * heating + cooling) * running + lighting


def synthesise(folder: Path, seed: int = 0, days: int = DAYS) -> None:
    """Write the dataset folder ``embedded-energy``; the same seed and days give the same bytes."""
    rng = np.random.default_rng(seed)
    times = synthesis.grid("2024-03-01", days, "1h")
    clock = synthesis.civil_clock(times)
    plan = districts(rng)
    nodes = synthesis.place(plan)
    temp_c, ghi_wm2 = synthesis.air(rng, times)

    uses = {habit: use_w_m2(clock, habit) for habit in _OFFICE_SHARE}
    use = np.stack([uses[habit] for habit in plan["habit"]], axis=1)
    electric = rng.uniform(0.16, 0.26, len(plan))
    response = weather_w_m2(temp_c, ghi_wm2, clock, plan, electric)
    shape = (len(times), len(plan))
    common = 0.02 * synthesis.ar_noise(rng, (shape[0], 1), 0.97)
    local = 0.035 * synthesis.ar_noise(rng, shape, 0.85)
    watts = (use * rng.uniform(0.85, 1.15, len(plan)) + response) * np.exp(common + local)
    load = watts * plan["floor_m2"].to_numpy() / 1000

    seen = synthesis.observe(rng, load, 0.02 * load, nodes, times, LATE, DEAD)
    series = pd.DataFrame(np.maximum(seen, 0).round(1), index=times, columns=list(nodes["id"]))
    forecast = {
        "name": NAME,
        "domain": "energy",
        "target": "load",
        "unit": "kWh",
        "step": "1h",
        "lookback": 168,
        "horizon": 24,
        "nonnegative": True,
    }
    forcings = [("temp_c", "degC", True), ("ghi_wm2", "W/m2", True)]
    record = synthesis.header(times, forecast, forcings)
    weather = pd.DataFrame({"temp_c": temp_c, "ghi_wm2": ghi_wm2}, index=times)
    # The weather is known a day further than what it forces, as from a weather service.
    write_dataset(folder, record, nodes, series.iloc[:-24], forcings=weather)
