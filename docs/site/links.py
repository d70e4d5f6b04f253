"""Links of pages that leave ``docs/``: what they name comes along, so that the site is whole."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LINK = re.compile(r"(\[[^\]]*\])\(([^()\s#]*)(#[^()\s]*)?\)")
_FENCE = re.compile(r"^(`{3,}).*?^\1`*$", re.M | re.S)
_LANGUAGES = {".py": "python", ".toml": "toml", ".js": "js", ".csv": "text", ".json": "json"}
_TITLE = """\
---
search:
  exclude: true
---
# `{path}`

````{language}
{text}
````
"""


@dataclass(frozen=True)
class Link:
    """A link to a file of the repository.

    Attributes:
        target: path from the root of the repository; a folder's too.
        text: between the brackets, brackets included.
        anchor: after the path, or nothing.
    """

    target: str
    text: str
    anchor: str


def place(path: str) -> str:
    """Where on the site a file of the repository lies, as mkdocs counts: before ``.html``."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path if path.endswith((".md", ".png")) else f"source/{path}.md"


def links(page: str, text: str) -> Iterator[Link]:
    """Links of a page of the repository to files and folders in it."""
    for found in _LINK.finditer(_FENCE.sub("", text)):
        if (link := _link(page, found)) is not None:
            yield link


def _link(page: str, found: re.Match[str]) -> Link | None:
    text, url, anchor = found.groups()
    if not url or ":" in url:
        return None
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), url))
    return Link(target, text, anchor or "") if (ROOT / target).exists() else None


def rewritten(page: str, text: str) -> str:
    """A page's text whose links lead where files lie on the site; a folder's becomes plain text."""
    here = posixpath.dirname(place(page)) or "."

    def change(found: re.Match[str]) -> str:
        link = _link(page, found)
        if link is None:
            return found[0]
        if (ROOT / link.target).is_dir():
            return link.text[1:-1]
        return f"{link.text}({posixpath.relpath(place(link.target), here)}{link.anchor})"

    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(change, text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, _LINK.sub(change, text[end:])])


def brought_along(pages: list[str]) -> list[str]:
    """Files outside ``docs/`` that pages name, and that those name in turn, sorted."""
    found: set[str] = set()
    ahead = list(pages)
    while ahead:
        page = ahead.pop()
        for link in links(page, (ROOT / page).read_text(encoding="utf-8")):
            new = link.target not in found and (ROOT / link.target).is_file()
            if new and not link.target.startswith("docs/") and link.target != "README.md":
                found.add(link.target)
                ahead += [link.target] if link.target.endswith(".md") else []
    return sorted(found)


def page_of(path: str) -> str:
    """A file of the repository as a page: as it is, or as a listing."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = _LANGUAGES.get(Path(path).suffix, "text")
    return _TITLE.format(path=path, language=language, text=text.rstrip("\n"))
