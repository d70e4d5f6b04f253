"""What water over terrain costs: steps of each scheme, a night of rain, batches.

    python -m benchmarks.water [--rounds 5] [--device cuda] [--scheme NAME] [--grid CELLS]

Markdown tables on stdout. Each figure is the median of rounds, in one process. On a GPU steps are
recorded or compiled as a simulation's are, and their share of memory bandwidth is told: bytes that
a step cannot but move, by its time and what a large copy reaches.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.roofline import COPY_BYTES, copy_rate
from benchmarks.tables import head, row
from models.physics.basin import OPEN, Basin, Edges, Rain
from models.physics.inundation import SCHEMES, simulate
from models.physics.march import Scheme
from models.physics.replay import Replayed

STEPS = 40
LEAST_NUMBERS = {"local_inertial": 8, "muscl": 17}
"""Numbers a cell that a step moves if it reads what it needs once: depth and two flows in and out,
bed and roughness. MUSCL's roughness is one for all here; its two stages do so each, and the second
reads the state before both."""
BARS_MS = {"muscl": 30.0, "local_inertial": 1.5}
RAIN_BAR_S = 60.0


def terrain(cells: int, batch: int, kind: torch.dtype, device: str) -> Basin:
    """A rough plain that falls by 2 per mille, with ponds and banks."""
    generator = torch.Generator().manual_seed(0)
    bed = torch.rand(batch, cells, cells, generator=generator) * 0.5
    bed += torch.linspace(0.002 * 30 * cells, 0, cells)
    flat = torch.ones(1, 1, 1)
    parts = (bed, flat * 0.05, flat * 0)
    bed, manning, dry = (part.to(device, kind) for part in parts)
    return Basin(bed, 30.0, manning, dry, Edges.alike(OPEN), batch)


def stepping(scheme: Scheme, kind: torch.dtype, compiled: bool = False) -> Callable[[], None]:
    """Some steps of a scheme, each as long as is stable; on a GPU compiled at the first, or not."""

    def step() -> None:
        scheme.advance(scheme.stable_s().clamp_max(60).to(kind))

    again = Replayed(step, scheme.depth_m.device, 1 if compiled else math.inf)

    def run() -> None:
        for _ in range(STEPS):
            again()
        if scheme.depth_m.is_cuda:
            torch.cuda.synchronize()

    return run


def timed(cases: dict[object, Callable[[], None]], rounds: int) -> dict[object, float]:
    """Median seconds of each case, in turn."""
    found: dict[object, list[float]] = {case: [] for case in cases}
    for _ in range(rounds + 1):
        for case, run in cases.items():
            began = time.perf_counter()
            run()
            found[case].append(time.perf_counter() - began)
    return {case: float(np.median(seconds[1:])) for case, seconds in found.items()}


def wet(basin: Basin) -> Tensor:
    """Half a metre of water in the lower parts."""
    return (0.5 - basin.bed_m * 0.2).clamp_min(0.01).expand(basin.shape).clone()


def steps(rounds: int, names: list[str], grids: list[int]) -> None:
    """Cells a second on the processor."""
    head("scheme", "grid", "precision", "threads", "ms a step", "million cells/s", "bar")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        cases: dict[object, Callable[[], None]] = {}
        for name in names:
            for cells in grids:
                for kind in (torch.float64, torch.float32):
                    basin = terrain(cells, 1, kind, "cpu")
                    cases[name, cells, kind] = stepping(SCHEMES[name](basin, wet(basin)), kind)
        for case, seconds in timed(cases, rounds).items():
            name, cells, kind = case  # pyright: ignore[reportGeneralTypeIssues]
            ms, bar = seconds / STEPS * 1e3, BARS_MS[name]
            told = f"{bar:g}: {'met' if ms <= bar else '**missed**'}" if cells == 128 else ""
            rate = f"{cells**2 / ms / 1e3:.2f}"
            row(name, f"{cells} x {cells}", called(kind), threads, f"{ms:.3f}", rate, told)


def gpu_steps(rounds: int, names: list[str], grids: list[int]) -> None:
    """Cells a second on a GPU, of a step that is recorded and one that is compiled too."""
    copied = copy_rate(torch.device("cuda"))
    print(f"A copy of {COPY_BYTES >> 20} MiB reaches {copied / 1e9:.0f} GB/s.\n")
    told = "recorded, ms a step", "compiled, ms", "million cells/s", "of bandwidth", "s to compile"
    head("scheme", "grid", "precision", *told)
    for name in names:
        for cells in grids:
            for kind in (torch.float64, torch.float32):
                recorded, ms, first = both(lambda: terrain(cells, 1, kind, "cuda"), name, rounds)  # noqa: B023
                moved = LEAST_NUMBERS[name] * kind.itemsize * cells**2 / (ms / 1e3)
                figures = f"{recorded:.3f}", f"{ms:.4f}", f"{cells**2 / ms / 1e3:.0f}"
                shares = f"{moved / copied:.1%}", f"{first:.1f}"
                row(name, f"{cells} x {cells}", called(kind), *figures, *shares)


def both(make: Callable[[], Basin], name: str, rounds: int) -> tuple[float, float, float]:
    """Milliseconds a step, recorded and compiled, and seconds until the latter's first are done."""
    spent, first = [], 0.0
    for compiled in (False, True):
        torch.compiler.reset()
        basin = make()
        run = stepping(SCHEMES[name](basin, wet(basin)), basin.bed_m.dtype, compiled)
        began = time.perf_counter()
        run()
        first = time.perf_counter() - began
        spent.append(timed({name: run}, rounds)[name] / STEPS * 1e3)
    return spent[0], spent[1], first


def called(kind: torch.dtype) -> str:
    """A precision's name."""
    return str(kind).removeprefix("torch.")


def rain(rounds: int, device: str) -> None:
    """A night on a simulation of its own."""
    head("12 h after 3 h of 30 mm/h, 128 x 128 at 30 m", "threads", "steps", "s", "bar")
    for threads in (1, 2) if device == "cpu" else (1,):
        torch.set_num_threads(threads)
        for kind in (torch.float64, torch.float32):
            basin = terrain(128, 1, kind, device)
            law = torch.tensor([30 / 3.6e6, 0.0], dtype=kind, device=device).view(2, 1, 1, 1)
            times = torch.tensor([0.0, 10_800.0], device=device, dtype=torch.float64)
            taken = []
            for _ in range(min(rounds, 3)):
                began = time.perf_counter()
                flood = simulate(
                    basin, SCHEMES["local_inertial"], 43_200.0, rain=Rain(times, law), watch_s=300.0
                )
                taken.append(time.perf_counter() - began)
            seconds = float(np.median(taken))
            met = "met" if seconds <= RAIN_BAR_S else "**missed**"
            told = f"local_inertial, {called(kind)}"
            row(told, threads, flood.steps, f"{seconds:.1f}", f"{RAIN_BAR_S:g}: {met}")


def batches(rounds: int) -> None:
    """Scenarios side by side on the processor."""
    head(
        "local_inertial, 64 x 64, float32", "ms a step", "ms a scenario and step", "over one alone"
    )
    torch.set_num_threads(1)
    cases: dict[object, Callable[[], None]] = {}
    for size in (1, 4, 16):
        basin = terrain(64, size, torch.float32, "cpu")
        cases[size] = stepping(SCHEMES["local_inertial"](basin, wet(basin)), torch.float32)
    found = timed(cases, rounds)
    for size in (1, 4, 16):
        ms, gain = found[size] / STEPS * 1e3, found[1] * size / found[size]
        row(f"{size} together", f"{ms:.3f}", f"{ms / size:.4f}", f"{gain:.1f}")


def gpu_batches(rounds: int) -> None:
    """Scenarios side by side on a GPU."""
    told = "recorded, ms a step", "compiled, ms", "us a scenario and step", "over one alone"
    head("local_inertial, 64 x 64, float32", *told)
    alone = 0.0
    for size in (1, 16, 256, 4096):
        recorded, ms, _ = both(
            lambda: terrain(64, size, torch.float32, "cuda"),  # noqa: B023
            "local_inertial",
            rounds,
        )
        alone = alone or ms
        figures = f"{recorded:.3f}", f"{ms:.4f}", f"{ms / size * 1e3:.3f}"
        row(f"{size} together", *figures, f"{alone * size / ms:.0f}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--scheme", action="append", choices=tuple(SCHEMES), help="these only")
    parser.add_argument("--grid", action="append", type=int, help="cells a side; these only")
    options = parser.parse_args()
    names = options.scheme or list(SCHEMES)
    if options.device == "cpu":
        steps(options.rounds, names, options.grid or [128, 512])
    else:
        gpu_steps(options.rounds, names, options.grid or [128, 512, 2048, 4096])
    if "local_inertial" in names:
        rain(options.rounds, options.device)
        (batches if options.device == "cpu" else gpu_batches)(options.rounds)


if __name__ == "__main__":
    main()
