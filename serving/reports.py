"""The board's report of each served release: what was signed, and its pages for people.

It lies in ``HOME/reports/RELEASE_ID/``. The board signs ``report.json``, which names its pages by
digest; a page that is another one is not shown. No part of a request becomes part of a path: a
dataset names the release that is served, and that names the folder.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
from fastapi import FastAPI, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import Response

from models.record import sha256_bytes
from serving.catalogue import Catalogue
from serving.page import Asset, asset_of, sent
from serving.release import Release
from serving.selection import Nothing
from serving.served import NotFound, changed_at

log = logging.getLogger(__name__)
FOLDER = "reports"
RECORD = "report.json"
_NAMES = {"": "report", "card.": "card", "annex-iv.": "annex-iv"}
_ADDRESSES = {
    f"{prefix}{language}": f"{name}.{language}.html"
    for prefix, name in _NAMES.items()
    for language in ("it", "en")
}
PAGES = _ADDRESSES | {name: name for name in _ADDRESSES.values()}
"""Last part of an address to the file of a page; pages call each other by their files' names."""
DIGEST = "felsina-report-sha256"
_NOTHING = "'none'"
_STYLE = re.compile(rb"<style[^>]*>(.*?)</style>", re.DOTALL)


@dataclass(frozen=True)
class Report:
    """The board's report of a release.

    Attributes:
        record: its ``report.json``, read.
        pages: file name to SHA-256 of each page that it names; none of one that names none.
        sha256: of its bytes, which the board signs.
        asset: the bytes.
    """

    record: dict[str, Any]
    pages: dict[str, str]
    sha256: str
    asset: Asset


class Reports:
    """The reports under a home folder, read again when they change.

    Args:
        home: the ``mlruns`` folder.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._held: dict[Path, tuple[int, Any]] = {}

    def of(self, release: Release) -> Report | None:
        """The report of a release, as it was signed; None where there is none, or another."""
        path = self.home / FOLDER / release.id / RECORD

        def read() -> Report | None:
            content = path.read_bytes()
            try:
                record = orjson.loads(content)
                if record["manifest_sha256"] != release.sha256:
                    raise ValueError("it is of another release")
                pages = dict(record.get("pages", {}))
            except (ValueError, KeyError, TypeError) as error:
                log.error("%s is no report of %s (%s); build it anew", path, release.id, error)
                return None
            asset = asset_of(content, "application/json")
            return Report(record, pages, sha256_bytes(content), asset)

        found: Report | None = self._read(path, read)
        approval = release.approval
        if approval.state == "approved" and found and found.sha256 != approval.report_sha256:
            return None
        return found

    def page(self, release: Release, name: str) -> Asset | None:
        """One of the ``PAGES`` of a release, as its report names it; None where there is none."""
        path = self.home / FOLDER / release.id / PAGES[name]

        def read() -> tuple[str, Asset]:
            content = path.read_bytes()
            return sha256_bytes(content), asset_of(content, "text/html; charset=utf-8")

        report, found = self.of(release), self._read(path, read)
        if report is None or found is None or found[0] != report.pages.get(PAGES[name]):
            return None
        return found[1]

    def mark(self, release: Release) -> int:
        """Of when the report of a release is, 0 where there is none."""
        return changed_at(str(self.home / FOLDER / release.id / RECORD))

    def _read(self, path: Path, read: Any) -> Any:
        changed = changed_at(str(path))
        held = self._held.get(path)
        if held is None or held[0] != changed:
            held = self._held[path] = changed, read() if changed else None
        return held[1]


def add_reports(app: FastAPI, catalogue: Catalogue, reports: Reports) -> None:
    """Add the routes of reports."""

    @app.get(
        "/v1/datasets/{dataset}/report",
        response_class=Response,
        responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
        tags=["datasets"],
    )
    def report(dataset: str, query: Annotated[Nothing, Query()], request: Request) -> Response:
        """The ethics board's report of the release that is served, as it was signed.

        Its sha256 is in the header `Felsina-Report-Sha256`.
        """
        release = catalogue.runtime(dataset).release
        found = reports.of(release)
        if found is None:
            raise NotFound(
                f"no report of {release.id} as the board signed it is there; felsina report build "
                "makes one"
            )
        told = {DIGEST: found.sha256, "felsina-release": release.id}
        return sent(request, found.asset, "no-cache", told)

    async def page(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in PAGES:
            raise HTTPException(404, f"no page {name!r}; there are {', '.join(PAGES)}")
        found = await run_in_threadpool(_page, request.path_params["dataset"], name)
        return sent(request, found, "no-cache", {**_SAFE, "content-security-policy": policy(found)})

    def _page(dataset: str, name: str) -> Asset:
        release = catalogue.runtime(dataset).release
        found = reports.page(release, name)
        if found is None:
            raise NotFound(
                f"{release.id} has no {PAGES[name]} that its report names; felsina report build "
                "makes one"
            )
        return found

    app.add_route(
        "/reports/{dataset}/{name}", page, methods=["GET", "HEAD"], include_in_schema=False
    )


_SAFE = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def policy(page: Asset) -> str:
    """What a page may do: show itself and the styles that stand in it, and nothing else."""
    digests = [hashlib.sha256(style).digest() for style in _STYLE.findall(page.plain)]
    inside = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        f"default-src 'none'; style-src {inside or _NOTHING}; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    )
