"""The site in a real browser, opened from a folder: read, searched, and by everybody."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fixtures.browsing import IN_A_BROWSER, PHONE, WIDE, Watched, axe, watch

pytestmark = IN_A_BROWSER
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}
"""What the law asks; copying code brings landmarks of one name, against good practice alone."""
LOOKED_AT = (
    "index",
    "tutorials/board",
    "how-to/domain",
    "reference/cli",
    "reference/rest",
    "reference/models",
    "law",
    "water",
)


def opened(browser, site: Path, page: str, **options) -> Watched:
    watched = watch(browser, **options)
    watched.page.goto((site / f"{page}.html").as_uri())
    return watched


def keep(watched: Watched, name: str) -> None:
    """Keep a picture where ``FELSINA_SCREENSHOTS`` names a folder."""
    if folder := os.environ.get("FELSINA_SCREENSHOTS"):
        watched.page.screenshot(path=Path(folder) / f"site-{name}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("page", LOOKED_AT)
def test_everybody_can_read_it_and_it_asks_nobody(browser, site, page, size, scheme) -> None:
    watched = opened(browser, site, page, viewport=size, color_scheme=scheme)
    watched.page.wait_for_load_state("load")
    keep(watched, f"{page.replace('/', '-')}-{size['width']}-{scheme}")
    assert watched.requests
    assert [
        url for url in watched.requests if not url.startswith(("file:", "data:", "blob:"))
    ] == []
    assert watched.complaints == []
    found = axe.Axe().run(watched.page, options=RULES).response["violations"]
    assert [f"{one['id']}: {one['nodes'][0]['html']}" for one in found] == []
    wide = watched.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= size["width"]


def test_it_is_searched_from_a_folder(browser, site: Path) -> None:
    watched = opened(browser, site, "index")
    watched.page.locator("[data-md-component=search-query]").click()
    watched.page.keyboard.type("retention", delay=20)
    found = watched.page.locator(".md-search-result__link", has_text="retention")
    found.first.wait_for()
    assert [
        url for url in watched.requests if not url.startswith(("file:", "data:", "blob:"))
    ] == []
