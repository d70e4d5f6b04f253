"""A server of its own to try, and a client that loads it: raw HTTP/1.1, many connections."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from serving.gate.keys import Keys
from serving.store import Store
from tests.fixtures.boards import Seats, promoted

LOST = 0
"""The status of a request that got no answer."""


@dataclass
class Served:
    """A running server over a copy of a home folder."""

    home: Path
    port: int
    secret: str
    process: subprocess.Popen[bytes]
    board: Seats | None = None

    def workers(self) -> list[psutil.Process]:
        """The processes that answer, the eldest first."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):
                if "_bentoml_impl.worker.service" in child.cmdline():
                    found.append(child)
        return sorted(found, key=lambda child: child.create_time())

    def request(
        self, method: str, path: str, body: bytes = b"", kind: str = "application/json"
    ) -> bytes:
        """The bytes of a request with the key."""
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"Authorization: Bearer {self.secret}",
            f"Content-Length: {len(body)}",
        ]
        if body:
            head.append(f"Content-Type: {kind}")
        return "\r\n".join([*head, "", ""]).encode() + body

    def kill(self) -> None:
        """kill -9 of everything."""
        for process in [*psutil.Process(self.process.pid).children(recursive=True), self.process]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait(30)


def start(home: Path, workers: int = 1, port: int = 0) -> Served:
    """Serve a home folder on a free port of the loopback, and wait until it is ready.

    Where this process keeps to some cores (``taskset -c 1``), the server gets the others.
    """
    if not port:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    place = home / "observations.db"
    secret = Keys(Store(place).engine).create(f"load-{secrets.token_hex(4)}", "operate", 1e6)
    charter = home / "board" / "board.json"
    board = None if charter.is_file() else promoted(home)
    command = [sys.executable, "-m", "pipelines.cli", "serve", "--port", str(port)]
    command += ["--board", str(charter)]
    environment = os.environ | {"FELSINA_HOME": str(home), "FELSINA_STORE": str(place)}
    own = os.sched_getaffinity(0)
    rest = set(range(os.cpu_count() or 1)) - own
    os.sched_setaffinity(0, rest or own)  # which children inherit
    try:
        with (home / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--workers", str(workers)], env=environment, stdout=log, stderr=log
            )
    finally:
        os.sched_setaffinity(0, own)
    served = Served(home, port, secret, process, board)
    ends = time.monotonic() + 120
    while not (_ready(port) and len(served.workers()) == workers):
        if process.poll() is not None or time.monotonic() > ends:
            raise RuntimeError((home / "serve.log").read_text()[-2000:])
        time.sleep(0.2)
    return served


@contextmanager
def serving(home: Path, folder: Path, workers: int = 1) -> Iterator[Served]:
    """A server over a copy of the releases and observations of a home, ended at the end."""
    copy = folder / "home"
    for part in ("releases", "champions"):
        shutil.copytree(home / part, copy / part)
    shutil.copy(home / "observations.db", copy / "observations.db")
    served = start(copy, workers)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.send_signal(signal.SIGTERM)
            served.process.wait(60)


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


@dataclass
class Seen:
    """What became of requests: status and seconds of each, by its kind."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    span: float = 0.0

    def add(self, kind: str, status: int, seconds: float) -> None:
        """Keep one answer; only accepted ones are timed."""
        self.statuses[status] += 1
        if 200 <= status < 300:
            self.seconds.setdefault(kind, []).append(seconds)

    @property
    def accepted(self) -> int:
        """How many were answered as asked."""
        return sum(count for status, count in self.statuses.items() if 200 <= status < 300)

    def ms(self, kind: str, percent: float) -> float:
        """Milliseconds within which so many percent of the accepted ones were answered."""
        times = self.seconds.get(kind, [])
        return 1000 * float(np.percentile(times, percent)) if times else float("nan")


class Connection:
    """One connection that asks and waits, and opens itself anew where it was closed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pair: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.asking = False

    async def ask(self, request: bytes, patience: float = 60) -> tuple[int, bytes]:
        """Status and body, ``LOST`` where no whole answer came."""
        self.asking = True
        try:
            async with asyncio.timeout(patience):
                if self.pair is None:
                    self.pair = await asyncio.open_connection("127.0.0.1", self.port)
                reader, writer = self.pair
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
                body = await reader.readexactly(length)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
            self.close()
            return LOST, b""
        finally:
            self.asking = False
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), body

    async def open(self) -> None:
        """Open it, so that the first request need not."""
        self.pair = await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        """Close it."""
        if self.pair is not None:
            self.pair[1].close()
            self.pair = None


Draw = Callable[[], tuple[str, bytes]]
"""The next request: its kind and its bytes."""


async def closed_loop(port: int, draw: Draw, connections: int, seconds: float) -> Seen:
    """So many connections ask one request after another: what the server can do at most."""
    seen, began = Seen(), time.perf_counter()

    async def one() -> None:
        connection = Connection(port)
        while time.perf_counter() - began < seconds:
            kind, request = draw()
            asked = time.perf_counter()
            status, _ = await connection.ask(request)
            seen.add(kind, status, time.perf_counter() - asked)
        connection.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    seen.span = time.perf_counter() - began
    return seen


async def open_loop(port: int, draw: Draw, rate: float, seconds: float, most: int = 512) -> Seen:
    """Requests come at random moments, so many a second, however many are being answered.

    ``most`` connections take turns, so that all workers are asked; the wait for one counts as
    latency.
    """
    free = deque(Connection(port) for _ in range(most))
    for connection in free:
        await connection.open()
    seen, began = Seen(), time.perf_counter()
    gate = asyncio.Semaphore(most)
    tasks: set[asyncio.Task[None]] = set()
    clock = random.Random(0)

    async def one(due: float) -> None:
        kind, request = draw()
        async with gate:
            connection = free.popleft()
            status, _ = await connection.ask(request)
            free.append(connection)
        seen.add(kind, status, time.perf_counter() - due)

    due = began
    while due - began < seconds:
        due += clock.expovariate(rate)
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    seen.span = time.perf_counter() - began
    for connection in free:
        connection.close()
    return seen
