"""Events are fixed by the train span and the calendar, and counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from models.contracts import QUANTILES
from training.events import Events, EventScores, find_events

ROWS = 1680


def test_masks_by_hand() -> None:
    rise = np.array([[2.0, 2.0], [5.0, np.inf]])
    rows = {"holiday": np.array([False, False, True, False])}
    events = Events(rise, np.array([10.0, 10.0]), rows)
    values = np.array([[1.0, 9], [2, np.nan], [4, 12], [7, 13]])
    target = np.stack([values[1:3], values[2:4]]).astype(float)
    masks = events.masks(values, np.array([0, 1]), target)
    assert masks["rise"].tolist() == [[[0, 0], [0, 0]], [[0, 0], [0, 0]]]
    assert masks["high"].tolist() == [[[0, 0], [0, 1]], [[0, 1], [0, 1]]]
    assert masks["holiday"].tolist() == [[[0, 0], [1, 1]], [[1, 1], [0, 0]]]
    sharper = replace(events, rise=np.array([[1.5, 2.0], [2.5, 2.0]]))
    masks = sharper.masks(values, np.array([0, 1]), target)
    assert masks["rise"].tolist() == [[[0, 0], [1, 1]], [[1, 0], [1, 0]]]


def test_thresholds_are_those_of_the_train_span(dataset):
    events = find_events(dataset, dataset.builder())
    past = dataset.values[: dataset.splits.train_end]
    np.testing.assert_allclose(events.high, np.nanquantile(past, 0.95, axis=0))
    change = past[3:] - past[:-3]
    np.testing.assert_allclose(events.rise[2], np.nanquantile(change, 0.95, axis=0), rtol=0.02)
    assert (np.diff(events.rise, axis=0) > 0).all()


def test_no_later_value_changes_a_threshold(dataset):
    end = dataset.splits.train_end
    values, forcings = dataset.values.copy(), dataset.forcings.copy()
    values[end:], forcings[end:] = 1e4, 1e4
    found = find_events(dataset, dataset.builder())
    changed = replace(dataset, values=values, forcings=forcings)
    other = find_events(changed, changed.builder())
    np.testing.assert_array_equal(other.rise, found.rise)
    np.testing.assert_array_equal(other.high, found.high)
    np.testing.assert_array_equal(other.rows["holiday"], found.rows["holiday"])
    before = slice(0, end - 24)
    np.testing.assert_array_equal(other.rows["heat_wave"][before], found.rows["heat_wave"][before])


def test_easter_is_a_holiday_by_the_civil_clock(dataset):
    holiday = find_events(dataset, dataset.builder()).rows["holiday"]
    times = dataset.builder().times(np.flatnonzero(holiday))
    assert str(times[0]) == "2024-03-30T23:00:00"  # Easter Sunday from midnight in Rome
    assert str(times[-1]) == "2024-04-01T21:00:00"  # to the end of Easter Monday, in summer time
    assert len(times) == 47


def test_three_hot_days_are_a_heat_wave_and_two_are_not(dataset):
    forcings = dataset.forcings.copy()
    forcings[..., 0] = 10 + np.sin(np.arange(len(forcings)))[:, None]
    forcings[24 * 60 - 2 : 24 * 62 - 2, :, 0] = 30  # two civil days in Rome
    forcings[24 * 64 - 2 : 24 * 67 - 2, :, 0] = 30  # three, in summer time
    events = find_events(replace(dataset, forcings=forcings), dataset.builder())
    hot = np.flatnonzero(events.rows["heat_wave"])
    assert (hot[0], hot[-1], len(hot)) == (24 * 64 - 2, 24 * 67 - 3, 72)


def test_without_a_temperature_there_is_no_heat_wave(dataset):
    spec = replace(dataset.spec, forcings=dataset.spec.forcings[1:])
    bare = replace(dataset, spec=spec, forcings=dataset.forcings[..., 1:])
    assert set(find_events(bare, bare.builder()).rows) == {"holiday"}


def test_a_node_without_a_past_has_no_events(dataset):
    values = dataset.values.copy()
    values[: dataset.splits.train_end, 2] = np.nan
    events = find_events(replace(dataset, values=values), dataset.builder())
    assert np.isinf(events.high[2])
    assert np.isinf(events.rise[:, 2]).all()


def test_scores_and_counts_are_right(dataset):
    values = np.zeros((ROWS, 4), np.float32)
    values[1500:1503, 0] = 7  # one event at node a, three steps long
    values[1510, 0] = values[1510, 3] = 7  # and one each at a and d
    still = replace(dataset, values=values)
    builder = still.builder()
    scores = EventScores(still, builder, ("one",), QUANTILES)
    origins = np.arange(1490, 1520)
    for start in (0, 16):
        rows = origins[start : start + 16]
        target = builder.batch(rows, with_target=True).target
        masks = scores.masks(rows, target)
        scores.update("one", masks, np.full((*target.shape, 11), 5.0), target)
    high = scores.result("one")["high"]
    assert high["events"] == 3
    assert high["targets"] == 5 * 6
    assert high["mae"] == pytest.approx(2)
    assert high["bias"] == pytest.approx(-2)
    assert high["coverage_80"] == 0
    assert "holiday" not in scores.result("one")


def test_a_holiday_counts_once_for_the_whole_city(dataset):
    builder = dataset.builder()
    scores = EventScores(dataset, builder, ("one",), QUANTILES)
    origins = np.arange(24 * 50, 24 * 60)
    target = builder.batch(origins, with_target=True).target
    point = np.nan_to_num(target) + 3
    scores.update(
        "one", scores.masks(origins, target), np.repeat(point[..., None], 11, -1), target, point
    )
    holiday = scores.result("one")["holiday"]
    assert holiday["events"] == 1  # Easter Sunday and Monday
    seen = ~np.isnan(dataset.values[24 * 55 - 1 : 24 * 57 - 2])
    assert holiday["targets"] == seen.sum() * 6
    assert holiday["mae"] == pytest.approx(3, rel=1e-5)
    assert holiday["bias"] == pytest.approx(3, rel=1e-5)
