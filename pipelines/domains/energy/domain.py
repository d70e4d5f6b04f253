"""Energy: demand of buildings, districts and zones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.domains.registry import SMALL_NETWORK, Check, Domain

if TYPE_CHECKING:
    from pipelines.domains.published import Published
    from training.dataset import CityDataset


def _defaults(dataset: CityDataset, profile: str) -> dict[str, Any]:
    quick = profile == "quick"
    steps: dict[str, Any] = {"batch": 35, "steps": 400 if quick else 1300}
    if dataset.graph.nodes == 1:
        return SMALL_NETWORK | steps
    if dataset.splits.train_end < 365 * dataset.spec.steps_per_day:
        # In less than a year all buildings together tell more than each of itself.
        return steps | {"architecture": {"inductive": True, "graph": False}}
    # Three networks take 1 % off the error and three times the training.
    return steps | {"architecture": {"members": 1 if quick else 3}}


def _synthesise(folder: Path, seed: int) -> None:
    from pipelines.domains.energy.synthetic import synthesise

    synthesise(folder, seed)


def _ingest(name: str, files: Published, folder: Path) -> None:
    from pipelines.domains.energy.published import ingest

    ingest(name, files, folder)


def _verify(reference: Path) -> list[Check]:
    from pipelines.domains.energy.verification import verify

    return verify(reference)


def _scenario(
    scenario: dict[str, Any], base: Path, out: Path, progress: Callable[[str, float], None]
) -> dict[str, Any]:
    from pipelines.domains.energy.scenario import run_scenario

    return run_scenario(scenario, base, out, progress)


_PUBLISHED = {
    "etth1": "ETTh1.csv: loads and oil temperature of a transformer, hourly",
    "etth2": "ETTh2.csv: the same of another transformer",
    "ettm1": "ETTm1.csv: the first transformer every 15 minutes",
    "ettm2": "ETTm2.csv: the second transformer every 15 minutes",
}

DOMAIN = Domain(
    "energy",
    "Energy demand",
    _defaults,
    _synthesise,
    "embedded-energy",
    _PUBLISHED,
    _ingest,
    _verify,
    _scenario,
)
