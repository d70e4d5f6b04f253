"""Energy: demand of buildings, districts and zones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.domains.registry import SMALL_NETWORK, Domain, OpenData, later

if TYPE_CHECKING:
    from training.dataset import CityDataset


def _defaults(dataset: CityDataset, profile: str) -> dict[str, Any]:
    quick = profile == "quick"
    steps: dict[str, Any] = {"batch": 35, "steps": 400 if quick else 1300}
    if dataset.graph.nodes == 1:
        return SMALL_NETWORK | steps
    days = dataset.splits.train_end / dataset.spec.steps_per_day
    if 21 <= days < 365:  # from three weeks on there is a week before, which is the anchor then
        # In less than a year all buildings together tell more than each of itself.
        return steps | {"architecture": {"inductive": True, "graph": False}}
    # Three networks take 1 % off the error and three times the training.
    return steps | {"architecture": {"members": 1 if quick else 3}}


_PUBLISHED = {
    "etth1": "ETTh1.csv: loads and oil temperature of a transformer, hourly",
    "etth2": "ETTh2.csv: the same of another transformer",
    "ettm1": "ETTm1.csv: the first transformer every 15 minutes",
    "ettm2": "ETTm2.csv: the second transformer every 15 minutes",
}

_SOURCES = {
    "terna-load": OpenData(
        "load of an Italian bidding zone, every 15 minutes (needs a key)",
        "pipelines.domains.energy.open_data:SOURCE",
    )
}

DOMAIN = Domain(
    name="energy",
    title="Energy demand",
    defaults=_defaults,
    synthesise=later("pipelines.domains.energy.synthetic:synthesise"),
    embedded="embedded-energy",
    published=_PUBLISHED,
    ingest=later("pipelines.domains.energy.published:ingest"),
    sources=_SOURCES,
    verify=later("pipelines.domains.energy.verification:verify"),
    scenario=later("pipelines.domains.energy.scenario:run_scenario"),
    answer=later("pipelines.domains.energy.scenario:answer_scenario"),
    search=later("pipelines.domains.energy.programme:search"),
    sample=later("pipelines.domains.energy.sampling:sample"),
    surrogate=later("pipelines.domains.energy.surrogate:network"),
    surrogate_settings={
        "steps": 15_000,
        "batch": 384,
        "learning_rate": 3e-3,
        "evaluate_every": 300,
        "patience": 40,
    },
)
