"""The tiny city with thresholds, whose alerts several tests read; and one that a board serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from serving.store import Store
from tests.fixtures.alarmed import City
from tests.fixtures.housed import House
from tests.fixtures.tiny import Tiny

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

HOURS = 48


@pytest.fixture
def city(tiny: Tiny, tmp_path: Path) -> City:
    """Ready to be fed from the first issue of the test span on."""
    return City(tiny, tmp_path / "home", Store(tmp_path / "alarmed.db"))


@pytest.fixture(scope="session")
def lived(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> City:
    """Two days, each issue evaluated as it came; read it, and change a ``twin`` of it."""
    place = tmp_path_factory.mktemp("lived")
    city = City(tiny, place / "home", Store(place / "observations.db"))
    city.engine.tick()
    city.run(city.first + 1, city.first + 1 + HOURS)
    return city


@pytest.fixture
def changeable(lived: City, tmp_path: Path) -> City:
    """The same two days, to go on from."""
    return lived.twin(tmp_path / "twin.db")


@pytest.fixture(scope="module")  # its event loop stands in the way of other modules' own
def playwright() -> Iterator[Playwright]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    from tests.fixtures.browsing import CHROMIUM, FLAGS

    opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
    yield opened
    opened.close()


@pytest.fixture
def house(tiny: Tiny, tmp_path: Path, store: Store, monkeypatch) -> House:
    """A home that a board decides on, looked at anew by each request."""
    monkeypatch.setattr("serving.served._RESCAN_SECONDS", 0.0)
    monkeypatch.setattr("serving.approvals._AGAIN_SECONDS", 0.0)
    return House(tiny, tmp_path, store)
