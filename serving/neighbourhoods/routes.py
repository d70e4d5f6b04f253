"""The routes of the neighbourhood pages and of contested cases."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response

from models.contracts import FelsinaError
from serving.cases import Full, worded
from serving.catalogue import Catalogue
from serving.gate.problems import Refusal
from serving.gate.rates import Buckets, address_of
from serving.neighbourhoods.pages import Fault, Pages
from serving.neighbourhoods.speech import Speech
from serving.neighbourhoods.words import LANGUAGES
from serving.page import sent
from serving.reports import Reports
from serving.selection import Nothing

HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""No script at all, and nobody learns where one was."""
_MOST_BYTES = 32 * 1024
_CASES = (1 / 720, 5.0)
"""Cases a second and at once of one address: five, then one each twelve minutes."""
_NEARBY = (1 / 360, 10.0)
"""The same of all addresses that one customer may have: ten, then one each six minutes."""
_CODES = (1 / 30, 20.0)
"""The same of what is asked or added with a code."""


class Line(BaseModel):
    """What the writer of a case wrote on a day."""

    day: str
    text: str


class CaseEntry(BaseModel):
    """A contested case as those see it who operate the service."""

    number: str
    dataset: str
    area: str = Field(description="The neighbourhood; empty for the whole city.")
    subject: str
    opened: str
    state: Literal["open", "answered", "closed"]
    answer_it: str | None
    answer_en: str | None
    lines: list[Line] = Field(description="Empty once they were deleted.")


class CaseList(BaseModel):
    """Contested cases, the oldest first."""

    cases: list[CaseEntry]


class Asked(Nothing):
    """Query parameters of ``GET /v1/cases``."""

    dataset: str | None = Field(None, description="All, when left out.")
    state: Literal["open", "answered", "closed", "all"] = "open"


def add_neighbourhoods(app: FastAPI, catalogue: Catalogue, reports: Reports) -> None:
    """Add the pages of neighbourhoods and cases, and the list of cases for operators."""
    pages = Pages(catalogue, reports)
    forms = Forms(pages)

    @app.get("/v1/cases", response_model=CaseList, tags=["operations"])
    def cases(query: Annotated[Asked, Query()]) -> Any:
        """Contested cases with what people wrote."""
        found = pages.cases.all(query.dataset, None if query.state == "all" else query.state)
        return JSONResponse({"cases": [worded(case) for case in found]})

    for language in LANGUAGES:
        path = Speech(language).path
        for name, answer in (
            ("page", forms.page),
            ("write", forms.write),
            ("follow", forms.follow),
        ):
            methods = ["GET", "HEAD"] + ["POST"] * (name != "page")
            given = partial(answer, language=language)
            app.add_route(path(name), given, methods=methods, include_in_schema=False)


class Forms:
    """Shows the pages and takes what people write.

    Of an address nothing is kept but a number in memory, which says when it may write again.

    Args:
        pages: what is answered.
    """

    def __init__(self, pages: Pages) -> None:
        self.pages, self.buckets = pages, Buckets()

    async def page(self, request: Request, language: str) -> Response:
        """All neighbourhoods."""
        asset = await run_in_threadpool(self.pages.page, language)
        return sent(request, asset, "no-cache", HEADERS)

    async def write(self, request: Request, language: str) -> Response:
        """The form of a new case; its number and code once it was sent."""
        if request.method != "POST":
            given = dict(request.query_params)
            return await self._answer(200, self.pages.write, language, given)
        given = {}
        try:
            given = await _fields(request)
            await run_in_threadpool(self.pages.check, given)
            self._take(request, "case", _CASES)
            self._take(request, "near", _NEARBY, four=24, six=56)
            opened = await run_in_threadpool(self.pages.open, given)
        except (Fault, Refusal, Full) as refused:
            status, said = _told(refused, language)
            return await self._answer(status, self.pages.write, language, given, said)
        return await self._answer(200, self.pages.sent, language, *opened)

    async def follow(self, request: Request, language: str) -> Response:
        """A case for who has its code: to be read, added to, its words deleted."""
        case, given, status, said = None, {}, 200, ""
        if request.method == "POST":
            try:
                given = await _fields(request)
                self._take(request, "code", _CODES)
                case = await run_in_threadpool(self.pages.known, given)
                case = await run_in_threadpool(self.pages.change, case, given)
            except (Fault, Refusal, FelsinaError) as refused:
                status, said = _told(refused, language)
        code = given.get("code", "")
        return await self._answer(status, self.pages.follow, language, case, code, said)

    def _take(self, request: Request, what: str, bucket: tuple[float, float], **bits: int) -> None:
        address = address_of(request.scope.get("client"), **bits)
        self.buckets.take(f"{what} {address}", *bucket)

    async def _answer(self, status: int, render: Callable[..., str], *values: Any) -> Response:
        text = await run_in_threadpool(render, *values)
        return HTMLResponse(text, status, {**HEADERS, "cache-control": "no-store"})


async def _fields(request: Request) -> dict[str, str]:
    """What a form sent, the first of each field.

    Raises:
        Fault: if it is too large, or was sent by a page of another site.
    """
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Fault(403, "error_elsewhere")
    body = await request.body()
    try:
        if len(body) > _MOST_BYTES:
            raise ValueError(len(body))
        found = parse_qs(body.decode("utf-8", "replace"), True, max_num_fields=16)
    except ValueError as error:
        raise Fault(413, "error_large") from error
    return {name: values[0] for name, values in found.items()}


def _told(refused: Exception, language: str) -> tuple[int, str]:
    """Status and words of a refusal."""
    if isinstance(refused, Fault):
        return refused.status, Speech(language).say(refused.key, **refused.values)
    return 429, Speech(language).say("error_many")
