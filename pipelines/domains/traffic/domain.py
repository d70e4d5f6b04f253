"""Traffic: counts and speeds at loops and stations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.domains.registry import Domain

if TYPE_CHECKING:
    from training.dataset import CityDataset


def _defaults(dataset: CityDataset, profile: str) -> dict[str, Any]:
    if dataset.spec.steps_per_day > 24:
        return {
            "architecture": {"dropout": 0.2},
            "steps": 300 if profile == "quick" else 900,
            "batch": 8,
        }
    return {
        "architecture": {"width": 64, "blocks": 2, "dropout": 0.3, "members": 3},
        "steps": 300 if profile == "quick" else 600,
        "batch": 64,
        "learning_rate": 5e-4,
        "weight_decay": 0.1,
    }


def _synthesise(folder: Path, seed: int) -> None:
    from pipelines.domains.traffic.synthetic import synthesise

    synthesise(folder, seed)


DOMAIN = Domain("traffic", "Traffic", _defaults, _synthesise, "embedded-traffic")
