"""Groups: where nodes stand, quintiles of residents, and merging what is too small."""

import numpy as np
import pytest

from fairness.groups import (
    Areas,
    by_level,
    by_number,
    by_text,
    by_two,
    groupings,
    own_areas,
    record_groupings,
)
from models.contracts import CityGraph, FelsinaError


def city(areas: list[str], **attributes: list[str]) -> CityGraph:
    n = len(areas)
    return CityGraph(
        ids=tuple(f"n{i}" for i in range(n)),
        lon=np.full(n, np.nan),
        lat=np.full(n, np.nan),
        names=tuple(f"Node {i}" for i in range(n)),
        areas=tuple(areas),
        thresholds=np.full((n, 3), np.nan),
        attributes={name: tuple(column) for name, column in attributes.items()},
    )


def places(of_node: list[int], residents: list[float], **levels: list[str]) -> Areas:
    named = {name: tuple(labels) for name, labels in levels.items()}
    return Areas(np.array(of_node), named, np.array(residents, float))


def told(grouping) -> list[tuple]:
    return [(g.name, g.nodes.tolist(), g.merged) for g in grouping.groups]


def test_small_areas_become_the_rest_of_their_district():
    areas = places(
        [0, 0, 0, 1, 1, 2, 2, 3, -1],
        [1000, 1000, 1000, 1000],
        area=["a", "b", "c", "d"],
        zona=["Z", "Z", "Z", "Y"],
    )
    found = by_level(areas, "area")
    assert told(found) == [
        ("a", [0, 1, 2], ()),
        ("rest of Z", [3, 4, 5, 6], ("b", "c")),
    ]
    assert found.ungrouped.tolist() == [7, 8]


def test_an_area_of_few_residents_is_merged_however_many_its_sensors():
    of_node = [0] * 4 + [1] * 4
    assert len(by_level(places(of_node, [499, 9000], area=["a", "b"]), "area").groups) == 1
    assert len(by_level(places(of_node, [500, 9000], area=["a", "b"]), "area").groups) == 2


def test_everything_small_is_one_rest():
    areas = places([0, 1, 2, 3], [900] * 4, area=list("abcd"), zona=list("wxyz"))
    assert told(by_level(areas, "area")) == [("the rest", [0, 1, 2, 3], tuple("abcd"))]
    with pytest.raises(FelsinaError, match="level 'street' is unknown; known: area, zona"):
        by_level(areas, "street")


def test_quintiles_count_the_citys_residents_and_not_its_sensors():
    income = np.arange(10.0, 20.0)
    areas = places([0] * 3 + [1] * 3 + [9] * 9, [1000.0] * 10, area=list("abcdefghij"))
    found = by_number("income", income[areas.of_node], areas, (income, areas.residents))
    assert told(found) == [
        ("10 to 11", [0, 1, 2, 3, 4, 5], ()),
        ("18 to 19", [6, 7, 8, 9, 10, 11, 12, 13, 14], ()),
    ]
    sensors = by_number("age", np.arange(15.0), areas, None)
    assert [len(g.nodes) for g in sensors.groups] == [3] * 5


def test_a_class_that_is_too_small_joins_its_smaller_neighbour():
    areas = places([-1] * 12, [], area=[])
    values = np.array([1.0] * 5 + [2.0] + [3.0] * 3 + [4.0] * 3)
    assert told(by_number("x", values, areas, None)) == [
        ("1", [0, 1, 2, 3, 4], ()),
        ("2 to 3", [5, 6, 7, 8], ("2", "3")),
        ("4", [9, 10, 11], ()),
    ]


def test_nodes_of_which_nothing_is_known_are_counted():
    areas = places([-1] * 7, [], area=[])
    values = np.array([1.0, 1, 1, 2, 2, 2, np.nan])
    assert by_number("x", values, areas, None).ungrouped.tolist() == [6]
    assert by_text("t", ("a", "a", "a", "b", "b", "b", ""), areas).ungrouped.tolist() == [6]


def test_categories_that_are_too_small_are_one():
    areas = places([-1] * 8, [], area=[])
    found = by_text("use", ("home",) * 4 + ("shop", "shop", "office", "mill"), areas)
    assert told(found) == [
        ("home", [0, 1, 2, 3], ()),
        ("other", [4, 5, 6, 7], ("mill", "office", "shop")),
    ]


def test_a_graphs_own_columns_give_its_groupings():
    graph = city(
        ["a"] * 3 + ["b"] * 3,
        residents=["700"] * 3 + ["800"] * 3,
        income=["10"] * 3 + ["20"] * 3,
        built=["1900", "1950", "2000", "1900", "1950", "2000"],
        code=["1a", "1b", "1c", "1d", "1e", "1f"],
    )
    areas = own_areas(graph)
    assert areas.residents.tolist() == [700, 800]
    assert list(areas.attributes) == ["income"]
    found = {grouping.attribute: told(grouping) for grouping in groupings(graph, areas)}
    assert found["area"] == [("a", [0, 1, 2], ()), ("b", [3, 4, 5], ())]
    assert found["income"] == [("10", [0, 1, 2], ()), ("20", [3, 4, 5], ())]
    assert "residents" not in found


def test_no_areas_are_no_fault():
    assert groupings(city([""] * 4), own_areas(city([""] * 4))) == ()


def test_two_numbers_part_the_residents_into_cells_and_small_ones_are_merged_and_shown():
    """Nine areas: income by threes, and within each three one of few, some and many old people."""
    old = np.array([1.0, 2, 3] * 3)
    numbers = {"income": np.repeat([1.0, 2, 3], 3), "old": old}
    nodes = [3, 3, 3, 2, 1, 4, 1, 1, 0]
    of_node = np.repeat(np.arange(9), nodes)
    areas = Areas(of_node, {"area": tuple("abcdefghi")}, np.full(9, 900.0), numbers)
    found = by_two("income", "old", areas)
    assert found.attribute == "income x old"
    assert [(g.name, len(g.nodes), g.merged) for g in found.groups] == [
        ("1 x 1", 3, ()),
        ("1 x 2", 3, ()),
        ("1 x 3", 3, ()),
        ("2 x 3", 4, ()),
        ("2 x the rest", 3, ("2 x 1", "2 x 2")),
    ]
    assert found.ungrouped.tolist() == [16, 17], "two nodes are too few, even as the rest of all"
    sizes = [g.residents for g in found.groups]
    assert sizes == [900, 900, 900, 900, 1800]


def test_cells_too_small_for_their_row_are_the_rest_of_the_city():
    numbers = {"income": np.repeat([1.0, 2, 3], 2), "old": np.array([1.0, 2] * 3)}
    areas = Areas(
        np.array([0, 1, 2, 3, 4, 5, 4, 4]), {"area": tuple("abcdef")}, np.full(6, 900.0), numbers
    )
    found = by_two("income", "old", areas)
    assert all(g.large_enough for g in found.groups)
    assert sum(len(g.nodes) for g in found.groups) + len(found.ungrouped) == 8
    crossed = Areas(
        areas.of_node, areas.levels, areas.residents, numbers, crossed=(("income", "old"),)
    )
    assert "income x old" in [g.attribute for g in groupings(city(list("abcdefee")), crossed)]


def test_nodes_of_which_nothing_is_known_are_told_apart_by_their_records():
    values = np.tile(np.repeat([1.0, 5.0], 3), (10, 1))
    values[:5, ::2] = np.nan
    level, gaps = record_groupings(values)
    assert [(g.name, g.nodes.tolist()) for g in level.groups] == [
        ("1", [0, 1, 2]),
        ("5", [3, 4, 5]),
    ]
    assert [(g.name, g.nodes.tolist()) for g in gaps.groups] == [
        ("0.5", [0, 2, 4]),
        ("1", [1, 3, 5]),
    ]
    assert record_groupings(np.ones((10, 5))) == (), "all alike"
