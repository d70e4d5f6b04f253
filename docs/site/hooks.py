"""What mkdocs does beyond its pages: files that links name come along, references are made.

Run as ``python -m mkdocs`` in the root of the repository, whose code the pages are about.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, InclusionLevel

from docs.site import links
from docs.site.command_line import command_page
from docs.site.routes import route_page
from docs.site.tested import tested_page

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
_MADE = {
    "reference/cli.md": command_page,
    "reference/rest.md": route_page,
    "reference/tested.md": tested_page,
}
_FROM: dict[str, str] = {}
"""Path on the site to path in the repository, of files that come along."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that the navigation does not name at its end: none is lost."""
    named = set(re.findall(r"[\w/-]+\.md", str(config.nav)))
    rest = sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name not in named)
    config.nav = [*(config.nav or []), *([{"More": rest}] if rest else [])]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files outside ``docs/`` that pages name."""
    for uri, make in _MADE.items():
        files.append(File.generated(config, uri, content=make()))
    pages = [
        f"docs/{one.src_uri}" for one in files.documentation_pages() if one.generated_by is None
    ]
    for path in links.brought_along(pages):
        uri = links.place(path)
        _FROM[uri] = path
        if uri.endswith(".md"):
            made: dict[str, Any] = {"content": links.page_of(path)}
        else:
            made = {"abs_src_path": str(ROOT / path)}
        files.append(File.generated(config, uri, inclusion=InclusionLevel.NOT_IN_NAV, **made))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where files lie on the site."""
    uri = page.file.src_uri
    return markdown if uri in _MADE else links.rewritten(_FROM.get(uri, f"docs/{uri}"), markdown)
