"""Cost against the number of nodes: seconds and peak memory of each stage, and their slope.

    python -m benchmarks.scaling [--nodes 100 1000 10000 100000] [--stage NAME ...] [--device auto]
    FELSINA_DATA=DIR python -m benchmarks.scaling --latency

A ring of nodes in random order, degree 8, 5-minute speeds, 12 steps in and out. Each stage runs in
a fresh process on one CPU thread (``benchmarks.stages``). On a GPU stages share a process, memory
is the card's, and training also tells windows a second and how near the slowest operator comes to
what the card can do (``benchmarks.roofline``). ``--latency`` times single windows of the 207 nodes
of los-loop in ONNX Runtime, one thread. Progress on stderr, a Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stages import on_gpu

NODES = (100, 1000, 10_000, 100_000)
STAGES = ("fit", "pooled_fit", "step", "torch", "export", "onnx")
ON_CPU = ("export", "onnx")
FROM = 1000
"""Nodes from which the slope is taken: below it, what a call costs in any case shows."""
SLOPE, BYTES, MILLISECONDS = 1.1, 8e9, 2.0
WINDOWS = 300

Found = dict[str, dict[int, dict[str, Any]]]


def measure(nodes: list[int], stages: list[str], device: str) -> Found:
    """Every stage at every size; on a CPU a process each."""
    found: Found = {stage: {} for stage in stages}
    with tempfile.TemporaryDirectory() as folder:
        for size in nodes:
            for stage in stages:
                if device == "cuda" and stage not in ON_CPU:
                    one = on_gpu(stage, size, Path(folder))
                else:
                    command = [sys.executable, "-m", "benchmarks.stages", stage, str(size)]
                    done = subprocess.run(
                        [*command, folder, "cpu"], check=True, stdout=subprocess.PIPE, text=True
                    )
                    one = json.loads(done.stdout.splitlines()[-1])
                found[stage][size] = one
                print(f"{size} {stage}: {one}", file=sys.stderr, flush=True)
    return found


def slope(sizes: list[int], values: list[float]) -> float:
    """Exponent of a power law through the points: 1 where cost is linear."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def table(found: Found) -> list[str]:
    """Markdown of what was measured, and the verdicts."""
    sizes = list(next(iter(found.values())))
    lines = [
        _row(["stage", *(f"{n} nodes" for n in sizes), "slope"]),
        _row(["---"] * (len(sizes) + 2)),
    ]
    large = [n for n in sizes if n >= FROM]
    verdicts = []
    for stage, by_size in found.items():
        for key, unit, form in (("seconds", "s", "{:.3g}"), ("peak_bytes", "GB", "{:.2f}")):
            scale = 1e-9 if key == "peak_bytes" else 1
            values = {n: one[key] * scale for n, one in by_size.items()}
            steep = slope(large, [values[n] for n in large]) if len(large) > 1 else None
            shown = "" if steep is None else f"{steep:.2f}"
            cells = [form.format(values[n]) for n in sizes]
            lines.append(_row([f"{stage}, {unit}", *cells, shown]))
            if steep is not None and stage != "export":
                verdicts.append(_verdict(f"{stage}, {unit}: slope", steep, SLOPE))
    largest = sizes[-1]
    for stage in sorted({"torch", "onnx"} & found.keys()):
        peak = found[stage][largest]["peak_bytes"]
        verdicts.append(_verdict(f"{stage} at {largest} nodes: GB", peak / 1e9, BYTES / 1e9))
    return [*lines, "", *verdicts]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _verdict(what: str, value: float, bar: float) -> str:
    return f"- {what} {value:.3g} <= {bar:g}: {'yes' if value <= bar else '**no**'}"


def latency(data: Path) -> str:
    """One window of los-loop's 207 nodes, full profile, untrained: the time is the same."""
    import torch

    from models.exported import open_session
    from models.forecaster import Forecaster
    from pipelines.train import open_registered, settings_for
    from training.export import export_onnx

    torch.set_num_threads(1)
    dataset = open_registered(data / "datasets" / "los-loop")
    settings = settings_for(dataset, "full")
    spec = dataset.spec.with_lags(settings.lags)
    builder, origins = dataset.builder(spec), dataset.splits.test(spec, dataset.start)
    model = Forecaster(spec, dataset.graph, settings.architecture).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export_onnx(model, builder.batch(origins[:2]), path)
        session = open_session(path)
    arrays = builder.batch(origins[:1]).inputs()
    inputs = {node.name: arrays[node.name] for node in session.get_inputs()}
    spent = []
    for _ in range(WINDOWS):
        began = time.perf_counter()
        session.run(None, inputs)
        spent.append(1000 * (time.perf_counter() - began))
    middle, late = np.quantile(spent, (0.5, 0.99))
    told = f"{dataset.graph.nodes} nodes, {WINDOWS} windows: p50 {middle:.2f} ms, p99 {late:.2f} ms"
    return f"{told}\n{_verdict('p50, ms', float(middle), MILLISECONDS)}"


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description="Cost against the number of nodes.")
    parser.add_argument("--nodes", nargs="+", type=int, default=list(NODES))
    parser.add_argument("--stage", action="append", choices=STAGES, help="these only")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--latency", action="store_true", help="one window of 207 nodes instead")
    options = parser.parse_args()
    if options.latency:
        print(latency(Path(os.environ.get("FELSINA_DATA", ""))))
        return
    device = options.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    stages = [stage for stage in STAGES if stage in (options.stage or STAGES)]
    if "onnx" in stages and "export" not in stages:
        parser.error("--stage onnx runs what --stage export writes; name both")
    found = measure(sorted(options.nodes), stages, device)
    print(*table(found), sep="\n")
    if device == "cuda":
        from benchmarks.roofline import report

        print("", *report(sorted(options.nodes), device), sep="\n")


if __name__ == "__main__":
    main()
