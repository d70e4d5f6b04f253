"""Streets in degrees, beside PROJ's own."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.domains.traffic.georeference import degrees, edge_lines
from pipelines.domains.traffic.network import open_network

warp = pytest.importorskip("rasterio.warp")
MILLIMETRE = 1e-8


@pytest.mark.parametrize(("zone", "code"), [(32, "EPSG:32632"), (33, "EPSG:32633")])
def test_degrees_are_those_of_proj(zone: int, code: str) -> None:
    rng = np.random.default_rng(zone)
    xy = rng.uniform([200_000, 0], [800_000, 8_000_000], (200, 2))
    expected = np.stack(warp.transform(code, "EPSG:4326", *xy.T.tolist()), axis=1)
    assert np.abs(degrees(xy, zone) - expected).max() < MILLIMETRE
    assert np.abs(degrees(xy + 1.0, zone) - expected).max() > MILLIMETRE


@pytest.mark.skipif("FELSINA_DATA" not in os.environ, reason="needs FELSINA_DATA")
def test_streets_lie_in_their_city() -> None:
    network = open_network(Path(os.environ["FELSINA_DATA"]) / "data" / "sumo-bologna" / "acosta")
    lines = edge_lines(network)
    assert lines is not None
    assert len(lines) == len(network.edges)
    lon, lat = np.concatenate([np.array(line) for line in lines]).T
    assert 11.28 < lon.min() < lon.max() < 11.34
    assert 44.48 < lat.min() < lat.max() < 44.51
