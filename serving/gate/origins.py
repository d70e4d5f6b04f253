"""Which pages of other origins may ask (CORS): all, since keys are no cookies."""

from __future__ import annotations

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp


class Origins(CORSMiddleware):
    """ASGI middleware before the gate, so that a page can read its refusals, too.

    A browser sends no key with the question whether it may ask (preflight): it is answered here,
    for less than a refusal costs.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            app,
            allow_origins=["*"],
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "If-None-Match"],
            expose_headers=[
                "ETag",
                "Felsina-Release",
                "Link",
                "RateLimit",
                "RateLimit-Policy",
                "Retry-After",
            ],
        )
