"""Replay a test span through the running server and compare with the backtest's forecasts.

    FELSINA_HOME=HOME python -m benchmarks.replay --origins 48 DATASET_FOLDER ...

For each folder ``felsina run --dataset`` must have been done in HOME. A server is started with an
empty observation store; history is posted, then one step at a time, and the latest forecast is
fetched after each. Prints a Markdown table: the largest relative difference should be 0.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.loading import start
from pipelines.settings import home
from pipelines.train import FORECASTS, open_registered
from training.dataset import CityDataset

PIECE = 4000
"""Steps a post of history."""
HEADERS: dict[str, str] = {}
"""With the key of this run."""


def call(url: str, body: Any = None) -> Any:
    """GET, or POST a JSON body; the JSON that comes back."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | HEADERS
    request = urllib.request.Request(url, content, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def columns(names: list[str], table: np.ndarray) -> dict[str, list[float | None]]:
    """JSON columns, null where missing."""
    return {
        name: [None if np.isnan(v) else float(v) for v in column]
        for name, column in zip(names, table.T, strict=True)
    }


def post(base: str, dataset: CityDataset, first: int, last: int) -> None:
    """Post rows ``first`` to ``last`` of the series, and of the forcings over a horizon more."""
    spec, builder = dataset.spec, dataset.builder()
    for begin in range(first, last, PIECE):
        rows = np.arange(begin, min(last, begin + PIECE))
        times = [f"{t}Z" for t in builder.times(rows)]
        values = columns(list(dataset.graph.ids), dataset.values[rows])
        call(f"{base}/v1/observations/{spec.dataset}", {"times": times, "values": values})
        if dataset.forcings is None:
            continue
        for future in (False, True):
            chosen = [i for i, f in enumerate(spec.forcings) if f.known_future is future]
            ahead = spec.horizon if future else 0
            rows = np.arange(begin, min(last + ahead, begin + PIECE + ahead, len(dataset.forcings)))
            names = [spec.forcings[i].name for i in chosen]
            if names:
                values = columns(names, dataset.forcings[rows, 0][:, chosen])
                times = [f"{t}Z" for t in builder.times(rows)]
                call(f"{base}/v1/forcings/{spec.dataset}", {"times": times, "values": values})


def replay(base: str, folder: Path, origins: int) -> tuple[str, int, float, float, float]:
    """Dataset, origins, largest relative difference, ms a GET of released and of adaptive bands."""
    dataset = open_registered(folder)
    release = call(f"{base}/v1/datasets/{dataset.spec.dataset}")
    manifest = json.loads((home() / "releases" / release["release"] / "manifest.json").read_text())
    spec = dataset.spec.with_lags(tuple(manifest["spec"]["lags"]))
    trained = sorted(
        (home() / "trained").glob(f"{spec.dataset}-*/{FORECASTS}"), key=lambda p: p.stat().st_mtime
    )[-1]
    backtest = pd.read_parquet(trained)
    test = dataset.splits.test(spec, dataset.start)[:origins]
    builder = dataset.builder(spec)
    levels = [f"q{level:g}" for level in spec.quantiles]
    held = max(0, int(test[0]) - spec.reach)
    worst = 0.0
    spent: dict[str, list[float]] = {"released": [], "adaptive": []}
    for origin in test.tolist():
        post(base, dataset, held, origin + 1)
        held = origin + 1
        answers = {}
        for bands, seconds in spent.items():
            began = time.perf_counter()
            answers[bands] = call(f"{base}/v1/forecasts/{spec.dataset}?bands={bands}")
            seconds.append(time.perf_counter() - began)
        answer = answers["released"]
        init = builder.times(np.array([origin]))[0]
        assert answer["init_time"] == f"{init}Z", (answer["init_time"], init)
        rows = backtest.loc[backtest["init_time"] == pd.Timestamp(init, tz="UTC"), levels]
        expected = np.asarray(rows).reshape(spec.horizon, dataset.graph.nodes, len(levels))
        found = np.array(
            [[f["quantiles"][level[1:]] for level in levels] for f in answer["features"]]
        ).transpose(2, 0, 1)
        worst = max(
            worst, float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())
        )
    released, adaptive = (1000 * float(np.median(seconds)) for seconds in spent.values())
    return spec.dataset, len(test), worst, released, adaptive


def main() -> None:
    """Start a server on an empty store, replay each folder, end the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--origins", type=int, default=48)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for part in ("releases", "champions"):
            shutil.copytree(home() / part, Path(folder) / part)
        served = start(Path(folder))
        HEADERS["authorization"] = f"Bearer {served.secret}"
        base = f"http://127.0.0.1:{served.port}"
        try:
            print("| dataset | origins | largest relative difference | ms released | ms adaptive |")
            print("| --- | --- | --- | --- | --- |")
            for path in options.folders:
                name, count, worst, *ms = replay(base, path, options.origins)
                print(f"| {name} | {count} | {worst:.1e} | {ms[0]:.0f} | {ms[1]:.0f} |", flush=True)
        finally:
            served.process.terminate()
            served.process.wait(30)


if __name__ == "__main__":
    main()
