"""Planted faults are found, ordinary life is not flagged, and nothing is changed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.contracts import CityGraph
from tests.factories import make_graph, make_spec
from training.dataset import CityDataset
from training.detectors import resolution, runs_of
from training.quality import KINDS, find_flags, summary
from training.splits import Splits

DAYS = 120


def city(values: np.ndarray, step: str = "1h", nonnegative: bool = True) -> CityDataset:
    """A dataset of these values alone."""
    graph: CityGraph = make_graph(values.shape[1])
    spec = make_spec(step=step, nonnegative=nonnegative, forcings=(), lags=())
    start = np.datetime64("2024-01-08T00:00:00")
    splits = Splits(len(values) // 2, len(values) * 3 // 4, len(values))
    return CityDataset(Path(), spec, graph, splits, start, values.astype(np.float32), None, {}, {})


def counts(nodes: int = 4, seed: int = 0) -> np.ndarray:
    """Hourly counts of a road: many by day, none in most nights' hours."""
    rng = np.random.default_rng(seed)
    hour = np.arange(24 * DAYS) % 24
    weekend = (np.arange(24 * DAYS) // 24) % 7 >= 5
    mean = np.maximum(0, 300 * np.sin(np.pi * (hour - 5) / 17)) * np.where(weekend, 0.6, 1) + 0.2
    return rng.poisson(mean[:, None] * np.linspace(0.5, 2, nodes)).astype(float)


def stages(nodes: int = 4, seed: int = 0) -> np.ndarray:
    """Half-hourly stages in cm steps: low flow, and floods that rise in hours, recede in days."""
    rng = np.random.default_rng(seed)
    steps = 48 * DAYS
    flood = np.zeros(steps)
    for start in range(700, steps - 400, 900):
        wave = np.r_[np.linspace(0.1, 1, 6), np.exp(-np.arange(390) / 60)]
        flood[start : start + len(wave)] += wave * rng.uniform(0.4, 2)
    rows = [0.5 + 0.1 * n + (1 - 0.1 * n) * np.roll(flood, 3 * n) for n in range(nodes)]
    return np.round(np.stack(rows, axis=1) + rng.normal(0, 0.004, (steps, nodes)), 2)


def found(dataset: CityDataset) -> list[tuple[str, str]]:
    return [(flag.node, flag.kind) for flag in find_flags(dataset)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_clean_city_has_no_flags(seed: int) -> None:
    assert found(city(counts(8, seed))) == []
    assert found(city(stages(6, seed), "30min", nonnegative=False)) == []


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("size", [1500.0, -1500.0])
def test_a_spike_is_found_with_its_numbers(width: int, size: float) -> None:
    values = counts()
    start = 24 * 60 + 12
    values[start : start + width, 1] = np.maximum(values[start : start + width, 1] + size, 1)
    (flag,) = find_flags(city(values))
    assert (flag.node, flag.kind, flag.count) == ("b", "spike", width)
    assert flag.start == "2024-03-08T12:00:00Z"
    assert flag.value in values[start : start + width, 1]
    assert f"{values[start - 1, 1]:g}" in flag.reason
    assert "veh/h" in flag.reason


def test_a_flood_is_no_spike_alone_or_not() -> None:
    values = stages()
    alone = values.copy()
    wave = np.r_[np.linspace(0.3, 3, 3), 3 * np.exp(-np.arange(200) / 30)]
    alone[3000 : 3000 + len(wave), 2] += np.round(wave, 2)
    assert found(city(alone, "30min", nonnegative=False)) == []
    spiked = values.copy()
    spiked[3000, 2] += 3
    assert found(city(spiked, "30min", nonnegative=False)) == [("c", "spike")]


def test_what_other_nodes_show_too_is_no_fault() -> None:
    values = counts()
    values[24 * 60 + 12] *= 5
    assert found(city(values)) == []


def test_a_stuck_gauge_is_found_and_low_flow_is_not() -> None:
    values = stages()
    values[1000:1100, 3] = np.round(values[1000:1100, 3].mean(), 2)  # a day or two at 1 cm
    values[3000:3300, 0] = 0.57
    flags = find_flags(city(values, "30min", nonnegative=False))
    assert ("a", "stuck") in [(f.node, f.kind) for f in flags]
    (flag,) = [f for f in flags if f.node == "a"]
    assert flag.count == 300
    assert flag.value == pytest.approx(0.57)
    assert {f.node for f in find_flags(city(stages(), "30min", nonnegative=False))} == set()


def test_many_equal_faults_do_not_hide_each_other_from_the_first() -> None:
    values = counts()
    values[1000:1072, 2] = 222  # 2.5 % of the node's time
    assert found(city(values)) == [("c", "stuck")]


def test_a_filled_gap_is_found() -> None:
    values = counts() + np.random.default_rng(1).uniform(0, 1, (24 * DAYS, 4))
    values[500:520, 3] = np.linspace(values[500, 3], values[519, 3] + 7, 20)
    (flag,) = find_flags(city(values))
    assert (flag.node, flag.kind) == ("d", "interpolated")
    assert flag.count == pytest.approx(20, abs=1)


def test_a_new_datum_and_a_new_scale_are_shifts() -> None:
    gauge = stages()
    gauge[48 * 50 :, 1] += 1.5
    flag = next(f for f in find_flags(city(gauge, "30min", nonnegative=False)))
    assert (flag.node, flag.kind, flag.start[:10]) == ("b", "shift", "2024-02-27")
    counter = counts()
    counter[24 * 70 + 10 :, 2] *= 2
    (flag,) = find_flags(city(counter))
    assert (flag.node, flag.kind, flag.start[:10]) == ("c", "shift", "2024-03-18")


def test_a_holiday_of_all_is_no_shift() -> None:
    values = counts()
    values[24 * 60 :] *= 0.4
    assert found(city(values)) == []


def test_zeros_by_day_are_gaps_and_by_night_are_not() -> None:
    values = counts()
    assert (values == 0).mean() > 0.1
    noon = 24 * 59 + 11
    values[noon : noon + 4, 1] = 0
    values[24 * 80 + 12 : 24 * 83 + 12, 3] = 0
    flags = find_flags(city(values))
    assert [(f.node, f.kind, f.count) for f in flags] == [("b", "zeros", 4), ("d", "zeros", 72)]
    assert [f.value for f in flags] == [0, 0]


def test_a_river_that_falls_dry_is_not_flagged() -> None:
    rng = np.random.default_rng(3)
    season = np.sin(2 * np.pi * np.arange(1500) / 365)[:, None]
    dry = np.maximum(0, season * rng.uniform(5, 9, (1500, 3))) * (season > -0.2)
    assert [k for _, k in found(city(dry, "1D")) if k in ("zeros", "stuck")] == []


def test_silent_nodes_are_told() -> None:
    values = counts()
    values[:100, 0] = np.nan
    values[-200:, 1] = np.nan
    values[:, 2] = np.nan
    values[500:700, 3] = np.nan
    flags = find_flags(city(values))
    assert [(f.node, f.kind, f.count) for f in flags] == [
        ("a", "late", 100),
        ("b", "dead", 200),
        ("c", "dead", 24 * DAYS),
    ]
    assert all(f.value is None for f in flags)


def test_values_stay_to_the_bit_and_flags_repeat() -> None:
    values = counts()
    values[24 * 60 + 12, 1] = 5000
    values[np.random.default_rng(5).random(values.shape) < 0.1] = np.nan
    dataset = city(values)
    before = dataset.values.tobytes()
    flags = find_flags(dataset)
    assert dataset.values.tobytes() == before
    assert find_flags(dataset) == flags


def test_gaps_break_no_detector() -> None:
    values = counts()
    values[np.random.default_rng(5).random(values.shape) < 0.3] = np.nan
    assert found(city(values)) == []
    start = 24 * 60 + 12
    values[start - 4 : start + 5, 1] = 300
    values[start - 4 : start + 5 : 2, 1] += np.arange(5)
    values[start, 1] = 4000
    values[start - 3, 1] = np.nan
    assert ("b", "spike") in found(city(values))


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 30])
@pytest.mark.filterwarnings("error")
def test_short_and_empty_series_are_borne(steps: int) -> None:
    assert found(city(np.full((steps, 2), 3.0))) in ([], [("a", "stuck"), ("b", "stuck")])
    flags = found(city(np.full((steps, 2), np.nan)))
    assert set(flags) <= {("a", "dead"), ("b", "dead")}


def test_the_order_of_nodes_does_not_matter() -> None:
    values = counts()
    values[24 * 60 + 12, 1] = 5000
    values[900:980, 2] = 77
    dataset = city(values)
    turned = replace(
        dataset,
        values=dataset.values[:, ::-1],
        graph=replace(dataset.graph, ids=dataset.graph.ids[::-1]),
    )
    assert set(find_flags(turned)) == set(find_flags(dataset))


def test_the_summary_counts() -> None:
    values = counts()
    values[24 * 60 + 12, 1] = 5000
    values[900:980, 1] = 77
    flags = find_flags(city(values))
    record = summary(flags)
    assert record == {
        "flags": 2,
        "kinds": {"spike": 1, "stuck": 1},
        "nodes": {"b": {"spike": 1, "stuck": 1}},
    }
    assert json.loads(json.dumps([flag.to_dict() for flag in flags]))[0]["kind"] in KINDS


def test_runs_are_told_by_node() -> None:
    mask = np.array([[1, 0], [1, 1], [0, 1]], bool)
    node, start, stop = runs_of(mask)
    assert list(zip(node, start, stop, strict=True)) == [(0, 0, 2), (1, 1, 3)]
    np.testing.assert_array_equal(
        resolution(np.array([[1.0, 2], [1.5, 2], [3.5, 2]])), [0.5, np.inf]
    )
