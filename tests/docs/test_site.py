"""The built site: strict, whole, and silent towards other hosts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.site import links
from docs.site.command_line import commands
from docs.site.routes import openapi

pytestmark = pytest.mark.slow
FETCHED = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "object": "data",
}
"""Elements that a browser loads without being asked, with where from."""
QUIET = ("canonical", "alternate", "prev", "next")


class Loads(HTMLParser):
    """What a page loads by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in FETCHED and given.get("rel") not in QUIET:
            self.found.append(given.get(FETCHED[tag]) or "")


def test_it_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found, page
        for url in loads.found:
            assert "://" not in url, (page, url)
            assert not url.startswith("//"), (page, url)
            if page.name != "404.html" and not url.startswith(("data:", "#")):
                assert (page.parent / url.partition("?")[0]).exists(), (page, url)
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?(https?:|//)[^)]*", sheet.read_text(encoding="utf-8")) == []


def test_what_pages_name_comes_along(site: Path) -> None:
    told = (site / "water.html").read_text(encoding="utf-8")
    assert 'href="benchmarks/water.html"' in told
    source = (site / "source/pipelines/domains/energy/examples/retrofit.toml.html").read_text(
        encoding="utf-8"
    )
    assert "budget_eur" in source


def test_the_reference_is_the_code_s(site: Path) -> None:
    line = (site / "reference/cli.html").read_text(encoding="utf-8")
    for words, _ in commands():
        assert f">{words}<" in line, words
    routes = (site / "reference/rest.html").read_text(encoding="utf-8")
    for path in openapi()["paths"]:
        assert path in routes
    models = (site / "reference/models.html").read_text(encoding="utf-8")
    assert "models.contracts.ForecastSpec" in models
    assert "One query of a city" not in models


@pytest.mark.parametrize(
    ("page", "text", "out"),
    [
        ("docs/a.md", "[b](b.md#c)", "[b](b.md#c)"),
        ("docs/physics.md", "[w](../benchmarks/water.md#x)", "[w](benchmarks/water.md#x)"),
        ("docs/tutorials/board.md", "[l](../law.md)", "[l](../law.md)"),
        ("benchmarks/page.md", "[d](../docs/decisions.md)", "[d](../decisions.md)"),
        ("docs/page.md", "[p](../serving/page.py)", "[p](source/serving/page.py.md)"),
        ("docs/deploy.md", "[d](../serving/deploy)", "d"),
        ("docs/deploy.md", "[e](https://example.org)", "[e](https://example.org)"),
        ("docs/page.md", "```\n[p](../serving/page.py)\n```", "```\n[p](../serving/page.py)\n```"),
    ],
)
def test_links_lead_where_files_lie(page: str, text: str, out: str) -> None:
    assert links.rewritten(page, text) == out
