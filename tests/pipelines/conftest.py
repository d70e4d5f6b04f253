"""A small town that SUMO simulates in a second, and a folder that keeps its runs."""

from pathlib import Path

import pytest

from models.contracts import FelsinaError
from pipelines.domains.traffic.network import Network
from pipelines.domains.traffic.sumo import sumo_home
from tests.fixtures.streets import make_streets


@pytest.fixture(scope="session")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Network:
    try:
        sumo_home()
    except FelsinaError as error:
        pytest.skip(str(error))
    return make_streets(tmp_path_factory.mktemp("streets") / "town")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")
