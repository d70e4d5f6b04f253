"""Stocks and archetypes are read whole, or refused in one line that names file and row."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from pipelines.domains.energy.stock_table import read_archetypes, read_stock
from pipelines.domains.energy.synthetic_stock import synthesise_stock
from pipelines.domains.energy.tabula import read_tabula, transmission_w_m2k
from tests.fixtures.buildings import EXAMPLES, ROWS, make_stock, write_stock

ARCHETYPES = read_archetypes(EXAMPLES / "archetypes.csv")


def test_what_a_building_lacks_is_its_archetypes(tmp_path: Path) -> None:
    stock = make_stock(tmp_path)
    assert list(stock.id) == list("abcde")
    assert stock.wall_m2[0] == pytest.approx(0.70 * 1000)
    assert stock.wall_w_m2k[0] == 1.2
    assert list(stock.mass) == ["medium"] * 5
    assert np.isnan(stock.built_year[4])
    assert np.isnan(stock.cooling_c[0])
    assert (stock.heating_c == 20).all()
    assert (stock.heating_kw > 0).all()


def test_a_buildings_own_value_wins(tmp_path: Path) -> None:
    head, first, *_ = ROWS
    path = write_stock(tmp_path, (head + ",wall_w_m2k,wall_m2,mass", first + ",0.3,55,heavy"))
    stock = read_stock(path, ARCHETYPES)
    assert (stock.wall_w_m2k[0], stock.wall_m2[0], stock.mass[0]) == (0.3, 55, "heavy")


def test_buildings_may_do_without_archetypes(tmp_path: Path) -> None:
    numbers = dict.fromkeys(
        ("wall_m2", "roof_m2", "ground_m2", "window_m2", "bridge_w_m2k", "height_m"), 1
    )
    numbers |= dict.fromkeys(("wall_w_m2k", "roof_w_m2k", "ground_w_m2k", "window_w_m2k"), 1)
    numbers |= {"window_g": 0.6, "air_change_h": 0.5}
    head = "id,area,floor_m2,heat_source,mass," + ",".join(numbers)
    row = "a,one,100,gas_boiler,light," + ",".join(map(str, numbers.values()))
    stock = read_stock(write_stock(tmp_path, (head, row)))
    assert stock.opaque_w_k[0] == pytest.approx(3 + 4)
    assert stock.ventilation_w_k[0] == pytest.approx(0.34 * 0.5 * 100)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("block-1946-1975", "castle", "id a: archetype castle is unknown; use block-to-1945, "),
        (",1000,", ",-1000,", "id a: floor_m2 -1000 is negative"),
        (",1000,", ",0,", "id a: floor_m2 0 must be above 0"),
        (",1000,", ",large,", "id a: floor_m2 large is no number"),
        (",1000,", ",,", "id a: floor_m2 is missing; give it or an archetype"),
        ("block-1946-1975", "", "id a: wall_m2 is missing; give it or an archetype"),
        ("gas_boiler", "fireplace", "heat_source fireplace is unknown; use gas_boiler, "),
        ("a,north", "b,north", "id b: id b stands twice"),
        ("a,north", ",north", "id in line 2: id is empty"),
        ("a,north", "a,", "id a: area is empty"),
        (",,0\nb", ",19,0\nb", "id a: heating_c is above cooling_c"),
        ("floor_m2", "floor", "column floor_m2 is missing; needed are id, area, floor_m2"),
        ("pv_kwp", "pv_kw", "column 'pv_kw' is unknown; known are air_change_h, archetype"),
        ("c,south", "c,south,1,2,3", "is no CSV: "),
    ],
)
def test_a_wrong_row_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = "\n".join(ROWS)
    assert old in text
    path = write_stock(tmp_path, (text.replace(old, new, 1),))
    with pytest.raises(FelsinaError) as caught:
        read_stock(path, ARCHETYPES)
    message = str(caught.value)
    assert message.startswith(f"{path}")
    assert said in message
    assert "\n" not in message


def test_an_archetype_needs_its_table(tmp_path: Path) -> None:
    with pytest.raises(FelsinaError, match="is unknown; use a table: set archetypes"):
        read_stock(write_stock(tmp_path))
    with pytest.raises(FelsinaError, match=r"gone.csv is missing; name a table of archetypes"):
        read_archetypes(tmp_path / "gone.csv")
    bad = tmp_path / "bad.csv"
    text = (EXAMPLES / "archetypes.csv").read_text()
    bad.write_text(text.replace(",0.8,3.2,heavy", ",-0.8,3.2,heavy"))
    with pytest.raises(FelsinaError, match=r"archetype block-to-1945: air_change_h -0.8 is neg"):
        read_archetypes(bad)


def test_the_example_stock_is_what_its_seed_gives(tmp_path: Path) -> None:
    synthesise_stock(tmp_path)
    for name in ("stock.csv", "archetypes.csv"):
        assert (tmp_path / name).read_text() == (EXAMPLES / name).read_text()


@pytest.mark.skipif(not os.environ.get("FELSINA_DATA"), reason="needs FELSINA_DATA")
def test_tabulas_variants_lose_what_tabula_says(tmp_path: Path) -> None:
    path = Path(os.environ["FELSINA_DATA"], "data", "energy", "tabula_it_variants.csv")
    archetypes = read_archetypes(path)
    rows = ["id,area,floor_m2,heat_source,archetype"]
    rows += [f"{n},one,1000,gas_boiler,{name}" for n, name in enumerate(archetypes.names)]
    stock = read_stock(write_stock(tmp_path, tuple(rows)), archetypes)
    lost = (stock.opaque_w_k + stock.window_w_k) / stock.floor_m2
    np.testing.assert_allclose(lost, transmission_w_m2k(read_tabula(path)), rtol=1e-9)
