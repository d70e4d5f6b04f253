"""Crossings of thresholds: outcomes, references, intervals and warnings by hand."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from models.contracts import QUANTILES
from tests.factories import make_spec
from training.brier import EDGES, brier_scores
from training.dataset import CityDataset
from training.splits import Splits
from training.threshold_events import threshold_events

HORIZON, TRAIN, VALIDATION, STEPS = 6, 400, 500, 1500


def city(dataset: CityDataset, values: np.ndarray, *limits: float) -> CityDataset:
    """The tiny dataset with other series of one node each, and their thresholds."""
    graph = dataset.graph
    thresholds = np.full((graph.nodes, 3), np.nan)
    thresholds[: len(limits), 0] = limits
    wide = np.full((len(values), graph.nodes), np.nan, np.float32)
    wide[:, : values.shape[1]] = values
    splits = Splits(TRAIN, VALIDATION, len(values))
    return replace(dataset, values=wide, graph=replace(graph, thresholds=thresholds), splits=splits)


def floods(*starts: int, length: int = 10) -> np.ndarray:
    values = np.zeros((STEPS, 1), np.float32)
    for start in starts:
        values[start : start + length] = 2.0
    return values


def foresight(values: np.ndarray, origins: np.ndarray, nodes: int, see: int) -> np.ndarray:
    """Forecasts that know the next ``see`` steps and hold the last value after them."""
    lead = np.minimum(np.arange(1, HORIZON + 1), see)
    middle = np.zeros((len(origins), HORIZON, nodes))
    middle[:, :, : values.shape[1]] = values[origins[:, None] + lead]
    return (middle[..., None] + np.linspace(-0.1, 0.1, len(QUANTILES))).astype(np.float32)


def scored(dataset: CityDataset, values: np.ndarray, see: int = HORIZON, limits=(1.0,)):
    spec = make_spec(nonnegative=False, forcings=())
    given = city(dataset, values, *limits)
    origins = given.splits.test(spec, given.start)
    quantiles = foresight(np.nan_to_num(values), origins, given.graph.nodes, see)
    template = np.tile(np.arange(50, dtype=np.uint8)[:, None, None], (1, HORIZON, 4))
    return threshold_events(given, spec, origins, quantiles, template)


def test_perfect_foresight_is_perfect(dataset):
    report = scored(dataset, floods(100, 700, 1000, 1003 + 10, 1300))
    assert list(report) == ["threshold_1"]
    level = report["threshold_1"]
    assert (level["nodes"], level["events"], level["nodes_with_events"]) == (1, 4, 1)
    assert set(level["leads"]) == {"1", "2", "3", "6", "within_horizon"}
    for scores in level["leads"].values():
        assert scores["brier"] < 1e-3
        assert scores["skill_climatology"] > 0.98
    assert level["leads"]["1"]["observed"] == 40
    assert level["leads"]["within_horizon"]["observed"] == 4 * 15 - 2
    warnings = level["warnings"]
    assert (warnings["events"], warnings["warned"], warnings["false"]) == (4, 4, 0)
    assert (warnings["pod"], warnings["far"]) == (1.0, 0.0)
    assert warnings["lead_time_h"] == pytest.approx((3 * 6 + 3) / 4)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_short_sight_warns_late(dataset):
    level = scored(dataset, floods(100, 700, 1000), see=2)["threshold_1"]
    assert level["warnings"]["pod"] == 1.0
    assert level["warnings"]["lead_time_h"] == 2.0
    assert level["leads"]["6"]["brier"] > level["leads"]["2"]["brier"]


def test_a_blind_forecast_warns_never_and_equals_persistence(dataset):
    values = floods(100, 700, 1000)
    level = scored(dataset, values, see=0)["threshold_1"]
    assert level["warnings"]["pod"] == 0
    assert level["warnings"]["far"] is None
    assert level["warnings"]["lead_time_h"] is None
    for lead, scores in level["leads"].items():
        assert scores["brier"] == pytest.approx(scores["brier_persistence"], abs=1e-3), lead
    assert level["leads"]["6"]["brier_persistence"] == pytest.approx(24 / 995, abs=1e-3)


def test_a_false_alarm_is_counted(dataset):
    told = floods(700, 1000, 1200)
    spec = make_spec(nonnegative=False, forcings=())
    given = city(dataset, floods(700), 1.0)
    origins = given.splits.test(spec, given.start)
    template = np.zeros((1, HORIZON, 4), np.uint8)
    quantiles = foresight(told, origins, 4, HORIZON)
    warnings = threshold_events(given, spec, origins, quantiles, template)["threshold_1"][
        "warnings"
    ]
    assert (warnings["events"], warnings["warned"]) == (1, 1)
    assert (warnings["issued"], warnings["false"]) == (3, 2)
    assert warnings["far"] == pytest.approx(2 / 3)


def test_climatology_is_the_frequency_of_the_train_span(dataset):
    values = floods(100, length=40)
    values[700:800] = 2.0
    scores = scored(dataset, values)["threshold_1"]["leads"]["1"]
    rate = 40 / TRAIN
    expected = (100 * (1 - rate) ** 2 + (scores["cases"] - 100) * rate**2) / scores["cases"]
    assert scores["brier_climatology"] == pytest.approx(expected, rel=1e-6)


def test_missing_targets_count_for_nothing_and_hide_no_crossing(dataset):
    values = floods(700)
    values[900:950] = np.nan
    values[704] = np.nan
    level = scored(dataset, floods(700))["threshold_1"]
    gappy = scored(dataset, values)["threshold_1"]
    assert gappy["events"] == level["events"] == 1
    assert gappy["leads"]["1"]["cases"] == level["leads"]["1"]["cases"] - 51
    assert gappy["leads"]["within_horizon"]["observed"] == 15
    assert gappy["leads"]["within_horizon"]["cases"] == 995 - 55
    assert gappy["leads"]["within_horizon"]["brier"] < 0.01


def test_without_thresholds_the_95th_percentile_stands_in(dataset):
    values = np.tile(np.arange(STEPS)[:, None] % 100, (1, 2)).astype(np.float32)
    report = scored(dataset, values, limits=())
    assert list(report) == ["p95"]
    assert report["p95"]["nodes"] == 2
    assert report["p95"]["leads"]["1"]["brier_climatology"] == pytest.approx(0.05 * 0.95, rel=0.1)


def test_a_threshold_that_float32_cannot_hold_is_reached_by_itself(dataset):
    values = floods(700) * np.float32(0.35)
    assert scored(dataset, values, limits=(0.7,))["threshold_1"]["events"] == 1


def test_without_members_a_period_is_not_judged(dataset):
    spec = make_spec(nonnegative=False, forcings=())
    given = city(dataset, floods(700), 1.0)
    origins = given.splits.test(spec, given.start)
    none = np.zeros((0, HORIZON, 4), np.uint8)
    quantiles = foresight(floods(700), origins, 4, HORIZON)
    level = threshold_events(given, spec, origins, quantiles, none)["threshold_1"]
    assert "within_horizon" not in level["leads"]
    assert level["warnings"] is None


def test_brier_scores_by_hand():
    probability, outcome = np.array([[0.2, 0.9], [0.5, 0.5]]), np.array([[0, 1], [np.nan, 1]])
    references = {"climatology": np.array([0.5, 0.5]), "persistence": np.array([[0, 0], [1, 1]])}
    found = brier_scores(probability, outcome, references, np.array([0, 0]))
    assert (found["cases"], found["observed"]) == (3, 2)
    assert found["brier"] == pytest.approx((0.04 + 0.01 + 0.25) / 3)
    assert found["brier_climatology"] == 0.25
    assert found["brier_persistence"] == pytest.approx(1 / 3)
    assert found["skill_persistence"] == pytest.approx(0.7)
    assert found["brier_90"] is None, "one block says nothing of the spread"
    counts = {(b["from"], b["to"]): b["count"] for b in found["reliability"]}
    assert counts == {
        edge: {(0.2, 0.4): 1, (0.8, 0.95): 1, (0.4, 0.6): 1}.get(edge, 0)
        for edge in pairwise(EDGES)
    }
    nothing = brier_scores(probability, outcome * np.nan, references, np.array([0, 0]))
    assert nothing == {"cases": 0}


def test_intervals_are_wide_where_few_blocks_hold_all_events():
    rng = np.random.default_rng(0)
    outcome = (rng.random((1000, 1)) < 0.1).astype(float)
    bunched = np.sort(outcome, axis=0)
    blocks = np.arange(1000) // 50
    references = {"climatology": np.array([0.1]), "persistence": np.array([0.0])}
    widths = []
    for truth in (outcome, bunched):
        found = brier_scores(np.full((1000, 1), 0.1), truth, references, blocks)
        low, high = found["brier_90"]
        assert low <= found["brier"] <= high
        widths.append(high - low)
        assert (found["skill_climatology_90"] is None) == (truth is bunched)
    assert widths[1] > 3 * widths[0]
    assert found["blocks_with_events"] in (2, 3)
    assert found["skill_climatology"] == pytest.approx(0)
