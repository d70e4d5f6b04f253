"""The neighbourhood pages in a real browser: read, written in, by keyboard alone, by everybody."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from serving.api import create_app
from serving.cases import Cases
from serving.catalogue import Catalogue
from serving.gate.gate import Gate
from serving.gate.rules import methods_of
from serving.neighbourhoods.words import PATHS
from serving.store import Store
from tests.fixtures.browsing import IN_A_BROWSER, PHONE, WIDE, Watched, watch
from tests.fixtures.listening import running
from tests.fixtures.reported import reported_home
from tests.fixtures.tiny import Server, Tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = IN_A_BROWSER
LANGUAGES = {"en": 0, "it": 1}
WROTE = "On Monday nothing was forecast. <b>Bold?</b>"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("neighbourhoods") / "observations.db")


@pytest.fixture(scope="module")
def address(tiny: Tiny, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = reported_home(tiny, tmp_path_factory.mktemp("neighbourhoods") / "home")
    catalogue = Catalogue(home, store)
    app = create_app(catalogue)
    with running(Gate(app, catalogue, methods_of(app.routes))) as url:
        yield url


@contextmanager
def looked_at(browser: Browser, url: str, **options: Any) -> Iterator[Watched]:
    """A page; at the end nothing went wrong and no other host was asked for anything."""
    watched = watch(browser, **options)
    page = watched.page
    page.goto(url)
    yield watched
    assert watched.complaints == []
    host = url.split("/", 3)[:3]
    assert [one for one in watched.requests if one.split("/", 3)[:3] != host] == []
    assert page.context.cookies() == []
    assert page.evaluate("document.scripts.length") == 0
    page.context.close()


def fits(page: Page) -> bool:
    wide, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return wide <= window


def keep(page: Page, name: str) -> None:
    """Keep a picture where ``FELSINA_SCREENSHOTS`` names a folder."""
    if folder := os.environ.get("FELSINA_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"neighbourhoods-{name}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "it"])
@pytest.mark.parametrize("window", [PHONE, WIDE], ids=["phone", "wide"])
def test_nothing_stands_in_anyones_way(browser, address, language, scheme, window) -> None:
    paths = [PATHS[name][LANGUAGES[language]] for name in ("page", "write", "follow")]
    with looked_at(browser, address + paths[0], color_scheme=scheme, viewport=window) as watched:
        page = watched.page
        for path in (*paths, f"{paths[0]}#one", f"{paths[0]}#three"):
            page.goto(address + path)
            assert page.get_attribute("html", "lang") == language
            assert watched.violations() == [], path
            assert fits(page), path
            if "#" in path:
                assert page.locator(".place:visible").count() == 1
                keep(page, f"{language}-{scheme}-{window['width']}-{path[-3:]}")


def test_the_look_for_what_stands_in_the_way_sees(browser, address: str) -> None:
    with looked_at(browser, address + PATHS["write"][0]) as watched:
        watched.page.evaluate("document.querySelector('label[for=text]').remove()")
        assert any(one.startswith("label") for one in watched.violations())


def test_a_neighbourhood_is_chosen_in_list_and_map_without_asking(browser, address: str) -> None:
    with looked_at(browser, address + PATHS["page"][0]) as watched:
        page = watched.page
        page.wait_for_load_state("networkidle")
        asked = set(watched.requests)
        assert page.locator(".place:visible").count() == 0
        page.click(".list >> text=one")
        assert page.locator(".place:visible h2").all_inner_texts() == ["one"]
        page.click(".map a[href='#two'] circle")
        assert page.locator(".place:visible h2").all_inner_texts() == ["two"]
        assert set(watched.requests) == asked, "the server learns nothing of it"
        page.click(".place:visible .way a[hreflang]")
        assert page.get_attribute("html", "lang") == "it"
        assert page.locator(".place:visible h2").all_inner_texts() == ["two"]


def test_all_is_done_by_keyboard_alone(browser, address: str) -> None:
    with looked_at(browser, address + PATHS["page"][0]) as watched:
        page = watched.page

        def tab_to(selector: str) -> None:
            for _ in range(60):
                page.keyboard.press("Tab")
                if page.evaluate(f"document.activeElement.matches({selector!r})"):
                    return
            raise AssertionError(f"no way to {selector}")

        tab_to("a[href='#one']")
        page.keyboard.press("Enter")
        page.wait_for_url("**#one")
        tab_to(".place .button")
        page.keyboard.press("Enter")
        page.wait_for_url("**/write?area=one")
        assert page.input_value("#area") == "one"
        tab_to("input[value=wrong_here]")
        page.keyboard.press("ArrowDown")
        tab_to("#text")
        page.keyboard.type(WROTE)
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        number, code = page.inner_text("#number"), page.inner_text("#code")
        assert watched.violations() == []
        keep(page, "sent")
        page.goto(address + PATHS["follow"][0])
        tab_to("#number")
        page.keyboard.type(number)
        page.keyboard.press("Tab")
        page.keyboard.type(code)
        page.keyboard.press("Enter")
        page.wait_for_selector(".words")
        assert WROTE in page.inner_text(".words")
        assert "A warning did not come: one" in page.inner_text("main")
        assert watched.violations() == []


def test_an_answer_is_read_by_everybody_and_the_words_by_nobody(browser, address, store) -> None:
    number, _ = Cases(store).open("tiny", "two", "other", "Nobody else may read this.")
    Cases(store).answer(number, "<i>Ecco.</i>", "<i>Here.</i>")
    with looked_at(browser, address + PATHS["page"][1]) as watched:
        said = watched.page.inner_text(".cases")
        assert number in said
        assert "<i>Ecco.</i>" in said
        assert "Nobody else" not in watched.page.content()
        assert watched.violations() == []


def test_a_reports_style_is_drawn_and_its_script_is_not_run(browser, address: str) -> None:
    page = browser.new_page()
    page.goto(f"{address}/reports/tiny/en")
    assert page.title() == "report.en.html"
    colour = page.eval_on_selector("#a", "heading => getComputedStyle(heading).color")
    assert colour == "rgb(1, 2, 3)"
    page.close()


def test_the_page_of_forecasts_leads_here_in_its_language(browser, address: str) -> None:
    for locale, column in (("en-GB", 0), ("it-IT", 1)):
        page = browser.new_page(locale=locale)
        page.goto(address)
        page.wait_for_selector("#tab-card")
        assert page.get_attribute(".top a", "href") == PATHS["page"][column]
        page.click("#tab-card")
        assert page.get_attribute(".doors a", "href") == PATHS["page"][column]
        page.close()


def test_a_case_outlives_a_kill(tiny: Tiny, tmp_path: Path) -> None:
    home, store = tmp_path / "home", tmp_path / "observations.db"
    shutil.copytree(tiny.release, home / "releases" / tiny.release.name)
    case = {"dataset": "tiny", "area": "one", "subject": "other", "text": WROTE}
    server = Server(home, store, tmp_path / "log")
    try:
        url = f"http://127.0.0.1:{server.port}"
        answer = httpx.post(url + PATHS["write"][0], data=case, timeout=30)
    finally:
        server.kill()
    assert answer.status_code == 200
    (kept,) = Cases(Store(store)).all()
    code = answer.text.partition('id="code">')[2].partition("<")[0]
    server = Server(home, store, tmp_path / "log")
    try:
        url = f"http://127.0.0.1:{server.port}{PATHS['follow'][1]}"
        mine = httpx.post(url, data={"number": kept.number, "code": code}, timeout=30)
        assert "&lt;b&gt;Bold?&lt;/b&gt;" in mine.text
        assert WROTE not in (tmp_path / "log").read_text()
    finally:
        server.kill()
