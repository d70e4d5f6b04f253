"""The doctor finds each fault of a tracking store, says what to do, and leaves nothing behind."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import time

import pytest
from mlflow import MlflowClient

from pipelines import cli, doctor
from pipelines.doctor import Check, diagnose, shown
from pipelines.relocate import relocate
from tests.fixtures.tiny import free_port
from training import tracking
from training.tracking import EXPERIMENT, Tracker

LOCAL = ["reach", "runs", "artifacts", "registry", "tidy"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which nothing is wrong."""
    home = tmp_path_factory.mktemp("doctor") / "home"
    checks = list(diagnose(home))
    assert [check.name for check in checks if check.ok] == LOCAL
    assert len(checks) == len(LOCAL)
    return home


@pytest.fixture
def home(whole: Path, tmp_path: Path) -> Path:
    """One that can be broken: moved, and told so."""
    copy = tmp_path / "home"
    shutil.copytree(whole, copy)
    relocate(copy, apply=True)
    return copy


def faults(home: Path) -> dict[str, Check]:
    return {check.name: check for check in diagnose(home) if not check.ok}


def change(home: Path, statement: str, *values: str) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        connection.execute(statement, values)


def test_nothing_is_left_behind(whole: Path) -> None:
    client = MlflowClient(f"sqlite:///{whole / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    assert list(client.search_runs([experiment.experiment_id])) == []
    assert list(client.search_registered_models()) == []
    assert [p for p in (whole / "artifacts").rglob("*") if p.is_file()] == []


def test_a_copy_that_points_at_its_original_is_told(whole: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    found = faults(copy)
    assert list(found) == ["runs"]
    assert found["runs"].remedy == f"FELSINA_HOME={copy} felsina tracking relocate --apply"


def test_files_that_cannot_be_kept_are_told(home: Path) -> None:
    assert faults(home) == {}
    shutil.rmtree(home / "artifacts")
    (home / "artifacts").write_text("in the way")
    assert list(faults(home)) == ["artifacts"]


def test_files_that_come_back_cut_are_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = Tracker.fetch

    def cut(self: Tracker, name: str, folder: Path) -> Path:
        path = fetch(self, name, folder)
        path.write_bytes(path.read_bytes()[:-1])
        return path

    monkeypatch.setattr(Tracker, "fetch", cut)
    found = faults(home)
    assert list(found) == ["artifacts"]
    assert "65535 other bytes came back" in found["artifacts"].told


@pytest.mark.parametrize(
    ("uri", "safe"),
    [
        ("http://127.0.0.1:5000", True),
        ("http://[::1]:5000", True),
        ("http://localhost:5000", True),
        ("https://mlflow.city.example", True),
        ("http://mlflow.city.example", False),
        ("http://10.0.0.7:5000", False),
    ],
)
def test_passwords_in_the_clear_are_told(uri: str, safe: bool, tmp_path: Path) -> None:
    store = doctor._Store(tmp_path, uri)
    if safe:
        assert doctor._transport(store)
    else:
        with pytest.raises(doctor._Fault, match="in the clear"):
            doctor._transport(store)


def test_a_registry_that_cannot_write_is_told(home: Path) -> None:
    change(home, "ALTER TABLE registered_models RENAME TO gone")
    found = faults(home)
    assert list(found) == ["registry"]
    assert "MlflowException" in found["registry"].told


class Strange(BaseHTTPRequestHandler):
    """Something that speaks HTTP and is no tracking server; its clock is off."""

    skew = 0.0

    def do_GET(self) -> None:
        status = 200 if self.path == "/health" else 404
        self.send_response_only(status)
        self.send_header("Date", formatdate(time() + self.skew, usegmt=True))
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def strange(skew: float) -> Iterator[str]:
    handler = type("Skewed", (Strange,), {"skew": skew})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("skew", "told"), [(0.0, set()), (-3000.0, {"clock"})])
def test_a_server_that_is_none_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skew: float, told: set[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with strange(skew) as uri:
        monkeypatch.setattr(tracking, "_SERVER", uri)
        found = faults(tmp_path)
    assert set(found) == {"identity", "version", "runs"} | told
    assert "asks nobody who they are" in found["identity"].told


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``felsina tracking doctor`` in this process: exit code, stdout, stderr."""

    def run(home: Path, *flags: str) -> tuple[object, str, str]:
        monkeypatch.setenv("FELSINA_HOME", str(home))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        monkeypatch.setattr("sys.argv", ["felsina", "tracking", "doctor", *flags])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run


def test_it_ends_with_one_where_nothing_answers(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"http://ada:a-secret-word@127.0.0.1:{free_port()}"
    monkeypatch.setattr(tracking, "_SERVER", uri)
    code, out, err = command(tmp_path, "--json")
    (check,) = json.loads(out)
    assert (code, check["name"], check["ok"]) == (1, "reach", False)
    assert "MLFLOW_TRACKING_URI" in check["remedy"]
    assert "a-secret-word" not in out + err


def test_it_shows_a_line_a_check(command, home: Path) -> None:
    code, out, _ = command(home)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [[name, "ok"] for name in LOCAL]


def test_a_schema_of_another_version_is_told(command, home: Path) -> None:
    change(home, "UPDATE alembic_version SET version_num = '0584bdc529eb'")
    code, out, _ = command(home)
    assert code == 1
    first, second, third = out.splitlines()
    assert [first.split()[:2], second.split()[:2]] == [["reach", "ok"], ["runs", "FAULT"]]
    assert "found version 0584bdc529eb" in second
    assert "mlflow db upgrade" in third


def test_a_password_is_not_shown() -> None:
    assert shown("postgresql://u:p@h/d") == "postgresql://u:***@h/d"
    assert shown("sqlite:////a/b@c/mlflow.db") == "sqlite:////a/b@c/mlflow.db"
