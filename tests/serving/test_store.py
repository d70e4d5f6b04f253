import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.event import listen, listens_for
from sqlalchemy.exc import OperationalError, TimeoutError

from models.contracts import FelsinaError
from serving.erasure import Eraser
from serving.store import FORCED, OBSERVED, Store
from tests.fixtures.postgres import Postgres
from tests.fixtures.tiny import ROOT

HOUR = 3600
START = np.datetime64("2024-05-01T00:00:00", "s")


@pytest.fixture
def empty_store(store_place: str) -> Store:
    return Store(store_place)


def hours(*numbers: int) -> np.ndarray:
    return START + np.array(numbers) * np.timedelta64(HOUR, "s")


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


def read(store: Store, steps: int, kind: str = OBSERVED, name: str = "a") -> list[float | None]:
    table = store.read("tiny", kind, [name], START, steps, HOUR)
    return [None if np.isnan(v) else float(v) for v in table[:, 0]]


def test_nothing_is_held_at_first(empty_store: Store) -> None:
    assert empty_store.state("tiny") == (0, None)
    assert empty_store.held("tiny", OBSERVED) == []
    assert read(empty_store, 2) == [None, None]


def test_values_come_back_to_the_last_bit(empty_store: Store) -> None:
    table = np.random.default_rng(0).normal(0, 1e6, (500, 3))
    table[7, 1] = np.nan
    times = hours(*range(500))
    assert empty_store.write("tiny", OBSERVED, times, ["a", "b", "c"], table) == 1500
    got = empty_store.read("tiny", OBSERVED, ["c", "absent", "a"], START, 500, HOUR)
    np.testing.assert_array_equal(got[:, [0, 2]], table[:, [2, 0]])
    assert np.isnan(got[:, 1]).all()


def test_writing_again_changes_nothing(empty_store: Store) -> None:
    for _ in range(3):
        assert empty_store.write("tiny", OBSERVED, hours(0, 1), ["a"], column(5, 6)) == 2
        assert empty_store.state("tiny") == (1, hours(1)[0])
        assert read(empty_store, 3) == [5, 6, None]
    for revision, value in ((2, 7), (3, np.nan)):
        for _ in range(2):
            empty_store.write("tiny", OBSERVED, hours(0, 1), ["a"], column(5, value))
            assert empty_store.state("tiny")[0] == revision
    assert read(empty_store, 3) == [5, None, None]
    for revision, issue in ((4, 1), (4, 0), (4, 1)):  # a newer issue of a value is to be known
        at = hours(issue)[0]
        empty_store.write("tiny", OBSERVED, hours(0), ["a"], column(5), issued_at=at)
        assert empty_store.state("tiny")[0] == revision


def test_late_and_disordered_values_find_their_place(empty_store: Store) -> None:
    empty_store.write("tiny", OBSERVED, hours(3, 1), ["a"], column(3, 1))
    assert empty_store.state("tiny")[1] == hours(3)[0]
    empty_store.write("tiny", OBSERVED, hours(2, 0), ["a"], column(2, 0))
    assert empty_store.state("tiny")[1] == hours(3)[0]
    assert read(empty_store, 4) == [0, 1, 2, 3]


def test_a_later_value_replaces_and_nan_clears(empty_store: Store) -> None:
    empty_store.write("tiny", OBSERVED, hours(0, 1), ["a"], column(1, 2))
    empty_store.write("tiny", OBSERVED, hours(0), ["a"], column(9))
    empty_store.write("tiny", OBSERVED, hours(1), ["a"], column(np.nan))
    assert read(empty_store, 2) == [9, None]


def test_a_step_of_gaps_is_not_the_latest_observation(empty_store: Store) -> None:
    empty_store.write("tiny", OBSERVED, hours(0, 1), ["a"], column(1, np.nan))
    assert empty_store.state("tiny")[1] == hours(0)[0]


def test_forcings_are_not_observations(empty_store: Store) -> None:
    empty_store.write("tiny", FORCED, hours(5), ["a"], column(5))
    assert empty_store.state("tiny") == (1, None)
    empty_store.write("tiny", OBSERVED, hours(1), ["a"], column(1))
    empty_store.write("tiny", FORCED, hours(9), ["a"], column(9))
    assert empty_store.state("tiny") == (3, hours(1)[0])
    assert read(empty_store, 6) == [None, 1, None, None, None, None]
    assert read(empty_store, 6, FORCED) == [None] * 5 + [5]
    assert empty_store.held("tiny", FORCED) == ["a"]


def test_an_older_issue_never_replaces_a_newer(empty_store: Store) -> None:
    def issue(hour: int, *values: float) -> None:
        times = hours(*range(len(values)))
        empty_store.write("tiny", FORCED, times, ["t"], column(*values), hours(hour)[0])

    issue(6, 1, 1)
    issue(12, 2)
    issue(6, 3, 3)
    assert read(empty_store, 2, FORCED, "t") == [2, 3]
    issue(0, 4, 4)
    assert read(empty_store, 2, FORCED, "t") == [2, 3]
    issue(12, np.nan, 5)
    assert read(empty_store, 2, FORCED, "t") == [None, 5]


def test_datasets_are_apart(empty_store: Store) -> None:
    empty_store.write("tiny", OBSERVED, hours(0), ["a"], column(1))
    empty_store.write("other", OBSERVED, hours(4), ["a"], column(2))
    assert read(empty_store, 1) == [1]
    assert empty_store.state("tiny") == (1, hours(0)[0])
    assert empty_store.state("other") == (1, hours(4)[0])


def test_off_grid_rows_are_ignored(empty_store: Store) -> None:
    off = hours(1) + np.timedelta64(60, "s")
    empty_store.write("tiny", OBSERVED, np.concatenate([hours(0), off]), ["a"], column(1, 2))
    assert read(empty_store, 3) == [1, None, None]


def test_only_the_span_asked_for_is_read(empty_store: Store) -> None:
    empty_store.write("tiny", OBSERVED, hours(-1, 0, 1, 2), ["a"], column(9, 0, 1, 2))
    assert read(empty_store, 2) == [0, 1]


def test_names_are_data_never_code(empty_store: Store) -> None:
    name = 'a\'); DROP TABLE "values"; --'
    empty_store.write(name, OBSERVED, hours(0), [name, "%s", ":x", "?"], np.ones((1, 4)))
    assert empty_store.state(name)[0] == 1
    assert set(empty_store.held(name, OBSERVED)) == {name, "%s", ":x", "?"}


def test_it_is_there_when_opened_again(empty_store: Store, store_place: str) -> None:
    empty_store.write("tiny", OBSERVED, hours(0), ["a"], column(7))
    empty_store.engine.dispose()
    assert read(Store(store_place), 1) == [7]


def test_a_path_and_an_sqlite_url_are_one_place(tmp_path: Path) -> None:
    Store(tmp_path / "a.db").write("tiny", OBSERVED, hours(0), ["a"], column(7))
    assert read(Store(f"sqlite:///{tmp_path / 'a.db'}"), 1) == [7]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("mysql://me:secret@localhost/felsina", "a mysql database"),
        ("postgresql://me:secret@127.0.0.1:1/felsina", "cannot be opened"),
        ("://", "no database URL"),
    ],
)
def test_a_place_that_is_none_is_refused_in_one_line(place: str, said: str, monkeypatch) -> None:
    monkeypatch.setattr("serving.tables._ATTEMPTS", 1)
    with pytest.raises(FelsinaError, match=said) as refused:
        Store(place)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_write_of_known_columns_uses_up_no_numbers(empty_store: Store) -> None:
    """A sequence of 32 bits would end in weeks, were each write to draw a number a column."""
    for _ in range(20):
        empty_store.write("tiny", OBSERVED, hours(0), ["a"], column(1))
    empty_store.write("tiny", OBSERVED, hours(0), ["b"], column(1))
    with empty_store.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT max(id) FROM columns")).scalar() == 2


def test_two_writers_of_the_same_values_in_other_orders_both_end(empty_store: Store) -> None:
    """Rows locked in different orders would be a deadlock."""
    names = [f"n{i}" for i in range(40)]

    def write(order: list[str], first: int) -> None:
        for value in range(first, 20, 2):
            table = np.full((20, 40), float(value))
            empty_store.write("tiny", OBSERVED, hours(*range(20)), order, table)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, (names, names[::-1]), (0, 1)))
    assert empty_store.state("tiny")[0] == 20


WRITER = """
import sys
import numpy as np
from serving.store import OBSERVED, Store
place, names, count = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])
start = np.datetime64("2024-05-01T00:00:00", "s")
store = Store(place)
for i in range(count):
    times = start + np.arange(i, i + 2) * np.timedelta64(3600, "s")
    store.write("tiny", OBSERVED, times, names, np.full((2, len(names)), float(i)))
    print(i, flush=True)
"""


def writer(place: str, names: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, place, names, str(count)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("after", [0, 5, 17])
def test_a_killed_writer_loses_nothing_that_it_wrote(store_place: str, after: int) -> None:
    with writer(store_place, "a,b", 10_000) as process:
        assert process.stdout is not None
        written = -1
        while written < after:
            written = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        written = max([written, *map(int, process.stdout.read().split("\n")[:-1])])
    store = Store(store_place)
    for node in ("a", "b"):
        held = read(store, written + 1, name=node)
        assert held[:written] == list(range(written))
        assert held[written] in (written, written + 1)
    assert store.state("tiny")[0] in (written + 1, written + 2)
    store.write("tiny", OBSERVED, hours(0), ["a"], column(-1))
    assert read(store, 1) == [-1]


def test_two_processes_write_at_once(store_place: str) -> None:
    store, count = Store(store_place), 60
    processes = [writer(store_place, names, count) for names in ("a,b", "b,c")]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert store.state("tiny") == (2 * count, hours(count)[0])
    for node in "abc":
        assert read(store, count + 1, name=node) == [*range(count), count - 1]


OPENER = """
import sys, time
import numpy as np
from serving.store import OBSERVED, Store
start = np.datetime64("2024-05-01T00:00:00", "s")
print("ready", flush=True)
begin = float(sys.stdin.readline())
for i, place in enumerate(sys.argv[2:]):
    while time.time() < begin + 0.1 * i:
        pass
    store = Store(place)
    store.write("tiny", OBSERVED, np.array([start]), [sys.argv[1]], np.ones((1, 1)))
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_processes_make_a_store_at_once(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        places = [str(tmp_path / f"{i}.db") for i in range(20)]
    else:
        places = [request.getfixturevalue("postgres").database() for _ in range(8)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPENER, name, *places],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    begin = time.time() + 0.2
    errors = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(f"{begin}\n")
        process.stdin.flush()
    for process in processes:
        errors.append(process.communicate(timeout=60)[1].strip().rpartition("\n")[2])
    assert errors == ["", ""]
    for place in places:
        assert Store(place).state("tiny")[0] == 2


def test_a_change_is_seen_while_every_connection_is_in_use(tmp_path: Path) -> None:
    store, other = Store(tmp_path / "one.db"), Store(tmp_path / "one.db")
    assert store.states() == {}
    store.engine.pool._timeout = 0.1  # pyright: ignore[reportAttributeAccessIssue]
    taken = [store.engine.connect() for _ in range(15)]
    with pytest.raises(TimeoutError):  # the pool has no more
        store.engine.connect()
    other.write("tiny", OBSERVED, hours(0), ["a"], column(1))
    assert store.known()["tiny"][0] == 1
    for connection in taken:
        connection.close()


def test_a_write_while_revisions_are_read_has_them_read_again(postgres: Postgres) -> None:
    store = Store(postgres.database())
    for written in (False, True):
        store.changed()
        if written:
            listen(store.engine, "after_cursor_execute", lambda *_: store.changed(), once=True)
        assert store.slow()
        store.states()
        assert store.slow() is written


def test_a_database_is_not_waited_for_without_end(postgres: Postgres) -> None:
    """But for deletions, which may be large; connections that others use keep their bounds."""
    place, patience = postgres.database(), sa.text("SHOW statement_timeout")
    with Store(place).engine.connect() as connection:
        assert connection.execute(patience).scalar() == "1min"
    hasty = Store(f"{place}?options=-c%20statement_timeout%3D200ms")
    with hasty.engine.connect() as connection, pytest.raises(OperationalError):
        connection.execute(sa.text("SELECT pg_sleep(5)"))
    hasty.write("tiny", OBSERVED, hours(0), ["a"], column(1))
    seen: list[str] = []

    @listens_for(hasty.engine, "before_cursor_execute")
    def note(connection, cursor, statement, *_) -> None:
        if statement.startswith(("VACUUM", "DELETE")):
            seen.append(cursor.connection.execute("SHOW statement_timeout").fetchone()[0])

    assert Eraser(hasty, "test").forget("tiny", ["a"], "asked") == 1
    assert len(seen) > 3
    assert set(seen) == {"0"}
    for _ in range(3):
        with hasty.engine.connect() as connection:
            assert connection.execute(patience).scalar() == "200ms"
