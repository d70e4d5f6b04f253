"""What the building simulator must reproduce: BESTEST's annual loads and TABULA's heating needs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from models.contracts import FelsinaError
from pipelines.domains.energy import bestest
from pipelines.domains.energy.tabula import CODE, read_tabula, seasonal_need_kwh_m2
from pipelines.domains.energy.weather import read_weather
from pipelines.domains.registry import Check

LIMITS = "bestest_std140_2020_iso13790.csv"
DENVER = "USA_CO_Denver.Intl.AP.725650_TMY3.epw"
TABULA = "tabula_it_variants.csv"
ANNUAL = ("annual_heating", "annual_cooling")
_EXACT = 1e-9
"""Relative; TABULA's terms are given to the last digit, so that its result is too."""


def verify(reference: Path) -> list[Check]:
    """Annual loads of the five cases, and q_h_nd of each TABULA variant.

    Args:
        reference: folder with ``energy/``, which holds limits, weather and variants.
    """
    folder = reference / "energy"
    for name in (LIMITS, DENVER, TABULA):
        if not (folder / name).is_file():
            raise FelsinaError(f"{folder / name} is missing; FELSINA_DATA must hold data/energy")
    return [*_bestest(folder), *_tabula(folder)]


def _bestest(folder: Path) -> list[Check]:
    limits = pd.read_csv(folder / LIMITS)
    found = bestest.results(read_weather(folder / DENVER)).astype(float).to_dict("index")
    return [
        Check("energy", f"BESTEST {case}", f"{metric}_mwh", found[case][metric], low, high)
        for case, metric, low, high in limits[["case", "metric", "lower", "upper"]].to_numpy()
        if metric in ANNUAL and case in found
    ]


def _tabula(folder: Path) -> list[Check]:
    table = read_tabula(folder / TABULA)
    rows = zip(table[CODE], seasonal_need_kwh_m2(table), table["q_h_nd"], strict=True)
    return [
        Check(
            "energy",
            f"TABULA {code}",
            "heating_need_kwh_m2",
            float(need),
            published * (1 - _EXACT),
            published * (1 + _EXACT),
        )
        for code, need, published in rows
    ]
