"""Terrain in and out of GeoTIFFs, and coarser grids that still hold water behind levees."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine

from models.contracts import FelsinaError
from pipelines.domains.flood import rasters
from pipelines.domains.flood.rasters import read_on, read_terrain, write_raster
from pipelines.domains.flood.terrain import Terrain, coarsened, connected, embankments

BED = np.add.outer(np.arange(12) * 0.5, np.arange(20) * 0.01) + 30


def terrain(bed: np.ndarray = BED, cell_m: float = 10.0, crs: str = "EPSG:25832") -> Terrain:
    return Terrain(bed, cell_m, 680_000.0, 4_930_000.0, crs)


def write(path: Path, bed: np.ndarray, grid: Affine, crs: str | None, nodata: float = -1.0) -> Path:
    shape = {"height": bed.shape[0], "width": bed.shape[1], "count": 1, "dtype": "float64"}
    with rasterio.open(
        path, "w", driver="GTiff", transform=grid, crs=crs, nodata=nodata, **shape
    ) as raster:
        raster.write(bed, 1)
    return path


def test_a_raster_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = terrain()
    write_raster(tmp_path / "bed.tif", made.bed_m, made, "m")
    found = read_terrain(tmp_path / "bed.tif")
    assert np.allclose(found.bed_m, BED, atol=1e-5)
    assert found.bed_m.dtype == np.float64
    assert (found.cell_m, found.west_m, found.north_m) == (10, 680_000, 4_930_000)
    assert found.crs == "EPSG:25832"
    with rasterio.open(tmp_path / "bed.tif") as raster:
        assert raster.units == ("m",)
        assert raster.dtypes == ("float32",)


def test_what_is_not_finite_becomes_no_data(tmp_path: Path) -> None:
    made = terrain()
    values = np.where(BED > 33, BED, np.inf)
    write_raster(tmp_path / "x.tif", values, made, "h")
    with rasterio.open(tmp_path / "x.tif") as raster:
        assert np.array_equal(raster.read(1, masked=True).mask, BED <= 33)


def test_points_find_their_cells() -> None:
    made = terrain()
    x, y = made.centres()
    assert np.array_equal(made.cells(x, y), np.arange(BED.size))
    assert made.cell(680_001, 4_929_999, "breach") == 0
    assert made.cells(np.array([679_999.0]), np.array([4_929_999.0])).tolist() == [-1]
    with pytest.raises(
        FelsinaError, match=r"breach 1: x = 5, y = 6 lies outside .*680000 to 680200"
    ):
        made.cell(5, 6, "breach 1")


def test_a_part_is_read(tmp_path: Path) -> None:
    write_raster(tmp_path / "bed.tif", BED, terrain(), "m")
    part = read_terrain(tmp_path / "bed.tif", clip_m=(680_050, 4_929_900, 680_100, 4_929_980))
    assert np.allclose(part.bed_m, BED[2:10, 5:10], atol=1e-5)
    assert (part.west_m, part.north_m) == (680_050, 4_929_980)
    with pytest.raises(FelsinaError, match="is not within it"):
        read_terrain(tmp_path / "bed.tif", clip_m=(679_000, 4_929_900, 680_100, 4_929_980))


def test_gaps_are_refused_or_filled(tmp_path: Path) -> None:
    bed = BED.copy()
    bed[3:5, 7:9] = -1
    path = write(tmp_path / "bed.tif", bed, Affine(10, 0, 0, 0, -10, 120), "EPSG:25832")
    with pytest.raises(FelsinaError, match=r"bed.tif: 4 of 240 .* row 3, column 7; set fill"):
        read_terrain(path)
    filled = read_terrain(path, fill=True).bed_m
    assert np.abs(filled - BED).max() < 0.5
    assert np.array_equal(filled[bed > 0], BED[bed > 0])


@pytest.mark.parametrize(
    ("grid", "crs", "says"),
    [
        (Affine(1e-4, 0, 11, 0, -1e-4, 45), "EPSG:4326", "degrees .EPSG:4326.; .*gdalwarp -t_srs"),
        (Affine(10, 0, 0, 0, -10, 0), None, "no coordinate reference system; .*gdal_edit"),
        (Affine(10, 0, 0, 0, -5, 0), "EPSG:25832", "cells of 10 x 5 m, not square; .*-tr 10 10"),
        (Affine(10, 1, 0, 1, -10, 0), "EPSG:25832", "rotated or not north up; .*gdalwarp"),
        (Affine(10, 0, 0, 0, 10, 0), "EPSG:25832", "rotated or not north up"),
    ],
)
def test_a_grid_that_cannot_be_used_is_refused(
    tmp_path: Path, grid: Affine, crs: str | None, says: str
) -> None:
    path = write(tmp_path / "bed.tif", BED, grid, crs)
    with pytest.raises(FelsinaError, match=rf"bed.tif .*{says}") as refused:
        read_terrain(path)
    assert "\n" not in str(refused.value)


def test_what_is_no_raster_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FelsinaError, match=r"bed.tif is missing"):
        read_terrain(tmp_path / "bed.tif")
    (tmp_path / "bed.tif").write_text("hello")
    with pytest.raises(FelsinaError, match=r"bed.tif is no raster that can be read"):
        read_terrain(tmp_path / "bed.tif")
    empty = np.full((4, 4), -1.0)
    path = write(tmp_path / "e.tif", empty, Affine(10, 0, 0, 0, -10, 0), "EPSG:25832")
    with pytest.raises(FelsinaError, match="no data in any of its 16 cells"):
        read_terrain(path, fill=True)


def test_without_rasterio_the_error_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rasters, "find_spec", lambda name: None)
    for ask in (
        lambda: read_terrain(tmp_path / "bed.tif"),
        lambda: write_raster(tmp_path / "bed.tif", BED, terrain(), "m"),
    ):
        with pytest.raises(FelsinaError, match=r"bed.tif: .*pip install 'felsina\[terrain\]'"):
            ask()


def test_a_field_is_read_at_the_terrains_cells_across_systems(tmp_path: Path) -> None:
    """EPSG:7791 and EPSG:25832 lie within decimetres of each other."""
    made = terrain()
    write_raster(tmp_path / "n.tif", BED, terrain(crs="EPSG:7791"), "")
    assert np.allclose(read_on(tmp_path / "n.tif", made, "roughness")[0], BED, atol=1e-5)
    small = Terrain(BED[:6], 10.0, 680_000.0, 4_930_000.0, "EPSG:25832")
    write_raster(tmp_path / "n.tif", small.bed_m, small, "")
    with pytest.raises(FelsinaError, match=r"roughness .*n.tif: 120 of the terrain's 240 cells"):
        read_on(tmp_path / "n.tif", made, "roughness")


def dyke(cell_m: float, degrees: float, crest_m: float = 4.0) -> Terrain:
    """A plain that falls, and through its middle a dyke 5 m wide on top, its flanks 1 in 2."""
    side = round(600 / cell_m)
    place = (np.arange(side) + 0.5) * cell_m - 300
    across = np.subtract.outer(
        -place * np.cos(np.radians(degrees)), place * np.sin(np.radians(degrees))
    )
    rise = crest_m - np.maximum(np.abs(across) - 2.5, 0) / 2
    plain = 20 - 0.001 * place + np.random.default_rng(3).normal(0, 0.05, (side, side))
    return terrain(plain + np.maximum(rise, 0), cell_m)


@pytest.mark.parametrize("degrees", [0, 17, 45, 70, 90])
@pytest.mark.parametrize("factor", [2, 3, 5, 10])
def test_a_levee_holds_water_on_a_coarser_grid(degrees: float, factor: int) -> None:
    fine = dyke(2.5, degrees)
    coarse = coarsened(fine, factor)
    assert coarse.cell_m == 2.5 * factor
    level = 20 - 0.3 + 4 - 0.3  # just under the lowest crest
    assert separates(fine.bed_m, level)
    assert separates(coarse.bed_m, level)
    if factor >= 5:
        count = coarse.bed_m.shape[0]
        cut = fine.bed_m[: count * factor, : count * factor]
        mean = cut.reshape(count, factor, count, factor).mean(axis=(1, 3))
        assert not separates(mean, level)


def separates(bed: np.ndarray, level: float) -> bool:
    """Whether water at a level in the north-western corner cannot reach the south-eastern."""
    pieces = connected(bed < level)
    assert pieces[0, 0]
    assert pieces[-1, -1]
    return pieces[0, 0] != pieces[-1, -1]


def test_what_is_no_embankment_becomes_its_mean() -> None:
    heap = np.random.default_rng(0).normal(20, 0.05, (60, 60)) + np.arange(60) * 0.02
    heap[20:24, 30:34] += 3  # a house or a heap, not a line
    coarse = coarsened(terrain(heap), 5)
    assert np.allclose(coarse.bed_m, heap.reshape(12, 5, 12, 5).mean(axis=(1, 3)))
    assert not embankments(heap, 11).any()


def test_coarsening_leaves_out_what_fills_no_block() -> None:
    coarse = coarsened(terrain(), 5)
    assert coarse.bed_m.shape == (2, 4)
    assert (coarse.west_m, coarse.north_m, coarse.cell_m) == (680_000, 4_930_000, 50)
    assert coarsened(terrain(), 1).bed_m is BED
    with pytest.raises(FelsinaError, match="coarsen = 13 leaves no cell"):
        coarsened(terrain(), 13)
