"""Set-points that make a stock use what the city's meters say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import model_validator

from models.contracts import FelsinaError
from pipelines.domains.energy.answering import Answerer
from pipelines.domains.energy.assumptions import CARRIERS, Positive
from pipelines.domains.energy.demand import Simulator
from pipelines.domains.energy.stock import Stock
from pipelines.domains.scenarios import Frozen

COLDER_K, WARMER_K = -8.0, 3.0
CLOSE = 1e-3
_MOST_RUNS = 12


class Metered(Frozen):
    """What the whole stock took in a year, MWh; only carriers of heat, those that are known."""

    gas: Positive | None = None
    heating_oil: Positive | None = None
    district_heat: Positive | None = None

    @model_validator(mode="after")
    def _names_a_carrier(self) -> Metered:
        if not self.model_dump(exclude_none=True):
            raise ValueError("give gas, heating_oil or district_heat")
        return self


@dataclass(frozen=True)
class Calibrated:
    """A stock whose demand is as metered, and what it took.

    Attributes:
        stock: with its set-points moved.
        record: for the report: the shift, and metered over modelled before it.
    """

    stock: Stock
    record: dict[str, Any]


def calibrate(
    engine: Simulator | Answerer,
    stock: Stock,
    metered: Metered,
    progress: Callable[[float], None],
) -> Calibrated:
    """Move every set-point by the same so that the metered carriers' sum is met to 0.1 %.

    Homes that can not pay for warmth heat less than set-points say, so that savings computed with
    those would be too high. What is found is one number for all: it also holds whatever else the
    stock's description gets wrong.

    Raises:
        FelsinaError: where no set-point within ``COLDER_K`` to ``WARMER_K`` explains the meters.
    """
    wanted: dict[str, float] = metered.model_dump(exclude_none=True)
    columns, total = [CARRIERS.index(name) for name in wanted], sum(wanted.values())
    runs = 0

    def modelled(shift_k: float) -> float:
        nonlocal runs
        runs += 1
        progress(runs / _MOST_RUNS)
        return float(engine.run(stock.warmer(shift_k)).delivered_kwh[:, columns].sum()) / 1000

    as_stated = modelled(0.0)
    low, high = (COLDER_K, 0.0) if as_stated > total else (0.0, WARMER_K)
    below = modelled(low) if low else as_stated
    above = modelled(high) if high else as_stated
    if not below <= total <= above:
        raise FelsinaError(
            f"metered {', '.join(wanted)} of {total:g} MWh can not be met: the stock takes"
            f" {below:.4g} to {above:.4g} MWh with set-points moved by {low:g} to {high:g} K;"
            " check the stock, its archetypes and hot water"
        )
    shift, found = 0.0, as_stated
    while abs(found / total - 1) > CLOSE and runs < _MOST_RUNS:
        # Demand bends upwards, so a chord meets the total where it is too cold: it closes in.
        shift = float(np.interp(total, [below, above], [low, high]))
        found = modelled(shift)
        low, below, high, above = (
            (shift, found, high, above) if found < total else (low, below, shift, found)
        )
    record = {
        "metered_mwh": wanted,
        "modelled_as_stated_mwh": as_stated,
        "under_heating_factor": total / as_stated,
        "set_points_moved_k": shift,
        "modelled_mwh": found,
    }
    progress(1.0)
    return Calibrated(stock.warmer(shift), record)
