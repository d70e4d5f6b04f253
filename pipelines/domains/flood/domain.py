"""Flood: stage and discharge at river gauges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.domains.registry import Domain

if TYPE_CHECKING:
    from training.dataset import CityDataset


def _defaults(dataset: CityDataset, profile: str) -> dict[str, Any]:
    return {
        "lags": (),
        "architecture": {
            "anchor": "last",
            "calendar": False,
            "annual": False,
            "width": 64,
            "blocks": 2,
            "dropout": 0.2,
        },
        "steps": 300 if profile == "quick" else 500,
        "batch": 128,
        "node_loss": "equal",
    }


def _synthesise(folder: Path, seed: int) -> None:
    from pipelines.domains.flood.synthetic import synthesise

    synthesise(folder, seed)


DOMAIN = Domain("flood", "Flood risk", _defaults, _synthesise, "embedded-flood")
