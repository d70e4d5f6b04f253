"""Drawn scenarios, each simulated, as an experiments folder that a surrogate is trained on."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
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
from pipelines.domains.traffic.network import Network, network_beside
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
        """Kind, number and how many seeds, of all; training comes last: fewer are soon whole."""
        counts = {TODAY: (1, self.today)}
        counts |= {STOPPING: (self.stopping, 1), CALIBRATION: (self.calibration, 1)}
        tests = (HELD_OUT_MEASURES, HELD_OUT_COMBINATIONS)
        counts |= dict.fromkeys(tests, (self.held_out, self.seeds))
        counts[TRAIN] = self.training, 1
        return [(kind, k, seeds) for kind, (n, seeds) in counts.items() for k in range(n)]


@dataclass(frozen=True)
class Scenario:
    """A drawn scenario.

    Attributes:
        kind: what it is for.
        measures: what was drawn.
        change: what that comes to.
        seeds: of its runs.
        runs: flow and speed [E, 2] of those that are finished.
    """

    kind: str
    measures: tuple[Measure, ...]
    change: Intervention
    seeds: list[int]
    runs: list[FloatArray] = field(default_factory=list)

    @property
    def described(self) -> list[dict[str, Any]]:
        """Its measures for JSON."""
        return [
            measure.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            for measure in self.measures
        ]


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
    network = network_beside(base, asked.network)
    draws = Draws(network, asked.draw)
    scenarios = [
        Scenario(kind, *draws(kind, number), _seeds(asked.draw, kind, number, count))
        for kind, number, count in asked.scenarios()
    ]
    _simulate(network, scenarios, span, out / FINISHED, asked.workers, progress)
    progress("written", 1.0)
    write_experiments(out, _experiments(asked, network, span, scenarios, out))


def _seeds(draw: int, kind: str, number: int, count: int) -> list[int]:
    """A scenario's own: its runs share no noise with another's."""
    rng = np.random.default_rng([draw, *kind.encode(), number, 1])
    return [int(seed) for seed in rng.integers(1, 2**31 - 1, count)]


def _simulate(
    network: Network,
    scenarios: list[Scenario],
    span: Span,
    folder: Path,
    workers: int,
    progress: Callable[[str, float], None],
) -> None:
    """Fill in every scenario's runs; what the simulator breaks off on is left without."""
    jobs = [(scenario, seed) for scenario in scenarios for seed in scenario.seeds]
    with held(folder / ".lock"), ThreadPoolExecutor(workers) as pool:
        waiting = {
            pool.submit(simulate, network, scenario.change, seed, span, folder): scenario
            for scenario, seed in jobs
        }
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                scenario = waiting[future]
                try:
                    ids, means = edge_means(future.result())
                except FelsinaError:
                    if scenario.kind == TODAY:
                        raise
                    continue  # SUMO itself crashes on a jam now and then
                values = np.stack([means[name] for name in OUTPUTS], axis=-1)
                scenario.runs.append(values[[ids.index(edge) for edge in network.edges]])
                progress(f"run {done} of {len(jobs)}", done / len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _experiments(
    asked: Design, network: Network, span: Span, scenarios: list[Scenario], folder: Path
) -> Experiments:
    failed = [scenario for scenario in scenarios if len(scenario.runs) < len(scenario.seeds)]
    whole = [scenario for scenario in scenarios if len(scenario.runs) == len(scenario.seeds)]
    with warnings.catch_warnings():  # an edge that no seed drives has no speed
        warnings.simplefilter("ignore", RuntimeWarning)
        means = [np.nanmean(np.stack(scenario.runs), axis=0) for scenario in whole]
        floors = {
            name: _floor([scenario.runs for scenario in whole if scenario.kind == name])
            for name in (HELD_OUT_MEASURES, HELD_OUT_COMBINATIONS)
        }
    made = asked.model_dump(mode="json") | {
        "network": network.name,
        "measures": [scenario.described for scenario in whole],
        "failed": [scenario.described for scenario in failed],
    }
    return Experiments(
        folder,
        spec_of(asked.name, network, span),
        np.array([[scenario.change.demand] for scenario in whole], np.float32),
        np.stack([fields_of(network, scenario.change) for scenario in whole]),
        np.stack(means).astype(np.float32),
        np.array([TRAIN if s.kind == TODAY else s.kind for s in whole]),
        {"made": made, "floors": floors, "streets": streets_record(network, means[0], span)},
    )


def _floor(tests: list[list[FloatArray]]) -> dict[str, float]:
    """Mean absolute difference of two seeds of a scenario over its edges, mean over scenarios."""
    own = [
        np.nanmean([np.abs(a - b) for a, b in combinations(values, 2)], axis=(0, 1))
        for values in tests
    ]
    return {name: float(value) for name, value in zip(OUTPUTS, np.mean(own, 0), strict=True)}
