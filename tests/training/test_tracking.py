"""Runs that were tracked offline come home whole, once."""

import math
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError

from training import tracking
from training.tracking import COPIED_FROM, EXPERIMENT, Tracker, sync


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An offline store with one finished run, with two files and metrics at several steps."""
    tmp_path = tmp_path_factory.mktemp("bundle")
    folder = tmp_path / "offline" / "tiny"
    tracker = Tracker(folder, "tiny")
    tracker.parameters({"steps": 20, "architecture": {"width": 16}})
    tracker.tags({"dataset": "tiny"})
    for step in range(250):
        tracker.metrics({"validation_loss": 1 / (step + 1), "loss": 2.0}, step)
    tracker.metrics({"odd": math.nan}, 3)
    for name, place in (("a.txt", ""), ("b.txt", "plots")):
        (tmp_path / name).write_text(name * 3)
        tracker.artifact(tmp_path / name, place)
    tracker.end()
    return folder


def runs(home: Path) -> tuple[MlflowClient, list]:
    client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id]))


def same_as_offline(bundle: Path, home: Path) -> None:
    before, (offline,) = runs(bundle)
    client, (run,) = runs(home)
    assert run.data.params == offline.data.params == {"steps": "20", "architecture.width": "16"}
    offline_id = offline.info.run_id
    assert run.data.tags == offline.data.tags | {COPIED_FROM: offline_id}
    for field in ("status", "end_time", "run_name"):
        assert getattr(run.info, field) == getattr(offline.info, field), field
    for key in ("validation_loss", "loss", "odd"):
        points, expected = (
            [(m.step, m.timestamp, repr(m.value)) for m in c.get_metric_history(r.info.run_id, key)]
            for c, r in ((client, run), (before, offline))
        )
        assert sorted(points) == sorted(expected)
    files = home / "artifacts" / run.info.run_id / "artifacts"
    found = {p.relative_to(files).as_posix(): p.read_text() for p in files.rglob("*.txt")}
    assert found == {"a.txt": "a.txt" * 3, "plots/b.txt": "b.txt" * 3}


def test_a_run_comes_home_whole_and_once(bundle, tmp_path):
    home = tmp_path / "home"
    first = sync(bundle, home)
    assert (first["runs"], first["files"]) == (1, 2)
    assert first["entries"] == 2 + 501 + 1
    same_as_offline(bundle, home)
    assert sync(bundle, home) == {"runs": 0, "entries": 0, "files": 0}
    same_as_offline(bundle, home)


class Killed(Exception):
    pass


def test_a_sync_that_is_killed_at_every_write_goes_on(bundle, tmp_path, monkeypatch):
    home = tmp_path / "home"
    writes = {
        name: getattr(MlflowClient, name)
        for name in ("create_run", "log_batch", "log_artifact", "set_terminated")
    }
    done: list[str] = []

    def killing(name):
        """Does one write, and dies at the next."""

        def write(self, *arguments):
            if done:
                raise Killed
            done.append(name)
            return writes[name](self, *arguments)

        return write

    kills = []
    with monkeypatch.context() as patch:
        for name in writes:
            patch.setattr(tracking.MlflowClient, name, killing(name))
        while True:
            done.clear()
            try:
                sync(bundle, home)
                break
            except Killed:
                kills += done
    assert kills[0] == "create_run"
    assert kills.count("create_run") == 1
    assert kills.count("log_batch") == 6
    assert kills.count("log_artifact") == 2
    same_as_offline(bundle, home)
    assert sync(bundle, home) == {"runs": 0, "entries": 0, "files": 0}


def test_a_run_that_goes_on_is_brought_up_to_date(tmp_path):
    bundle, home = tmp_path / "bundle", tmp_path / "home"
    tracker = Tracker(bundle, "tiny")
    tracker.metrics({"loss": 2.0}, 1)
    sync(bundle, home)
    client, (run,) = runs(home)
    assert run.info.status == "RUNNING"
    tracker.metrics({"loss": 1.0}, 2)
    tracker.end()
    assert sync(bundle, home) == {"runs": 0, "entries": 1, "files": 0}
    client, (run,) = runs(home)
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2]
    assert run.info.status == "FINISHED"


def test_a_bundle_may_be_brought_elsewhere(bundle, tmp_path):
    moved = tmp_path / "brought"
    shutil.copytree(bundle, moved)
    away = bundle.rename(bundle.with_name("away"))
    sync(moved, tmp_path / "home")
    same_as_offline(moved, tmp_path / "home")
    away.rename(bundle)


@pytest.mark.parametrize("scored_first", [True, False])
def test_scores_logged_at_home_join_the_run(bundle, tmp_path, scored_first):
    """A training on a compute node is backtested at home, before or after its run is copied."""
    home = tmp_path / "home"
    _, (offline,) = runs(bundle)

    def scored() -> None:
        Tracker(home, "tiny", offline.info.run_id).metrics({"mae": 3.0}, 0)

    for act in (
        (scored, lambda: sync(bundle, home))
        if scored_first
        else (
            lambda: sync(bundle, home),
            scored,
        )
    ):
        act()
    _, (run,) = runs(home)
    assert run.data.metrics["mae"] == 3.0
    assert run.data.metrics["loss"] == 2.0
    assert run.info.status == "FINISHED"


def test_a_store_that_was_killed_in_the_making_is_made_anew(tmp_path):
    """Between two columns of one migration, of which SQLite keeps the first."""

    def dies(connection, cursor, statement, *given) -> None:
        if statement.startswith("ALTER TABLE experiments ADD COLUMN last_update_time"):
            raise KeyboardInterrupt

    def plain() -> None:
        MlflowClient(f"sqlite:///{tmp_path / 'half.db'}").search_experiments()

    event.listen(Engine, "before_cursor_execute", dies)
    try:
        with pytest.raises(KeyboardInterrupt):
            plain()
    finally:
        event.remove(Engine, "before_cursor_execute", dies)
    with pytest.raises(OperationalError, match="duplicate column"):
        plain()
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(tmp_path / "half.db", home / ".mlflow.db.part")
    tracker = Tracker(home, "tiny")
    assert tracker.client.get_run(tracker.run_id).info.run_name == "tiny"
    assert not list(home.glob(".*.part"))
