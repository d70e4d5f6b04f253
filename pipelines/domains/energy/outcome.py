"""What a simulated year means: intensity, emissions, bills, comfort, by building, area and city."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from torch import Tensor

from models.contracts import FloatArray
from pipelines.domains.energy.assumptions import CARRIERS, Assumptions
from pipelines.domains.energy.demand import Demand
from pipelines.domains.energy.stock import Stock


@dataclass(frozen=True)
class Outcome:
    """A stock, its demand, and what follows from both."""

    stock: Stock
    demand: Demand
    assumptions: Assumptions

    @property
    def co2_t(self) -> FloatArray:
        """[B] emissions of what is delivered; exported electricity earns nothing here."""
        return self.demand.delivered_kwh @ self.assumptions.co2_t_mwh.array() / 1000

    @property
    def energy_kwh(self) -> FloatArray:
        """[B] delivered, all carriers together."""
        return self.demand.delivered_kwh.sum(axis=1)

    @property
    def bill_eur(self) -> FloatArray:
        """[B] what is paid in a year, less what is earned."""
        paid = self.demand.delivered_kwh @ self.assumptions.price_eur_kwh.array()
        return paid - self.assumptions.export_eur_kwh * self.demand.exported_kwh

    def by_building(self) -> dict[str, NDArray[Any]]:
        """Columns, each [B]."""
        demand = self.demand
        carriers = {f"{c}_kwh": demand.delivered_kwh[:, i] for i, c in enumerate(CARRIERS)}
        columns = carriers | {
            "exported_kwh": demand.exported_kwh,
            "heat_kwh": demand.heat_kwh,
            "kwh_m2": self.energy_kwh / self.stock.floor_m2,
            "co2_t": self.co2_t,
            "bill_eur": self.bill_eur,
            "heat_peak_kw": demand.heat_peak_kw,
            "cold_h": demand.cold_h,
        }
        if demand.electricity_peak_kw is not None:
            columns["electricity_peak_kw"] = demand.electricity_peak_kw
        if demand.heat_kwh_band is not None:
            columns["heat_kwh_low"], columns["heat_kwh_high"] = demand.heat_kwh_band.T
        if demand.simulated is not None:
            columns["simulated"] = demand.simulated
        return columns

    def summary(self, area: str | None = None) -> dict[str, float]:
        """One area's figures, or the city's; peaks are of the sum in one hour."""
        rows = np.full(len(self.stock), True) if area is None else self.stock.area == area
        demand, floor = self.demand, self.stock.floor_m2[rows]
        among = slice(None) if area is None else demand.areas == area
        delivered = demand.delivered_kwh[rows].sum(axis=0) / 1000
        figures = {f"{c}_mwh": delivered[i] for i, c in enumerate(CARRIERS)} | {
            "exported_mwh": demand.exported_kwh[rows].sum() / 1000,
            "kwh_m2": 1000 * delivered.sum() / floor.sum(),
            "co2_t": self.co2_t[rows].sum(),
            "bill_eur": self.bill_eur[rows].sum(),
            "cold_h": (demand.cold_h[rows] * floor).sum() / floor.sum(),
        }
        if demand.hourly_kw is not None:
            hourly = demand.hourly_kw[:, among].sum(axis=1)
            figures["peak_kw"] = hourly.sum(axis=1).max()
            figures["electricity_peak_kw"] = hourly[:, CARRIERS.index("electricity")].max()
        return {name: float(value) for name, value in figures.items()}

    def hourly(self, times: pd.DatetimeIndex, state: str) -> pd.DataFrame:
        """Each area's demand by hour and carrier in kW, rows of (state, time, area).

        Only of a simulator's outcome.
        """
        assert self.demand.hourly_kw is not None
        hours, areas = self.demand.hourly_kw.shape[:2]
        flat = self.demand.hourly_kw.reshape(-1, len(CARRIERS)).astype(np.float32)
        rows = {
            "state": np.full(len(flat), state),
            "time": np.repeat(times.to_numpy(), areas),
            "area": np.tile(self.demand.areas, hours),
        }
        return pd.DataFrame(rows | {f"{c}_kw": flat[:, i] for i, c in enumerate(CARRIERS)})


class BuildingHours:
    """Writes each building's demand by hour as it is simulated; a row group a chunk."""

    def __init__(self, path: str) -> None:
        columns = [(f"{name}_kw", pa.float32()) for name in CARRIERS]
        words = pa.dictionary(pa.int32(), pa.string())
        self._schema = pa.schema([("id", words), ("hour", pa.int16()), *columns])
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def __call__(self, stock: Stock, kw: Tensor) -> None:
        """Append a chunk, [C, T, b]; hours count from 0."""
        hours, count = kw.shape[1:]
        ids = pa.DictionaryArray.from_arrays(
            pa.array(np.repeat(np.arange(count, dtype=np.int32), hours)), pa.array(list(stock.id))
        )
        columns = [pa.array(carrier.T.reshape(-1).numpy()) for carrier in kw]
        hour = pa.array(np.tile(np.arange(hours, dtype=np.int16), count))
        self._writer.write_table(pa.table([ids, hour, *columns], schema=self._schema))

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
