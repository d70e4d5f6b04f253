"""A river whose stage a release forecasts."""

from pathlib import Path

import pytest

from pipelines.run import run_chain
from tests.factories import Silent, make_dataset
from tests.fixtures.tiny import SETTINGS


@pytest.fixture(scope="session")
def river(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset as stages in cm, and its release."""
    gauge = {"domain": "flood", "target": "stage", "unit": "cm", "nonnegative": False}
    folder = make_dataset(tmp_path_factory.mktemp("river") / "river", name="river", **gauge)
    run_chain(folder, home, Silent(), assignments=SETTINGS)
    return folder
