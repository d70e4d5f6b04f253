"""Flood: stage and discharge at river gauges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.domains.registry import Domain, OpenData, later

if TYPE_CHECKING:
    from training.dataset import CityDataset


def _defaults(dataset: CityDataset, profile: str) -> dict[str, Any]:
    # Where a rise takes hours, a gauge's last days tell its scale better than its history does.
    quick_water = dataset.spec.steps_per_day > 1
    return {
        "lags": (),
        "architecture": {
            "anchor": "last",
            "inductive": quick_water,
            "graph": not quick_water,
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


_PUBLISHED = {
    "camels": "CAMELS-US folder: daily runoff of up to 671 basins with Daymet weather",
}

_SOURCES = {
    "arpae-rivers": OpenData(
        "river stage and rain in Emilia-Romagna, every 30 minutes",
        "pipelines.domains.flood.open_data:SOURCE",
    )
}

DOMAIN = Domain(
    name="flood",
    title="Flood risk",
    defaults=_defaults,
    synthesise=later("pipelines.domains.flood.synthetic:synthesise"),
    embedded="embedded-flood",
    published=_PUBLISHED,
    ingest=later("pipelines.domains.flood.published:ingest"),
    sources=_SOURCES,
    verify=later("pipelines.domains.flood.verification:verify"),
    sample=later("pipelines.domains.flood.inundation_sampling:sample"),
    scenario=later("pipelines.domains.flood.scenario:run_scenario"),
    answer=later("pipelines.domains.flood.inundation_answering:answer_scenario"),
    surrogate=later("pipelines.domains.flood.inundation_surrogate:network"),
    surrogate_settings={
        "steps": 6000,
        "batch": 8,
        "learning_rate": 2e-3,
        "evaluate_every": 500,
        "patience": 12,
    },
)
