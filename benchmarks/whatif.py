"""What a what-if costs: seconds and peak memory of building-years by the physical simulator.

    python -m benchmarks.whatif [--buildings 10000] [--threads 2] [--rounds 3]

The embedded city's stock, drawn larger, through its synthetic year: the 5R1C alone (``network``)
and all the way to carriers, areas and comfort (``demand``), each in a fresh process. Progress on
stderr, a Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STAGES = ("network", "demand")
SECONDS, GIGABYTES = 20.0, 4.0


def measure(stage: str, count: int, threads: int) -> dict[str, Any]:
    """Simulate ``count`` buildings once; the stock and weather are made before the clock starts."""
    import torch

    from models.physics.thermal_network import simulate
    from pipelines.domains.energy import demand
    from pipelines.domains.energy.assumptions import Assumptions
    from pipelines.domains.energy.stock_table import read_archetypes, read_stock
    from pipelines.domains.energy.synthetic_stock import synthesise_stock
    from pipelines.domains.energy.weather import embedded_weather

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        synthesise_stock(folder, count=-(-count // 6))
        stock = read_stock(folder / "stock.csv", read_archetypes(folder / "archetypes.csv"))
    stock = stock.with_plants(-4.0).part(slice(count))
    simulator = demand.Simulator(embedded_weather(), Assumptions())
    began, worked = time.perf_counter(), time.process_time()
    if stage == "demand":
        need = float(simulator.run(stock).heat_kwh.sum())
    else:
        need = 0.0
        for begin in range(0, count, demand.CHUNK):
            part = stock.part(slice(begin, begin + demand.CHUNK))
            drive = simulator.drive(part)
            found = simulate(part.buildings(), drive, warm_up=demand.WARM_UP_H)
            need += float(found.heating_w.double().sum()) / 1000
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    found = {"seconds": seconds, "processor_s": worked, "peak_gb": peak}
    return found | {"kwh_m2": need / float(stock.floor_m2.sum())}


def main() -> None:
    """Print a Markdown table and the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buildings", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--stage", choices=STAGES, help="one stage in this process, as JSON")
    options = parser.parse_args()
    if options.stage:
        print(json.dumps(measure(options.stage, options.buildings, options.threads)))
        return
    told = f"{options.buildings} building-years, {options.threads} threads"
    print(f"| {told} | s | processor s | peak GB | met |")
    print("| --- | --- | --- | --- | --- |")
    for stage in STAGES:
        found = [_apart(stage, options) for _ in range(options.rounds)]
        seconds, worked = (
            float(np.median([one[name] for one in found])) for name in ("seconds", "processor_s")
        )
        peak = max(one["peak_gb"] for one in found)
        met = "yes" if seconds <= SECONDS and peak <= GIGABYTES else "**no**"
        print(f"| {stage} | {seconds:.1f} | {worked:.1f} | {peak:.2f} | {met} |", flush=True)


def _apart(stage: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.whatif", "--stage", stage]
    command += ["--buildings", str(options.buildings), "--threads", str(options.threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{stage}: {found}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
