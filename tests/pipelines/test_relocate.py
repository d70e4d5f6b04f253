"""A home folder that was moved finds the files of its runs again."""

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import onnx
import pytest
from mlflow import MlflowClient, artifacts
from onnx import TensorProto, helper

from models.contracts import FelsinaError
from models.record import sha256_file
from pipelines import cli
from pipelines.relocate import relocate
from training.tracking import EXPERIMENT, Tracker


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a run of two files and a registered model, in a folder whose name is awkward."""
    home = tmp_path_factory.mktemp("made") / "città vecchia 1%"
    tracker = Tracker(home, "tiny")
    for name, folder in (("quality.json", ""), ("leads.png", "plots")):
        (home / name).write_text(name * 5)
        tracker.artifact(home / name, folder)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    other = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [value], [other])), home / "m.onnx")
    tracker.register(home / "m.onnx", "tiny", {"sha256": "0"})
    tracker.end()
    return home


@pytest.fixture
def moved(made: Path, tmp_path: Path) -> Iterator[Path]:
    """It was moved: what is at the old place is nothing."""
    home = tmp_path / "new home"
    shutil.copytree(made, home)
    away = made.rename(made.with_name("away"))
    yield home
    away.rename(made)


def listed(home: Path) -> dict[str, str]:
    """Digests of the files that a client finds with the run and with the model."""
    uri = f"sqlite:///{home / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    version = client.get_model_version("tiny", "1")
    model = client.get_model_version_download_uri("tiny", version.version)
    digests = {}
    for place in (run.info.artifact_uri, model):
        folder = Path(artifacts.download_artifacts(place, tracking_uri=uri, registry_uri=uri))
        digests |= {
            p.relative_to(folder).as_posix(): sha256_file(p)
            for p in folder.rglob("*")
            if p.is_file()
        }
    return digests


def rows(home: Path) -> list[tuple]:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection:
        return list(connection.iterdump())


def test_runs_and_models_find_their_files_again(made: Path, moved: Path) -> None:
    with pytest.raises(Exception, match=r"No such|not exist|does not"):
        listed(moved)
    before = rows(moved)
    told = relocate(moved, apply=False)
    assert (told.old, told.new) == (made, moved)
    assert told.rows == {"experiments": 1, "runs": 1, "logged_models": 1, "model_versions": 1}
    assert rows(moved) == before
    assert relocate(moved, apply=True) == told
    found = listed(moved)
    assert {"quality.json", "plots/leads.png", "model.onnx", "MLmodel"} <= found.keys()
    files = [p for p in (made.with_name("away") / "artifacts").rglob("*") if p.is_file()]
    assert sorted(found.values()) == sorted(map(sha256_file, files))
    assert str(made) not in "".join(map(str, rows(moved)))
    assert relocate(moved, apply=True).rows == {}


def test_nothing_is_tracked_before_the_paths_are_right(made: Path, moved: Path) -> None:
    """Files would go to where the folder came from, and seem to be kept."""
    with pytest.raises(FelsinaError, match="was moved or copied") as refused:
        Tracker(moved, "tiny")
    assert "felsina tracking relocate --apply" in str(refused.value)
    relocate(moved, apply=True)
    tracker = Tracker(moved, "tiny")
    tracker.artifact(moved / "quality.json")
    assert (moved / "artifacts" / tracker.run_id / "artifacts" / "quality.json").is_file()
    assert not made.exists()


def test_a_process_that_has_the_database_open_is_named(moved: Path) -> None:
    program = (
        "import sqlite3, sys; held = sqlite3.connect(sys.argv[1]); "
        "held.execute('SELECT 1 FROM runs').fetchone(); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(moved / "mlflow.db")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(FelsinaError, match=f"is open in process {other.pid};"):
            relocate(moved, apply=True)
        other.communicate()
    assert relocate(moved, apply=True).rows


def test_a_writer_of_this_process_is_waited_for_in_vain(moved: Path) -> None:
    with closing(sqlite3.connect(moved / "mlflow.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(FelsinaError, match="database is locked"):
            relocate(moved, apply=True)
        writer.execute("ROLLBACK")
    assert relocate(moved, apply=True).rows


def test_files_that_stayed_behind_are_named_and_nothing_is_changed(
    made: Path, tmp_path: Path
) -> None:
    home = tmp_path / "half"
    shutil.copytree(made, home)
    (lost,) = (home / "artifacts" / "models").iterdir()
    shutil.rmtree(lost)
    before = rows(home)
    with pytest.raises(FelsinaError, match=r"bring the whole of .*artifacts there"):
        relocate(home, apply=True)
    assert rows(home) == before
    shutil.copytree(made / "artifacts" / "models" / lost.name, lost)
    assert relocate(home, apply=True).rows["logged_models"] == 1


def test_the_command_tells_and_then_does(
    moved: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def felsina(home: Path, *flags: str) -> tuple[object, str, str]:
        monkeypatch.setenv("FELSINA_HOME", str(home))
        monkeypatch.setattr("sys.argv", ["felsina", "tracking", "relocate", *flags])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    code, _, told = felsina(moved)
    assert (code, "--apply rewrites" in told) == (0, True)
    code, out, _ = felsina(moved, "--apply", "--json")
    record = json.loads(out)
    assert (record["from"], record["to"], record["applied"]) == (str(made), str(moved), True)
    assert "nothing to do" in felsina(moved)[2]
    code, _, told = felsina(moved / "nowhere")
    assert (code, "mlflow.db is missing" in told) == (2, True)
