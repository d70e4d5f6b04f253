"""A real server with two workers, its board deciding while it answers."""

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest
from mlflow import MlflowClient

from fairness.board import STREAM
from models.chain import head_path
from models.record import canonical_json, write_atomic
from pipelines.relocate import relocate
from serving.release import champion_pointer
from tests.fixtures.boards import Seats, seats, terms_of
from tests.fixtures.tiny import (
    ROOT,
    SET_FLAGS,
    Run,
    Server,
    Tiny,
    command,
    environment,
    free_port,
    kill_family,
    reseal,
)

pytestmark = pytest.mark.slow
URL = "/v1/datasets/tiny"
BAR_SECONDS = 300
"""Within which what is no longer approved must be gone."""


class Load:
    """Asks on connections of its own until told to stop, and keeps every answer's status."""

    def __init__(self, server: Server, threads: int = 4) -> None:
        self.seen: list[tuple[float, int, str]] = []
        self._stop = threading.Event()
        self._base = str(server.client.base_url)
        self._headers = dict(server.client.headers)
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        with httpx.Client(base_url=self._base, headers=self._headers, trust_env=False) as client:
            while not self._stop.is_set():
                try:
                    answer = client.get(URL)
                    release = answer.json().get("release", "")
                    self.seen.append((time.monotonic(), answer.status_code, release))
                except httpx.TransportError:
                    self.seen.append((time.monotonic(), 0, ""))

    def stop(self) -> list[tuple[float, int, str]]:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        return self.seen


def answers(server: Server, times: int = 8) -> set[tuple[int, str]]:
    """Status and release of fresh connections, so that both workers are asked."""
    found = set()
    for _ in range(times):
        head = dict(server.client.headers) | {"connection": "close"}
        answer = httpx.get(f"{server.client.base_url}{URL}", headers=head, trust_env=False)
        found.add((answer.status_code, answer.json().get("release") or answer.json()["detail"]))
    return found


def until(server: Server, wanted: set[str], seconds: float = 30) -> float:
    """Seconds until every worker answers with one of these releases, or problems."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if all(any(word in text for word in wanted) for _, text in answers(server)):
            return time.monotonic() - began
        time.sleep(0.1)
    raise AssertionError(answers(server))


@pytest.fixture
def city(tiny: Tiny, tmp_path: Path) -> tuple[Path, Path, Path, Seats]:
    """A home, its two promoted releases, the second one above the first, and its board."""
    home = tmp_path / "home"
    first = Path(shutil.copytree(tiny.release, home / "releases" / tiny.release.name))
    second = reseal(tiny.release, home, lambda manifest: manifest.update(note="2"))
    board = seats(home / "board")
    for folder in (first, second):
        of = terms_of(home, folder)
        board.promote(of, board.approve(of))
    return home, first, second, board


def test_decisions_count_while_it_answers_and_nothing_else_does(city, tiny: Tiny, tmp_path) -> None:
    home, first, second, board = city
    shutil.copy(tiny.home / "mlflow.db", home / "mlflow.db")
    server = Server(home, tmp_path / "o.db", tmp_path / "log", 0, "--workers", "2")
    try:
        assert answers(server) == {(200, second.name)}
        client = MlflowClient(f"sqlite:///{home / 'mlflow.db'}")
        client.set_registered_model_alias("tiny", "champion", "1")
        pointer = {"release": first.name}
        write_atomic(champion_pointer(home, "tiny"), canonical_json(pointer))
        time.sleep(2.5)
        assert answers(server) == {(200, second.name)}
        of = terms_of(home, second)
        kept = {path.name: path.read_bytes() for path in board.folder.iterdir()}
        load = Load(server)
        time.sleep(1)
        named = (of.dataset, of.release, of.manifest_sha256)
        board.register("c").alarm(*named, "misses floods")
        raised = time.monotonic()
        until(server, {first.name})
        time.sleep(1)
        seen = load.stop()
        assert {status for _, status, _ in seen} == {200}
        late = max(at for at, _, release in seen if release == second.name) - raised
        assert late < BAR_SECONDS
        alarmed = {path.name: path.read_bytes() for path in board.folder.iterdir()}
        for name, content in kept.items():
            write_atomic(board.folder / name, content)
        time.sleep(2.5)
        assert answers(server) == {(200, first.name)}
        metrics = server.client.get("/metrics").text
        assert "felsina_decisions_fault 1.0" in metrics
        server.kill()
        server = None
        restarted = Fresh(home, tmp_path)
        try:
            assert "old copy was put back" in restarted.problem()
            for name, content in alarmed.items():
                write_atomic(board.folder / name, content)
            assert restarted.served() == first.name
            of = terms_of(home, first)
            named = (of.dataset, of.release, of.manifest_sha256)
            board.register("op").alarm(*named, "wrong by night")
            assert "was suspended by" in restarted.problem()
            board.vote(of, "a", "b")
            assert restarted.served() == first.name
        finally:
            restarted.kill()
    finally:
        if server is not None:
            server.kill()


class Fresh(Server):
    """A server that may have nothing to serve."""

    def __init__(self, home: Path, place: Path) -> None:
        super().__init__(home, place / "o.db", place / "log", 0, "--workers", "2")

    def _await(self, seconds: float = 90) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if self.client.get("/v1/datasets").status_code in (200, 503):
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log.read_text()[-3000:])

    def _answer(self, status: int) -> httpx.Response:
        end = time.monotonic() + 30
        while (answer := self.client.get(URL)).status_code != status and time.monotonic() < end:
            time.sleep(0.1)
        assert answer.status_code == status, answer.text
        return answer

    def problem(self) -> str:
        return self._answer(503).json()["detail"]

    def served(self) -> str:
        return self._answer(200).json()["release"]


SPOILED = {
    "entry edited": lambda s: s.write_bytes(s.read_bytes().replace(b"2999", b"3999", 1)),
    "cut in the middle": lambda s: s.write_bytes(
        b"".join(line for n, line in enumerate(s.read_bytes().splitlines(True)) if n != 2)
    ),
    "cut at the end": lambda s: s.write_bytes(
        b"".join(s.read_bytes().splitlines(keepends=True)[:-1])
    ),
    "head forged": lambda s: head_path(s).write_bytes(
        canonical_json(json.loads(head_path(s).read_bytes()) | {"n": 1})
    ),
}


def test_a_server_starts_with_nothing_where_its_stream_was_damaged(city, tmp_path: Path) -> None:
    home, _, second, board = city
    server = Fresh(home, tmp_path)
    try:
        assert answers(server) == {(200, second.name)}
        kept = {path.name: path.read_bytes() for path in board.folder.iterdir()}
        for what, spoil in SPOILED.items():
            spoil(board.folder / STREAM)
            time.sleep(2)
            assert answers(server, 4) == {(200, second.name)}, what
            for name, content in kept.items():
                write_atomic(board.folder / name, content)
        SPOILED["entry edited"](board.folder / STREAM)
        server.kill()
        server = Fresh(home, tmp_path)
        assert "was edited" in server.problem()
        assert server.client.get("/v1/forecasts/tiny").status_code == 503
        assert server.client.get("/readyz").status_code == 503
    finally:
        server.kill()


def test_run_says_what_comes_next_and_up_has_a_board_of_its_own(
    tiny: Tiny, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, port = tmp_path / "home", free_port()
    shutil.copytree(tiny.home, home)
    relocate(home, apply=True)
    monkeypatch.setenv("FELSINA_HOME", str(home))
    given = ("--dataset", str(tiny.folder), *SET_FLAGS)
    code, _, said = run("run", *given)
    assert code == 0, said
    for words in ("felsina board sign tiny-", "felsina promote tiny-"):
        assert words in said
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command("up", "--port", str(port), *given),
            cwd=ROOT,
            env=environment(home),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            told, end = None, time.monotonic() + 120
            while told is None and process.poll() is None and time.monotonic() < end:
                try:
                    told = client.get("/v1/forecasts/tiny").json()
                except httpx.TransportError:
                    time.sleep(0.2)
        assert told is not None, (tmp_path / "log").read_text()
    finally:
        kill_family(process)
    assert told["approval"] == "demo"
    file = tmp_path / "answer.json"
    file.write_bytes(canonical_json(told))
    code, out, said = run("response", "verify", str(file))
    assert (code, "DEMONSTRATION" in out) == (0, True), said
    file.write_bytes(canonical_json(told | {"approval": "approved"}))
    assert run("response", "verify", str(file))[0] == 1
    assert "felsina board sign" not in run("run", *given)[2]
