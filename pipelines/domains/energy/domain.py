"""Energy: demand of buildings, districts and zones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.domains.registry import Domain

if TYPE_CHECKING:
    from training.dataset import CityDataset


def _defaults(dataset: CityDataset, profile: str) -> dict[str, Any]:
    return {"batch": 35, "steps": 400 if profile == "quick" else 1300}


def _synthesise(folder: Path, seed: int) -> None:
    from pipelines.domains.energy.synthetic import synthesise

    synthesise(folder, seed)


DOMAIN = Domain("energy", "Energy demand", _defaults, _synthesise, "embedded-energy")
