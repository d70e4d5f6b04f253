"""Rules of retention, forgetting a node, and what is left of it on disk."""

import json
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from models.contracts import FelsinaError
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.erasure import Eraser
from serving.release import Release, load_release
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
        tables = postgres.folder / "data" / "base" / str(connection.exec_driver_sql(own).scalar())
        connection.exec_driver_sql("ANALYZE")  # whose samples must hold none of it
    postgres.checkpoint()
    assert traces(tables, "<d") == len(SECRET)
    Eraser(store, "test").forget("tiny", ["b"], "asked")
    postgres.checkpoint()
    assert traces(tables, "<d") == 0


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
