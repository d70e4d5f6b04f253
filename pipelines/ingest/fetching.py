"""Polite HTTP: one connection a host, pauses, conditional requests, and bodies that are whole.

A broken body stays beside its destination and goes on by ``Range`` where the server has a strong
validator for it; a killed process leaves the same. Bodies are asked for unencoded, so that sizes
and ranges mean what the server counts.
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from models.contracts import FelsinaError

TRIES = 6
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0
LONGEST_ASKED_WAIT_S = 600.0
"""A server that asks to wait longer is left in peace until the next run."""
_TIMEOUT = httpx.Timeout(60.0, connect=20.0)
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
_TAIL = 4096
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A whole body on disk, with what the server said of it."""

    path: Path
    etag: str
    last_modified: str


class Unchanged(Exception):
    """The server says that what is held is still what it has."""


class Absent(Exception):
    """The server has no such document."""


class _Broken(Exception):
    """A body that ended early, or not as it should."""


class Fetcher:
    """A client that keeps its manners.

    Args:
        pause_s: least time between two requests to a host.
        sleep: how to wait.
        headers: what to send besides, asked before each request (tokens run out).
    """

    def __init__(
        self,
        pause_s: float,
        sleep: Callable[[float], None] = time.sleep,
        headers: Callable[[httpx.Client], dict[str, str]] | None = None,
    ) -> None:
        self._pause_s, self._sleep, self._headers = pause_s, sleep, headers
        self._last: dict[str, float] = {}
        self._client = httpx.Client(
            timeout=_TIMEOUT,
            follow_redirects=True,
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            headers={"user-agent": "felsina (open data ingest)", "accept-encoding": "identity"},
        )

    def __enter__(self) -> Fetcher:
        """Nothing to do: the connection opens with the first request."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._client.close()

    def get(
        self, url: str, into: Path, etag: str = "", last_modified: str = "", broken_by: bytes = b""
    ) -> Fetched:
        """Fetch a document as a file.

        Args:
            url: its address.
            into: where the body goes; a part of it may lie there from before.
            etag: of the version that is held, if any.
            last_modified: of the same.
            broken_by: text near a body's end that says it is no whole one.

        Raises:
            Unchanged: if the held version is the server's.
            Absent: for 404.
            FelsinaError: when the server refuses, or has failed too often.
        """
        held = {"if-none-match": etag} if etag else {}
        if not etag and last_modified:
            held = {"if-modified-since": last_modified}
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                _log.warning("%s: %s; try %d of %d", url, reason, attempt + 1, TRIES)
            self._wait_for(url)
            try:
                return self._try(url, into, held, broken_by)
            except (httpx.TransportError, _Broken) as error:
                reason = str(error) or type(error).__name__
                wait = _backoff(attempt)
            except httpx.HTTPStatusError as error:
                reason = f"answered {error.response.status_code}"
                wait = _retry_after(error.response) or _backoff(attempt)
                if wait > LONGEST_ASKED_WAIT_S:
                    raise FelsinaError(
                        f"{url}: {reason} and asks to wait {wait:.0f} s; run the same command then"
                    ) from error
            if attempt + 1 < TRIES:
                self._sleep(wait)
        raise FelsinaError(
            f"{url}: {reason}, {TRIES} times; what was fetched is kept: run the same command later"
        )

    def _wait_for(self, url: str) -> None:
        host = httpx.URL(url).host
        due = self._last.get(host, -self._pause_s) + self._pause_s
        if (left := due - time.monotonic()) > 0:
            self._sleep(left)
        self._last[host] = time.monotonic()

    def _try(self, url: str, into: Path, held: dict[str, str], broken_by: bytes) -> Fetched:
        own = self._headers(self._client) if self._headers else {}
        size, validator = _part(url, into)
        part = {"range": f"bytes={size}-", "if-range": validator} if validator else held
        with self._client.stream("GET", url, headers=own | part) as answer:
            if answer.status_code == 304:
                raise Unchanged
            if answer.status_code == 404:
                raise Absent(url)
            if answer.status_code == 416:
                _forget_part(into)
                raise _Broken("the part that is held is no part of it any more")
            if answer.status_code in _RETRIED:
                answer.raise_for_status()
            if answer.status_code not in (200, 206):
                said = " ".join(answer.read()[:300].decode("utf-8", "replace").split())
                raise FelsinaError(f"{url}: answered {answer.status_code}: {said or 'no reason'}")
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise FelsinaError(
                    f"{url}: sent as {answer.headers['content-encoding']} though asked for "
                    "identity; give another host"
                )
            start = _start(answer, size)
            fetched = Fetched(
                into, answer.headers.get("etag", ""), answer.headers.get("last-modified", "")
            )
            _note_part(url, fetched, answer)
            with into.open("r+b" if start else "wb") as stream:
                stream.seek(start)
                for piece in answer.iter_raw():
                    stream.write(piece)
                stream.truncate()
        whole = _whole(answer, start)
        if whole is not None and into.stat().st_size != whole:
            raise _Broken(f"{into.stat().st_size} of {whole} bytes came")
        if broken_by and broken_by in _tail(into):
            _forget_part(into)
            raise _Broken(f"the body ends with {broken_by.decode()!r}")
        _state(into).unlink(missing_ok=True)
        return fetched


def _backoff(attempt: int) -> float:
    """Exponential, with full jitter: clients that failed together do not come back together."""
    return random.uniform(0.0, min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**attempt))


def _retry_after(answer: httpx.Response) -> float:
    """Seconds that the server asks to wait; 0 where it does not say."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return 0.0


def _state(into: Path) -> Path:
    return into.with_name(into.name + ".json")


def _part(url: str, into: Path) -> tuple[int, str]:
    """Bytes of a part that may go on, and the validator that says of what; ``(0, "")`` if none."""
    try:
        said = json.loads(_state(into).read_bytes())
        size = into.stat().st_size
    except (OSError, ValueError):
        return 0, ""
    known = said.get("url") == url and size > 0
    return (size, str(said.get("validator", ""))) if known else (0, "")


def _note_part(url: str, fetched: Fetched, answer: httpx.Response) -> None:
    """Remember whose part this is; weak validators and servers without ranges give none.

    A kill may leave half a note, which is read as none.
    """
    etag = "" if fetched.etag.startswith("W/") else fetched.etag
    ranges = "bytes" in answer.headers.get("accept-ranges", "") or answer.status_code == 206
    validator = (etag or fetched.last_modified) if ranges else ""
    _state(fetched.path).write_text(json.dumps({"url": url, "validator": validator}))


def _forget_part(into: Path) -> None:
    _state(into).unlink(missing_ok=True)
    into.unlink(missing_ok=True)


def _start(answer: httpx.Response, size: int) -> int:
    """Where the body that is coming begins."""
    if answer.status_code == 200:
        return 0
    if answer.headers.get("content-range", "").startswith(f"bytes {size}-"):
        return size
    raise _Broken(f"a range from {size} was asked, {answer.headers.get('content-range')!r} came")


def _whole(answer: httpx.Response, start: int) -> int | None:
    """Size of the whole document, where the server tells."""
    if answer.status_code == 206:
        total = answer.headers.get("content-range", "").rpartition("/")[2]
        return int(total) if total.isdigit() else None
    length = answer.headers.get("content-length", "")
    return start + int(length) if length.isdigit() else None


def _tail(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - _TAIL))
        return stream.read()
