"""What can be done to buildings: which ones a rule allows, what it costs, what becomes of them.

Costs and U-values are the scenario's own. Nothing here knows an existing building's state beyond
its row: U-values after works are those that the scenario sets, such as national minimum
requirements, and never worse than today's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.energy.assumptions import NotNegative, Positive
from pipelines.domains.energy.stock import HEAT_SOURCES, Stock
from pipelines.domains.scenarios import Frozen

Rows = NDArray[np.bool_]
Words = str | list[str]


class Where(Frozen):
    """Which buildings; what is left out allows all.

    Attributes:
        built_before: year; buildings of unknown year are not meant.
        built_from: year, alike.
        area: one area's id or several.
        archetype: one name or several.
        heat_source: one source or several.
    """

    built_before: int | None = None
    built_from: int | None = None
    area: Words | None = None
    archetype: Words | None = None
    heat_source: Words | None = None

    def rows(self, stock: Stock) -> Rows:
        """[B] the buildings meant; a name that the stock does not know is refused."""
        rows = np.ones(len(stock), bool)
        if self.built_before is not None:
            rows &= stock.built_year < self.built_before
        if self.built_from is not None:
            rows &= stock.built_year >= self.built_from
        names = {"area": np.unique(stock.area), "archetype": np.unique(stock.archetype)}
        for name, known in (names | {"heat_source": np.array(HEAT_SOURCES)}).items():
            wanted = getattr(self, name)
            if wanted is not None:
                odd = np.setdiff1d(wanted, known)
                if len(odd):
                    raise FelsinaError(
                        f"where: {name} {odd[0]!s} is not in the stock; use {', '.join(known)}"
                    )
                rows &= np.isin(getattr(stock, name), wanted)
        return rows


class _Measure(Frozen, ABC):
    """A kind of works; a building gets one of each ``slot``."""

    where: Where = Where()

    @property
    @abstractmethod
    def slot(self) -> str:
        """What it changes; works on the same exclude each other."""

    @abstractmethod
    def done(self, stock: Stock) -> Stock:
        """Every building after the works."""

    @abstractmethod
    def cost_eur(self, stock: Stock) -> FloatArray:
        """[B] of the works on each building."""

    @abstractmethod
    def useful(self, stock: Stock) -> Rows:
        """[B] where it changes anything."""

    def eligible(self, stock: Stock) -> Rows:
        """[B] the buildings that the rule allows and that it changes."""
        return self.where.rows(stock) & self.useful(stock)


class Insulation(_Measure):
    """Walls, roof or ground to the given U-values; parts that are better already are left alone."""

    kind: Literal["insulation"]
    eur_m2: NotNegative
    wall_w_m2k: Positive | None = None
    roof_w_m2k: Positive | None = None
    ground_w_m2k: Positive | None = None

    @model_validator(mode="after")
    def _names_a_part(self) -> Insulation:
        if not self._parts:
            raise ValueError("give wall_w_m2k, roof_w_m2k or ground_w_m2k")
        return self

    @property
    def slot(self) -> str:
        """The envelope's opaque parts."""
        return "insulation"

    @property
    def _parts(self) -> dict[str, float]:
        given = {part: getattr(self, f"{part}_w_m2k") for part in ("wall", "roof", "ground")}
        return {part: value for part, value in given.items() if value is not None}

    def _treated_m2(self, stock: Stock) -> FloatArray:
        treated = np.zeros(len(stock))
        for part, value in self._parts.items():
            worse = getattr(stock, f"{part}_w_m2k") > value
            treated = treated + worse * getattr(stock, f"{part}_m2")
        return treated

    def done(self, stock: Stock) -> Stock:
        """Parts at the given U-value or better."""
        changed = {
            f"{part}_w_m2k": np.minimum(getattr(stock, f"{part}_w_m2k"), value)
            for part, value in self._parts.items()
        }
        return replace(stock, **changed)

    def cost_eur(self, stock: Stock) -> FloatArray:
        """By the m2 that are treated."""
        return self.eur_m2 * self._treated_m2(stock)

    def useful(self, stock: Stock) -> Rows:
        """Where a part is worse."""
        return self._treated_m2(stock) > 0


class Windows(_Measure):
    """New windows, and on request the tighter air change that comes with them."""

    kind: Literal["windows"]
    eur_m2: NotNegative
    window_w_m2k: Positive
    window_g: Annotated[float, Field(gt=0, le=1)]
    air_change_h: Positive | None = None

    @property
    def slot(self) -> str:
        """The windows."""
        return "windows"

    def done(self, stock: Stock) -> Stock:
        """All windows new."""
        air = stock.air_change_h
        return replace(
            stock,
            window_w_m2k=np.minimum(stock.window_w_m2k, self.window_w_m2k),
            window_g=np.full(len(stock), self.window_g),
            air_change_h=air if self.air_change_h is None else np.minimum(air, self.air_change_h),
        )

    def cost_eur(self, stock: Stock) -> FloatArray:
        """By the m2 of window."""
        return self.eur_m2 * stock.window_m2

    def useful(self, stock: Stock) -> Rows:
        """Where today's lose more."""
        return (stock.window_w_m2k > self.window_w_m2k) & (stock.window_m2 > 0)


class HeatSource(_Measure):
    """A heat pump or a connection to district heating, as large as the plant that it replaces."""

    kind: Literal["heat_pump", "district_heat"]
    eur_kw: NotNegative

    @property
    def slot(self) -> str:
        """The heat source."""
        return "heat source"

    def done(self, stock: Stock) -> Stock:
        """All heated by it."""
        return replace(stock, heat_source=np.full(len(stock), self.kind))

    def cost_eur(self, stock: Stock) -> FloatArray:
        """By the plant's size."""
        return self.eur_kw * stock.heating_kw

    def useful(self, stock: Stock) -> Rows:
        """Where it is not there."""
        return stock.heat_source != self.kind


class Panels(_Measure):
    """Solar panels on a share of the roof, if there are fewer today."""

    kind: Literal["pv"]
    eur_kwp: NotNegative
    kwp_m2: Annotated[float, Field(gt=0, le=0.25)]

    @property
    def slot(self) -> str:
        """The panels."""
        return "pv"

    def done(self, stock: Stock) -> Stock:
        """``kwp_m2`` peak power for each m2 of roof."""
        return replace(stock, pv_kwp=np.maximum(stock.pv_kwp, self.kwp_m2 * stock.roof_m2))

    def cost_eur(self, stock: Stock) -> FloatArray:
        """By what is added."""
        return self.eur_kwp * (self.done(stock).pv_kwp - stock.pv_kwp)

    def useful(self, stock: Stock) -> Rows:
        """Where some are added."""
        return self.done(stock).pv_kwp > stock.pv_kwp


class SetPoint(_Measure):
    """Another heating set-point; it costs nothing but comfort."""

    kind: Literal["set_point"]
    change_k: Annotated[float, Field(ge=-5, le=5)]

    @property
    def slot(self) -> str:
        """The set-point."""
        return "set-point"

    def done(self, stock: Stock) -> Stock:
        """Warmer or colder."""
        return stock.warmer(self.change_k)

    def cost_eur(self, stock: Stock) -> FloatArray:
        """Nothing."""
        return np.zeros(len(stock))

    def useful(self, stock: Stock) -> Rows:
        """Everywhere."""
        return np.full(len(stock), self.change_k != 0)


Measure = Annotated[
    Insulation | Windows | HeatSource | Panels | SetPoint, Field(discriminator="kind")
]
