"""A river whose stage a release forecasts."""

from pathlib import Path

import pytest

from pipelines.run import run_chain
from tests.factories import Silent, make_dataset
from tests.fixtures.tiny import SETTINGS


@pytest.fixture(scope="session")
def released_river(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset as stages in cm, and its release in a home of its own."""
    gauge = {"domain": "flood", "target": "stage", "unit": "cm", "nonnegative": False}
    folder = make_dataset(tmp_path_factory.mktemp("river") / "river", name="river", **gauge)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FELSINA_HOME", str(home := folder.parent / "home"))
        run_chain(folder, home, Silent(), assignments=SETTINGS)
    return folder


@pytest.fixture
def river(released_river: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FELSINA_HOME", str(released_river.parent / "home"))
    return released_river
