"""Bounds on a connection whose answer is still being made, over raw sockets."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from serving.gate import connection
from serving.gate.connection import MOST_AHEAD, MOST_HEADER_BYTES, BoundedProtocol
from tests.fixtures.listening import running

ONE = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"


class App:
    """Answers once it is let; knows whose client left, and the headers of the last request."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.headers: list[tuple[bytes, bytes]] = []
        self.came = self.left = 0

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] != "http":
            return
        self.came += 1
        self.headers = scope["headers"]
        while (message := await receive())["type"] == "http.request" and message["more_body"]:
            pass
        if scope["path"] == "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await receive()
            self.left += 1
            return
        while not self.may.is_set():
            await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
def port(app: App) -> Iterator[int]:
    with running(app, http=BoundedProtocol) as base:
        yield int(base.rpartition(":")[2])
        app.may.set()


def begun(app: App, port: int, first: bytes = ONE) -> socket.socket:
    """A connection whose first answer is being made."""
    client = socket.create_connection(("127.0.0.1", port), timeout=10)
    before = app.came
    client.sendall(first)
    until = time.monotonic() + 5
    while app.came == before and time.monotonic() < until:
        time.sleep(0.01)
    return client


def rest(client: socket.socket, seconds: float = 10) -> bytes:
    """What comes until the server hangs up, or for so long."""
    client.settimeout(seconds)
    came = b""
    try:
        while part := client.recv(65536):
            came += part
    except (TimeoutError, ConnectionError):
        pass
    client.close()
    return came


def flooded(client: socket.socket, megabytes: int = 32) -> bool:
    """Whether the server takes so much."""
    try:
        for _ in range(megabytes):
            client.sendall(b"z" * 2**20)
    except OSError:
        return False
    return True


def test_a_head_during_an_answer_is_small(app: App, port: int) -> None:
    fine = begun(app, port)
    fine.sendall(ONE[:-2] + b"x: " + b"y" * 20_000 + b"\r\n\r\n")
    endless = begun(app, port)
    endless.sendall(ONE[:-2] + b"x: ")
    assert not flooded(endless)
    app.may.set()
    assert rest(fine, 1).count(b"HTTP/1.1 200") == 2


def test_a_head_during_an_answer_comes_soon(
    app: App, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_HEADER_SECONDS", 0.5)
    quiet, slow = begun(app, port), begun(app, port)
    slow.sendall(ONE[:-2])
    assert b" 408 " in rest(slow, 5)
    streamed = begun(app, port, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
    streamed.sendall(ONE[:-2])
    assert b" 408 " not in rest(streamed, 5)  # it would be taken for a part of the answer
    app.may.set()
    assert rest(quiet, 1).count(b"HTTP/1.1 200") == 1


def test_what_follows_chunks_is_small_and_no_header(app: App, port: int) -> None:
    app.may.set()
    fine = begun(app, port, CHUNKED + b"x-forwarded-for: 10.0.0.1\r\n\r\n")
    assert b" 200 " in rest(fine, 1)
    assert b"x-forwarded-for" not in dict(app.headers)
    assert b"host" in dict(app.headers)
    app.may.clear()
    for endless in (b"x: ", b"x: y\r\n" * 2 * MOST_HEADER_BYTES, b""):
        client = begun(app, port, CHUNKED + endless)
        assert not flooded(client)
        client.close()


def test_few_requests_wait_for_the_answer_before_them(app: App, port: int) -> None:
    fine = begun(app, port, ONE * (MOST_AHEAD + 1))
    over = begun(app, port, ONE * (MOST_AHEAD + 2))
    assert b" 429 " in rest(over, 5)
    app.may.set()
    assert rest(fine, 1).count(b"HTTP/1.1 200") == MOST_AHEAD + 1


@pytest.mark.parametrize("behind", [b"", ONE])
def test_who_is_being_answered_is_told_that_the_client_left(
    app: App, port: int, behind: bytes
) -> None:
    client = begun(app, port, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n" + behind)
    client.close()
    until = time.monotonic() + 5
    while not app.left and time.monotonic() < until:
        time.sleep(0.01)
    assert app.left == 1
