"""Bounds on connections that uvicorn leaves open: size of headers, time for them, slow readers."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

MOST_HEADER_BYTES = 32 * 2**10
MOST_CONNECTIONS = 1000
_HEADER_SECONDS = 10.0
_READER_SECONDS = 60.0
_TOO_LARGE = 431, "Headers too large", f"request line and headers exceed {MOST_HEADER_BYTES} bytes"
MOST_AHEAD = 8
"""Requests that may wait on a connection for the answer before them."""
_TOO_MANY = 429, "Too many requests", f"over {MOST_AHEAD} requests sent ahead of their answers"
_TOO_SLOW = 408, "Request timeout", f"no whole request head within {_HEADER_SECONDS:g} s"
_MALFORMED = 400, "Malformed request", "this is no HTTP/1.1"


class BoundedProtocol(HttpToolsProtocol):
    """HTTP/1.1 whose request line and headers are small and come soon, answered or not.

    A client that reads nothing of its answer for a minute is cut off, and so is one that sends
    over ``MOST_AHEAD`` requests ahead. Over ``MOST_CONNECTIONS`` new ones are closed. One answer at
    a time is made for a connection, so that this bounds what is in flight, too.
    """

    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _parsed = _unparsed = 0
    _why = _MALFORMED
    _in_head = False
    _answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        if self._answering is not None:  # the host tells only the request that came last
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; those after the latest of a body are a head, or what follows chunks."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self._expect_head()
        self._unparsed += len(data)
        super().data_received(data)
        if self._unparsed > MOST_HEADER_BYTES and not self.transport.is_closing():
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._parsed, self._in_head = 0, True
        self._expect_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header is whole."""
        self._parsed += len(name) + len(value)
        if self._parsed + len(self.url) > MOST_HEADER_BYTES:
            self._why = _TOO_LARGE
            raise ValueError(_TOO_LARGE[2])  # the parser stops, and reports a malformed request
        if self._in_head:  # what follows chunks is none of the app's business
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        if len(self.pipeline) >= MOST_AHEAD:
            self._why = _TOO_MANY
            raise ValueError(_TOO_MANY[2])  # the parser stops here, too
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of a body came."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._unparsed = 0
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._stall = self.loop.call_later(_READER_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser could not read, or was stopped at; not amid an answer."""
        now = self._answering
        if now is not None and now.response_started and not now.response_complete:
            self.transport.close()
            return
        status, title, detail = self._why
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        body = orjson.dumps(problem)
        head = b"content-type: application/problem+json\r\ncontent-length: %d\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + b"connection: close\r\n\r\n" + body)
        self.transport.close()

    def _expect_head(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(_HEADER_SECONDS, self._late)

    def _late(self) -> None:
        self._timer = None
        if self.flow.read_paused:  # the rest of it may have come, and we do not look
            self._expect_head()
        else:
            self._refuse(_TOO_SLOW)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _refuse(self, why: tuple[int, str, str]) -> None:
        self._why = why
        self.send_400_response("")


def install() -> None:
    """Make uvicorn use it in this process; the host gives no other way to choose a protocol."""
    chosen: Any = BoundedProtocol
    auto.AutoHTTPProtocol = chosen
