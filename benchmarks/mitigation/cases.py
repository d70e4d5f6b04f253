"""The datasets of the sweep, and how their sensors are told apart."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.mitigation.homes import FEW, homes_settings, planted_homes
from benchmarks.mitigation.homes import NAME as HOMES
from pipelines.groups import groups_of
from pipelines.settings import home
from pipelines.train import open_registered, settings_for
from training.dataset import CityDataset
from training.groups import NodeGroups
from training.settings import Fairness, TrainSettings

WEIGHTS = ("none", "group", "dro")


def by_attribute(name: str, areas: Path | None = None) -> Callable[[CityDataset], NodeGroups]:
    """The groups that the audit judges."""

    def found(dataset: CityDataset) -> NodeGroups:
        said = {"attribute": name, "areas": areas, "weights": "group"}
        groups = groups_of(dataset, Fairness.model_validate(said))
        assert groups is not None
        return groups

    return found


def by_quarter(dataset: CityDataset) -> NodeGroups:
    """North or south, east or west of the middle sensor."""
    graph = dataset.graph
    east, north = graph.lon > np.median(graph.lon), graph.lat > np.median(graph.lat)
    names = ("south-west", "south-east", "north-west", "north-east")
    return NodeGroups("quarter", names, 2 * north.astype(np.int64) + east)


def by_size(dataset: CityDataset) -> NodeGroups:
    """Thirds of the sensors by their mean in the train span."""
    mean = np.nanmean(dataset.values[: dataset.splits.train_end], axis=0)
    third = 3 * np.argsort(np.argsort(mean)) // len(mean)
    return NodeGroups("size", ("small", "middle", "large"), third)


def by_district(dataset: CityDataset) -> NodeGroups:
    """By the nodes' areas."""
    names = tuple(sorted(set(dataset.graph.areas)))
    return NodeGroups("area", names, np.array([names.index(a) for a in dataset.graph.areas]))


@dataclass(frozen=True)
class Case:
    """What is swept on a dataset.

    Attributes:
        groups: tells its nodes apart.
        seeds: trainings of each kind.
        weights: in the loss; where it is the ordinary loss alone, only bands are compared.
    """

    groups: Callable[[CityDataset], NodeGroups]
    seeds: int
    weights: tuple[str, ...] = WEIGHTS


CASES = {
    "embedded-traffic": Case(by_attribute("mean_income_eur"), 3),
    HOMES: Case(by_district, 3),
    "los-loop": Case(by_quarter, 1),
    "bologna-mts": Case(by_size, 1, ("none",)),
    "cambridge-elec": Case(by_size, 1, ("none",)),
}


def opened(name: str) -> CityDataset:
    """A dataset of the sweep."""
    if name == HOMES:
        return planted_homes(FEW)
    if name.startswith("embedded"):
        return open_registered(home() / "data" / name)
    return open_registered(Path(os.environ.get("FELSINA_DATA", "../shared")) / "datasets" / name)


def settings_of(dataset: CityDataset, seed: int) -> TrainSettings:
    """Those of the quick profile; the homes are of no registered domain."""
    if dataset.spec.dataset == HOMES:
        return homes_settings(dataset, seed)
    return settings_for(dataset, "quick", seed)


def thinned(dataset: CityDataset) -> int:
    """Every so many test origins are scored."""
    return 13 if dataset.spec.dataset == HOMES else 1
