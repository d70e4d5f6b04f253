"""Streets under water: which are, in every system of axes, and what that is to traffic."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from pipelines.domains.flood.rasters import write_raster
from pipelines.domains.flood.terrain import Terrain
from pipelines.domains.flooded_streets import flooded_streets, measures_of, read_depth_m, safe_km_h
from pipelines.domains.traffic.georeference import georeference
from pipelines.domains.traffic.network import Network, open_network
from tests.fixtures.streets import THROUGH

CELL_M = 20.0
UTM = "+proj=utm +zone=32 +ellps=WGS84 +datum=WGS84 +units=m +no_defs"


def plain(side: int = 50, **changes) -> Terrain:
    """A square of 1 km round the town, which lies from 0 to 600 m."""
    return replace(Terrain(np.zeros((side, side)), CELL_M, -200.0, 800.0), **changes)


def through(network: Network, terrain: Terrain, row: int, column: int, x0: float, y0: float):
    """Edges with a lane that crosses a cell, by the sides that its straight pieces cut."""
    west = terrain.west_m + column * CELL_M - x0
    south = terrain.north_m - (row + 1) * CELL_M - y0
    found = set()
    for edge in network.edges.values():
        for lane in edge.lanes:
            for a, b in zip(lane.shape[:-1], lane.shape[1:], strict=True):
                at = a + np.linspace(0, 1, 4001)[:, None] * (b - a)
                inside = (at >= [west, south]) & (at < [west + CELL_M, south + CELL_M])
                if inside.all(axis=1).any():
                    found.add(edge.id)
    return found


def water(folder: Path, terrain: Terrain, row: int, column: int, depth_m: float) -> np.ndarray:
    depth = np.full(terrain.bed_m.shape, np.nan)
    depth[row, column] = depth_m
    write_raster(folder / "depth.tif", depth, terrain, "m")
    return read_depth_m(folder / "depth.tif")


def test_streets_that_cross_a_wet_cell_are_under_water_and_no_other(
    streets: Network, tmp_path: Path
) -> None:
    terrain, found = plain(), flooded_streets(streets, plain(), None)
    middle = streets.edges[THROUGH].middle
    for row in range(20, 35):
        column = int((middle[0] + 200) // CELL_M)
        depth = found.deepest_m(water(tmp_path, terrain, row, column, 0.7))
        wet = set(np.array(found.points.edges)[depth > 0].tolist())
        assert wet == through(streets, terrain, row, column, 0, 0)
        assert set(depth.round(6)) <= {0.0, 0.7}
    assert not found.outside.any()


def projected(streets: Network, folder: Path) -> Network:
    """The town at a place of Bologna's."""
    shutil.copytree(streets.folder, folder)
    net = folder / streets.net.name
    text = net.read_text()
    begin = text.index("<location")
    end = text.index("/>", begin)
    place = f'<location netOffset="-685000.00,-4929000.00" projParameter="{UTM}"'
    net.write_text(text[:begin] + place + text[end:])
    return open_network(folder)


@pytest.mark.parametrize("crs", ["EPSG:25832", "EPSG:7791", "EPSG:32632"])
def test_a_network_with_a_projection_finds_its_place(
    streets: Network, tmp_path: Path, crs: str
) -> None:
    town = projected(streets, tmp_path / "town")
    assert georeference(town).offset_m == (-685000.0, -4929000.0)
    terrain = plain(west_m=684_800.0, north_m=4_929_800.0, crs=crs)
    found = flooded_streets(town, terrain, None)
    depth = found.deepest_m(water(tmp_path, terrain, 30, 14, 0.4))
    wet = set(np.array(found.points.edges)[depth > 0].tolist())
    assert wet == through(town, terrain, 30, 14, 685_000.0, 4_929_000.0)
    assert wet


def test_other_zones_are_projected(streets: Network, tmp_path: Path) -> None:
    """Bologna in the next zone lies some 470 km west of its origin; the same streets are met."""
    from rasterio.warp import transform

    town = projected(streets, tmp_path / "town")
    where = transform("EPSG:32632", "EPSG:32633", [685_000.0 + 300], [4_929_000.0 + 300])
    terrain = plain(west_m=where[0][0] - 500, north_m=where[1][0] + 500, crs="EPSG:32633")
    found = flooded_streets(town, terrain, None)
    assert not found.outside.any()
    with pytest.raises(FelsinaError, match="0 edges: the terrain and the network do not overlap"):
        flooded_streets(town, replace(terrain, crs="EPSG:32632"), None)


def test_an_invented_terrain_is_laid_by_hand(streets: Network, tmp_path: Path) -> None:
    terrain = plain(west_m=0.0, north_m=1000.0)
    by_hand = flooded_streets(streets, terrain, (-200.0, -200.0))
    assert (by_hand.cells == flooded_streets(streets, plain(), None).cells).all()
    partly = flooded_streets(streets, terrain, (300.0, 0.0))
    assert 0 < partly.outside.sum() < len(streets.edges)


def test_places_that_cannot_be_joined_are_refused(streets: Network, tmp_path: Path) -> None:
    town = projected(streets, tmp_path / "town")
    real = plain(west_m=684_800.0, north_m=4_929_800.0, crs="EPSG:25832")
    for network, terrain, shift, says in (
        (streets, real, None, "the network has no projection .*netconvert --proj.utm"),
        (town, plain(), None, "terrain has no coordinate reference system .*roads.shift_m"),
        (town, real, (0.0, 0.0), "the terrain has a place .*leave it out"),
        (streets, plain(west_m=9000.0), None, "0 edges: .*x 9000 to 10000, .*one place's"),
    ):
        with pytest.raises(FelsinaError, match=says) as refused:
            flooded_streets(network, terrain, shift)
        assert "\n" not in str(refused.value)


def test_water_closes_and_slows(streets: Network) -> None:
    """The published function: free at 0, walking pace where a car stands."""
    assert safe_km_h(0.3) == pytest.approx(2.07, abs=0.01)
    assert safe_km_h(0.0) == pytest.approx(86.94, abs=0.01)
    assert (np.diff([safe_km_h(d) for d in np.linspace(0, 0.3, 31)]) < 0).all()
    found = flooded_streets(streets, plain(), None)
    depth = np.zeros(len(streets.edges))
    depth[:7] = [0.5, 0.3, 0.29, 0.2, 0.15, 0.06, 0.01]
    ids = list(streets.edges)
    closure = {"kind": "closure", "edges": ids[:2]}
    assert measures_of(found, depth, 0.3, None) == [closure]
    closed, *slowed = measures_of(found, depth, 0.3, 0.06)
    assert closed == closure
    assert [measure["edges"] for measure in slowed] == [[ids[5]], ids[3:5], [ids[2]]]
    assert [measure["km_h"] for measure in slowed] == [40.7, 16.6, 4.0]
    assert measures_of(found, np.zeros(len(ids)), 0.3, 0.1) == []


def test_bologna_lies_where_it_is(tmp_path: Path) -> None:
    data = os.environ.get("FELSINA_DATA", "")
    folder = Path(data, "data", "sumo-bologna", "acosta")
    if not data or not folder.is_dir():
        pytest.skip("FELSINA_DATA does not hold data/sumo-bologna")
    acosta = open_network(folder)
    # The stadium, 44.4922 N 11.3097 E, lies within; Piazza Maggiore, 11.3430 E, does not.
    from rasterio.warp import transform

    for east, inside in ((11.3097, True), (11.3430, False)):
        x, y = (axis[0] for axis in transform("EPSG:4326", "EPSG:25832", [east], [44.4922]))
        terrain = plain(west_m=x - 500, north_m=y + 500, crs="EPSG:25832")
        if inside:
            assert flooded_streets(acosta, terrain, None).outside.sum() < len(acosta.edges)
        else:
            with pytest.raises(FelsinaError, match="do not overlap"):
                flooded_streets(acosta, terrain, None)
    (east, north), (x0, y0) = acosta.edges["69"].middle, georeference(acosta).offset_m
    terrain = plain(100, west_m=-x0 - 13.0, north_m=-y0 + 1507.0, crs="EPSG:32632")
    row, column = int((1507 - north) // CELL_M), int((east + 13) // CELL_M)
    found = flooded_streets(acosta, terrain, None)
    depth = found.deepest_m(water(tmp_path, terrain, row, column, 0.4))
    wet = set(np.array(found.points.edges)[depth > 0].tolist())
    assert "69" in wet
    assert wet == through(acosta, terrain, row, column, -x0, -y0)
