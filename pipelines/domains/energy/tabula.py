"""TABULA's residential building types, read from the project's own table of variants.

TABULA and EPISCOPE (Intelligent Energy Europe, episcope.eu) describe a country's homes by example
buildings: size class and period, with areas, U-values, and the seasonal heating need that their
common calculation (EN ISO 13790, seasonal method) gives. A user brings the table.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.contracts import FelsinaError, FloatArray

CODE = "Code_BuildingVariant"
OPAQUE = ("Roof_1", "Roof_2", "Wall_1", "Wall_2", "Wall_3", "Floor_1", "Floor_2")
OPENINGS = ("Window_1", "Window_2", "Door_1")
_SUN = {
    "Horizontal": ("F_sh_hor", "I_Sol_Hor"),
    "East": ("F_sh_vert", "I_Sol_East"),
    "South": ("F_sh_vert", "I_Sol_South"),
    "West": ("F_sh_vert", "I_Sol_West"),
    "North": ("F_sh_vert", "I_Sol_North"),
}
_KWH_A_DAY_W = 0.024


def read_tabula(path: Path) -> pd.DataFrame:
    """The table of variants, a row each; one that lacks what is used is refused."""
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a table of TABULA's building variants")
    table = pd.read_csv(path)
    used = [CODE, "A_C_Ref", "h_room", "n_air_use", "n_air_infiltration", "g_gl_n", "F_f", "F_w"]
    used += ["delta_U_ThermalBridging"]
    used += [f"{term}_{part}" for part in OPAQUE for term in ("A_Calc", "U_Actual")]
    used += [f"b_Transmission_{part}" for part in OPAQUE]
    used += [f"{term}_{part}" for part in OPENINGS for term in ("A_Calc", "U_Actual")]
    missing = [name for name in used if name not in table]
    if missing:
        raise FelsinaError(f"{path} is no table of TABULA variants: column {missing[0]} is missing")
    return table


def transmission_w_m2k(table: pd.DataFrame) -> pd.Series:
    """Transmission through the envelope and its thermal bridges, a m2 of reference floor."""
    area = table[[f"A_Calc_{part}" for part in (*OPAQUE, *OPENINGS)]].sum(axis=1)
    total = pd.Series(area * table["delta_U_ThermalBridging"])
    for part in OPAQUE:
        weight = table[f"b_Transmission_{part}"]
        total = total + weight * table[f"A_Calc_{part}"] * table[f"U_Actual_{part}"]
    for part in OPENINGS:
        total = total + table[f"A_Calc_{part}"] * table[f"U_Actual_{part}"]
    return total / table["A_C_Ref"]


def seasonal_need_kwh_m2(table: pd.DataFrame) -> pd.Series:
    """Net heating need q_h_nd of a year in kWh/m2, from areas, U-values and the climate's terms."""
    transmission = transmission_w_m2k(table)
    air_change = table["n_air_use"] + table["n_air_infiltration"]
    loss = transmission + 0.34 * air_change * table["h_room"]
    # Leaky buildings are heated unevenly: 1 at 0.5 W/m2K, htr1 at 1, htr4 from 4 on.
    limits = table[["F_red_htr1", "F_red_htr4"]].to_numpy()
    pairs = zip(transmission, limits, strict=True)
    uneven = np.array([np.interp(h, [0.5, 1, 4], [1, high, low]) for h, (high, low) in pairs])
    kelvin_days = table["HeatingDays"] * (table["theta_i"] - table["Theta_e"])
    lost = _KWH_A_DAY_W * loss * kelvin_days * uneven
    sun = pd.Series(0.0, index=table.index)
    for side, (shade, irradiation) in _SUN.items():
        sun = sun + table[f"A_Calc_Window_{side}"] * table[shade] * table[irradiation]
    sun = sun * (1 - table["F_f"]) * table["F_w"] * table["g_gl_n"] / table["A_C_Ref"]
    gained = sun + _KWH_A_DAY_W * table["phi_int"] * table["HeatingDays"]
    ratio = gained / lost
    inertia = 0.8 + table["c_m"] / loss / 30
    used = (1 - ratio**inertia) / (1 - ratio ** (inertia + 1))
    return lost - used * gained


def envelope(table: pd.DataFrame) -> tuple[NDArray[np.str_], dict[str, FloatArray]]:
    """Codes of the variants, and of each what a building stock takes from an archetype.

    Areas are a m2 of reference floor. Doors count as wall; U-values of parts next to unheated rooms
    and soil hold what those save.
    """
    floor = table["A_C_Ref"].to_numpy(float)
    found: dict[str, FloatArray] = {
        "window_g": table["g_gl_n"].to_numpy(float),
        "bridge_w_m2k": table["delta_U_ThermalBridging"].to_numpy(float),
        "air_change_h": (table["n_air_use"] + table["n_air_infiltration"]).to_numpy(float),
        "height_m": table["h_room"].to_numpy(float),
    }
    words = {"wall": ("Wall", "Door"), "roof": ("Roof",), "ground": ("Floor",)}
    for name, starts in (words | {"window": ("Window",)}).items():
        area, loss = np.zeros(len(table)), np.zeros(len(table))
        for part in (part for part in (*OPAQUE, *OPENINGS) if part.startswith(starts)):
            m2 = table[f"A_Calc_{part}"].to_numpy(float)
            weight = table[f"b_Transmission_{part}"].to_numpy(float) if part in OPAQUE else 1.0
            area = area + m2
            loss = loss + weight * m2 * table[f"U_Actual_{part}"].to_numpy(float)
        found[f"{name}_ratio"] = area / floor
        found[f"{name}_w_m2k"] = loss / np.maximum(area, 1e-9)
    return table[CODE].to_numpy(str), found
