"""Windows from memory are those from the store, whatever came late, went, or was let go."""

import threading

import numpy as np
import pytest

from serving import held_windows as module
from serving.held_windows import HeldWindows
from serving.release import load_release
from serving.runtime import Runtime
from serving.store import FORCED, OBSERVED, Store
from tests.fixtures.tiny import Tiny


@pytest.fixture
def runtime(tiny: Tiny) -> Runtime:
    return Runtime(load_release(tiny.release))


class Counted(Store):
    """A store that remembers which reads it was asked for."""

    reads: list[tuple[str, int]]

    def read(self, dataset, kind, names, start, steps, step):
        self.reads.append((kind, steps))
        return super().read(dataset, kind, names, start, steps, step)


@pytest.fixture
def counted(store: Store) -> Counted:
    found = Counted(store.engine.url.render_as_string(False))
    found.reads = []
    return found


def stamp(tiny: Tiny, row: int) -> np.datetime64:
    return tiny.builder.times(np.array([row]))[0]


def write(store: Store, tiny: Tiny, row: int, value: float, node: str = "a") -> None:
    store.write("tiny", OBSERVED, np.array([stamp(tiny, row)]), [node], np.array([[value]]))


def same(
    held: HeldWindows, tiny: Tiny, runtime: Runtime, store: Store, row: int, more: int = 0
) -> bool:
    """Whether memory gives the windows that a fresh look at the store gives."""
    one = held.builder(stamp(tiny, row), more)
    other = HeldWindows(runtime, store).builder(stamp(tiny, row), more)
    np.testing.assert_array_equal(one.forcings, other.forcings)
    np.testing.assert_array_equal(one.values, other.values)
    return one.start == other.start


def test_a_window_from_blocks_is_that_of_the_dataset(tiny, runtime, store) -> None:
    held = HeldWindows(runtime, store)
    for row in map(int, tiny.origins[[0, 1, 25, 100, -1]]):
        builder = held.builder(stamp(tiny, row))
        found = builder.batch(np.array([len(builder.values) - 1])).inputs()
        for name, part in tiny.builder.batch(np.array([row])).inputs().items():
            np.testing.assert_array_equal(found[name], part, err_msg=name)


def test_only_what_changed_is_read_again(tiny, runtime, counted) -> None:
    held, end = HeldWindows(runtime, counted), len(tiny.dataset.values)
    held.builder(stamp(tiny, end - 1))
    assert len(counted.reads) <= 4
    counted.reads.clear()
    held.builder(stamp(tiny, end - 1))
    assert counted.reads == []
    write(counted, tiny, end, 100.0)
    assert held.builder(stamp(tiny, end)).values[-1, 0] == 100.0
    assert sum(steps for _, steps in counted.reads) <= 1 + 2 * held._rows  # and a new day, if any
    counted.reads.clear()
    write(counted, tiny, end - 5, 7.0)
    assert held.builder(stamp(tiny, end)).values[-6, 0] == 7.0
    assert counted.reads == [(OBSERVED, 1)]


def test_late_values_deletions_and_forcings_are_seen(tiny, runtime, store) -> None:
    held, end = HeldWindows(runtime, store), len(tiny.dataset.values)
    other = Store(store.engine.url.render_as_string(False))
    for row, more in ((end - 1, 0), (end - 30, 40)):
        assert same(held, tiny, runtime, store, row, more)
    rng = np.random.default_rng(0)
    for turn in range(30):
        row = end - 1 - int(rng.integers(0, 200))
        writer = (store, other)[turn % 2]
        if turn % 5 == 4:
            times = np.array([stamp(tiny, row), stamp(tiny, row + 30)])
            writer.write("tiny", FORCED, times, ["temp_c"], rng.normal(size=(2, 1)))
        else:
            value = np.nan if turn % 3 == 0 else float(turn)
            write(writer, tiny, row, value, "abcd"[turn % 4])
        assert same(held, tiny, runtime, store, end - 1 - turn % 3, turn)
    times = np.array([stamp(tiny, end - 3)])
    other.write("tiny", FORCED, times, ["temp_c@b"], np.array([[40.0]]))  # a column that is new
    assert same(held, tiny, runtime, store, end - 1)


def test_what_is_not_remembered_is_read_anew(tiny, runtime, store, monkeypatch) -> None:
    monkeypatch.setattr("serving.store._REMEMBERED", 3)
    held, end = HeldWindows(runtime, store), len(tiny.dataset.values)
    held.builder(stamp(tiny, end - 1))
    for back in range(8):
        write(store, tiny, end - 1 - back, float(back))
    revision, _ = store.state("tiny")
    assert store.changes("tiny", revision - 8, revision) is None
    assert len(store.changes("tiny", revision - 3, revision) or ()) == 3
    assert same(held, tiny, runtime, store, end - 1)


def test_blocks_that_were_not_read_for_long_are_let_go(tiny, runtime, counted, monkeypatch) -> None:
    held, end = HeldWindows(runtime, counted), len(tiny.dataset.values)
    held.builder(stamp(tiny, end - 1))
    whole = sum(block.size for block in held._blocks.values())
    monkeypatch.setattr(module, "MOST_NUMBERS", whole)
    for back in range(0, 240, 24):
        assert same(held, tiny, runtime, counted, end - 1 - back)
        assert sum(block.size for block in held._blocks.values()) <= whole


def test_windows_are_whole_while_others_write(tiny, runtime, store) -> None:
    """Each write gives all nodes of a row one value: no window may show two."""
    held, end = HeldWindows(runtime, store), len(tiny.dataset.values)
    time, ids = np.array([stamp(tiny, end - 1)]), list(tiny.dataset.graph.ids)
    done, torn = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            row = held.builder(time[0]).values[-1]
            if len(set(row.tolist())) > 1:
                torn.append(row)

    store.write("tiny", OBSERVED, time, ids, np.zeros((1, 4)))
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for value in range(1, 60):
        store.write("tiny", OBSERVED, time, ids, np.full((1, 4), float(value)))
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert held.builder(time[0]).values[-1].tolist() == [59.0] * 4
