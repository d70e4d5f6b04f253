"""Rules of retention: what is due goes, is on record, and nothing else."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from models.contracts import FelsinaError
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.erasure import Eraser
from serving.release import MANIFEST, Release, load_release
from serving.retention import CASES, RULES, due, load_rules, tidy
from serving.store import OBSERVED, Store
from tests.fixtures.kept import HOUR, NOW, alert, fill, held, issue, rule, run, told
from tests.fixtures.tiny import Run, Tiny

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


def test_alerts_are_kept_for_days_after_their_end(empty_store: Store, release) -> None:
    fill(empty_store, 20)
    for name, ended in (("1", None), ("2", NOW - 40 * 24 * HOUR), ("3", NOW - 9 * 24 * HOUR)):
        alert(empty_store, name, "a", ended)
    assert "alerts" not in run(empty_store, release, None)
    assert run(empty_store, release, rule(alerts=30))["alerts"] == 1
    assert told(empty_store)[:3] == [["1", "3"]] * 3


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
        "cases": CASES,
    }
    (tmp_path / RULES).write_text("[")
    assert client.get("/v1/datasets/tiny").json()["retention"] is None


@pytest.mark.slow
def test_the_command_shows_deletes_and_forgets(
    tiny: Tiny, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path))
    for part in ("releases", "champions"):
        (tmp_path / part).symlink_to(tiny.home / part)
    store = Store(tmp_path / "observations.db")
    now = np.datetime64("now", "h").astype("datetime64[s]")
    times = now - np.arange(24 * 40) * HOUR
    store.write("tiny", OBSERVED, times, ["a", "b"], np.ones((len(times), 2)))
    (tmp_path / RULES).write_text(FILE)
    shown = json.loads(run("data", "retention", "--json")[1])
    assert shown[0]["rule"]["responsible"] == "Mobility office"
    old = shown[0]["due"][0]["rows"]
    assert 2 * 24 * 10 - 4 <= old <= 2 * 24 * 10
    assert store.read("tiny", OBSERVED, ["a"], times[-1], 1, 3600)[0, 0] == 1
    code, out, err = run("data", "retention", "--apply")
    assert code == 0, err
    assert str(old) in out
    assert np.isnan(store.read("tiny", OBSERVED, ["a"], times[-1], 1, 3600)[0, 0])
    words = ["--dataset", "tiny", "--nodes", "b", "--reason", "moved away"]
    assert run("data", "forget", *words)[0] == 0
    assert store.held("tiny", OBSERVED) == ["a"]
    code, out, _ = run("data", "forget", *words)
    assert code == 0, "the files are written anew once more"
    assert "tiny: 0 rows" in out
    code, _, err = run("data", "forget", *words[:3], "c", *words[4:])
    assert (code, err.count("\n")) == (2, 1)
    (tmp_path / RULES).write_text(FILE.replace("30", "2"))
    code, _, err = run("data", "retention", "--apply")
    assert code == 2
    assert "nothing was deleted" in err
