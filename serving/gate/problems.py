"""Refusals as RFC 9457 problem details, sent before or instead of an app's answer."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from starlette.types import Send

PROBLEM = b"application/problem+json"
Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(eq=False)
class Refusal(Exception):
    """Why a request goes no further.

    Attributes:
        status: of HTTP.
        title: the same for every refusal of the kind.
        detail: what was wrong with this one, and the remedy.
        reason: one word for metrics and logs.
        headers: beyond content type and length.
    """

    status: int
    title: str
    detail: str
    reason: str
    headers: Headers = ()

    async def send(self, send: Send) -> None:
        """Answer with it."""
        body = orjson.dumps(
            {
                "type": "about:blank",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
            }
        )
        headers = [
            (b"content-type", PROBLEM),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            *self.headers,
        ]
        start = {"type": "http.response.start", "status": self.status, "headers": headers}
        await send(start | {"refused": self.reason})  # for the gate; servers look past it
        await send({"type": "http.response.body", "body": body})


def busy(detail: str, reason: str, seconds: int = 1, status: int = 429) -> Refusal:
    """A refusal that invites to come back."""
    retry = (b"retry-after", str(seconds).encode())
    title = "Too many requests" if status == 429 else "Not available"
    return Refusal(status, title, detail, reason, (retry,))
