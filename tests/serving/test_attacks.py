"""What should not be done to the real server, over raw sockets where a client would not do it."""

import json
import os
import pickle
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.gate import MOST_BYTES
from serving.gate.connection import MOST_AHEAD, MOST_HEADER_BYTES
from serving.gate.keys import Keys
from serving.store import Store
from tests.fixtures.tiny import Server, Tiny

pytestmark = pytest.mark.slow

LATER = "2024-05-01T00:00:00Z"
GOOD = {"times": [LATER], "values": {"a": [1.0]}}
URL = "/v1/observations/tiny"


@pytest.fixture(scope="module")
def place(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("attacked") / "home"
    for part in ("releases", "champions"):
        shutil.copytree(tiny.home / part, home / part)
    return home


@pytest.fixture(scope="module")
def server(place: Path, tiny: Tiny) -> Iterator[Server]:
    store = place.parent / "observations.db"
    running = Server(place, store, place.parent / "log", 0, "--workers", "2")
    end = len(tiny.dataset.values)
    for path, body in (
        (URL, tiny.observed(end - 400, end)),
        ("/v1/forcings/tiny", tiny.forced(end - 400, end)),
    ):
        answer = running.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
    yield running
    running.kill()


@pytest.fixture(autouse=True)
def nothing_changes(server: Server) -> Iterator[None]:
    """Whatever is tried: the same workers serve the same forecast of the same observations."""
    workers = server.pids()
    before = server.client.get("/v1/forecasts/tiny").json()
    held = server.client.get(URL).json()
    yield
    assert server.client.get(URL).json() == held
    after = server.client.get("/v1/forecasts/tiny").json()
    assert after["features"] == before["features"]
    assert server.pids() == workers


def raw(server: Server, *pieces: bytes, seconds: float = 15, pause: float = 0.0) -> bytes:
    """What comes back for bytes sent as they are."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        came = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(pause)
            while part := connection.recv(65536):
                came += part
        except (TimeoutError, ConnectionError):
            pass
        return came


def head(server: Server, method: str, path: str, *lines: str, key: bool = True) -> bytes:
    told = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", *lines]
    if key:
        told.append(f"Authorization: {server.client.headers['authorization']}")
    return "\r\n".join([*told, "", ""]).encode()


def status(answer: bytes) -> int:
    """Of an answer that, where it refuses, is a problem as JSON."""
    first, _, body = answer.partition(b"\r\n\r\n")
    code = int(first.split(b" ", 2)[1])
    if code >= 400:
        assert b"application/problem+json" in first.lower(), answer[:500]
        assert json.loads(body)["status"] == code
    return code


def test_the_controls_pass(server: Server) -> None:
    assert status(raw(server, head(server, "GET", "/v1/datasets"))) == 200
    body = json.dumps({"times": [LATER], "values": {"nosuch": [1.0]}}).encode()
    sizes = f"Content-Length: {len(body)}", "Content-Type: application/json"
    assert status(raw(server, head(server, "POST", URL, *sizes) + body)) == 422


def test_a_hundred_megabytes_are_refused(server: Server) -> None:
    kind = {"content-type": "application/json"}
    size = 100 * 2**20
    began = time.monotonic()
    told = head(server, "POST", URL, f"Content-Length: {size}", "Content-Type: application/json")
    assert status(raw(server, told)) == 413
    assert time.monotonic() - began < 10

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 2**20

    try:
        answer = server.client.post(URL, content=pieces(), headers=kind)
        assert answer.status_code == 413
    except httpx.WriteError:
        pass  # the server hung up on the rest
    assert size > MOST_BYTES


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"times": [NaN], "values": {}}',
        b'{"times": ["2024-05-01T00:00:00Z"], "values": {"a": [Infinity]}}',
        b'{"values":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"times": ["2024-05-01T00:00:00Z"], "values": {"a": [1.0, 2.0]}}',
        b'{"times": ["2024-05-01T00:00:00Z"], "values": {"nosuch": [1.0]}}',
        b'{"times": ["2099-01-01T00:00:00Z"], "values": {"a": [1.0]}}',
        b"\xff\xfe\x00",
        pickle.dumps(GOOD),
    ],
    ids=["empty", "cut", "nan", "infinity", "deep", "shape", "node", "future", "bytes", "pickle"],
)
def test_bodies_that_are_wrong_are_refused(server: Server, body: bytes) -> None:
    for kind in ("application/json", "application/vnd.bentoml+pickle"):
        answer = server.client.post(URL, content=body, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "kind",
    ["application/vnd.bentoml+pickle", "application/octet-stream", "multipart/form-data", "x"],
)
def test_a_good_body_under_another_name_is_not_read(server: Server, kind: str) -> None:
    for content in (json.dumps(GOOD).encode(), pickle.dumps(GOOD)):
        answer = server.client.post(URL, content=content, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500, answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/v1/forecasts/..",
        "/v1/forecasts/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/forecasts/tiny%00",
        "/v1/forecasts/tiny'%20OR%201=1--",
        "/static/../gate/keys.py",
        "/static/..%2fgate%2fkeys.py",
        "/static/%2e%2e/service.py",
        "/static//etc/passwd",
        "/docs.json",
        "/schema.json",
        "/static_content/index.html",
        "/assets/x",
        "//v1//datasets",
        "/V1/datasets",
        "/v1/datasets;x=1",
        "/v1/openapi.json",
    ],
)
def test_no_path_leads_astray(server: Server, path: str) -> None:
    answer = raw(server, head(server, "GET", path))
    assert status(answer) == 404
    assert b"root:" not in answer


def test_paths_do_not_go_round_the_roles(server: Server) -> None:
    body = json.dumps(GOOD).encode()
    sizes = f"Content-Length: {len(body)}", "Content-Type: application/json"
    for path in (
        URL,
        "//v1/observations/tiny",
        "/v1/./observations/tiny",
        "/v1/forecasts/../observations/tiny",
        "/v1/forecasts/..%2fobservations%2ftiny",
        URL + "/",
        "/V1/observations/tiny",
        "/v1%2fobservations/tiny",
        "/v1/observations/tiny?x",
    ):
        told = head(server, "POST", path, *sizes, key=False)
        assert status(raw(server, told + body)) in (401, 404, 405), path
    for method in ("POST", "GET"):
        told = head(server, method, "/v1/datasets", "X-HTTP-Method-Override: DELETE", key=False)
        assert status(raw(server, told)) in (200, 401)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "OPTIONS"])
def test_other_methods_do_nothing(server: Server, method: str) -> None:
    for key in (True, False):
        code = status(raw(server, head(server, method, URL, key=key)))
        assert code == 405 or (not key and code == 401)


def test_what_is_no_http_is_refused(server: Server) -> None:
    for sent in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"BREW / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /v1/datasets HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnosize\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nx: a\x00b\r\n\r\n",
    ):
        answer = raw(server, sent, seconds=5)
        assert status(answer) in (400, 401), (sent, answer)


def test_floods_of_headers_and_queries_are_cut_off(server: Server) -> None:
    small = head(server, "GET", "/v1/datasets", *(f"x-{n}: {n}" for n in range(200)))
    assert status(raw(server, small)) == 200
    many = head(server, "GET", "/v1/datasets", *(f"x-{n}: {'y' * 50}" for n in range(2000)))
    assert status(raw(server, many)) == 431
    assert status(raw(server, head(server, "GET", "/v1/datasets?q=" + "x" * 100_000))) == 431
    endless = (b"z" * 65536 for _ in range(400))
    answer = raw(server, b"GET / HTTP/1.1\r\nHost: x\r\nx: ", *endless)
    assert answer == b"" or status(answer) == 431  # it may hang up before we listen
    assert MOST_HEADER_BYTES < 100_000


def test_slow_headers_and_bodies_are_cut_off_and_cost_no_slot(server: Server) -> None:
    body = b'{"times": ['
    told = head(server, "POST", URL, "Content-Length: 1000", "Content-Type: application/json")
    idlers = [socket.create_connection(("127.0.0.1", server.port), timeout=40) for _ in range(60)]
    began = time.monotonic()
    for n, idler in enumerate(idlers):
        idler.sendall((b"GET / HTTP/1.1\r\nHost: x\r\n", told + body, b"")[n % 3])
    for _ in range(5):
        assert server.client.get("/v1/forecasts/tiny").status_code == 200
    assert time.monotonic() - began < 10
    for n, idler in enumerate(idlers):
        came = b""
        while part := idler.recv(4096):
            came += part
        assert status(came) == 408, n
        idler.close()
    assert time.monotonic() - began < 35


def test_a_pipeline_of_requests_is_answered_in_order(server: Server) -> None:
    authorised = f"Authorization: {server.client.headers['authorization']}\r\n"
    one = f"GET /v1/datasets HTTP/1.1\r\nHost: x\r\n{authorised}\r\n".encode()
    last = head(server, "GET", "/nosuch")
    answer = raw(server, one * MOST_AHEAD + last)
    assert answer.count(b"HTTP/1.1 200") == MOST_AHEAD
    assert answer.count(b"HTTP/1.1 404") == 1
    assert b"HTTP/1.1 200" not in raw(server, one * 14_000)


def test_keys_that_were_stolen_and_revoked_stop_at_every_worker(
    server: Server, place: Path
) -> None:
    keys = Keys(Store(place.parent / "observations.db").engine)
    secret = keys.create("stolen", "read", rate=1e6)
    stolen = {"authorization": f"Bearer {secret}"}
    time.sleep(1.2)

    def answers() -> set[int]:
        found = set()
        for _ in range(12):  # a connection each, so that both workers are asked
            url = f"http://127.0.0.1:{server.port}/v1/datasets"
            found.add(httpx.get(url, headers=stolen, trust_env=False).status_code)
        return found

    assert answers() == {200}
    keys.revoke("stolen")
    time.sleep(1.2)
    assert answers() == {401}


def test_metrics_are_of_all_workers(server: Server) -> None:
    base = f"http://127.0.0.1:{server.port}"

    def counted() -> float:
        text = httpx.get(base + "/metrics", trust_env=False).text
        lines = [x for x in text.splitlines() if x.startswith("felsina_requests_total")]
        return sum(float(x.rpartition(" ")[2]) for x in lines if 'route="/livez"' in x)

    before = counted()
    for _ in range(20):
        httpx.get(base + "/livez", trust_env=False)
    time.sleep(1.1)  # what was told is told again for a second
    assert counted() - before == 20


def test_told_to_end_it_answers_what_it_began(place: Path, tiny: Tiny) -> None:
    running = Server(place, place.parent / "drained.db", place.parent / "drain-log")
    try:
        body = json.dumps(tiny.observed(0, len(tiny.dataset.values))).encode()
        told = head(
            running, "POST", URL, f"Content-Length: {len(body)}", "Content-Type: application/json"
        )
        connection = socket.create_connection(("127.0.0.1", running.port), timeout=30)
        connection.sendall(told + body[:1000])
        time.sleep(0.5)
        began = time.monotonic()
        os.kill(running.process.pid, signal.SIGTERM)
        time.sleep(1)
        assert status(raw(running, head(running, "GET", "/readyz"))) == 503
        assert status(raw(running, head(running, "GET", "/healthz"))) == 200
        refused = raw(running, head(running, "GET", "/v1/datasets"))
        assert status(refused) == 503
        assert b"retry-after" in refused
        connection.sendall(body[1000:])
        came = b""
        while part := connection.recv(65536):
            came += part
        assert status(came) == 200
        assert running.process.wait(30) is not None
        assert time.monotonic() - began < 15
    finally:
        running.kill()
    held = Store(place.parent / "drained.db").state("tiny")[1]
    assert held is not None


def test_kill_9_of_one_worker_loses_only_what_was_in_flight(place: Path) -> None:
    running = Server(
        place, place.parent / "killed.db", place.parent / "kill-log", 0, "--workers", "2"
    )
    try:
        secret = running.client.headers["authorization"]
        lost, answered, ends = [], [], threading.Event()

        def ask() -> None:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{running.port}",
                trust_env=False,
                headers={"authorization": secret},
            ) as client:
                while not ends.is_set():
                    try:
                        answered.append(client.get("/v1/datasets").status_code)
                    except httpx.TransportError:
                        lost.append(1)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        workers = [
            p
            for p in running.pids()
            if b"worker.service" in Path(f"/proc/{p}/cmdline").read_bytes()
        ]
        os.kill(workers[0], signal.SIGKILL)
        before = len(answered)
        time.sleep(2)
        ends.set()
        for thread in threads:
            thread.join(30)
        assert len(workers) == 2
        assert len(lost) <= len(threads)
        assert len(answered) > before
        assert set(answered) == {200}
    finally:
        running.kill()
