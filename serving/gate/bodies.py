"""Bodies are read whole before anything works on them: bounded in bytes, time and number."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gate.problems import Refusal, busy

MOST_BYTES = 16 * 2**20
"""Largest body; a day of 10 000 nodes at 15 min fits."""
_MOST_HELD = 8 * MOST_BYTES
_SECONDS = 20.0
_CLOSE = (b"connection", b"close")


class Bodies:
    """ASGI middleware that hands a body on once it is there, or answers 408, 413, 415 or 429.

    A slow or endless body so costs neither a thread nor a slot (``serving.gate.slots``).

    Args:
        app: what lies behind.
        most: bytes of one body.
        held: bytes of all bodies that are being read at a time.
        seconds: until a body must be there.
    """

    def __init__(
        self,
        app: ASGIApp,
        most: int = MOST_BYTES,
        held: int = _MOST_HELD,
        seconds: float = _SECONDS,
    ) -> None:
        self.app, self.most, self.most_held, self.seconds = app, most, held, seconds
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body read."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        declared = _declared(scope["headers"])
        if declared == 0:
            await self.app(scope, receive, send)
            return
        try:
            body = await self._read(receive, declared)
        except Refusal as refusal:
            await refusal.send(send)
            return
        if body is None:  # the client left
            return
        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        await self.app(scope, again(whole, receive), send)

    async def _read(self, receive: Receive, declared: int | None) -> bytes | None:
        if declared is not None and declared > self.most:
            raise self._too_large()
        pieces, read, more = [], 0, True
        try:
            async with asyncio.timeout(self.seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    piece = message.get("body", b"")
                    read += len(piece)
                    self.held += len(piece)
                    pieces.append(piece)
                    more = message.get("more_body", False)
                    if read > self.most:
                        raise self._too_large()
                    if self.held > self.most_held:
                        raise busy("too many bodies are being sent; try again", "bodies")
        except TimeoutError:
            raise Refusal(
                408,
                "Request timeout",
                f"the body was not there after {self.seconds:g} s; send less at a time",
                "slow_body",
                (_CLOSE,),
            ) from None
        finally:
            self.held -= read
        return b"".join(pieces)

    def _too_large(self) -> Refusal:
        detail = f"the body is over {self.most} bytes; send it in parts"
        return Refusal(413, "Too large", detail, "too_large", (_CLOSE,))


def _declared(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Length of the body: 0 where there is none, None where it is not told."""
    for name, value in headers:
        if name == b"content-length" and value.isdigit():
            return int(value)
        if name in (b"transfer-encoding", b"content-length"):
            return None
    return 0


def again(message: Message, receive: Receive) -> Receive:
    """A receive that gives a message that was read already, then what comes."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return message

    return replayed
