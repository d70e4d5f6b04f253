"""GeoTIFFs in and out, by rasterio (extra ``terrain``): terrain, fields on it, and results."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from models.contracts import BoolArray, FelsinaError, FloatArray
from pipelines.domains.flood.terrain import Terrain

if TYPE_CHECKING:
    from rasterio.io import DatasetReader
    from rasterio.windows import Window

NODATA = -9999.0
_REMEDY = "gdalwarp -t_srs EPSG:25832 -r bilinear"


def require_rasterio(what: str) -> None:
    """Refuse ``what`` where rasterio is not installed."""
    if find_spec("rasterio") is None:
        raise FelsinaError(f"{what}: GeoTIFFs need rasterio; pip install 'felsina[terrain]'")


def open_raster(path: Path) -> DatasetReader:
    """A GeoTIFF or another raster that GDAL reads, north up and without rotation."""
    require_rasterio(str(path))
    import rasterio
    from rasterio.errors import RasterioIOError

    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a GeoTIFF")
    try:
        raster = rasterio.open(path)
    except RasterioIOError as error:
        reason = str(error).splitlines()[0]
        raise FelsinaError(f"{path} is no raster that can be read: {reason}") from None
    grid = raster.transform
    if grid.b or grid.d or grid.e >= 0 or grid.a <= 0:
        raise FelsinaError(f"{path} is rotated or not north up; remedy: {_warp(path)}")
    return raster


def read_terrain(
    path: Path, fill: bool = False, clip_m: tuple[float, float, float, float] | None = None
) -> Terrain:
    """Read bed levels, the first band of a GeoTIFF.

    Args:
        path: the raster: metres, square cells, north up.
        fill: fill cells without data from those around (inverse distance, GDAL's).
        clip_m: west, south, east and north edge of the part to read; all when left out.

    Raises:
        FelsinaError: naming file, what is wrong with it and the remedy.
    """
    with open_raster(path) as raster:
        crs = raster.crs
        if not crs:
            raise FelsinaError(
                f"{path} has no coordinate reference system; remedy: gdal_edit.py -a_srs"
                f" EPSG:25832 {path.name}"
            )
        if crs.is_geographic:
            raise FelsinaError(
                f"{path} is in degrees ({crs.to_string()}); reproject it to metres, EPSG:25832 or"
                f" EPSG:7791: {_warp(path)}"
            )
        grid = raster.transform
        if abs(grid.a + grid.e) > 1e-6 * grid.a:
            raise FelsinaError(
                f"{path} has cells of {grid.a:g} x {-grid.e:g} m, not square; remedy:"
                f" {_warp(path, grid.a)}"
            )
        window = None if clip_m is None else _window(path, raster, clip_m)
        bed = raster.read(1, window=window, masked=True).astype(float)
        lacking = np.ma.getmaskarray(bed) | ~np.isfinite(bed.filled(np.nan))
    right, down = (0, 0) if window is None else (window.col_off, window.row_off)
    west, north = grid.c + right * grid.a, grid.f + down * grid.e
    values = bed.filled(0.0)
    if lacking.all():
        raise FelsinaError(f"{path} has no data in any of its {lacking.size} cells; name another")
    if lacking.any():
        if not fill:
            row, column = (int(place) for place in np.argwhere(lacking)[0])
            raise FelsinaError(
                f"{path}: {int(lacking.sum())} of {lacking.size} cells have no data, the first in"
                f" row {row}, column {column}; set fill = true, or clip to where there is"
            )
        values = _filled(values, lacking)
    return Terrain(values, float(grid.a), float(west), float(north), crs.to_string())


def read_on(path: Path, terrain: Terrain, what: str) -> FloatArray:
    """All bands of a raster at the terrain's cells, nearest, [K, Y, X].

    Raises:
        FelsinaError: if it does not cover the terrain, or has no data there.
    """
    x, y = terrain.centres()
    with open_raster(path) as raster:
        crs = raster.crs.to_string() if raster.crs else ""
        if crs != terrain.crs and crs and terrain.crs:
            from rasterio.warp import transform

            x, y = (np.asarray(axis) for axis in transform(terrain.crs, crs, x, y))
        grid = raster.transform
        row = np.floor((grid.f - y) / -grid.e).astype(int)
        column = np.floor((x - grid.c) / grid.a).astype(int)
        outside = (row < 0) | (row >= raster.height) | (column < 0) | (column >= raster.width)
        if outside.any():
            raise FelsinaError(
                f"{what} {path}: {int(outside.sum())} of the terrain's {outside.size} cells lie"
                f" outside it; give a raster that covers {terrain.extent_m} (west, east, south,"
                " north)"
            )
        bands = raster.read(masked=True).astype(float).filled(np.nan)
    values = bands[:, row, column]
    if not np.isfinite(values).all():
        band, first = (int(place) for place in np.argwhere(~np.isfinite(values))[0])
        raise FelsinaError(
            f"{what} {path}: no data in band {band + 1} at x = {x[first]:g}, y = {y[first]:g};"
            " fill it, since every cell of the terrain needs a value"
        )
    return values.reshape(len(bands), *terrain.bed_m.shape)


def write_raster(
    path: Path, values: FloatArray, terrain: Terrain, unit: str, nodata: float = NODATA
) -> None:
    """Write [Y, X] or [K, Y, X] on the terrain's grid as GeoTIFF, float32; not finite: no data."""
    require_rasterio(str(path))
    import rasterio
    from rasterio.transform import Affine

    bands = np.asarray(values, float).reshape(-1, *terrain.bed_m.shape)
    cell = terrain.cell_m
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=bands.shape[1],
        width=bands.shape[2],
        count=len(bands),
        dtype="float32",
        nodata=nodata,
        crs=terrain.crs or None,
        transform=Affine(cell, 0.0, terrain.west_m, 0.0, -cell, terrain.north_m),
        compress="deflate",
    ) as raster:
        raster.write(np.where(np.isfinite(bands), bands, nodata).astype(np.float32))
        raster.units = [unit] * len(bands)


def _window(path: Path, raster: DatasetReader, clip: tuple[float, float, float, float]) -> Window:
    """Whole cells of the part to read; one that sticks out is refused."""
    from rasterio.windows import Window

    west, south, east, north = clip
    grid = raster.transform
    begin = np.round([(west - grid.c) / grid.a, (grid.f - north) / grid.a]).astype(int)
    end = np.round([(east - grid.c) / grid.a, (grid.f - south) / grid.a]).astype(int)
    if (begin < 0).any() or (end > [raster.width, raster.height]).any() or (end <= begin).any():
        raise FelsinaError(
            f"{path}: clip = {list(clip)} is not within it; give west, south, east, north within"
            f" {[round(edge, 2) for edge in raster.bounds]}"
        )
    column, row = begin.tolist()
    width, height = (end - begin).tolist()
    return Window.from_slices((row, row + height), (column, column + width))


def _filled(values: FloatArray, lacking: BoolArray) -> FloatArray:
    from rasterio.fill import fillnodata

    reach = float(sum(values.shape))
    done = fillnodata(np.array(values), mask=~lacking, max_search_distance=reach)
    return np.where(lacking, np.asarray(done, float), values)  # GDAL rounds all to float32


def _warp(path: Path, cell_m: float | None = None) -> str:
    cell = f" -tr {cell_m:g} {cell_m:g}" if cell_m else ""
    return f"{_REMEDY}{cell} {path.name} {path.stem}-25832.tif"
