"""A year of Bologna's loops through ``felsina data ingest`` and ``data validate``.

    python -m benchmarks.ingest [--loops 864] [--year 2024]

The portal is a server on this machine that gives monthly exports as the city's does: a row a loop
and day, 24 hourly columns and 18 others, ``;`` between them, and accuracies as ``97%``. Both
commands run as processes of their own; their times and peak memory are printed.
Making the files is not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas as pd

OTHERS = (
    "id_uni;livello;tipologia;codice;codice_arco;codice_via;nome_via;nodo_da;nodo_a;ordinanza;"
    "stato;codimpsem;direzione;angolo;longitudine;latitudine;geopoint;id_univoco_stazione_spira"
)


def months(loops: int, year: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Month, its counts and its accuracies as the portal exports them."""
    rng = np.random.default_rng(0)
    hours = [f"{h:02}:00-{h + 1:02}:00" for h in range(24)]
    named = ";".join(["data", "codice spira", *hours, OTHERS]).encode() + b"\n"
    rated = ";".join(["data_2", "codice_spira_2", *(f"{h:02}_00_{h + 1:02}" for h in range(24))])
    level = rng.lognormal(5, 0.8, loops)
    wave = 1 + 0.9 * np.sin((np.arange(24) - 9) * np.pi / 12)
    codes = [f"{n % 97}.{n % 31} {n % 53}.{n % 29} {n} 1" for n in range(loops)]
    places = np.column_stack(
        [44.49 + rng.normal(0, 0.02, loops), 11.34 + rng.normal(0, 0.03, loops)]
    )
    rest = [
        f"{n};1;spira;{n};{3000 + n};{500 + n};VIA NUMERO {n};{n};{n + 1};4000/343434;A;{n % 400};"
        f'N;{n % 360};1.134.{n}.00;4.449.{n}.00;"{lat:.12f}, {lon:.12f}";{n}'
        for n, (lat, lon) in enumerate(places)
    ]
    for month in range(1, 13):
        counts, shares = [named], [rated.encode() + b"\n"]
        for day in pd.date_range(f"{year}-{month:02}-01", periods=31):
            if day.month != month:
                break
            values = rng.poisson(level[:, None] * wave).astype(str)
            percent = np.where(rng.random((loops, 24)) < 0.03, "0%", "100%")
            percent[rng.random((loops, 24)) < 0.01] = "-1%"
            stamp = f"{day:%Y-%m-%d}"
            counts += [
                f"{stamp};{c};{';'.join(v)};{r}\n".encode()
                for c, v, r in zip(codes, values, rest, strict=True)
            ]
            shares += [
                f"{stamp};{c};{';'.join(p)}\n".encode() for c, p in zip(codes, percent, strict=True)
            ]
        yield f"{year}-{month:02}", b"".join(counts), b"".join(shares)


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loops", type=int, default=864)
    parser.add_argument("--year", type=int, default=2024)
    options = parser.parse_args()
    bodies: dict[tuple[str, bool], bytes] = {}
    for month, counts, shares in months(options.loops, options.year):
        bodies[month, False], bodies[month, True] = counts, shares

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            split = urlsplit(self.path)
            where = parse_qs(split.query)["where"][0]
            month = where.partition("date'")[2][:7]
            body = bodies[month, "accuratezza" in split.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    host = f"http://127.0.0.1:{server.server_address[1]}"
    size = sum(map(len, bodies.values())) / 1e6
    print(f"{options.loops} loops, {options.year}: {size:.0f} MB in {len(bodies)} exports\n")
    print("| step | wall s | CPU s | peak MiB |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        dataset = Path(folder) / "loops"
        since, until = f"{options.year}-01-01", f"{options.year + 1}-01-01"
        span = ["--since", since, "--until", until]
        settings = ["--set", f"host={host}", "--set", "pause_s=0"]
        ingest = ["ingest", "bologna-loops", *span, *settings, "--dataset", str(dataset)]
        run("ingest", ingest)
        run("validate", ["validate", "--dataset", str(dataset)])
        run("ingest again, nothing new", ingest)
    server.shutdown()


def run(name: str, arguments: list[str]) -> None:
    """Run a command; print its times and peak memory."""
    command = [sys.executable, "-m", "pipelines.cli", "data", *arguments]
    began = time.monotonic()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "2"}
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    wall, cpu = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    print(f"| {name} | {wall:.1f} | {cpu:.1f} | {usage.ru_maxrss / 1024:.0f} |", flush=True)


if __name__ == "__main__":
    main()
