"""The page in a real browser: everything that a person does with it, and what must never happen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from models.record import canonical_json, sha256_file, write_atomic
from pipelines.run import hold_observations
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.drift import record_path
from serving.release import INPUTS, MANIFEST, release_id
from serving.store import Store
from tests.fixtures.aged import drift_of, silent, worse
from tests.fixtures.browsing import (
    CHROMIUM,
    IN_A_BROWSER,
    PHONE,
    WAIT_MS,
    Watched,
    keep,
    watch,
)
from tests.fixtures.greenhouse import Sealed
from tests.fixtures.listening import running
from tests.fixtures.tiny import Tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = IN_A_BROWSER


def placed(release: Path, home: Path) -> None:
    """A surrogate resealed with a line on the map for each of its places, as streets have."""
    folder = home / "releases" / "placed"
    shutil.copytree(release, folder)
    spec = json.loads((folder / INPUTS).read_bytes())
    starts = [11.30 + 0.01 * place for place in range(len(spec["answered"]))]
    spec["facts"]["lines"] = [[[lon, 44.49], [lon + 0.01, 44.50]] for lon in starts]
    (folder / INPUTS).write_bytes(canonical_json(spec))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["files"][INPUTS] = sha256_file(folder / INPUTS)
    content = canonical_json(manifest)
    (folder / MANIFEST).write_bytes(content)
    folder.rename(folder.with_name(release_id(manifest["dataset"], content)))


@pytest.fixture(scope="module")
def address(tiny: Tiny, sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a forecaster and a surrogate."""
    home = tmp_path_factory.mktemp("page") / "home"
    shutil.copytree(tiny.release, home / "releases" / tiny.release.name)
    placed(sealed.release, home)
    store = Store(home / "observations.db")
    hold_observations(tiny.dataset, tiny.spec.reach, store)
    with running(create_app(Catalogue(home, store))) as url:
        httpx.get(f"{url}/v1/forecasts/tiny", timeout=60).raise_for_status()
        yield url


@contextmanager
def looked_at(browser: Browser, url: str, **options: Any) -> Iterator[Watched]:
    """The page, loaded and its map drawn; at the end nothing may have gone wrong."""
    watched = watch(browser, **{"locale": "en-GB"} | options)
    page = watched.page
    page.goto(url)
    page.wait_for_selector(".sketch", state="detached")  # the map has taken its place
    page.wait_for_selector("#places tbody tr")
    yield watched
    assert watched.complaints == []
    outside = [u for u in watched.requests if not u.startswith((url, "blob:", "data:"))]
    assert outside == []
    assert len(watched.requests) > 10
    page.context.close()


def test_time_moves_colours_and_words_without_asking_again(browser, address: str) -> None:
    with looked_at(browser, address) as watched:
        page = watched.page
        asked = len([url for url in watched.requests if "/v1/forecasts/" in url])
        assert asked == 1
        assert watched.seen("#kind") == "forecast"
        colours = lambda: page.eval_on_selector_all(  # noqa: E731
            ".dot", "dots => dots.map(dot => dot.style.background)"
        )
        ahead, moment = colours(), watched.seen("#moment")
        page.locator("#slider").focus()
        for _ in range(9):
            page.keyboard.press("ArrowLeft")
        assert watched.seen("#kind") == "observed"
        assert watched.seen("#moment") != moment
        assert colours() != ahead
        assert page.get_attribute("#slider", "aria-valuetext").endswith(", observed")
        page.click("#play")
        page.wait_for_selector("#kind.ahead")
        page.click("#play")
        assert len([url for url in watched.requests if "/v1/forecasts/" in url]) == asked


def test_a_place_is_told_in_words_numbers_and_a_chart(browser, address: str) -> None:
    with looked_at(browser, address) as watched:
        page = watched.page
        answer = httpx.get(f"{address}/v1/forecasts/tiny").json()
        names = [one["name"] or one["id"] for one in answer["features"]]
        page.click("#places tbody tr:first-child button")
        assert watched.seen("#places h2") in names
        said = watched.seen(".sentence")
        assert "8 in 10 chance between" in said
        page.locator("#slider").focus()
        page.keyboard.press("ArrowRight")
        assert watched.seen(".sentence") != said
        assert page.locator(".chart canvas").bounding_box()["height"] > 200
        page.click("summary")
        rows = page.locator("#places .scroll tbody tr")
        rows.first.wait_for()
        assert rows.count() >= len(answer["valid_times"])
        page.click("#places .back")
        assert page.evaluate("document.activeElement.closest('tbody') !== null")
        keep(page, "places")


def test_a_node_is_chosen_on_the_map(browser, address: str) -> None:
    with looked_at(browser, address) as watched:
        page = watched.page
        page.wait_for_timeout(500)
        box = page.locator("#map").bounding_box()
        for x in range(480, int(box["width"]) - 40, 6):  # the nodes lie where the map shows them
            hit = page.evaluate(HIT, x)
            if hit:
                page.mouse.click(hit[0], hit[1])
                break
        page.wait_for_selector("#places h2")
        assert watched.seen("#places h2")


NODES = "document.querySelector('#map').felsina.getLayoutProperty('nodes', 'visibility')"
HIT = """x => {
  const map = document.querySelector('#map'), box = map.getBoundingClientRect();
  const column = [[x - 3, 60], [x + 3, box.height - 160]];
  const found = map.felsina.queryRenderedFeatures(column, { layers: ['nodes'] })[0];
  if (!found) return null;
  const at = map.felsina.project(found.geometry.coordinates);
  return [box.left + at.x, box.top + at.y];
}"""


def test_what_if_draws_the_difference(browser, address: str) -> None:
    with looked_at(browser, address) as watched:
        page = watched.page
        page.click("#tab-whatif")
        page.wait_for_selector("#whatif .input")
        assert "Choose a change" in watched.seen("#whatif .answer")
        page.locator("#whatif input[type=range]").first.focus()
        for _ in range(5):
            page.keyboard.press("PageUp")
        page.wait_for_selector("#whatif .answer .chances li")
        bars = page.locator("#whatif .answer .chances b").all_inner_texts()
        assert len(bars) == 4
        assert any(set(bar) & set("123456789") for bar in bars)
        assert "was off from the simulator by" in watched.seen("#whatif .answer > .quiet")
        assert "Difference by place" in watched.seen("#legend")
        assert page.evaluate(NODES) == "none"  # the difference stands alone on the map
        asked = [url for url in watched.requests if "/v1/scenarios/beds" in url]
        assert len(asked) >= 2
        page.locator("#whatif .back").click()
        page.wait_for_selector("#whatif .answer > .quiet:only-child")
        assert "Choose a change" in watched.seen("#whatif .answer")
        assert page.evaluate(NODES) == "visible"


def test_italian_is_whole_and_remembered(browser, address: str) -> None:
    with looked_at(browser, address) as watched:
        page = watched.page
        page.click("button[data-language=it]")
        assert page.get_attribute("html", "lang") == "it"
        assert page.title().startswith("Felsina: previsioni")
        assert watched.seen("#tab-whatif") == "E se"
        assert watched.seen("#kind") == "previsto"
        page.reload()
        page.wait_for_selector("#places tbody tr")
        assert page.get_attribute("html", "lang") == "it"
        page.click("#tab-card")
        page.wait_for_selector("#card .own")
        assert "Addestrato" in watched.seen("#card") or "privacy" in watched.seen("#card").lower()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en", "it"])
def test_nothing_stands_in_anyones_way(browser, address: str, scheme: str, language: str) -> None:
    locale = {"en": "en-GB", "it": "it-IT"}[language]
    with looked_at(browser, address, color_scheme=scheme, locale=locale) as watched:
        page = watched.page
        assert page.get_attribute("html", "lang") == language
        found = watched.violations()
        page.click("#places tbody tr:first-child button")
        page.wait_for_selector(".chart canvas")
        found += watched.violations()
        for tab, ready in {"alerts": "h2", "whatif": ".input", "card": ".own"}.items():
            page.click(f"#tab-{tab}")
            page.wait_for_selector(f"#{tab} {ready}")
            found += watched.violations()
        assert found == []


def test_the_look_for_what_stands_in_the_way_sees(browser, address: str) -> None:
    with looked_at(browser, address) as watched:
        watched.page.evaluate("document.getElementById('play').removeAttribute('aria-label')")
        assert any(one.startswith("button-name") for one in watched.violations())


def test_a_phone_shows_the_map_above_and_nothing_beside(browser, address: str) -> None:
    with looked_at(browser, address, viewport=PHONE, has_touch=True) as watched:
        page = watched.page
        widths = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert widths[0] <= widths[1] == PHONE["width"]
        tops = [page.locator(one).bounding_box()["y"] for one in ("#map", "#time", "#panel")]
        assert tops == sorted(tops)
        assert watched.violations() == []
        keep(page, "phone")


def test_without_webgl_the_first_drawing_stays(playwright, address: str) -> None:
    flags = ["--no-sandbox", "--disable-3d-apis"]
    opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
    page = opened.new_page(locale="en-GB")
    page.goto(address)
    page.wait_for_selector("#nomap:not([hidden])", timeout=WAIT_MS)
    dots = page.locator(".sketch .dots circle:not(.halo)")
    before = dots.first.get_attribute("fill")
    page.locator("#slider").focus()
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    assert dots.first.get_attribute("fill") != before
    dots.first.click()
    page.wait_for_selector("#places h2")
    opened.close()


def test_the_keyboard_reaches_everything(browser, address: str) -> None:
    with looked_at(browser, address) as watched:
        page = watched.page
        reached = set()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert {"slider", "play", "layer", "tab-places"} <= reached
        page.locator("#tab-places").focus()
        page.keyboard.press("ArrowRight")
        assert page.evaluate("document.activeElement.id") == "tab-alerts"
        assert page.get_attribute("#tab-alerts", "aria-selected") == "true"


def test_what_monitoring_found_stands_beside_the_age_of_the_data(
    browser, tiny: Tiny, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(tiny.release, home / "releases" / tiny.release.name)
    store = Store(home / "observations.db")
    hold_observations(tiny.dataset, tiny.spec.reach, store)
    with running(create_app(Catalogue(home, store))) as url:
        httpx.get(f"{url}/v1/forecasts/tiny", timeout=60).raise_for_status()
        for alarms, phrases in (
            ([], ("as good as tested, up to Sat 13 Apr 2024",)),
            ([silent("b")], ("sensors to check: 1", "as good as tested")),
            ([silent("b"), worse()], ("sensors to check: 1", "forecasts worse than tested")),
        ):
            record = drift_of(tiny.release.name, *alarms, through="2024-04-13")
            write_atomic(record_path(home, "tiny"), canonical_json(record.model_dump()))
            with looked_at(browser, url) as watched:
                page = watched.page
                page.wait_for_selector("#standing li:has-text('tested')")
                chips = watched.seen("#standing")
                assert page.locator("#standing [title=b]").count() == (len(alarms) > 0)
                assert all(phrase in chips for phrase in phrases)
                cautions = page.locator("#standing .caution").all_inner_texts()
                assert sum("sensors" in text or "worse" in text for text in cautions) == len(alarms)
                assert watched.violations() == []
                page.click("[data-language=it]")
                page.wait_for_selector("#standing li:has-text('prove')")
