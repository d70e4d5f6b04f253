"""A city of several hundred nodes to be served: untrained, since a request costs the same.

    python -m benchmarks.serving_home HOME [--nodes 500]

Hourly counts with a daily wave on a ring with chords, a week's lookback, a day's horizon, a weather
that is known ahead; the forecaster has its usual width and is not fitted. Sixty days up to the hour
are held in the store.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import CityGraph, Forcing, ForecastSpec
from models.record import canonical_json, sha256_file
from models.windows import WindowBuilder
from serving.release import FILES, GRAPH, MANIFEST, MEMBERS, MODEL, REPORT, champions, release_id
from serving.store import FORCED, OBSERVED, Store

NAME = "five-hundred"
DAYS = 60


def city(nodes: int) -> tuple[ForecastSpec, CityGraph]:
    """What is forecast, and where."""
    rng = np.random.default_rng(0)
    weather = (Forcing("temp_c", "degC", True),)
    spec = ForecastSpec(
        NAME, "traffic", "flow", "veh/h", "1h", "Europe/Rome", 168, 24, True, weather, (24, 168)
    )
    ids = tuple(f"n{n:04}" for n in range(nodes))
    shifts = (-21, -2, -1, 1, 2, 21)
    graph = CityGraph(
        ids=ids,
        lon=11.34 + rng.normal(0, 0.03, nodes),
        lat=44.49 + rng.normal(0, 0.02, nodes),
        names=tuple(f"counter {n}" for n in range(nodes)),
        areas=tuple(f"area {n % 12}" for n in range(nodes)),
        thresholds=np.full((nodes, 3), np.nan),
        source=np.tile(np.arange(nodes), len(shifts)),
        target=np.concatenate([np.roll(np.arange(nodes), shift) for shift in shifts]),
        weight=np.ones(nodes * len(shifts), np.float32),
    )
    return spec, graph


def series(nodes: int, end: np.datetime64) -> tuple[np.datetime64, np.ndarray, np.ndarray]:
    """First hour, counts [S, N] up to ``end``, temperature [S + 24, 1, 1]."""
    rng = np.random.default_rng(1)
    hour = np.arange(24 * DAYS + 24, dtype=float)[:, None]
    phase, size = rng.uniform(6, 10, nodes), rng.uniform(50, 900, nodes)
    flow = size * (1 + 0.8 * np.sin(2 * np.pi * (hour - phase) / 24))
    flow += rng.normal(0, 0.06, flow.shape) * size
    flow[rng.random(flow.shape) < 0.02] = np.nan
    warm = 12 + 8 * np.sin(2 * np.pi * (hour - 9) / 24)
    start = end - np.timedelta64(24 * DAYS - 1, "h")
    return start, np.maximum(flow[: 24 * DAYS], 0), warm[:, :, None]


def manifest(spec: ForecastSpec, start: np.datetime64, files: dict[str, str]) -> dict[str, Any]:
    """As that of a release, with what serving reads."""
    return {
        "dataset": spec.dataset,
        "spec": spec.to_dict(),
        "files": files,
        "data": {"start": f"{start}Z", "synthetic": True, "attribution": "made up"},
        "interval": {"method": "none", "nominal": 0.8, "empirical": None, "window": "none"},
        "calibration": {"adaptive": {"coverage_80": None}},
        "privacy": {"differential_privacy": None, "statement": "made up"},
        "members": {"left_out": "it is untrained", "method": "none", "tail": "none"},
    }


def make_home(home: Path, nodes: int) -> Path:
    """The release of a home folder, made where it is missing."""
    if found := champions(home):
        return found[NAME]
    from models.forecaster import Architecture, Forecaster
    from training.export import export_onnx

    spec, graph = city(nodes)
    end = np.datetime64("now", "h").astype("datetime64[s]")
    start, flow, warm = series(nodes, end)
    builder = WindowBuilder(spec, start, flow, warm)
    part = home / "releases" / ".part"
    part.mkdir(parents=True)
    model = Forecaster(spec, graph, Architecture()).eval()  # pyright: ignore[reportCallIssue]
    export_onnx(model, builder.batch(np.array([500, 501])), part / MODEL)
    (part / GRAPH).write_bytes(canonical_json(graph.to_dict()))
    np.save(part / MEMBERS, np.zeros((0, spec.horizon, nodes), np.uint8))
    (part / REPORT).write_bytes(b"{}")
    sealed = {name: sha256_file(part / name) for name in FILES}
    content = canonical_json(manifest(spec, start, sealed))
    (part / MANIFEST).write_bytes(content)
    store = Store(home / "observations.db")
    times = builder.times(np.arange(len(warm)))
    store.write(NAME, OBSERVED, times[: len(flow)], list(graph.ids), flow)
    store.write(NAME, FORCED, times, ["temp_c"], warm[:, 0])
    return part.rename(part.with_name(release_id(spec.dataset, content)))


def main() -> None:
    """Make the home that is named."""
    parser = argparse.ArgumentParser(description="A made city, released and ready to be served.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--nodes", type=int, default=500)
    options = parser.parse_args()
    print(make_home(options.home, options.nodes))


if __name__ == "__main__":
    main()
