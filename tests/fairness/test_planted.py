"""Faults planted into forecasts and what came true, which the audit must pin on the right group."""

import numpy as np
import pytest
from scipy.stats import norm

from fairness.audit import FAIL, HARMS, audit
from fairness.coverage import coverage
from fairness.groups import Areas, by_level
from fairness.metrics import daily_sums, peaks
from models.contracts import QUANTILES

DAYS, HORIZON, AREAS, SENSORS = 120, 12, 4, 4
NODES = AREAS * SENSORS
NAMES = tuple("abcd")
PLACES = Areas(
    np.repeat(np.arange(AREAS), SENSORS),
    {"area": NAMES, "quartiere": ("west", "west", "east", "east")},
    np.full(AREAS, 2000.0),
)
HURT = "b"
INSIDE = PLACES.of_node == NAMES.index(HURT)


@pytest.fixture
def world():
    """A daily wave known but for noise: an issue a day, right quantiles, a worse naive one."""
    rng = np.random.default_rng(0)
    hours = np.arange(DAYS * HORIZON)
    wave = 100 + 50 * np.sin(2 * np.pi * hours / HORIZON)
    truth = wave[:, None] + 10 * rng.standard_normal((len(hours), NODES))
    spread = 10 * norm.ppf(QUANTILES)
    quantiles = np.broadcast_to(wave[:, None, None] + spread, (*truth.shape, len(QUANTILES)))
    naive = wave[:, None] + 15 * rng.standard_normal(truth.shape)
    return quantiles.copy(), truth, naive


def audited(quantiles, truth, naive):
    """Group and harm of every fail, and the records."""
    rows = np.arange(DAYS * HORIZON).reshape(DAYS, HORIZON)
    peak = peaks(truth, rows)
    cut = (array[rows] for array in (quantiles, truth, naive))
    first, second, third = cut
    daily = daily_sums(first, QUANTILES, second, third, np.arange(DAYS), peak)
    groupings = tuple(by_level(PLACES, level) for level in PLACES.levels)
    records = audit(daily, groupings, PLACES)
    fails = {
        (group["name"], harm.name)
        for record in records
        for weighted in record["weighted"].values()
        for harm in HARMS
        for group, judged in zip(record["groups"], weighted["harms"][harm.name], strict=True)
        if judged["verdict"] == FAIL
    }
    return fails, records


def test_nothing_planted_is_nothing_found(world):
    fails, _ = audited(*world)
    assert fails == set()


def test_labels_that_are_an_hour_late_are_found(world):
    quantiles, truth, naive = world
    truth[:, INSIDE] = np.roll(truth[:, INSIDE], 1, axis=0)
    fails, _ = audited(quantiles, truth, naive)
    assert {(HURT, "error"), (HURT, "relative_error"), (HURT, "under_coverage")} <= fails
    assert {name for name, _ in fails} <= {HURT, "west"}


def test_labels_that_are_a_fifth_too_high_are_found_and_shown_as_bias(world):
    quantiles, truth, naive = world
    truth[:, INSIDE] *= 1.2
    fails, records = audited(quantiles, truth, naive)
    assert (HURT, "error") in fails
    assert (HURT, "peak_shortfall") in fails
    assert {name for name, _ in fails} <= {HURT, "west"}
    bias = [figures["bias"] for figures in records[0]["weighted"]["area"]["figures"]]
    assert bias[NAMES.index(HURT)] == pytest.approx(-1 / 6, abs=0.01)
    assert np.delete(bias, NAMES.index(HURT)) == pytest.approx(0, abs=0.01)


def test_a_band_that_is_too_narrow_is_found_and_nothing_else(world):
    quantiles, truth, naive = world
    middle = quantiles[:, INSIDE, 5:6]
    quantiles[:, INSIDE] = middle + 0.6 * (quantiles[:, INSIDE] - middle)
    fails, _ = audited(quantiles, truth, naive)
    assert (HURT, "under_coverage") in fails
    assert {harm for _, harm in fails} == {"under_coverage"}
    assert {name for name, _ in fails} <= {HURT, "west"}


def test_sensors_that_are_gone_are_counted_where_no_error_can_be(world):
    quantiles, truth, naive = world
    truth[:, INSIDE] = np.nan
    fails, records = audited(quantiles, truth, naive)
    assert fails == set(), "no error is measured where nothing is observed"
    silent = {group["name"]: group["silent"] for group in records[0]["groups"]}
    assert silent == {"a": 0, HURT: SENSORS, "c": 0, "d": 0}
    found = coverage(PLACES, np.isfinite(truth).any(axis=0))
    assert found["names_without"] == [HURT]
    assert found["residents_without"] == 0.25
