"""The report in a real browser: nothing stands in anyone's way, and nothing is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fairness.report import PAGES, render
from pipelines.report import Inputs, gather
from tests.fixtures.greenhouse import Sealed
from tests.fixtures.reports import gathered, rich
from tests.fixtures.tiny import Tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def folder(tiny: Tiny, sealed: Sealed, tmp_path_factory) -> Path:
    """Every page of a report in which everything that may be said is said, and a surrogate's."""
    place = tmp_path_factory.mktemp("pages")
    record = rich(gathered(tiny, place / "inputs"))
    surrogate = gather(Inputs(sealed.release, about=place / "inputs" / "about.toml"))
    (place / "surrogate").mkdir()
    for page, language in product(PAGES, ("it", "en")):
        (place / f"{page}.{language}.html").write_text(render(record, page, language))
        text = render(surrogate, page, language)
        (place / "surrogate" / f"{page}.{language}.html").write_text(text)
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_api.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def violations(page: Page) -> list[str]:
    found = axe.Axe().run(page, options=RULES).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html']}" for v in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_stands_in_anyones_way(browser: Browser, folder: Path, scheme: str):
    page = browser.new_page(color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in sorted(folder.rglob("*.html")):
        page.goto(path.as_uri())
        assert violations(page) == [], path.name
        assert asked == [path.as_uri()]
        asked.clear()
    page.close()


def test_the_look_for_what_stands_in_the_way_sees(browser: Browser, folder: Path):
    page = browser.new_page()
    page.goto((folder / "report.en.html").as_uri())
    page.evaluate("document.querySelector('svg').removeAttribute('aria-label')")
    page.evaluate("document.querySelector('.faint').style.color = '#ddd'")
    found = [one.partition(":")[0] for one in violations(page)]
    assert {"svg-img-alt", "color-contrast"} <= set(found)
    page.close()


def test_a_phone_shows_it_all_without_scrolling_aside(browser: Browser, folder: Path):
    page = browser.new_page(viewport={"width": 375, "height": 812})
    for path in sorted(folder.rglob("*.html")):
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 375, path.name
    page.close()
