"""The embedded city's buildings: 240 of them in its six areas, invented.

Planted: buildings of Canale Basso and Borgo Officine, the two poor areas, date from 1950 to 1972
and have no insulation, as many elsewhere do; gas heats four of five; the centre has some district
heat. Archetypes are round values in the range of northern Italy's homes, no survey.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.domains.synthesis import AREAS

COUNT = 40
"""Buildings in each area."""

_COLUMNS = (
    "archetype,wall_ratio,roof_ratio,ground_ratio,window_ratio,wall_w_m2k,roof_w_m2k,ground_w_m2k,"
    "window_w_m2k,window_g,bridge_w_m2k,air_change_h,height_m,mass"
)
_ARCHETYPES = (
    "block-to-1945,0.75,0.25,0.25,0.12,1.4,1.6,0.8,4.9,0.85,0.05,0.8,3.2,heavy",
    "block-1946-1975,0.70,0.22,0.22,0.13,1.2,1.5,0.8,4.9,0.85,0.10,0.8,2.8,medium",
    "block-1976-2005,0.65,0.20,0.20,0.13,0.75,0.8,0.6,3.2,0.75,0.10,0.6,2.7,medium",
    "block-from-2006,0.65,0.20,0.20,0.14,0.34,0.30,0.33,1.8,0.62,0.05,0.5,2.7,medium",
    "house-to-1975,1.50,0.65,0.65,0.13,1.3,1.6,0.8,4.9,0.85,0.10,0.8,2.8,medium",
    "house-from-1976,1.40,0.60,0.60,0.14,0.70,0.7,0.6,3.0,0.75,0.10,0.6,2.7,medium",
)
_YEARS = {  # earliest and latest year of building, and how many of ten are houses
    "Portavecchia": (1860, 1940, 0),
    "Colle Alto": (1930, 2010, 6),
    "Certosa Nuova": (1955, 2012, 2),
    "Fossa Verde": (1960, 2018, 2),
    "Canale Basso": (1950, 1972, 1),
    "Borgo Officine": (1950, 1972, 1),
}


def archetype_of(year: int, house: bool) -> str:
    """The archetype of a year of building."""
    if house:
        return "house-to-1975" if year <= 1975 else "house-from-1976"
    last = {1945: "block-to-1945", 1975: "block-1946-1975", 2005: "block-1976-2005"}
    return next((name for end, name in last.items() if year <= end), "block-from-2006")


def synthesise_stock(folder: Path, seed: int = 0, count: int = COUNT) -> None:
    """Write ``stock.csv`` and ``archetypes.csv``; the same seed gives the same bytes.

    Args:
        folder: must exist.
        seed: of the draw.
        count: buildings in each area.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for area in AREAS:
        first, last, houses = _YEARS[area]
        for number in range(1, count + 1):
            year, house = int(rng.integers(first, last + 1)), bool(rng.integers(10) < houses)
            floor = round(rng.uniform(110, 240) if house else rng.uniform(500, 3200), -1)
            district = area == "Portavecchia" and rng.random() < 0.3
            source = "district_heat" if district else "gas_boiler"
            if year > 2008 and rng.random() < 0.5:
                source = "heat_pump"
            row = {
                "id": f"{area.lower().replace(' ', '-')}-{number}",
                "area": area,
                "archetype": archetype_of(year, house),
                "built_year": year,
                "floor_m2": int(floor),
                "facing": rng.choice(["all", "north-south", "east-west"]),
                "heat_source": source,
                "heating_c": round(rng.normal(20, 0.5), 1),
                "cooling_c": 26 if rng.random() < 0.4 else "",
                "pv_kwp": round(floor / 100, 1) if rng.random() < 0.08 else 0,
            }
            rows.append(row)
    pd.DataFrame(rows).to_csv(folder / "stock.csv", index=False, lineterminator="\n")
    (folder / "archetypes.csv").write_text("\n".join((_COLUMNS, *_ARCHETYPES)) + "\n")
