"""Whom a forecast may serve badly: groups of nodes by where they stand and what is known of there.

A group is published only from ``LEAST_SENSORS`` sensors and ``LEAST_RESIDENTS`` residents on; a
smaller one is merged upwards, to the rest of the next larger district or to its neighbour in the
order of the attribute, and the merger is shown. Area averages are not persons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from models.contracts import CityGraph, FelsinaError, FloatArray, IntArray

LEAST_SENSORS = 3
LEAST_RESIDENTS = 500
CLASSES = 5
"""Classes of a number: quintiles of residents, where they are known, or of sensors."""
_MOST_TEXTS = 12
"""Distinct texts up to which a column is a category; names and ids have more."""


@dataclass(frozen=True)
class Group:
    """Nodes that are judged together.

    Attributes:
        name: for people.
        nodes: their positions in the graph.
        residents: of the areas where they stand; NaN where unknown.
        merged: the smaller groups that it was made of, if any.
    """

    name: str
    nodes: IntArray
    residents: float
    merged: tuple[str, ...] = ()

    @property
    def large_enough(self) -> bool:
        """Whether its figures may be published."""
        return len(self.nodes) >= LEAST_SENSORS and not self.residents < LEAST_RESIDENTS


@dataclass(frozen=True)
class Grouping:
    """Groups by one attribute.

    Attributes:
        attribute: what tells them apart.
        groups: at least ``LEAST_SENSORS`` sensors each; in the attribute's order, if it has one.
        ungrouped: nodes of which the attribute is not known, or that no group could take.
    """

    attribute: str
    groups: tuple[Group, ...]
    ungrouped: IntArray


@dataclass(frozen=True)
class Areas:
    """Where each node stands, and what is known of each area.

    Attributes:
        of_node: [N] position of each node's area, -1 where it stands in none.
        levels: names of the districts, the smallest first, to A labels: ``{"area": ...}``.
        residents: [A], NaN where unknown.
        attributes: [A] numbers by name, NaN where unknown.
        land: [A] square kilometres, NaN where unknown; None where no area's are known.
        vulnerable: [A] residents who need a warning most; None where nobody said who.
        crossed: pairs of attributes that are looked at together.
    """

    of_node: IntArray
    levels: dict[str, tuple[str, ...]]
    residents: FloatArray
    attributes: dict[str, FloatArray] = field(default_factory=dict)
    land: FloatArray | None = None
    vulnerable: FloatArray | None = None
    crossed: tuple[tuple[str, str], ...] = ()

    @property
    def km2(self) -> FloatArray:
        """[A] square kilometres, NaN where unknown."""
        return np.full(len(self.residents), np.nan) if self.land is None else self.land

    def living(self, nodes: IntArray) -> float:
        """Residents of the areas of these nodes; NaN where no area's are known."""
        return self._sum(self.residents, nodes)

    def living_vulnerable(self, nodes: IntArray) -> float:
        """Of them, those who need a warning most; NaN where nobody said who, or none are known."""
        return float("nan") if self.vulnerable is None else self._sum(self.vulnerable, nodes)

    def _sum(self, people: FloatArray, nodes: IntArray) -> float:
        areas = np.unique(self.of_node[nodes])
        known = people[areas[areas >= 0]]
        return float(np.nansum(known)) if np.isfinite(known).any() else float("nan")


def own_areas(graph: CityGraph) -> Areas:
    """Areas by the nodes' own columns: ``area``, ``residents`` and numbers that are one an area."""
    names = tuple(sorted(set(graph.areas) - {""}))
    of_node = np.array([names.index(area) if area else -1 for area in graph.areas], np.int64)
    columns = {name: _numbers(texts) for name, texts in graph.attributes.items()}
    found: dict[str, FloatArray] = {}
    for name, values in columns.items():
        if values is None or not len(names):
            continue
        inside = [values[of_node == a] for a in range(len(names))]
        if all(len(set(part[np.isfinite(part)])) <= 1 for part in inside):
            found[name] = np.array([_only(part) for part in inside])
    residents = found.pop("residents", np.full(len(names), np.nan))
    return Areas(of_node, {"area": names}, residents, found)


def groupings(graph: CityGraph, areas: Areas) -> tuple[Grouping, ...]:
    """Every way in which the nodes are told apart that gives two groups or more."""
    found = [by_level(areas, level) for level in areas.levels]
    for name, values in areas.attributes.items():
        found.append(by_number(name, _at_node(areas, name), areas, (values, areas.residents)))
    found += [by_two(one, two, areas) for one, two in areas.crossed]
    for name, texts in graph.attributes.items():
        if name == "residents" or name in areas.attributes:
            continue
        values = _numbers(texts)
        if values is not None:
            found.append(by_number(name, values, areas, None))
        elif len(set(texts) - {""}) <= _MOST_TEXTS:
            found.append(by_text(name, texts, areas))
    return tuple(grouping for grouping in found if len(grouping.groups) > 1)


def record_groupings(values: FloatArray) -> tuple[Grouping, ...]:
    """Groups of nodes of which nothing is known but their records [S, N]: by level and by gaps."""
    nowhere = Areas(np.full(values.shape[1], -1), {"area": ()}, np.zeros(0))
    count = np.isfinite(values).sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(values, axis=0) / count
    found = (
        by_number("mean of the record", _three_digits(mean), nowhere, None),
        by_number(
            "observed share of the record", _three_digits(count / len(values)), nowhere, None
        ),
    )
    return tuple(grouping for grouping in found if len(grouping.groups) > 1)


def _three_digits(values: FloatArray) -> FloatArray:
    """Numbers that people can read as bounds of a class."""
    return np.array([float(f"{value:.3g}") for value in values])


def by_level(areas: Areas, level: str) -> Grouping:
    """Groups by district; what is too small becomes the rest of the next larger one."""
    order = list(areas.levels)
    if level not in order:
        raise FelsinaError(f"level {level!r} is unknown; known: {', '.join(order)}")
    inside = areas.of_node >= 0

    def at_node(names: Sequence[str]) -> np.ndarray:
        labels = np.full(len(areas.of_node), "", object)
        labels[inside] = np.array(names, object)[areas.of_node[inside]]
        return labels

    rests = [
        at_node([f"rest of {name}" for name in areas.levels[above]])
        for above in order[order.index(level) + 1 :]
    ]
    return _merged(level, at_node(areas.levels[level]), rests, areas)


def by_text(attribute: str, texts: tuple[str, ...], areas: Areas) -> Grouping:
    """Groups by category; those that are too small become one."""
    labels = np.array(texts, object)
    present = np.flatnonzero(labels != "")
    groups = _groups(labels, present, labels, areas)
    small = [g for g in groups if not g.large_enough]
    kept = [g for g in groups if g.large_enough]
    if small:
        nodes = _nodes(small)
        names = tuple(g.name for g in small)
        other = Group("other", np.sort(nodes), areas.living(nodes), names)
        kept += [other] if other.large_enough else []
    return _grouping(attribute, kept, areas)


def by_two(one: str, two: str, areas: Areas) -> Grouping:
    """Thirds of the residents by one number, each parted by thirds of another.

    A cell that is too small becomes the rest of its third by the first number, or of all.
    """
    rows, columns = _thirds(one, areas), _thirds(two, areas)
    both = (rows != "") & (columns != "")
    labels = np.where(both, rows + " x " + columns, "")
    return _merged(f"{one} x {two}", labels, [rows + " x the rest"], areas)


def _thirds(name: str, areas: Areas) -> np.ndarray:
    """[N] the class of the city's residents that each node is of; empty where it is not known."""
    values, labels = _at_node(areas, name), np.full(len(areas.of_node), "", object)
    known = np.isfinite(values)
    place, names = classes(values[known], areas.attributes[name], areas.residents, 3)
    labels[known] = np.array(names, object)[place]
    return labels


def by_number(
    attribute: str, values: FloatArray, areas: Areas, city: tuple[FloatArray, FloatArray] | None
) -> Grouping:
    """Quintiles of the ``city``'s residents, or of the nodes; small ones join a neighbour.

    Args:
        attribute: its name.
        values: [N], NaN where unknown.
        areas: where the nodes stand.
        city: values and residents of all areas, those without a sensor too; None counts nodes.
    """
    known = np.flatnonzero(np.isfinite(values))
    scale, weights = (values[known], np.ones(len(known))) if city is None else city
    place, names = classes(values[known], scale, weights)
    found = [
        Group(names[c], known[place == c], areas.living(known[place == c]))
        for c in range(len(names))
        if (place == c).any()
    ]
    while len(found) > 1 and (small := [g for g in found if not g.large_enough]):
        at = found.index(small[0])
        beside = [i for i in (at - 1, at + 1) if 0 <= i < len(found)]
        other = min(beside, key=lambda i: len(found[i].nodes))
        first, second = sorted((at, other))
        found[first : second + 1] = [_joined(found[first], found[second], values, areas)]
    return _grouping(attribute, found, areas)


def _at_node(areas: Areas, name: str) -> FloatArray:
    """[N] what is known of the area where each node stands."""
    return np.where(areas.of_node >= 0, areas.attributes[name][areas.of_node], np.nan)


def classes(
    values: FloatArray, scale: FloatArray, weights: FloatArray, parts: int = CLASSES
) -> tuple[IntArray, list[str]]:
    """The class of each value, lowest first, and the classes' names: what part of ``scale``.

    Args:
        values: [N] known ones.
        scale: [A] of a city, which is cut into equal parts; its own values where they are few.
        weights: [A] residents, or ones.
        parts: how many.
    """
    weights = np.nan_to_num(weights)
    usable = np.isfinite(scale) & (weights > 0)
    scale, weights = scale[usable], weights[usable]
    distinct = np.unique(scale)
    if len(distinct) <= parts:
        return np.searchsorted(distinct, values), [f"{value:g}" for value in distinct]
    below = np.array([weights[scale < v].sum() for v in distinct]) / weights.sum()
    place = np.minimum((below * parts + 1e-9).astype(int), parts - 1)
    names = [_span(distinct[place == c]) for c in range(parts)]
    at = np.searchsorted(distinct, values, side="right") - 1
    return place[np.maximum(at, 0)], names


def _joined(one: Group, two: Group, values: FloatArray, areas: Areas) -> Group:
    nodes = np.sort(np.concatenate([one.nodes, two.nodes]))
    names = tuple(name for g in (one, two) for name in (g.merged or (g.name,)))
    return Group(_span(values[nodes]), nodes, areas.living(nodes), names)


def _span(values: FloatArray) -> str:
    if not len(values):
        return ""
    low, high = float(values.min()), float(values.max())
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _groups(labels: np.ndarray, nodes: IntArray, origin: np.ndarray, areas: Areas) -> list[Group]:
    """The groups that ``nodes`` form by their labels."""
    found = []
    for name in sorted(set(labels[nodes])):
        members = nodes[labels[nodes] == name]
        before = tuple(sorted(set(origin[members])))
        merged = () if before == (name,) else before
        found.append(Group(name, members, areas.living(members), merged))
    return found


def _merged(attribute: str, labels: np.ndarray, rests: list[np.ndarray], areas: Areas) -> Grouping:
    """Groups by ``labels`` [N]; what is too small goes by the next of ``rests``, at last together.

    A node of which the label is empty is in no group.
    """
    groups: list[Group] = []
    waiting = np.flatnonzero(labels != "")
    for now in (labels, *rests, np.full(len(labels), "the rest", object)):
        groups += [g for g in _groups(now, waiting, labels, areas) if g.large_enough]
        waiting = np.setdiff1d(waiting, _nodes(groups))
    return _grouping(attribute, groups, areas)


def _nodes(groups: Sequence[Group]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *(group.nodes for group in groups)])


def _grouping(attribute: str, groups: list[Group], areas: Areas) -> Grouping:
    kept = tuple(group for group in groups if group.large_enough)
    return Grouping(attribute, kept, np.setdiff1d(np.arange(len(areas.of_node)), _nodes(kept)))


def _numbers(texts: tuple[str, ...]) -> FloatArray | None:
    """[N] with NaN for an empty text; None where a text is no number."""
    try:
        return np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return None


def _only(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known[0]) if len(known) else float("nan")
