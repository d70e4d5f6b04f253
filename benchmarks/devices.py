"""What a GPU buys in training, beside the processor of the same machine.

    python -m benchmarks.devices [--device cpu --device cuda] [--arithmetic 32 --arithmetic bf16]
        [--experiments FOLDER ...] [DATASET_FOLDER ...]

Forecasters are trained as ``felsina train --profile full`` trains them, surrogates of experiments
folders as they are, until their first steps are timed and profiled; then the training is ended.
Markdown tables on stdout.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.tables import head, row
from pipelines.domains.registry import domain_of
from pipelines.train import open_registered, settings_for
from training.experiments import Experiments, open_experiments
from training.fit import fit
from training.settings import LoopSettings, resolve_settings
from training.surrogate import Build, fit_surrogate

WARM, STEPS, PROFILED = 40, 100, 10
SECONDS = 10.0
"""After which no more steps are timed."""
ARITHMETIC = {"32": [], "bf16": ["precision=bf16"], "compiled": ["compile=true"]}


class Enough(Exception):
    """A training has been looked at for long enough."""


class Clock:
    """Listens to a training: times steps, profiles some more, and ends it.

    Args:
        device: where it trains.

    Attributes:
        before_s: until the first step is done: fits by counting and normal equations, compilation.
        step_s: seconds a step.
        launches: kernels a step, 0 on a CPU.
        busy: share of a step in which the GPU computes.
        slowest: what takes most of the GPU's time, as the profiler prints it.
    """

    def __init__(self, device: str) -> None:
        self.gpu, self.began = device == "cuda", time.perf_counter()
        self.taken, self.since, self.before_s, self.step_s = 0, 0.0, 0.0, 0.0
        self.launches, self.busy, self.slowest = 0.0, 0.0, ""
        activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA]
        self.profiler = profile(activities=activities) if self.gpu else None

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Losses are of no interest."""

    def progress(self, stage: str, share: float) -> None:
        """A step is done, if ``stage`` is ``train``."""
        if stage != "train":
            return
        self.taken += 1
        timed = self.taken - WARM
        if self.taken == 1:
            self.before_s = self._now() - self.began
        elif timed == 0:
            self.since = self._now()
        elif timed == STEPS or (not self.step_s and timed > 0 and self._spent() > SECONDS):
            self.step_s = (self._now() - self.since) / timed
            if self.profiler is None:
                raise Enough
            self.profiler.start()
            self.taken = WARM + STEPS
        elif self.profiler is not None and timed == STEPS + PROFILED:
            torch.cuda.synchronize()
            self.profiler.stop()
            self._read(self.profiler)
            raise Enough

    def _now(self) -> float:
        if self.gpu:
            torch.cuda.synchronize()
        return time.perf_counter()

    def _spent(self) -> float:
        return time.perf_counter() - self.since

    def _read(self, recorded: profile) -> None:
        events = [e for e in recorded.events() or () if not e.is_user_annotation]
        kernels = [e for e in events if e.device_type.name == "CUDA"]
        self.launches = len(kernels) / PROFILED
        self.busy = sum(e.time_range.elapsed_us() for e in kernels) * 1e-6 / PROFILED / self.step_s
        averages = recorded.key_averages()
        self.slowest = averages.table(sort_by="self_device_time_total", row_limit=25)


def watched(train: Callable[[Path, Clock], Any], device: str, log: Path | None) -> Clock:
    """Train until ``Clock`` has seen enough."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    clock = Clock(device)
    with tempfile.TemporaryDirectory() as work, suppress(Enough):
        train(Path(work), clock)
    if log and clock.slowest:
        with log.open("a") as file:
            file.write(f"{clock.slowest}\n")
    return clock


def cells(clock: Clock, samples: int) -> tuple[str, ...]:
    """Seconds before, ms a step, samples a second, launches, busy share, peak GB."""
    gpu = ("", "", "")
    if clock.gpu:
        peak = torch.cuda.max_memory_allocated() / 1e9
        gpu = f"{clock.launches:.0f}", f"{clock.busy:.0%}", f"{peak:.2f}"
    return (
        f"{clock.before_s:.1f}",
        f"{clock.step_s * 1e3:.1f}",
        f"{samples / clock.step_s:.0f}",
        *gpu,
    )


COLUMNS = ("s to the first step", "ms a step", "samples/s", "launches a step", "GPU busy", "GB")


def forecasters(
    folders: list[Path], devices: list[str], arithmetic: list[str], log: Path | None
) -> None:
    """A row a dataset, device and arithmetic; a sample is a window of all nodes."""
    head("forecaster", "nodes", "batch", "on", "arithmetic", *COLUMNS)
    steps = WARM + STEPS + 2 * PROFILED
    for folder in folders:
        dataset = open_registered(folder)
        for device in devices:
            for kind in arithmetic if device == "cuda" else ["32"]:
                torch.compiler.reset()
                accelerator = "gpu" if device == "cuda" else "cpu"
                changes = [f"steps={steps}", f"evaluate_every={steps}", *ARITHMETIC[kind]]
                changes.append(f"accelerator={accelerator}")
                settings = settings_for(dataset, "full", assignments=changes)

                def train(work: Path, clock: Clock, settings: Any = settings) -> None:
                    fit(dataset, settings, work, clock)  # noqa: B023

                clock = watched(train, device, log)
                told = (folder.name, dataset.graph.nodes, settings.batch, device, kind)
                row(*told, *cells(clock, settings.batch))


def surrogates(opened: list[Experiments], devices: list[str], log: Path | None) -> None:
    """A row a surrogate and device; a sample is a scenario."""
    head("surrogate", "weights", "batch", "on", *COLUMNS)
    steps = WARM + STEPS + 2 * PROFILED
    for experiments in opened:
        domain = domain_of(experiments.spec.domain)
        build = domain.surrogate
        assert build is not None
        for device in devices:
            accelerator = "gpu" if device == "cuda" else "cpu"
            changes = {"steps": steps, "evaluate_every": steps, "accelerator": accelerator}
            defaults = domain.surrogate_settings
            settings = resolve_settings(LoopSettings, defaults, changes=changes)

            def train(
                work: Path, clock: Clock, build: Build = build, settings: Any = settings
            ) -> None:
                fit_surrogate(experiments, build, settings, work, clock)  # noqa: B023

            clock = watched(train, device, log)
            weights = sum(p.numel() for p in build(experiments).parameters())
            told = (experiments.spec.name, weights, settings.batch, device)
            row(*told, *cells(clock, settings.batch))


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--experiments", nargs="+", type=Path, default=[])
    parser.add_argument("--device", action="append", choices=("cpu", "cuda"))
    parser.add_argument("--arithmetic", action="append", choices=tuple(ARITHMETIC))
    parser.add_argument("--profile", type=Path, help="file for the slowest operators")
    options = parser.parse_args()
    gpu = torch.cuda.is_available()
    devices = options.device or ["cpu", *(["cuda"] if gpu else [])]
    if gpu:
        print(f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} threads")
    if options.folders:
        kinds = options.arithmetic or list(ARITHMETIC)
        forecasters(options.folders, devices, kinds, options.profile)
    if options.experiments:
        opened = [open_experiments(folder) for folder in options.experiments]
        surrogates(opened, devices, options.profile)


if __name__ == "__main__":
    main()
