"""The page at `/` and its files: compressed once, cached for good under a name of their content."""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from serving.negotiation import field, still_stands, takes_gzip

WEB = Path(__file__).parent / "web"
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
"""The page loads nothing from elsewhere, runs no inline code, and tells nobody where one was."""
_FOREVER = "public, max-age=31536000, immutable"
_TYPES = {".mjs": "text/javascript", ".js": "text/javascript"}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent.

    Attributes:
        plain: its bytes.
        packed: the same, compressed with gzip.
        media_type: for the header.
        etag: of its content, plain; compressed it is another's.
    """

    plain: bytes
    packed: bytes
    media_type: str
    etag: str


def add_page(app: FastAPI) -> None:
    """Add the page and the files that it loads, packed now: whoever asks first waits for nobody."""
    _assets()

    async def page(request: Request) -> Response:
        return sent(request, _assets()["index.html"], "no-cache", HEADERS)

    async def static(request: Request) -> Response:
        version, path = request.path_params["version"], request.path_params["path"]
        asset = _assets().get(path)
        if asset is None:
            raise HTTPException(404, f"no file {path!r} belongs to the page")
        return sent(request, asset, _FOREVER if version == _version() else "no-cache", HEADERS)

    app.add_route("/", page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_route(
        "/static/{version}/{path:path}", static, methods=["GET", "HEAD"], include_in_schema=False
    )


def sent(request: Request, asset: Asset, cache: str, headers: dict[str, str]) -> Response:
    """A file, or 304 where the browser holds it."""
    zipped = takes_gzip(field(request.scope, b"accept-encoding"))
    tag = f'{asset.etag[:-1]}-gzip"' if zipped else asset.etag
    headers = headers | {"cache-control": cache, "etag": tag, "vary": "accept-encoding"}
    if still_stands(field(request.scope, b"if-none-match"), tag.encode()):
        return Response(status_code=304, headers=headers)
    body = asset.plain
    if zipped:
        body, headers["content-encoding"] = asset.packed, "gzip"
    return Response(body, headers=headers, media_type=asset.media_type)


def asset_of(plain: bytes, media_type: str) -> Asset:
    """Bytes, ready to be sent."""
    tag = f'"{hashlib.sha256(plain).hexdigest()[:16]}"'
    return Asset(plain, gzip.compress(plain, 6, mtime=0), media_type, tag)


def static_path(name: str) -> str:
    """Where a file of the page lies, for other pages that load it."""
    return f"/static/{_version()}/{name}"


@lru_cache(maxsize=1)
def _version() -> str:
    """Digest of all files; they import each other, so one changed file renews all."""
    digest = hashlib.sha256()
    for path in _files():
        digest.update(path.relative_to(WEB).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _files() -> list[Path]:
    return sorted(path for path in WEB.rglob("*") if path.is_file())


@lru_cache(maxsize=1)
def _assets() -> dict[str, Asset]:
    """Every file by its path; the page names the others by their version."""
    found = {}
    for path in _files():
        name, plain = path.relative_to(WEB).as_posix(), path.read_bytes()
        if name == "index.html":
            plain = plain.replace(b'"/static/', f'"/static/{_version()}/'.encode())
        guessed = _TYPES.get(path.suffix) or mimetypes.guess_type(name)[0]
        found[name] = asset_of(plain, guessed or "application/octet-stream")
    return found
