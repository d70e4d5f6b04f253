"""Answers a second of simulators and of the networks that stand for them, by device.

    python -m benchmarks.answers [--device cpu --device cuda] EXPERIMENTS_FOLDER ...

Networks are untrained, of the shape that is trained on the experiments, and run by torch; answers
are left on the device. Where the experiments are inundations, their solver runs too; beside
buildings, the 5R1C on made-up ones. Markdown tables on stdout.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks.stages import synchronise
from benchmarks.tables import head, row
from models.physics.thermal_network import Buildings, Drive, simulate
from models.surrogates.surrogate import Surrogate
from pipelines.domains.flood.inundation_sampling import Grid, simulated
from pipelines.domains.registry import domain_of
from training.experiments import Experiments, open_experiments

ROUNDS = 5
AT_ONCE = {
    "flood": {"cpu": (1, 16), "cuda": (1, 16, 256)},
    "energy": {"cpu": (1, 1000), "cuda": (1, 1000, 10_000, 100_000)},
}
"""Scenarios asked at once, by domain and device."""


def median(work: Callable[[], object], device: str, rounds: int = ROUNDS) -> float:
    """Median seconds of ``work``, after one run to warm up."""
    spent = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        synchronise(torch.device(device))
        spent.append(time.perf_counter() - began)
    return statistics.median(spent[1:])


def network(experiments: Experiments, device: str) -> None:
    """The surrogate."""
    build = domain_of(experiments.spec.domain).surrogate
    assert build is not None
    asked = Surrogate(build(experiments), experiments.spec).eval().to(device)
    for count in AT_ONCE[experiments.spec.domain][device]:
        rows = np.resize(np.arange(len(experiments.split)), count)
        arrays = experiments.scalars[rows], experiments.fields[rows]
        inputs = [torch.as_tensor(array, device=device) for array in arrays]
        with torch.inference_mode():
            seconds = median(lambda: asked(*inputs), device)  # noqa: B023
        told("network", count, device, seconds)


def water(experiments: Experiments, device: str) -> None:
    """The solver that the inundations were drawn by."""
    grid = Grid(*(experiments.spec.facts[name] for name in ("rows", "columns", "cell_m")))
    for count in AT_ONCE["flood"][device][1:]:
        rows = np.resize(np.arange(len(experiments.split)), count)
        scalars, fields = experiments.scalars[rows], experiments.fields[rows]
        with torch.device(device):
            began = time.perf_counter()
            simulated(scalars, fields, grid)
            told("simulator", count, device, time.perf_counter() - began)


def buildings(device: str) -> None:
    """The 5R1C: buildings alike but for chance, a year of hours."""
    for count in AT_ONCE["energy"][device][1:]:
        stock, year = made_up(count, device), made_up_year(device)
        told("simulator", count, device, median(lambda: simulate(stock, year), device, rounds=1))  # noqa: B023


def made_up(count: int, device: str) -> Buildings:
    """Houses of 60 to 200 m2."""
    generator = torch.Generator().manual_seed(0)

    def between(low: float, high: float, *shape: int) -> torch.Tensor:
        drawn = torch.rand(count, *shape, generator=generator)
        return (low + (high - low) * drawn).to(device)

    floor = between(60, 200)
    return Buildings(
        floor_m2=floor,
        opaque_w_k=floor * between(0.5, 2),
        window_w_k=floor * between(0.2, 0.8),
        ventilation_w_k=floor * between(0.2, 0.6),
        mass_j_k=floor * between(1e5, 3e5),
        mass_area_m2=floor * between(2.5, 3.2),
        aperture_m2=between(1, 8, 5),
        heating_w=between(1e4, 2e4),
        cooling_w=between(2e3, 6e3),
    )


def made_up_year(device: str) -> Drive:
    """Seasons and days."""
    hour = torch.arange(8760.0, device=device)[:, None]
    outdoor = 14 - 10 * (hour / 8760 * 2 * torch.pi).cos() - 4 * (hour / 24 * 2 * torch.pi).cos()
    sun = (300 * -(hour / 24 * 2 * torch.pi).cos()).clamp_min(0).expand(-1, 5)
    steady = torch.ones_like(hour)
    return Drive(outdoor, sun, 4 * steady, 20 * steady, 26 * steady)


def told(by: str, count: int, device: str, seconds: float) -> None:
    """Print a row."""
    row(by, count, device, f"{seconds * 1e3:.4g}", f"{count / seconds:.4g}")


def main() -> None:
    """Print a table for each folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--device", action="append", choices=("cpu", "cuda"))
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    devices = options.device or ["cpu", *(["cuda"] if gpu else [])]
    for folder in options.folders:
        experiments = open_experiments(folder)
        spec = experiments.spec
        head(f"{spec.name} ({spec.simulator})", "at once", "on", "ms", "scenarios/s")
        for device in devices:
            network(experiments, device)
            if spec.domain == "flood":
                water(experiments, device)
            if spec.domain == "energy":
                buildings(device)


if __name__ == "__main__":
    main()
