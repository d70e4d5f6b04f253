"""Answers kept as ready bytes, and given again for as long as they are true.

What an answer about a dataset rests on is its release, the revision of its observations and
whether they are stale; all three are cheap to read, so each request compares them with what a kept
answer was made of. Nothing expires by the clock alone, and nothing is answered after it is wrong.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from hashlib import sha256

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.catalogue import Catalogue, Standing
from serving.formats import asked_for
from serving.gate.problems import busy
from serving.negotiation import field, still_stands, takes_gzip

log = logging.getLogger(__name__)
MOST_BYTES = 64 * 2**20
"""Kept by one process; what was not asked for the longest goes first."""
_ENTRY = 2048
"""Bytes that Python needs for an entry beside what is in it; so there are 32 768 at most."""
_LONGEST_QUERY = 2048
"""Bytes; an answer to a longer question is hardly asked for again."""
MOST_SECONDS = 60
"""How long a copy may be kept at most, since the board may stop a release at any moment."""
LOOK_SECONDS = 10.0
"""How long a request waits for a store that is silent."""
_GROUPS = ("datasets", "forecasts", "observations")
_ZIPPED_FROM = 500
"""Bytes below which gzip gains nothing."""

Headers = list[tuple[bytes, bytes]]
Key = tuple[str, bytes, str, bool]
"""Path, query, format and whether it is zipped."""


@dataclass(frozen=True)
class Kept:
    """An answer.

    Attributes:
        standing: what it rests on.
        headers: as the route gave them, with length, coding and tag.
        body: in that coding.
        tag: entity tag, in quotes.
    """

    standing: Standing
    headers: Headers
    body: bytes
    tag: bytes


class Ready:
    """ASGI middleware that keeps what GET answered; HEAD and conditional requests come with it.

    Args:
        app: what lies behind.
        catalogue: knows what is true now.
        most: bytes kept.
    """

    def __init__(self, app: ASGIApp, catalogue: Catalogue, most: int = MOST_BYTES) -> None:
        self.app, self.catalogue, self.most = app, catalogue, most
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._making: dict[tuple[Standing, Key], Future[Kept | None]] = {}
        self._looks = ThreadPoolExecutor(1)
        self._looking: Future[object] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from what is kept, or keep what is answered."""
        http = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        place = _place(scope["path"]) if http else None
        if place is None:
            await self.app(scope, receive, send)
            return
        if self.catalogue.due():
            await asyncio.to_thread(self.catalogue.runtimes)
        if self.catalogue.store.slow() and not await self._look():
            await busy("the store does not answer; try again", "store", 5, 503).send(send)
            return
        standing = self.catalogue.standing(*place)
        zipped = takes_gzip(field(scope, b"accept-encoding"))
        key = (scope["path"], scope["query_string"], asked_for(scope), zipped)
        if standing is None:  # the app says what is served
            found = await self._ask(scope, receive)
        else:
            found = self._find(key, standing) or await self._once(key, standing, scope, receive)
        if isinstance(found, Kept):
            await _give(found, scope, send)
            return
        for message in found:
            if scope["method"] == "HEAD" and "body" in message:
                message["body"] = b""
            await send(message)

    async def _look(self) -> bool:
        """Read what the store has now, in one thread for all who come meanwhile; whether it told.

        What is under way may have begun before a write of this process: then it is read again.
        """
        store = self.catalogue.store
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                for _ in range(2):
                    if store.slow():
                        if self._looking is None or self._looking.done():
                            self._looking = self._looks.submit(store.states)
                        await asyncio.shield(asyncio.wrap_future(self._looking))
        except (TimeoutError, SQLAlchemyError) as error:
            log.error("the store does not answer: %s", type(error).__name__)
            return False
        return True

    def _find(self, key: Key, standing: Standing) -> Kept | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.standing != standing:
                return None
            self._kept.move_to_end(key)
            return found

    def _keep(self, key: Key, kept: Kept) -> None:
        if 4 * len(kept.body) > self.most or len(key[1]) > _LONGEST_QUERY:
            return
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._bytes -= _size(key, old)
            self._kept[key] = kept
            self._bytes += _size(key, kept)
            while self._bytes > self.most:
                self._bytes -= _size(*self._kept.popitem(last=False))

    async def _once(
        self, key: Key, standing: Standing, scope: Scope, receive: Receive
    ) -> Kept | list[Message]:
        """An answer made by the first who asks for it; those who come meanwhile wait for it."""
        mark, made = (standing, key), Future[Kept | None]()
        while (first := self._making.setdefault(mark, made)) is not made:
            if (found := await asyncio.shield(asyncio.wrap_future(first))) is not None:
                return found
        found = None
        try:
            found = await self._make(key, standing, scope, receive)
            return found
        finally:
            del self._making[mark]
            made.set_result(found if isinstance(found, Kept) else None)

    async def _make(
        self, key: Key, standing: Standing, scope: Scope, receive: Receive
    ) -> Kept | list[Message]:
        """An answer, kept if it is one."""
        plain_key = (*key[:3], False)
        plain = self._find(plain_key, standing)
        if plain is None:
            messages = await self._ask(scope, receive)
            if not messages or messages[0].get("status") != 200:  # none: the client left
                return messages
            plain = await asyncio.to_thread(_packed, standing, messages)
            self._keep(plain_key, plain)
        if not key[3]:
            return plain
        small = len(plain.body) < _ZIPPED_FROM
        found = plain if small else await asyncio.to_thread(_zipped, plain)
        self._keep(key, found)
        return found

    async def _ask(self, scope: Scope, receive: Receive) -> list[Message]:
        """What the app answers to a GET."""
        messages: list[Message] = []

        async def hold(message: Message) -> None:
            messages.append(message)

        await self.app({**scope, "method": "GET"}, receive, hold)
        return messages


def _place(path: str) -> tuple[str] | tuple[()] | None:
    """The dataset that a path is about, none for a list of all; None where nothing is kept."""
    parts = path.split("/", 4)
    if len(parts) < 3 or parts[1] != "v1" or parts[2] not in _GROUPS:
        return None
    if len(parts) == 3:
        return () if parts[2] == "datasets" else None
    if parts[4:] in (["report"], ["drift"]):  # files that change by themselves
        return None
    return (parts[3],)


def _packed(standing: Standing, messages: Sequence[Message]) -> Kept:
    body = b"".join(message.get("body", b"") for message in messages[1:])
    headers = list(messages[0]["headers"])
    made = dict(headers).get(b"last-modified")
    tag = b'W/"%s"' % sha256(_undated(body, made)).hexdigest()[:20].encode()
    if made is None:
        headers.append((b"last-modified", formatdate(usegmt=True).encode()))
    headers += [(b"etag", tag), (b"vary", b"Accept, Accept-Encoding")]
    return Kept(standing, headers, body, tag)


def _undated(body: bytes, made: bytes | None) -> bytes:
    """A body without the second in which its forecast was computed, which each worker has its own.

    All else that it says counts in a tag, whatever it comes from.
    """
    if made is None:
        return body
    return body.replace(f"{parsedate_to_datetime(made.decode()):%Y-%m-%dT%H:%M:%SZ}".encode(), b"")


def _zipped(plain: Kept) -> Kept:
    body = gzip.compress(plain.body, 6, mtime=0)
    tag = plain.tag[:-1] + b'-gzip"'
    own = {b"etag": tag, b"content-length": b"%d" % len(body)}
    headers = [(name, own.get(name, value)) for name, value in plain.headers]
    return Kept(plain.standing, [*headers, (b"content-encoding", b"gzip")], body, tag)


async def _give(kept: Kept, scope: Scope, send: Send) -> None:
    """Send an answer, or that the client's own copy still stands."""
    headers = [*kept.headers, (b"cache-control", _lifetime(kept.standing, scope))]
    status, body = 200, kept.body
    if still_stands(field(scope, b"if-none-match"), kept.tag):
        status, body = 304, b""
        headers = [(name, value) for name, value in headers if not name.startswith(b"content-")]
    if scope["method"] == "HEAD":
        body = b""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _lifetime(standing: Standing, scope: Scope) -> bytes:
    """How long a copy may be kept: by any cache, or by the caller alone who sent a key."""
    whose = b"private" if field(scope, b"authorization") else b"public"
    seconds = standing.lasts(MOST_SECONDS)
    if seconds is None:
        return whose + b", no-cache"
    return b"%s, max-age=%d, must-revalidate" % (whose, seconds)


def _size(key: Key, kept: Kept) -> int:
    """Bytes of memory that an entry takes."""
    told = sum(len(name) + len(value) for name, value in kept.headers)
    return _ENTRY + len(key[0]) + len(key[1]) + told + len(kept.body)
