"""Answers kept as ready bytes, and given again for as long as they are true.

What an answer about a dataset rests on is its release, the revision of its observations and
whether they are stale; all three are cheap to read, so each request compares them with what a kept
answer was made of. Nothing expires by the clock alone, and nothing is answered after it is wrong.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from hashlib import sha256

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.catalogue import Catalogue, Standing
from serving.formats import negotiated

MOST_BYTES = 64 * 2**20
"""Kept by one process; what was not asked for the longest goes first."""
OVERDUE_SECONDS = 60
"""How long a client may keep an answer at most when the next observation is overdue."""
_GROUPS = ("datasets", "forecasts", "observations")
_ZIPPED_FROM = 500
"""Bytes below which gzip gains nothing."""

Headers = list[tuple[bytes, bytes]]


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
        self._kept: OrderedDict[tuple[object, ...], Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._making: dict[tuple[object, ...], Future[None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from what is kept, or keep what is answered."""
        http = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        place = _place(scope["path"]) if http else None
        if place is None:
            await self.app(scope, receive, send)
            return
        if self.catalogue.due():
            await asyncio.to_thread(self.catalogue.refresh)
        standing = self.catalogue.standing(*place)
        headers = dict(scope["headers"])
        form = negotiated(headers.get(b"accept", b"").decode("latin-1"))
        key = (scope["path"], scope["query_string"], form)
        zipped = _takes_gzip(headers.get(b"accept-encoding", b""))
        if standing is None:  # the app says what is served
            found = await self._ask(scope, receive)
        else:
            found = self._find((*key, zipped), standing)
            found = found or await self._once(key, zipped, standing, scope, receive)
        if isinstance(found, Kept):
            await _give(found, scope, headers.get(b"if-none-match"), send)
            return
        for message in found:
            if scope["method"] == "HEAD" and "body" in message:
                message["body"] = b""
            await send(message)

    def _find(self, key: tuple[object, ...], standing: Standing) -> Kept | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None or found.standing != standing:
                return None
            self._kept.move_to_end(key)
            return found

    def _keep(self, key: tuple[object, ...], kept: Kept) -> None:
        if 4 * len(kept.body) > self.most:
            return
        with self._lock:
            if (old := self._kept.pop(key, None)) is not None:
                self._bytes -= len(old.body)
            self._kept[key] = kept
            self._bytes += len(kept.body)
            while self._bytes > self.most:
                _, old = self._kept.popitem(last=False)
                self._bytes -= len(old.body)

    async def _once(
        self,
        key: tuple[object, ...],
        zipped: bool,
        standing: Standing,
        scope: Scope,
        receive: Receive,
    ) -> Kept | list[Message]:
        """An answer made by the first who asks for it; those who come meanwhile wait for it."""
        whole = (*key, zipped)
        while (first := self._making.get((standing, *whole))) is not None:
            await asyncio.shield(asyncio.wrap_future(first))
            if (found := self._find(whole, standing)) is not None:
                return found
        self._making[(standing, *whole)] = made = Future()
        try:
            plain = self._find((*key, False), standing)
            if plain is None:
                messages = await self._ask(scope, receive)
                if messages[0].get("status") != 200:
                    return messages
                plain = await asyncio.to_thread(_packed, standing, messages)
                self._keep((*key, False), plain)
            if not zipped or len(plain.body) < _ZIPPED_FROM:
                self._keep(whole, plain)
                return plain
            found = await asyncio.to_thread(_zipped, plain)
            self._keep(whole, found)
            return found
        finally:
            del self._making[(standing, *whole)]
            made.set_result(None)

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
    return (parts[3],)


def _packed(standing: Standing, messages: Sequence[Message]) -> Kept:
    body = b"".join(message.get("body", b"") for message in messages[1:])
    tag = b'"%s"' % sha256(body).hexdigest()[:20].encode()
    headers = list(messages[0]["headers"])
    named = {name for name, _ in headers}
    if b"last-modified" not in named:
        headers.append((b"last-modified", formatdate(usegmt=True).encode()))
    headers += [(b"etag", tag), (b"vary", b"Accept, Accept-Encoding")]
    return Kept(standing, headers, body, tag)


def _zipped(plain: Kept) -> Kept:
    body = gzip.compress(plain.body, 6, mtime=0)
    tag = plain.tag[:-1] + b'-gzip"'
    own = {b"etag": tag, b"content-length": b"%d" % len(body)}
    headers = [(name, own.get(name, value)) for name, value in plain.headers]
    return Kept(plain.standing, [*headers, (b"content-encoding", b"gzip")], body, tag)


async def _give(kept: Kept, scope: Scope, known: bytes | None, send: Send) -> None:
    """Send an answer, or that the client's own copy still stands."""
    seconds = kept.standing.next_in(OVERDUE_SECONDS)
    age = b"no-cache" if seconds is None else b"public, max-age=%d, must-revalidate" % seconds
    headers = [*kept.headers, (b"cache-control", age)]
    status, body = 200, kept.body
    if known is not None and _matches(known, kept.tag):
        status, body = 304, b""
        headers = [(name, value) for name, value in headers if not name.startswith(b"content-")]
    if scope["method"] == "HEAD":
        body = b""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@lru_cache
def _takes_gzip(accepted: bytes) -> bool:
    """Whether ``Accept-Encoding`` takes gzip; where it is asked for by weight 0 it does not."""
    for one in accepted.split(b","):
        coding, _, weight = one.replace(b" ", b"").partition(b";q=")
        if coding == b"gzip":
            return weight.strip(b"0.") != b"" or not weight
    return False


def _matches(known: bytes, tag: bytes) -> bool:
    """Whether ``If-None-Match`` names a tag (RFC 9110, 13.1.2: weakly compared)."""
    told = [one.strip().removeprefix(b"W/") for one in known.split(b",")]
    return tag in told or b"*" in told
