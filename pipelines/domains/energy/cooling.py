"""What cooling takes in a year with a heat wave beside one without, by building, area and hour."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.domains.energy.heat_wave import HeatWave
from pipelines.domains.energy.outcome import Outcome

BUILDINGS, HOURS = "buildings.parquet", "cooling.parquet"


@dataclass(frozen=True)
class Cooling:
    """One stock in both years.

    Attributes:
        wave: the years.
        usual: the stock without the heat wave.
        hot: and with it.
    """

    wave: HeatWave
    usual: Outcome
    hot: Outcome

    @property
    def rise_mwh(self) -> float:
        """Of the whole stock."""
        return float((self.hot.demand.cooling_kwh - self.usual.demand.cooling_kwh).sum() / 1000)

    def city(self) -> dict[str, dict[str, float]]:
        """Figures of the whole stock in both years."""
        return {"usual": _figures(self.usual), "wave": _figures(self.hot)}

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """What a person reads."""
        usual, hot = self.city().values()
        quantities = [
            {"quantity": name.replace("_", " "), "usual": value, "wave": hot[name]}
            | {"rise": hot[name] - value}
            for name, value in usual.items()
        ]
        areas = [self._area(name) for name in self.usual.demand.areas.tolist()]
        return {"The stock, a year": quantities, **self._spans(), "Cooling by area": areas}

    def write(self, folder: Path) -> None:
        """A row a building, and where hours are known one an hour and area."""
        stock = self.usual.stock
        table = {"id": stock.id, "area": stock.area, "floor_m2": stock.floor_m2}
        for state, one in (("usual", self.usual), ("wave", self.hot)):
            table |= {f"cooling_kwh_{state}": one.demand.cooling_kwh}
            table |= {f"heat_kwh_{state}": one.demand.heat_kwh, f"bill_eur_{state}": one.bill_eur}
        pd.DataFrame(table).to_parquet(folder / BUILDINGS, index=False)
        before, after = self.usual.demand.cooling_kw, self.hot.demand.cooling_kw
        if before is None or after is None:
            return
        hours, areas = before.shape
        rows = {
            "time": np.repeat(self.wave.usual.times.to_numpy(), areas),
            "area": np.tile(self.usual.demand.areas, hours),
            "cooling_kw_usual": before.ravel(),
            "cooling_kw_wave": after.ravel(),
        }
        pd.DataFrame(rows).to_parquet(folder / HOURS, index=False)

    def _spans(self) -> dict[str, list[dict[str, Any]]]:
        """Cooling within the wave and beside it, where hours are known."""
        before, after = self.usual.demand.cooling_kw, self.hot.demand.cooling_kw
        if before is None or after is None:
            return {}
        spans = {"in its hours": self.wave.rows, "in all others": ~self.wave.rows}
        rows = [
            {"cooling": name, "usual_mwh": float(before[where].sum() / 1000)}
            | {"wave_mwh": float(after[where].sum() / 1000)}
            for name, where in spans.items()
        ]
        return {"Cooling while the wave lasts": rows}

    def _area(self, name: str) -> dict[str, Any]:
        """An area's cooling; its peak day is known where hours are."""
        stock, demand = self.usual.stock, self.hot.demand
        rows = stock.area == name
        floor, cooled = stock.floor_m2[rows], ~np.isnan(stock.cooling_c[rows])
        before, after = (
            float(one.demand.cooling_kwh[rows].sum() / 1000) for one in (self.usual, self.hot)
        )
        found: dict[str, Any] = {
            "area": name,
            "cooled_floor_percent": 100 * float(floor[cooled].sum() / floor.sum()),
            "usual_mwh": before,
            "wave_mwh": after,
            "rise_mwh": after - before,
            "rise_percent": 100 * (after / before - 1) if before else None,
            "bill_rise_eur": float((self.hot.bill_eur - self.usual.bill_eur)[rows].sum()),
        }
        if demand.cooling_kw is not None:
            hours = demand.cooling_kw[:, demand.areas.tolist().index(name)]
            days = hours.reshape(-1, 24).sum(axis=1)
            first = self.wave.usual.times[24 * int(days.argmax())]
            found |= {"peak_day": f"{first:%m-%d}", "peak_day_mwh": float(days.max() / 1000)}
            found |= {"peak_kw": float(hours.max())}
        return found


def _figures(outcome: Outcome) -> dict[str, float]:
    """Figures of the whole stock."""
    demand = outcome.demand
    return {
        "cooling_mwh": float(demand.cooling_kwh.sum() / 1000),
        "heating_mwh": float(demand.heat_kwh.sum() / 1000),
        "energy_mwh": float(outcome.energy_kwh.sum() / 1000),
        "bill_eur": float(outcome.bill_eur.sum()),
        "co2_t": float(outcome.co2_t.sum()),
    }
