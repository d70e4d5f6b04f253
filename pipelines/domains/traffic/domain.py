"""Traffic: counts and speeds at loops and stations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.domains.registry import SMALL_NETWORK, Domain, OpenData, later

if TYPE_CHECKING:
    from training.dataset import CityDataset


def _defaults(dataset: CityDataset, profile: str) -> dict[str, Any]:
    if dataset.spec.steps_per_day > 24:
        return {
            "architecture": {"dropout": 0.2},
            "steps": 300 if profile == "quick" else 900,
            "batch": 8,
        }
    return SMALL_NETWORK | {"steps": 300 if profile == "quick" else 600, "batch": 64}


_PUBLISHED = {
    "metr-la": "metr-la.h5 of DCRNN: speeds, 207 x 34272",
    "pems-bay": "pems-bay.h5 of DCRNN: speeds, 325 x 52116",
    "pems03": "PEMS03.npz of STSGCN: counts, 358 x 26208",
    "pems04": "PEMS04.npz of ASTGCN: counts, 307 x 16992",
    "pems07": "PEMS07.npz of STSGCN: counts, 883 x 28224",
    "pems08": "PEMS08.npz of ASTGCN: counts, 170 x 17856",
}

_SOURCES = {
    "bologna-loops": OpenData(
        "Bologna's induction loops: hourly counts, gated by their accuracy",
        "pipelines.domains.traffic.bologna_loops:SOURCE",
    ),
    "regional-counts": OpenData(
        "MTS stations of Emilia-Romagna: hourly counts by direction",
        "pipelines.domains.traffic.regional_counts:SOURCE",
    ),
}

DOMAIN = Domain(
    name="traffic",
    title="Traffic",
    defaults=_defaults,
    synthesise=later("pipelines.domains.traffic.synthetic:synthesise"),
    embedded="embedded-traffic",
    published=_PUBLISHED,
    ingest=later("pipelines.domains.traffic.published:ingest"),
    sources=_SOURCES,
    scenario=later("pipelines.domains.traffic.scenario:run_scenario"),
    answer=later("pipelines.domains.traffic.answering:answer_scenario"),
    sample=later("pipelines.domains.traffic.sampling:sample"),
    surrogate=later("pipelines.domains.traffic.road_surrogate:road_surrogate"),
    surrogate_settings={"steps": 600, "batch": 16, "learning_rate": 4e-3, "weight_decay": 0.3},
)
