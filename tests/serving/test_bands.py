"""Served bands that follow what came true, as the backtest replays them."""

import numpy as np
import pandas as pd
import pytest
from sqlalchemy.exc import OperationalError

from models.adaptive import replay
from models.contracts import QUANTILES
from serving import bands
from serving.catalogue import Answer, Catalogue
from serving.held_windows import HeldWindows
from serving.store import FORCED, OBSERVED, Store
from tests.fixtures.tiny import Tiny

ISSUES = 30


@pytest.fixture
def empty_store(store_place: str) -> Store:
    return Store(store_place)


@pytest.fixture
def catalogue(tiny: Tiny, empty_store: Store, monkeypatch: pytest.MonkeyPatch) -> Catalogue:
    """A service that begins at the test span, with all forcings and the past before it."""
    monkeypatch.setattr(bands, "WARM_UP", 1)
    start, builder = int(tiny.origins[0]), tiny.builder
    names = [forcing.name for forcing in tiny.spec.forcings]
    forcings = builder.forcings[:, 0].astype(float)
    stamps = builder.times(np.arange(len(forcings)))
    empty_store.write("tiny", FORCED, stamps, names, forcings)
    observe(empty_store, tiny, 0, start + 1)
    return Catalogue(tiny.home, empty_store)


def observe(store: Store, tiny: Tiny, start: int, stop: int) -> None:
    stamps = tiny.builder.times(np.arange(start, stop))
    ids = list(tiny.dataset.graph.ids)
    store.write("tiny", OBSERVED, stamps, ids, tiny.dataset.values[start:stop].astype(float))


def released(tiny: Tiny) -> np.ndarray:
    """[B, H, N, Q] forecasts of the first issues as backtested."""
    columns = [f"q{level:g}" for level in QUANTILES]
    table = pd.read_parquet(tiny.trained / "forecasts.parquet", columns=columns)
    whole = table.to_numpy(np.float32).reshape(-1, tiny.spec.horizon, 4, 11)
    return whole[:ISSUES]


def expected(tiny: Tiny) -> np.ndarray:
    """[B, H, N, Q] the same, replayed."""
    rows = tiny.origins[:ISSUES]
    target = tiny.dataset.values[rows[:, None] + np.arange(1, tiny.spec.horizon + 1)]
    return replay(released(tiny), target, rows, QUANTILES, tiny.spec.nonnegative)


def at(catalogue: Catalogue, tiny: Tiny, issue: int) -> Answer:
    (time,) = tiny.builder.times(tiny.origins[issue : issue + 1])
    return catalogue.forecast("tiny", time)


def test_served_bands_are_those_that_the_backtest_replays(tiny, empty_store, catalogue) -> None:
    truth = expected(tiny)
    assert not np.allclose(truth[-1], released(tiny)[-1])
    for issue in range(ISSUES):
        row = int(tiny.origins[issue])
        observe(empty_store, tiny, row, row + 1)
        answer = catalogue.forecast("tiny")
        assert answer.adaptive
        np.testing.assert_allclose(answer.forecast.quantiles, truth[issue], rtol=1e-4, atol=1e-4)


def test_another_process_goes_on_where_one_stopped(tiny, empty_store, catalogue) -> None:
    """What was issued while nobody asked is caught up with."""
    truth = expected(tiny)
    observe(empty_store, tiny, int(tiny.origins[0]), int(tiny.origins[-1]) + 1)
    for issue in (0, 1, 2, 3):
        at(catalogue, tiny, issue)
    bands.WARM_UP = 200
    anew = Catalogue(tiny.home, Store(empty_store.engine.url.render_as_string(False)))
    for issue in (12, 13, 29):
        found = at(anew, tiny, issue).forecast.quantiles
        np.testing.assert_allclose(found, truth[issue], rtol=1e-4, atol=1e-4)


def test_the_past_has_the_bands_that_it_was_issued_with(tiny, empty_store, catalogue) -> None:
    observe(empty_store, tiny, int(tiny.origins[0]), int(tiny.origins[-1]) + 1)
    first = [at(catalogue, tiny, issue).forecast.quantiles for issue in range(20)]
    anew = Catalogue(tiny.home, empty_store)
    recent = at(anew, tiny, 15)
    assert recent.adaptive
    np.testing.assert_array_equal(recent.forecast.quantiles, first[15])
    long_ago = at(anew, tiny, 2)
    assert not long_ago.adaptive
    np.testing.assert_allclose(long_ago.forecast.quantiles, released(tiny)[2], rtol=1e-5, atol=1e-5)


def test_values_that_come_late_are_learned_late(tiny, empty_store, catalogue) -> None:
    """A node that is always a step late has learned as much, a step later."""
    values, late = tiny.dataset.values.astype(float), tiny.dataset.graph.ids[3]
    for issue in range(ISSUES):
        row = int(tiny.origins[issue])
        stamps = tiny.builder.times(np.arange(row, row + 1))
        ids = list(tiny.dataset.graph.ids[:3])
        empty_store.write("tiny", OBSERVED, stamps, ids, values[row : row + 1, :3])
        catalogue.forecast("tiny")
        empty_store.write("tiny", OBSERVED, stamps, [late], values[row : row + 1, 3:])
    (_, moved, _, _) = empty_store.issues(tiny.release.name)[-1]
    size = np.abs(np.frombuffer(moved, "<f4").reshape(-1, tiny.spec.horizon, 4)).mean((0, 1))
    assert size[3] > 0.5 * size[:3].mean()


def test_a_question_about_the_future_changes_nothing(tiny, empty_store, catalogue) -> None:
    observe(empty_store, tiny, int(tiny.origins[0]), int(tiny.origins[5]) + 1)
    assert not at(catalogue, tiny, 12).adaptive
    assert empty_store.issues(tiny.release.name) == []
    assert at(catalogue, tiny, 5).adaptive


def test_a_store_that_cannot_be_written_does_not_silence_the_city(
    tiny, empty_store, catalogue, monkeypatch, caplog
) -> None:
    def full(*_) -> None:
        raise OperationalError("INSERT", {}, OSError("disk full"))

    monkeypatch.setattr(empty_store, "keep_issues", full)
    assert catalogue.forecast("tiny").adaptive
    assert "is not kept" in caplog.text


def test_of_two_processes_the_first_one_s_issue_stands(tiny, empty_store, catalogue) -> None:
    observe(empty_store, tiny, int(tiny.origins[0]), int(tiny.origins[3]) + 1)
    for issue in range(3):
        at(catalogue, tiny, issue)
    (*_, (time, moved, quantiles, taught)) = empty_store.issues(tiny.release.name)
    other = bytes(len(taught)), b"\xff" * len(taught)
    late = {time: (moved[::-1], quantiles, other[0])}
    long_ago = time - np.timedelta64(7, "D")
    empty_store.keep_issues(tiny.release.name, late, {time: other[1]}, long_ago, 0)
    assert empty_store.issues(tiny.release.name, time) == [(time, moved, quantiles, taught)]


def test_a_new_release_learns_from_the_past_that_is_held(tiny, empty_store, catalogue) -> None:
    bands.WARM_UP = 200
    observe(empty_store, tiny, 0, int(tiny.origins[20]) + 1)
    answer = at(catalogue, tiny, 20)
    own = catalogue.forecast("tiny", answer.forecast.init_time, adaptive=False)
    assert not own.adaptive
    middle = len(QUANTILES) // 2
    np.testing.assert_array_equal(
        answer.forecast.quantiles[..., middle], own.forecast.quantiles[..., middle]
    )
    assert not np.allclose(answer.forecast.quantiles, own.forecast.quantiles)


def test_a_past_that_was_not_observed_teaches_nothing(tiny, tmp_path, monkeypatch) -> None:
    store, row = Store(tmp_path / "short.db"), int(tiny.origins[20])
    observe(store, tiny, row - tiny.spec.lookback // 2 + 2, row + 1)
    catalogue = Catalogue(tiny.home, store)
    followed, own = catalogue.forecast("tiny"), catalogue.forecast("tiny", adaptive=False)
    assert followed.adaptive
    np.testing.assert_array_equal(followed.forecast.quantiles, own.forecast.quantiles)


def test_after_a_long_gap_only_what_is_caught_up_with_is_read(tiny, empty_store, catalogue) -> None:
    observe(empty_store, tiny, int(tiny.origins[0]), int(tiny.origins[-1]) + 1)
    runtime, asked = catalogue.runtime("tiny"), []

    def held(init: np.datetime64, more: int):
        asked.append(more)
        return HeldWindows(runtime, empty_store).builder(init, more)

    follower = bands.Follower(runtime, empty_store, held)
    (first, soon, late) = tiny.builder.times(tiny.origins[[0, 2, 90]])
    bands.WARM_UP = 5
    moved, _ = follower.correction(first, late)
    follower.correction(soon, late)
    assert asked.pop() > 2, "what the kept issues are still to learn is read"
    moved, _ = follower.correction(late, late)
    assert asked == [asked[0], 4]
    assert moved is not None
    assert len(empty_store.issues(tiny.release.name)) == 5


def test_a_city_too_large_keeps_its_own_bands(tiny, catalogue, monkeypatch) -> None:
    monkeypatch.setattr(bands, "MOST_NUMBERS", 10)
    assert not at(catalogue, tiny, 0).adaptive
