"""What a river's stage spills over a levee."""

from typing import Any

import numpy as np
import pytest

from models.contracts import FelsinaError
from pipelines.domains.flood.embanked_plain import PlainDesign, embanked_plain
from pipelines.domains.flood.outlook_file import BROAD_CREST, GaugeKeys
from pipelines.domains.flood.overtopping import landing, spills, weir_flow_m3_s
from pipelines.domains.flood.terrain import Terrain

HOURS = np.arange(7.0)


def keys(**changes: Any) -> GaugeKeys:
    whole = {"dataset": "river", "node": "d", "crest_m": 3.0, "width_m": 10.0, "most_over_m": 2.0}
    return GaugeKeys.model_validate(whole | {"river": 0.5, "side": "left"} | changes)


def test_a_weir_has_the_flow_of_the_books() -> None:
    head = np.array([-1.0, 0.0, 0.25, 1.0, 4.0])
    np.testing.assert_allclose(weir_flow_m3_s(head, 10, 1.7), [0, 0, 2.125, 17, 136])
    assert pytest.approx((2 / 3) ** 1.5 * 9.81**0.5, abs=0.01) == BROAD_CREST


def test_a_weir_scales_by_froude() -> None:
    head, scale = np.array([0.1, 0.7]), 25.0
    model, river = weir_flow_m3_s(head, 3, 1.7), weir_flow_m3_s(scale * head, scale * 3, 1.7)
    np.testing.assert_allclose(river, scale**2.5 * model)


def test_what_stands_over_the_crest_spills_and_no_more_than_is_held() -> None:
    stage = np.array([[2.9] * 7, [4.0] * 7, [9.0] * 7])
    found = spills(keys(), HOURS, stage, 0.0, 6.0)
    assert found.wet.tolist() == [1, 2]
    np.testing.assert_allclose(found.volume_m3, [0, 17 * 6 * 3600, 17 * 2**1.5 * 6 * 3600])
    assert found.held.tolist() == [False, False, True]
    assert found.stage_m.max() == 5.0
    lower = spills(keys(crest_m=2.0), HOURS, stage, 0.0, 6.0)
    assert (lower.flow_m3_s >= found.flow_m3_s).all()


def test_after_the_forecast_its_last_stage_holds_and_before_the_outlook_water_is_counted() -> None:
    stage = np.array([[4.0, 4.0, 3.0, 3.0, 3.0, 3.5, 4.0]])
    late = spills(keys(), HOURS, stage, 5.0, 4.0)
    assert late.hours[[0, -1]].tolist() == [0, 4]
    assert late.flow_m3_s[0, -1] == pytest.approx(17)
    assert late.flow_m3_s[0, 0] == pytest.approx(17 * 0.5**1.5)
    whole = spills(keys(), HOURS, stage, 0.0, 5.0)
    assert late.before_m3 == pytest.approx(whole.volume_m3, rel=1e-9)


def test_a_levee_that_broke_stays_broken() -> None:
    breach = {"fails_at_m": 2.5, "sill_m": 1.0, "minutes": 60}
    stage = np.array([[2.0, 2.0, 3.0, 2.0, 2.0, 2.0, 2.0], [2.4] * 7])
    found = spills(keys(breach=breach), HOURS, stage, 0.0, 6.0)
    assert found.broken.tolist() == [True, False]
    begins = found.hours[found.flow_m3_s[0] > 0][0]
    assert 1.5 < begins < 2.0
    assert found.flow_m3_s[0, -1] == pytest.approx(17)
    assert found.flow_m3_s[1].max() == 0


@pytest.mark.parametrize(
    ("breach", "told"),
    [({"fails_at_m": 3, "sill_m": 3}, "sill_m"), ({"fails_at_m": 9, "sill_m": 1}, "fails_at_m")],
)
def test_a_breach_that_cannot_be_is_refused(breach: dict[str, float], told: str) -> None:
    with pytest.raises(FelsinaError, match=told):
        spills(keys(breach=breach), HOURS, np.full((1, 7), 2.0), 0.0, 6.0)


def test_water_lands_beside_the_levee_on_the_side_of_the_land() -> None:
    plain = embanked_plain(PlainDesign(seed=4, rows=48, columns=48, cell_m=50))
    places = {}
    for side in ("left", "right"):
        cells = landing(keys(side=side, width_m=120), plain.terrain, plain)
        assert len(cells) == 2
        assert not (plain.floodway | plain.crest).flat[cells].any()
        places[side] = plain.terrain.centres(cells)[0].mean()
    assert places["left"] < places["right"]  # the river runs north
    here = {"river": None, "side": None, "x": 100.0, "y": 100.0}
    cells = landing(keys(**here), plain.terrain, None)
    assert cells.tolist() == [plain.terrain.cell(100.0, 100.0, "")]


def test_no_width_reaches_over_the_levee_into_the_river() -> None:
    bed = np.full((60, 60), 20.0) + np.linspace(0, -0.3, 60)[:, None]
    bed[:, 30:32] = bed[:, 40:42] = 24.0
    bed[:, 32:40] = 17.0
    terrain = Terrain(bed, 10.0, 0.0, 600.0)
    named = {"river": None, "side": None, "x": 295.0, "y": 300.0}
    for width in (10.0, 60.0, 100.0, 300.0):
        cells = landing(keys(**named, width_m=width), terrain, None)
        assert terrain.cell(295.0, 300.0, "") in cells
        assert (cells % 60 < 30).all()
    mound = bed.copy()
    mound[30, 29] += 1.5  # the named cell stands alone: it belongs all the same
    alone = landing(keys(**named, width_m=60.0), Terrain(mound, 10.0, 0.0, 600.0), None)
    assert alone.tolist() == [terrain.cell(295.0, 300.0, "")]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_wide_overtopping_stays_on_its_side_of_the_synthetic_river(side: str) -> None:
    plain = embanked_plain(PlainDesign(seed=4, rows=48, columns=48, cell_m=50))
    cells = landing(keys(side=side, width_m=1500), plain.terrain, plain)
    east, north = plain.terrain.centres(cells)
    river = np.interp(north, plain.course_m[:, 1], plain.course_m[:, 0])
    assert len(cells) == 30
    assert ((east < river) == (side == "left")).all()


def test_a_place_that_is_none_is_refused() -> None:
    flat = Terrain(np.zeros((30, 30)), 50.0, 0.0, 1500.0)
    for changes, told in (
        ({}, "synthetic river"),
        ({"side": None}, "go together"),
        ({"river": None, "side": None}, "give x and y"),
        ({"river": None, "side": None, "x": -5.0, "y": 3.0}, "outside the terrain"),
    ):
        with pytest.raises(FelsinaError, match=told):
            landing(keys(**changes), flat, None)
