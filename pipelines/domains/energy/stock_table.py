"""Reading a building stock: a CSV of a row a building, what it lacks taken from its archetype.

``id``, ``area``, ``floor_m2`` and ``heat_source`` are needed. ``archetype`` names a row of the
archetype table, which gives what a building does not say itself: the ``RATIOS`` (``wall_ratio`` for
``wall_m2``: m2 a m2 of floor), ``NUMBERS`` and ``mass``. ``OPTIONAL`` says what a blank means in
the other columns; ``Stock`` says what each column is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.energy.stock import FACINGS, HEAT_SOURCES, MASSES, Stock
from pipelines.domains.energy.tabula import CODE, envelope, read_tabula

NEEDED = ("id", "area", "floor_m2", "heat_source")
RATIOS = {f"{part}_m2": f"{part}_ratio" for part in ("wall", "roof", "ground", "window")}
NUMBERS = (
    "wall_w_m2k",
    "roof_w_m2k",
    "ground_w_m2k",
    "window_w_m2k",
    "window_g",
    "bridge_w_m2k",
    "air_change_h",
    "height_m",
)
OPTIONAL = {
    "built_year": np.nan,
    "heating_c": 20.0,
    "cooling_c": np.nan,
    "heating_kw": np.nan,
    "pv_kwp": 0.0,
}
_KNOWN = {*NEEDED, *RATIOS, *NUMBERS, *OPTIONAL, "archetype", "mass", "facing", "name"}
_SHOWN = 6
"""Names of archetypes in a refusal: TABULA's are many and long."""
_BELOW_ZERO = ("heating_c", "cooling_c")


@dataclass(frozen=True)
class Archetypes:
    """A kinds of building.

    Attributes:
        names: [A].
        numbers: ``RATIOS`` and ``NUMBERS``, each [A].
        mass: [A], of ``MASSES``.
    """

    names: NDArray[np.str_]
    numbers: dict[str, FloatArray]
    mass: NDArray[np.str_]


class _Table:
    """A CSV as text, whose refusals name file, row and column."""

    def __init__(self, path: Path, what: str, key: str) -> None:
        if not path.is_file():
            raise FelsinaError(f"{path} is missing; name {what} (CSV)")
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True)
        except (ValueError, UnicodeDecodeError) as error:
            raise FelsinaError(f"{path} is no CSV: {str(error).splitlines()[0]}") from None
        self.path, self.key, self.rows = path, key, len(table)
        self.columns = {name: table[name].to_numpy(str) for name in table.columns}
        if not self.rows:
            raise FelsinaError(f"{path} has no rows")

    def need(self, names: tuple[str, ...]) -> None:
        """Refuse a table without one of the columns."""
        if missing := [name for name in names if name not in self.columns]:
            raise FelsinaError(
                f"{self.path}: column {missing[0]} is missing; needed are {', '.join(names)}"
            )

    def names(self) -> NDArray[np.str_]:
        """The key's column: no blank, none twice."""
        names = self.words(self.key)
        self.refuse(names == "", self.key, "is empty")
        twice = np.ones(self.rows, bool)
        twice[np.unique(names, return_index=True)[1]] = False
        self.refuse(twice, self.key, "stands twice")
        return names

    def words(
        self, name: str, known: tuple[str, ...] = (), otherwise: NDArray[np.str_] | str = ""
    ) -> NDArray[np.str_]:
        """A column of words; a blank, or a column that is absent, means ``otherwise``."""
        own = self.columns.get(name, np.full(self.rows, ""))
        words = np.where(own == "", otherwise, own)
        if known:
            self.refuse(~np.isin(words, known), name, f"is unknown; use {', '.join(known)}")
        return words

    def numbers(
        self, name: str, otherwise: FloatArray | float = np.nan, blank: bool = False
    ) -> FloatArray:
        """A column of numbers from 0 on; a blank means ``otherwise``, NaN only if allowed."""
        own = self.columns.get(name, np.full(self.rows, ""))
        parsed = np.asarray(pd.to_numeric(pd.Series(own), errors="coerce"), float)
        self.refuse((own != "") & ~np.isfinite(parsed), name, "is no number")
        numbers = np.where(own == "", otherwise, parsed)
        if not blank:
            self.refuse(np.isnan(numbers), name, "is missing; give it or an archetype")
        if name not in _BELOW_ZERO:
            self.refuse(numbers < 0, name, "is negative")
        return numbers

    def refuse(self, bad: NDArray[np.bool_], name: str, why: str) -> None:
        """Refuse the rows that are bad, by the first of them."""
        if bad.any():
            row = int(np.argmax(bad))
            value = self.columns[name][row] if name in self.columns else ""
            more = f" and {int(bad.sum()) - 1} more" if bad.sum() > 1 else ""
            key = self.columns[self.key][row] or f"in line {row + 2}"
            told = f"{name} {value}".strip()
            raise FelsinaError(f"{self.path}: {self.key} {key}{more}: {told} {why}")


def read_archetypes(path: Path) -> Archetypes:
    """Archetypes from a table with the columns above, or from TABULA's table of variants."""
    table = _Table(path, "a table of archetypes", "archetype")
    if CODE in table.columns:
        names, numbers = envelope(read_tabula(path))
        return Archetypes(names, numbers, np.full(len(names), "medium"))
    ratios = tuple(RATIOS.values())
    table.need(("archetype", *ratios, *NUMBERS, "mass"))
    names = table.names()
    numbers = {name: table.numbers(name) for name in (*ratios, *NUMBERS)}
    return Archetypes(names, numbers, table.words("mass", tuple(MASSES)))


def read_stock(path: Path, archetypes: Archetypes | None = None) -> Stock:
    """Every building with every column known.

    Raises:
        FelsinaError: in one line, naming file, building and column.
    """
    table = _Table(path, "a building stock", "id")
    table.need(NEEDED)
    if odd := [name for name in table.columns if name not in _KNOWN]:
        raise FelsinaError(
            f"{path}: column {odd[0]!r} is unknown; known are {', '.join(sorted(_KNOWN))}"
        )
    kind = table.words("archetype")
    known = np.array([""]) if archetypes is None else archetypes.names
    told = ", ".join(known[:_SHOWN]) + (", ..." if len(known) > _SHOWN else "")
    told = "a table: set archetypes" if archetypes is None else told
    table.refuse((kind != "") & ~np.isin(kind, known), "archetype", f"is unknown; use {told}")
    floor = table.numbers("floor_m2")
    table.refuse(floor <= 0, "floor_m2", "must be above 0")
    words, numbers = _from_archetypes(archetypes, kind)
    areas = {name: table.numbers(name, floor * numbers[ratio]) for name, ratio in RATIOS.items()}
    given = {name: table.numbers(name, numbers[name]) for name in NUMBERS}
    rest = {
        name: table.numbers(name, blank, blank=bool(np.isnan(blank)))
        for name, blank in OPTIONAL.items()
    }
    table.refuse(rest["heating_c"] > rest["cooling_c"], "heating_c", "is above cooling_c")
    area = table.words("area")
    table.refuse(area == "", "area", "is empty")
    return Stock(
        id=table.names(),
        area=area,
        archetype=kind,
        heat_source=table.words("heat_source", HEAT_SOURCES),
        mass=table.words("mass", tuple(MASSES), words),
        facing=table.words("facing", tuple(FACINGS), "all"),
        floor_m2=floor,
        **areas,
        **given,
        **rest,
    )


def _from_archetypes(
    archetypes: Archetypes | None, kind: NDArray[np.str_]
) -> tuple[NDArray[np.str_] | str, dict[str, FloatArray]]:
    """Each building's mass and numbers by its archetype; NaN where it has none."""
    if archetypes is None:
        none = np.full(len(kind), np.nan)
        return "", dict.fromkeys((*RATIOS.values(), *NUMBERS), none)
    place = {name: row for row, name in enumerate(archetypes.names)}
    rows = np.array([place.get(name, -1) for name in kind])
    found = {
        name: np.where(rows < 0, np.nan, values[rows])
        for name, values in archetypes.numbers.items()
    }
    return np.where(rows < 0, "", archetypes.mass[rows]), found
