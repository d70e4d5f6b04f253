"""Replay a test span through the running server and compare with the backtest's forecasts.

    FELSINA_HOME=HOME python -m benchmarks.replay --origins 48 DATASET_FOLDER ...

For each folder ``felsina run --dataset`` must have been done in HOME. A server is started with an
empty observation store; history is posted, then one step at a time, and the latest forecast is
fetched after each. Prints a Markdown table: the largest relative difference should be 0.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.settings import home
from pipelines.train import FORECASTS, open_registered
from serving.gate.keys import Keys
from serving.store import Store
from tests.fixtures.boards import charter_of
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
    for start in range(first, last, PIECE):
        rows = np.arange(start, min(last, start + PIECE))
        times = [f"{t}Z" for t in builder.times(rows)]
        values = columns(list(dataset.graph.ids), dataset.values[rows])
        call(f"{base}/v1/observations/{spec.dataset}", {"times": times, "values": values})
        if dataset.forcings is None:
            continue
        for future in (False, True):
            chosen = [i for i, f in enumerate(spec.forcings) if f.known_future is future]
            ahead = spec.horizon if future else 0
            rows = np.arange(start, min(last + ahead, start + PIECE + ahead, len(dataset.forcings)))
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
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        place = Path(folder) / "observations.db"
        secret = Keys(Store(place).engine).create("replay", "write", 1e6)
        HEADERS["authorization"] = f"Bearer {secret}"
        environment = os.environ | {
            "FELSINA_STORE": str(place),
            "FELSINA_HOME": str(Path(folder) / "home"),
        }
        copy = Path(folder) / "home"
        for part in ("releases", "champions"):
            shutil.copytree(home() / part, copy / part)
        command = [sys.executable, "-m", "pipelines.cli", "serve", "--port", str(port)]
        command += ["--board", str(charter_of(copy))]
        server = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        base = f"http://127.0.0.1:{port}"
        try:
            for _ in range(120):
                try:
                    call(f"{base}/v1/datasets")
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.5)
            print("| dataset | origins | largest relative difference | ms released | ms adaptive |")
            print("| --- | --- | --- | --- | --- |")
            for path in options.folders:
                name, count, worst, *ms = replay(base, path, options.origins)
                print(f"| {name} | {count} | {worst:.1e} | {ms[0]:.0f} | {ms[1]:.0f} |", flush=True)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


if __name__ == "__main__":
    main()
