"""Every test has its home in a temporary folder; the tiny dataset goes through the chain once."""

import os
from collections.abc import Iterator
from pathlib import Path

# Sums of floats, and so weights, depend on the number of threads, which torch reads once.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from starlette.testclient import TestClient

from pipelines import cli, domains
from pipelines.run import hold_observations, run_chain
from pipelines.train import open_registered
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.release import load_release
from serving.store import Store
from tests.factories import Silent, make_dataset
from tests.fixtures.greenhouse import DOMAIN_LINE, Sealed, seal
from tests.fixtures.postgres import Absent, Postgres
from tests.fixtures.tiny import SETTINGS, Run, Tiny


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that hold slow tests come first: what begins last is then short, and no core waits."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("felsina") / "home"
        patch.setenv("FELSINA_HOME", str(folder))
        patch.delenv("FELSINA_STORE", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(scope="session")
def tiny(home: Path) -> Tiny:
    folder = make_dataset(home.parent / "data" / "tiny")
    listener = Silent()
    release, report = run_chain(folder, home, listener, assignments=SETTINGS)
    (run,) = (home / "trained").glob("tiny-*/run.json")
    dataset, spec = open_registered(folder), load_release(release).spec
    return Tiny(folder, home, release, run.parent, report, listener.stages, dataset, spec)


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Sealed:
    """The greenhouse's surrogate, in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domains, "DOMAINS", (*domains.DOMAINS, DOMAIN_LINE))
        return seal(tmp_path_factory.mktemp("greenhouse"))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process, which has imported already what takes another seconds."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["felsina", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return (end.value.code or 0, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server of our own; tests that ask for one skip where there is none."""
    try:
        server = Postgres()
    except Absent as absent:
        pytest.skip(str(absent))
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store may lie: a test that asks for it runs on both databases."""
    if request.param == "sqlite":
        return str(tmp_path / "observations.db")
    return request.getfixturevalue("postgres").database()


@pytest.fixture
def empty_store(tmp_path: Path) -> Store:
    return Store(tmp_path / "observations.db")


@pytest.fixture
def store(tiny: Tiny, tmp_path: Path) -> Store:
    """Holds what the chain loads: the test span and what forecasts over it read."""
    filled = Store(tmp_path / "filled.db")
    hold_observations(tiny.dataset, tiny.spec.reach, filled)
    return filled


@pytest.fixture
def client(tiny: Tiny, store: Store) -> TestClient:
    return TestClient(create_app(Catalogue(tiny.home, store)))


@pytest.fixture
def empty_client(tiny: Tiny, empty_store: Store) -> TestClient:
    """Serves the tiny release, and holds no observation yet."""
    return TestClient(create_app(Catalogue(tiny.home, empty_store)))
