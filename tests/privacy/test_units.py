"""One item is one unit: its own windows, few of them, and nobody else's."""

from dataclasses import replace

import numpy as np
import pytest

from models.contracts import FelsinaError
from privacy.units import UnitWindows, check_unit_of_privacy
from tests.factories import make_dataset
from training.dataset import open_dataset

OWN = ("past", "lags", "target")
CITY = ("past_forcings", "future_forcings", "past_calendar", "future_calendar")


def test_a_window_is_no_unit():
    with pytest.raises(FelsinaError, match=r"window protects nobody.*1.83.*44.*household"):
        check_unit_of_privacy("window")
    with pytest.raises(FelsinaError, match="'street' is unknown; use one of household"):
        check_unit_of_privacy("street")


def test_its_windows_are_the_builders(units):
    numbers = np.array([2, 0, 3])
    window, owner = units.batch(numbers, step=4)
    origins = np.concatenate([units.draw(n, 4) for n in numbers])
    everyone = units.builder.batch(origins, with_target=True)
    rows, nodes = np.arange(len(origins)), numbers[owner]
    for name in OWN:
        whole = getattr(everyone, name)
        np.testing.assert_array_equal(getattr(window, name)[..., 0], whole[rows, ..., nodes])
    for name in CITY:
        np.testing.assert_array_equal(getattr(window, name), getattr(everyone, name))


def test_at_most_so_many_windows_none_twice_and_train_span_alone(units, homes):
    train = set(homes.splits.train(units.builder.spec).tolist())
    for step in range(20):
        drawn = units.draw(1, step).tolist()
        assert len(set(drawn)) == len(drawn) == 3
        assert set(drawn) <= train


def test_no_value_of_a_unit_is_in_the_item_of_another(homes, units):
    changed = homes.values.copy()
    changed[:, 2] += 1000
    other = replace(homes, values=changed)
    moved = UnitWindows(other, other.builder(units.builder.spec), "household", 3)
    for number in range(4):
        ours, theirs = (u.batch(np.array([number]), 7)[0] for u in (units, moved))
        same = all(
            np.array_equal(getattr(ours, n), getattr(theirs, n), equal_nan=True)
            for n in (*OWN, *CITY)
        )
        assert same is (number != 2)


def test_draws_follow_from_seed_unit_and_step_alone(homes, units):
    fewer = replace(
        homes, graph=homes.graph.subset(np.array([1, 3])), values=homes.values[:, [1, 3]]
    )
    few = UnitWindows(fewer, fewer.builder(units.builder.spec), "household", 3)
    np.testing.assert_array_equal(few.draw(1, 9), units.draw(3, 9))
    assert units.draw(3, 9).tolist() != units.draw(3, 10).tolist()
    assert units.draw(3, 9).tolist() != units.draw(1, 9).tolist()
    reseeded = UnitWindows(homes, units.builder, "household", 3, seed=1)
    assert reseeded.draw(3, 9).tolist() != units.draw(3, 9).tolist()


def test_nobody_drawn_is_an_empty_batch(units):
    window, owner = units.batch(np.array([], int), 0)
    assert window.past.shape == (0, 48, 1)
    assert len(owner) == 0


def test_a_day_holds_whole_windows_of_no_other_day(tmp_path):
    homes = open_dataset(make_dataset(tmp_path / "days", lookback=6))
    days = UnitWindows(homes, homes.builder(homes.spec), "day", 4)
    builder = days.builder
    assert len(days) == pytest.approx(44, abs=1)
    items = [set() for _ in days.ids]
    for number, day in enumerate(days.ids):
        for step in range(5):
            for origin in days.draw(number, step):
                rows = np.arange(origin - 5, origin + 7)
                items[number] |= set(rows.tolist())
                stamps = builder.times(rows) + np.timedelta64(1, "h")  # winter in Bologna
                if day < "2024-03-31":
                    assert set(stamps.astype("datetime64[D]").astype(str)) == {day}
    every = sorted(row for item in items for row in item)
    assert len(every) == len(set(every))
    window, owner = days.batch(np.array([3, 8]), 0)
    assert window.past.shape == (8, 6, 4)
    assert owner.tolist() == [0] * 4 + [1] * 4


def test_days_that_would_be_in_the_items_of_others_are_refused(homes, tmp_path):
    with pytest.raises(FelsinaError, match=r"no window of lookback 48.*within a civil day"):
        UnitWindows(homes, homes.builder(homes.spec), "day", 4)
    short = open_dataset(make_dataset(tmp_path / "short", lookback=6))
    with pytest.raises(FelsinaError, match="lags lies within a civil day"):
        UnitWindows(short, short.builder(short.spec.with_lags((24,))), "day", 4)


def test_forcings_of_single_nodes_are_refused(homes):
    wide = replace(homes, forcings=np.repeat(homes.forcings, 4, axis=1))
    with pytest.raises(FelsinaError, match=r"forcings \(temp_c, rain_mm\) are given at each node"):
        UnitWindows(wide, wide.builder(wide.spec), "meter", 4)
