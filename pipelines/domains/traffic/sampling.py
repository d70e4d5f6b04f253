"""Drawn scenarios, each simulated, as an experiments folder that a surrogate is trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from models.contracts import FelsinaError, FloatArray
from models.scenario import CALIBRATION, STOPPING, TRAIN
from pipelines.domains.scenarios import FINISHED, Frozen, read_keys
from pipelines.domains.traffic.comparison import edge_means
from pipelines.domains.traffic.draws import (
    HELD_OUT_COMBINATIONS,
    HELD_OUT_MEASURES,
    TODAY,
    Draws,
)
from pipelines.domains.traffic.measures import Intervention, Measure
from pipelines.domains.traffic.network import Network, open_network
from pipelines.domains.traffic.recording import Span
from pipelines.domains.traffic.road_surrogate import OUTPUTS, fields_of, spec_of, streets_record
from pipelines.domains.traffic.sumo import simulate, sumo_home
from pipelines.settings import held
from training.experiments import Experiments, write_experiments


class Design(Frozen):
    """A design file.

    Attributes:
        name: of the surrogate.
        domain: this one.
        network: a SUMO scenario folder, relative to the file.
        begin: first simulated second.
        end: last.
        warm_up: seconds from ``begin`` that are not measured.
        draw: number that decides what is held out, and every scenario.
        today: seeds of the streets without measures.
        training: scenarios, of one seed each.
        stopping: scenarios that say when to stop training.
        calibration: scenarios that the bands are calibrated on.
        held_out: scenarios of each test set.
        seeds: runs of each of those; what they differ by is the floor under every error.
        workers: simulations at a time.
    """

    name: str = Field(min_length=1, pattern=r"^[a-z0-9-]+$")
    domain: Literal["traffic"]
    network: str
    begin: int = Field(0, ge=0)
    end: int = 3600
    warm_up: int = 900
    draw: int = Field(1, ge=0)
    today: int = Field(8, ge=2)
    training: int = Field(260, ge=1)
    stopping: int = Field(20, ge=1)
    calibration: int = Field(24, ge=1)
    held_out: int = Field(20, ge=1)
    seeds: int = Field(3, ge=2)
    workers: int = Field(1, ge=1)

    def scenarios(self) -> list[tuple[str, int, int]]:
        """Kind, number and how many seeds, of all."""
        counts = {TODAY: (1, self.today), TRAIN: (self.training, 1)}
        counts |= {STOPPING: (self.stopping, 1), CALIBRATION: (self.calibration, 1)}
        tests = (HELD_OUT_MEASURES, HELD_OUT_COMBINATIONS)
        counts |= dict.fromkeys(tests, (self.held_out, self.seeds))
        return [(kind, k, seeds) for kind, (n, seeds) in counts.items() for k in range(n)]


def sample(
    design: dict[str, Any], base: Path, out: Path, progress: Callable[[str, float], None]
) -> None:
    """Draw scenarios, simulate them and write the experiments folder ``out``.

    Finished runs are kept under ``out / FINISHED``: the same design goes on where it was killed.

    Args:
        design: the parsed file (``Design``).
        base: folder that its paths are relative to.
        out: folder to write.
        progress: told a text and the share that is done.

    Raises:
        FelsinaError: naming the key that is wrong, or a network that allows too few measures.
    """
    asked = read_keys(Design, design)
    sumo_home()
    span = Span(asked.begin, asked.end, asked.warm_up)
    folder = base / asked.network
    if not folder.is_dir():
        raise FelsinaError(f"network {folder}: no such folder; give one relative to {base}")
    network = open_network(folder)
    draws, drawn = Draws(network, asked.draw), asked.scenarios()
    scenarios = [draws(kind, number) for kind, number, _ in drawn]
    seeds = [
        # A scenario's own: its runs share no noise with another's.
        np.random.default_rng([asked.draw, *kind.encode(), number, 1]).integers(1, 2**31 - 1, count)
        for kind, number, count in drawn
    ]
    jobs = [
        (row, change, int(seed)) for row, (_, change) in enumerate(scenarios) for seed in seeds[row]
    ]
    runs = _simulated(network, jobs, span, out / FINISHED, asked.workers, progress)
    progress("written", 1.0)
    write_experiments(out, _experiments(asked, network, span, drawn, scenarios, runs, out))


def _simulated(
    network: Network,
    jobs: list[tuple[int, Intervention, int]],
    span: Span,
    folder: Path,
    workers: int,
    progress: Callable[[str, float], None],
) -> list[FloatArray]:
    """Flow and speed [seeds, E, 2] of each row's scenario, from (row, change, seed)."""
    # Scenarios of every kind are spread over the time, so that its share says how long it takes.
    order = np.random.default_rng(0).permutation(len(jobs))
    found: dict[int, list[FloatArray]] = {}
    with held(folder / ".lock"), ThreadPoolExecutor(workers) as pool:
        waiting = {
            pool.submit(simulate, network, jobs[job][1], jobs[job][2], span, folder): jobs[job][0]
            for job in order
        }
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                ids, means = edge_means(future.result())
                values = np.stack([means[name] for name in OUTPUTS], axis=-1)
                rows = [ids.index(edge) for edge in network.edges]
                found.setdefault(waiting[future], []).append(values[rows])
                progress(f"run {done} of {len(jobs)}", done / len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [np.stack(found[row]) for row in sorted(found)]


def _experiments(
    asked: Design,
    network: Network,
    span: Span,
    drawn: list[tuple[str, int, int]],
    scenarios: list[tuple[tuple[Measure, ...], Intervention]],
    runs: list[FloatArray],
    folder: Path,
) -> Experiments:
    with warnings.catch_warnings():  # an edge that no seed drives has no speed
        warnings.simplefilter("ignore", RuntimeWarning)
        means = [np.nanmean(values, axis=0) for values in runs]
        floors = {
            name: _floor([runs[row] for row, (kind, _, _) in enumerate(drawn) if kind == name])
            for name in (HELD_OUT_MEASURES, HELD_OUT_COMBINATIONS)
        }
    made = asked.model_dump(mode="json") | {
        "simulator": f"SUMO {version('eclipse-sumo')}",
        "measures": [
            [m.model_dump(mode="json", by_alias=True, exclude_defaults=True) for m in measures]
            for measures, _ in scenarios
        ],
    }
    record = {"made": made, "floors": floors, "streets": streets_record(network, means[0], span)}
    changes = [change for _, change in scenarios]
    return Experiments(
        folder,
        spec_of(asked.name, network, span),
        np.array([[change.demand] for change in changes], np.float32),
        np.stack([fields_of(network, change) for change in changes]),
        np.stack(means).astype(np.float32),
        np.array([TRAIN if kind == TODAY else kind for kind, _, _ in drawn]),
        record,
    )


def _floor(tests: list[FloatArray]) -> dict[str, float]:
    """Mean absolute difference of two seeds of a scenario over its edges, mean over scenarios."""
    own = [
        np.nanmean([np.abs(a - b) for a, b in combinations(values, 2)], axis=(0, 1))
        for values in tests
    ]
    return {name: float(value) for name, value in zip(OUTPUTS, np.mean(own, 0), strict=True)}
