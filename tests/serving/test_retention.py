"""Rules of retention, forgetting a node, and what is left of it on disk."""

import json
import sqlite3
import struct
import threading
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import orjson
import pytest
import sqlalchemy as sa
from sqlalchemy.event import listen
from starlette.testclient import TestClient

from models.contracts import FelsinaError
from serving import tables
from serving.alerts.engine import tell_event
from serving.alerts.held import PERSONAL, Alert, Held, Message
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.erasure import Eraser
from serving.events.log import EventLog
from serving.release import MANIFEST, Release, load_release
from serving.retention import RULES, Rule, due, load_rules, tidy
from serving.store import FORCED, OBSERVED, Store
from tests.fixtures.postgres import Postgres
from tests.fixtures.tiny import Tiny, felsina

HOUR = np.timedelta64(3600, "s")
NOW = np.datetime64("2026-03-01T00:00:00", "s")
FILE = """
[tiny]
responsible = "Mobility office"
contact = "mobility@city.example"
purpose = "Forecasts of traffic"
legal_basis = "Public interest"
keep_days = { observations = 30, issues = 3 }
"""


@pytest.fixture
def empty_store(store_place: str) -> Store:
    return Store(store_place)


@pytest.fixture
def release(tiny: Tiny) -> Release:
    return load_release(tiny.release)


def rule(**days: int) -> Rule:
    said = dict.fromkeys(("responsible", "contact", "purpose", "legal_basis"), "x")
    return Rule.model_validate(said | {"keep_days": days})


def fill(store: Store, days: int, nodes: str = "abcd", dataset: str = "tiny") -> None:
    """Hours of some days up to now: each value tells its row."""
    times = NOW - np.arange(24 * days)[::-1] * HOUR
    table = np.arange(len(times) * len(nodes), dtype=float).reshape(len(times), -1)
    store.write(dataset, OBSERVED, times, list(nodes), table)


def issue(store: Store, release: str, *days_ago: int) -> None:
    for ago in days_ago:
        at, long_ago = NOW - ago * 24 * HOUR, np.datetime64(0, "s")
        last = store.last_deletion(release.rpartition("-")[0])
        store.keep_issues(release, {at: (b"m", b"q", b"t")}, {}, long_ago, last)


def run(store: Store, release: Release, kept: Rule | None) -> dict[str, int]:
    """Delete what is due; each count must be what was said before."""
    found = due(Eraser(store, "test"), "tiny", release, kept, NOW)
    assert [item.rows for item in found] == [item.delete() for item in found]
    return {item.what.partition(" ")[0]: item.rows for item in found}


def held(store: Store, days: int, dataset: str = "tiny", nodes: str = "abcd") -> int:
    start = NOW - (24 * days - 1) * HOUR
    table = store.read(dataset, OBSERVED, list(nodes), start, 24 * days, 3600)
    return int((~np.isnan(table)).sum())


def test_what_is_older_goes_and_nothing_else(empty_store: Store, release: Release) -> None:
    fill(empty_store, 100)
    fill(empty_store, 100, dataset="other")
    gone = run(empty_store, release, rule(observations=30))
    assert gone["observations"] == 4 * (24 * 70 - 1)
    assert held(empty_store, 100) == held(empty_store, 30) + 4 == 4 * (24 * 30 + 1)
    assert held(empty_store, 100, "other") == 4 * 2400
    assert empty_store.state("tiny")[1] == NOW
    (record,) = Eraser(empty_store, "test").deletions()
    assert (record.dataset, record.rows, record.by) == ("tiny", gone["observations"], "test")
    assert "30 days" in record.reason
    assert run(empty_store, release, rule(observations=30))["observations"] == 0
    assert len(Eraser(empty_store, "test").deletions()) == 1


def test_in_pieces_as_well_as_at_once(empty_store: Store, release: Release, monkeypatch) -> None:
    monkeypatch.setattr("serving.erasure._PIECE", 7)
    fill(empty_store, 34, "a")
    assert run(empty_store, release, rule(observations=30))["observations"] == 24 * 4 - 1
    assert held(empty_store, 34, nodes="a") == 24 * 30 + 1


def test_without_a_rule_only_forecasts_of_replaced_releases_go(empty_store, release) -> None:
    fill(empty_store, 100)
    issue(empty_store, release.id, 0, 1, 40)
    issue(empty_store, "tiny-0123456789ab", 0, 1)
    issue(empty_store, "tiny-two-0123456789ab", 0)
    assert run(empty_store, release, None) == {"forecasts": 2}
    assert held(empty_store, 100) == 4 * 2400
    assert len(empty_store.issues(release.id)) == 3
    assert len(empty_store.issues("tiny-two-0123456789ab")) == 1
    assert run(empty_store, release, rule(issues=3)) == {"forecasts": 1}
    assert len(empty_store.issues(release.id)) == 2


def test_a_rule_never_takes_what_the_served_model_reads(empty_store, release) -> None:
    fill(empty_store, 100)
    needed = release.spec.reach / 24
    least = int(np.ceil((release.spec.reach - 1) / 24))
    with pytest.raises(FelsinaError, match=f"keep {least} days or more") as refused:
        run(empty_store, release, rule(observations=int(needed) - 1))
    assert "\n" not in str(refused.value)
    assert held(empty_store, 100) == 4 * 2400
    run(empty_store, release, rule(observations=least))
    window = held(empty_store, 100) / 4
    assert release.spec.reach <= window < release.spec.reach + 25


def test_a_feed_that_stopped_is_not_deleted_from_under_its_release(empty_store, release) -> None:
    """By age from today all of it would go, and with it every forecast."""
    fill(empty_store, 20)
    later = NOW + np.timedelta64(400, "D")
    with pytest.raises(FelsinaError, match="serve another release"):
        due(Eraser(empty_store, "test"), "tiny", release, rule(observations=30), later)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("observations = 30", "observations = 0"), "tiny.keep_days.observations"),
        (("observations = 30", "observation = 30"), "tiny.keep_days.observation"),
        (('contact = "mobility@city.example"', ""), "tiny.contact"),
        (("[tiny]", "[tiny"), "no TOML"),
    ],
)
def test_a_broken_file_is_refused_with_its_member(tmp_path: Path, change, said: str) -> None:
    (tmp_path / RULES).write_text(FILE)
    assert load_rules(tmp_path)["tiny"].keep_days.observations == 30
    (tmp_path / RULES).write_text(FILE.replace(*change))
    with pytest.raises(FelsinaError, match=said):
        load_rules(tmp_path)


def test_a_rule_that_cannot_be_applied_stops_no_other(tmp_path, empty_store, release, caplog):
    issue(empty_store, "tiny-0123456789ab", 0)
    (tmp_path / RULES).write_text(FILE.replace("tiny", "else").replace("30", "1"))
    fill(empty_store, 9, dataset="else")
    tidy(tmp_path, empty_store, {"else": release, "tiny": release})
    assert empty_store.issues("tiny-0123456789ab") == []
    (tmp_path / RULES).write_text("[")
    tidy(tmp_path, empty_store, {"tiny": release})
    assert "no TOML" in caplog.text


def test_of_many_workers_one_does_the_daily_round(empty_store: Store) -> None:
    claims: list[bool] = []

    def ask() -> None:
        claims.append(Eraser(empty_store, "test").claim("retention", 86_400))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claims) == [False, False, False, True]
    assert Eraser(empty_store, "test").claim("retention", 0)
    assert Eraser(empty_store, "test").claim("another", 86_400)


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


def test_a_round_that_is_killed_leaves_a_record_of_what_it_did(empty_store, monkeypatch) -> None:
    monkeypatch.setattr("serving.erasure._PIECE", 50)
    fill(empty_store, 20)
    revision, _ = empty_store.state("tiny")
    eraser, drop, calls = Eraser(empty_store, "test"), Eraser._drop, []

    def dies(*words) -> int:
        calls.append(words)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return drop(*words)

    monkeypatch.setattr(Eraser, "_drop", dies)
    before = NOW - 300 * HOUR
    with pytest.raises(KeyboardInterrupt):
        eraser.drop_older("tiny", OBSERVED, before, "rule")
    (record,) = eraser.deletions()
    assert record.rows == 4 * 480 - held(empty_store, 20) == 100
    assert empty_store.state("tiny") == (revision + 2, NOW)
    monkeypatch.setattr(Eraser, "_drop", drop)
    assert eraser.drop_older("tiny", OBSERVED, before, "rule") == 4 * 179 - 100
    assert [record.rows for record in eraser.deletions()] == [4 * 179 - 100, 100]


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


def test_data_of_a_dataset_without_release_go_by_age(tmp_path: Path, empty_store) -> None:
    fill(empty_store, 100, dataset="gone")
    fill(empty_store, 100, dataset="broken")
    issue(empty_store, "gone-0123456789ab", 0, 40)
    broken = tmp_path / "releases" / "broken-0123456789ab"
    broken.mkdir(parents=True)
    (broken / MANIFEST).write_text("{")
    days = int((np.datetime64("now", "D") - NOW.astype("M8[D]")).astype(int)) + 1
    later = FILE.replace("= 30", f"= {days}")
    (tmp_path / RULES).write_text(later.replace("tiny", "gone") + later.replace("tiny", "broken"))
    tidy(tmp_path, empty_store, {})
    assert empty_store.issues("gone-0123456789ab") == []
    assert 0 < held(empty_store, 100, "gone") <= 4 * 24
    assert held(empty_store, 100, "broken") == 4 * 2400


def alert(store: Store, name: str, node: str, ended: np.datetime64 | None = None) -> None:
    """One that somebody has acknowledged."""
    kept, events = Held(store.engine), EventLog(store.engine)
    at = None if ended is None else int(ended.astype(np.int64))
    said = {"node": node, "rule": "r", "dataset": "tiny"}
    raised = Alert(name, "r", "tiny", node, 0, at, 0, said, None)
    with store.engine.begin() as connection:
        kept.raise_alert(connection, raised)
        kept.tell(connection, Message(name, 1, "raised", 0, said))
        kept.acknowledge(connection, name, {"by": "Anna"})
        tell_event(events, connection, raised, "raised")


def told(store: Store) -> list[list[str]]:
    """Ids of alerts in each of the places that tell of one."""
    with store.engine.connect() as connection:
        names = [
            sorted(connection.exec_driver_sql(f"SELECT {column} FROM {table}").scalars())
            for table, column in zip(PERSONAL, ("id", "alert", "alert"), strict=True)
        ]
    events = EventLog(store.engine).after(0, 100)
    return [*names, sorted(orjson.loads(event.data)["id"] for event in events)]


def test_what_was_told_of_a_forgotten_node_goes_with_it(empty_store: Store) -> None:
    fill(empty_store, 20)
    for name, node in (("1", "a"), ("2", "b"), ("3", "gone")):
        alert(empty_store, name, node)
    assert told(empty_store) == [["1", "2", "3"]] * 4
    Eraser(empty_store, "test").forget("tiny", ["b", "gone"], "asked")
    assert told(empty_store) == [["1"]] * 4


def test_alerts_are_kept_for_days_after_their_end(empty_store: Store, release) -> None:
    fill(empty_store, 20)
    for name, ended in (("1", None), ("2", NOW - 40 * 24 * HOUR), ("3", NOW - 9 * 24 * HOUR)):
        alert(empty_store, name, "a", ended)
    assert "alerts" not in run(empty_store, release, None)
    assert run(empty_store, release, rule(alerts=30))["alerts"] == 1
    assert told(empty_store)[:3] == [["1", "3"]] * 3


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


def test_a_citizen_is_told_who_answers(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    for part in ("releases", "champions"):
        (tmp_path / part).symlink_to(tiny.home / part)
    client = TestClient(create_app(Catalogue(tmp_path, store)))
    assert client.get("/v1/datasets/tiny").json()["retention"] is None
    (tmp_path / RULES).write_text(FILE)
    said = client.get("/v1/datasets/tiny").json()["retention"]
    assert said["responsible"] == "Mobility office"
    assert said["keep_days"] == {
        "observations": 30,
        "forcings": None,
        "issues": 3,
        "alerts": None,
    }
    (tmp_path / RULES).write_text("[")
    assert client.get("/v1/datasets/tiny").json()["retention"] is None


@pytest.mark.slow
def test_the_command_shows_deletes_and_forgets(tiny: Tiny, tmp_path: Path) -> None:
    for part in ("releases", "champions"):
        (tmp_path / part).symlink_to(tiny.home / part)
    store = Store(tmp_path / "observations.db")
    now = np.datetime64("now", "h").astype("datetime64[s]")
    times = now - np.arange(24 * 40) * HOUR
    store.write("tiny", OBSERVED, times, ["a", "b"], np.ones((len(times), 2)))
    (tmp_path / RULES).write_text(FILE)
    shown = json.loads(felsina(tmp_path, "data", "retention", "--json").stdout)
    assert shown[0]["rule"]["responsible"] == "Mobility office"
    old = shown[0]["due"][0]["rows"]
    assert 2 * 24 * 10 - 4 <= old <= 2 * 24 * 10
    assert store.read("tiny", OBSERVED, ["a"], times[-1], 1, 3600)[0, 0] == 1
    done = felsina(tmp_path, "data", "retention", "--apply")
    assert done.returncode == 0, done.stderr
    assert str(old) in done.stdout
    assert np.isnan(store.read("tiny", OBSERVED, ["a"], times[-1], 1, 3600)[0, 0])
    words = ["--dataset", "tiny", "--nodes", "b", "--reason", "moved away"]
    assert felsina(tmp_path, "data", "forget", *words).returncode == 0
    assert store.held("tiny", OBSERVED) == ["a"]
    again = felsina(tmp_path, "data", "forget", *words)
    assert again.returncode == 0, "the files are written anew once more"
    assert "tiny: 0 rows" in again.stdout
    another = felsina(tmp_path, "data", "forget", *words[:3], "c", *words[4:])
    assert (another.returncode, another.stderr.count("\n")) == (2, 1)
    (tmp_path / RULES).write_text(FILE.replace("30", "2"))
    refused = felsina(tmp_path, "data", "retention", "--apply")
    assert refused.returncode == 2
    assert "nothing was deleted" in refused.stderr
