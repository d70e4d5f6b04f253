"""Forgetting nodes: all of them goes, from every table and from the files, and nothing else."""

import sqlite3
import struct
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.event import listen

from models.contracts import FelsinaError
from serving import tables
from serving.erasure import Eraser
from serving.release import Release, load_release
from serving.store import FORCED, OBSERVED, Store
from tests.fixtures.kept import HOUR, NOW, alert, fill, held, issue, told
from tests.fixtures.postgres import Postgres
from tests.fixtures.tiny import Tiny


@pytest.fixture
def empty_store(store_place: str) -> Store:
    return Store(store_place)


@pytest.fixture
def release(tiny: Tiny) -> Release:
    return load_release(tiny.release)


def test_a_forgotten_node_is_gone_and_the_others_stay(empty_store: Store, release) -> None:
    fill(empty_store, 20)
    empty_store.write("tiny", OBSERVED, np.array([NOW + HOUR]), ["b"], np.ones((1, 1)))
    fill(empty_store, 20, dataset="other")
    empty_store.write("tiny", FORCED, np.array([NOW]), ["rain@b", "rain"], np.ones((1, 2)))
    issue(empty_store, release.id, 0, 1)
    revision, latest = empty_store.state("tiny")
    assert latest == NOW + HOUR
    eraser = Eraser(empty_store, "clerk")
    with pytest.raises(FelsinaError, match="node x"):
        eraser.forget("tiny", ["b", "x"], "asked by its owner")
    assert held(empty_store, 20) == 4 * 480
    assert eraser.forget("tiny", ["b"], "asked by its owner") == 480 + 1 + 1 + 2
    assert held(empty_store, 20, nodes="b") == 0
    assert held(empty_store, 20, nodes="acd") == 3 * 480
    assert held(empty_store, 20, "other") == 4 * 480
    assert empty_store.held("tiny", FORCED) == ["rain"]
    assert empty_store.issues(release.id) == []
    assert empty_store.state("tiny") == (revision + 1, NOW)
    (record,) = eraser.deletions()
    assert (record.reason, record.by, record.rows) == ("asked by its owner", "clerk", 484)
    assert "nodes b" in record.what


def test_a_value_that_is_being_written_is_forgotten_too(store_place: str, monkeypatch) -> None:
    """And one that is written while others are deleted stays the latest."""
    store, writer, open_now = Store(store_place), Store(store_place), threading.Event()
    fill(store, 20)
    remember = writer.remember

    def slowly(*words) -> None:
        remember(*words)
        open_now.set()
        time.sleep(1)

    monkeypatch.setattr(writer, "remember", slowly)
    for hours, delete in enumerate(
        (
            lambda: Eraser(store, "test").forget("tiny", ["a"], "asked"),
            lambda: Eraser(store, "test").drop_older("tiny", OBSERVED, NOW - 240 * HOUR, "rule"),
        ),
        start=1,
    ):
        open_now.clear()
        words = "tiny", OBSERVED, np.array([NOW + hours * HOUR]), ["a", "b"], np.ones((1, 2))
        posting = threading.Thread(target=writer.write, args=words)
        posting.start()
        assert open_now.wait(10)
        delete()
        posting.join()
        assert store.state("tiny")[1] == NOW + hours * HOUR
        if hours == 1:
            assert store.held("tiny", OBSERVED) == ["b", "c", "d"]
            with store.engine.connect() as connection:
                left = sa.select(tables.values.c.column_id).distinct()
                assert len(connection.execute(left).fetchall()) == 3


def test_a_forecast_that_was_deleted_does_not_come_back(empty_store, release) -> None:
    """A process had read it, and what it learned from, before the deletion."""
    fill(empty_store, 20)
    issue(empty_store, release.id, 1)
    last, at, long_ago = empty_store.last_deletion("tiny"), NOW - 24 * HOUR, np.datetime64(0, "s")
    parts = (b"m", b"q", b"u")
    empty_store.keep_issues(release.id, {at + HOUR: parts}, {at: b"u"}, long_ago, last)
    assert [row[3] for row in empty_store.issues(release.id)] == [b"u", b"u"]
    Eraser(empty_store, "test").forget("tiny", ["a"], "asked")
    empty_store.keep_issues(release.id, {at + 2 * HOUR: parts}, {at: b"u"}, long_ago, last)
    assert empty_store.issues(release.id) == []
    last = empty_store.last_deletion("tiny")
    empty_store.keep_issues(release.id, {at + 2 * HOUR: parts}, {at: b"u"}, long_ago, last)
    assert [row[0] for row in empty_store.issues(release.id)] == [at + 2 * HOUR]


def test_a_node_is_told_by_its_whole_id(empty_store: Store) -> None:
    """A forcing of the whole city is nobody's, whatever its name."""
    one = np.ones((1, 1))
    for kind, name in ((OBSERVED, "a@b"), (OBSERVED, "b"), (FORCED, "temp_c"), (FORCED, "x@a@b")):
        empty_store.write("tiny", kind, np.array([NOW]), [name], one)
    eraser = Eraser(empty_store, "test")
    with pytest.raises(FelsinaError, match="node temp_c"):
        eraser.forget("tiny", ["temp_c"], "asked")
    assert eraser.forget("tiny", ["a@b"], "asked") == 2
    assert empty_store.held("tiny", OBSERVED) == ["b"]
    assert empty_store.held("tiny", FORCED) == ["temp_c"]


def test_what_was_told_of_a_forgotten_node_goes_with_it(empty_store: Store) -> None:
    fill(empty_store, 20)
    for name, node in (("1", "a"), ("2", "b"), ("3", "gone")):
        alert(empty_store, name, node)
    assert told(empty_store) == [["1", "2", "3"]] * 4
    Eraser(empty_store, "test").forget("tiny", ["b", "gone"], "asked")
    assert told(empty_store) == [["1"]] * 4


def test_a_reader_in_the_way_is_told_and_the_same_again_does_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "observations.db")
    fill(store, 20, "ac")
    times = NOW - np.arange(len(SECRET)) * HOUR
    store.write("tiny", OBSERVED, times, ["b"], SECRET[:, None])
    listen(store.engine, "checkout", lambda c, *_: c.execute("PRAGMA busy_timeout = 200"))
    with closing(sqlite3.connect(tmp_path / "observations.db")) as reader:
        reader.execute("BEGIN")
        reader.execute('SELECT count(*) FROM "values"').fetchall()
        with pytest.raises(FelsinaError, match="files still hold") as refused:
            Eraser(store, "test").forget("tiny", ["b"], "asked")
        assert "\n" not in str(refused.value)
        assert held(store, 20, nodes="b") == 0
        assert traces(tmp_path, ">d") > 0
    assert Eraser(store, "test").forget("tiny", ["b"], "asked") == 0
    assert traces(tmp_path, ">d") == 0
    assert len(Eraser(store, "test").deletions()) == 1


SECRET = np.random.default_rng(7).normal(size=100)


def traces(folder: Path, order: str) -> int:
    """How many of the secret values lie in the files of a folder, as the database writes them."""
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    return sum(any(struct.pack(order, v) in content for content in found) for v in SECRET)


def test_nothing_of_a_forgotten_node_is_left_in_the_files(tmp_path: Path) -> None:
    store = Store(tmp_path / "observations.db")
    fill(store, 20, "ac")
    times = NOW - np.arange(len(SECRET)) * HOUR
    store.write("tiny", OBSERVED, times, ["b"], SECRET[:, None])
    assert traces(tmp_path, ">d") == len(SECRET)
    Eraser(store, "test").forget("tiny", ["b"], "asked")
    assert traces(tmp_path, ">d") == 0
    assert held(store, 20, nodes="ac") == 2 * 480


def test_nothing_of_a_forgotten_node_is_left_in_postgresql_s_tables(postgres: Postgres) -> None:
    store = Store(postgres.database())
    fill(store, 20, "ac")
    times = NOW - np.arange(len(SECRET)) * HOUR
    store.write("tiny", OBSERVED, times, ["b"], SECRET[:, None])
    with store.engine.begin() as connection:
        own = "SELECT oid FROM pg_database WHERE datname = current_database()"
        place = postgres.folder / "data" / "base" / str(connection.exec_driver_sql(own).scalar())
        connection.exec_driver_sql("ANALYZE")  # whose samples must hold none of it
    postgres.checkpoint()
    assert traces(place, "<d") == len(SECRET)
    Eraser(store, "test").forget("tiny", ["b"], "asked")
    postgres.checkpoint()
    assert traces(place, "<d") == 0
