"""The groups that training and calibration look at: those that the audit judges."""

from __future__ import annotations

import numpy as np

from fairness.areas import read_areas
from fairness.groups import groupings, own_areas
from models.contracts import FelsinaError
from training.dataset import CityDataset
from training.groups import NodeGroups
from training.settings import Fairness


def groups_of(dataset: CityDataset, fairness: Fairness) -> NodeGroups | None:
    """Groups by ``fairness.attribute``; None where groups have no say.

    Raises:
        FelsinaError: if the attribute does not tell two groups apart, or none is named.
    """
    if not fairness.active:
        return None
    graph = dataset.graph
    areas = own_areas(graph) if fairness.areas is None else read_areas(fairness.areas, graph)
    known = {grouping.attribute: grouping for grouping in groupings(graph, areas)}
    if fairness.attribute not in known:
        where = fairness.areas or dataset.folder / "nodes.csv"
        names = f"use one of {', '.join(known)}" if known else "give fairness.areas=FILE"
        raise FelsinaError(
            f"fairness.attribute = {fairness.attribute!r} tells no two groups of {where} apart; "
            f"{names}"
        )
    grouping = known[fairness.attribute]
    of_node = np.full(graph.nodes, -1)
    for number, group in enumerate(grouping.groups):
        of_node[group.nodes] = number
    return NodeGroups(grouping.attribute, tuple(g.name for g in grouping.groups), of_node)
