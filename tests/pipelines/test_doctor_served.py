"""The doctor at servers: PostgreSQL, an S3 store and users, as the stack starts them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
import sqlalchemy as sa

from pipelines.doctor import Check, diagnose
from tests.fixtures.postgres import Postgres
from tests.fixtures.tracking_server import (
    ADA,
    DEPLOY,
    GUEST,
    PASSWORD,
    Process,
    administer,
    loose,
    object_store,
    of_the_stack,
)
from training import tracking

pytestmark = pytest.mark.slow
Diagnosed = Callable[[Process, str, str], dict[str, Check]]
LOOKS = ["reach", "transport", "clock", "identity", "default permission", "version", "runs"]
LOOKS += ["artifacts", "registry", "tidy"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    pytest.importorskip("moto")
    started = object_store(tmp_path_factory.mktemp("s3"))
    try:
        yield started.awaited()
    finally:
        started.end()


@pytest.fixture(scope="module")
def servers(
    postgres: Postgres, store: Process, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Process]]:
    """Two that begin at once on databases that are empty: each waits for what the other makes."""
    place = tmp_path_factory.mktemp("mlflow")
    for line in (DEPLOY / "postgres.sql").read_text().splitlines():
        if not line.startswith("--"):
            postgres.execute(line)
    started = [of_the_stack(place, postgres, store, name) for name in ("one", "two")]
    try:
        for server in started:
            server.awaited()
        administer(started[0], place / "secrets")
        yield started
    finally:
        for server in started:
            server.end()


@pytest.fixture
def diagnosed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Diagnosed:
    """Checks by name, as a user sees them."""

    def diagnosed(server: Process, user: str, password: str) -> dict[str, Check]:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        monkeypatch.setattr(tracking, "_SERVER", server.uri)
        return {check.name: check for check in diagnose(tmp_path)}

    return diagnosed


def faults(checks: dict[str, Check]) -> list[str]:
    return [name for name, check in checks.items() if not check.ok]


def test_who_may_train_finds_all_well_at_either_server(
    servers: list[Process], diagnosed: Diagnosed
) -> None:
    for server in servers:
        checks = diagnosed(server, "ada", ADA)
        assert faults(checks) == []
        assert list(checks) == LOOKS
        assert checks["identity"].told == "ada"
        assert checks["default permission"].told == "NO_PERMISSIONS"
        assert "mlflow-artifacts" in checks["artifacts"].told
        assert "may not delete" in checks["tidy"].told
    checks = diagnosed(servers[0], "admin", PASSWORD)
    assert faults(checks) == []
    assert checks["identity"].told == "admin, an administrator"
    assert checks["tidy"].told == "the run is deleted"


def test_a_wrong_password_and_no_right_are_told_apart(
    servers: list[Process], diagnosed: Diagnosed
) -> None:
    checks = diagnosed(servers[0], "ada", "another-word")
    assert faults(checks) == ["identity"] == [*checks][-1:]
    assert "MLFLOW_TRACKING_PASSWORD" in checks["identity"].remedy
    checks = diagnosed(servers[0], "guest", GUEST)
    assert faults(checks) == ["runs"] == [*checks][-1:]
    assert "ask for EDIT" in checks["runs"].remedy


def test_a_bucket_that_is_gone_is_told(
    servers: list[Process], store: Process, diagnosed: Diagnosed
) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=store.uri,
        region_name="us-east-1",
        aws_access_key_id="felsina",
        aws_secret_access_key=PASSWORD,
    )
    held = client.list_objects_v2(Bucket="mlflow").get("Contents", [])
    for entry in held:
        client.delete_object(Bucket="mlflow", Key=entry["Key"])
    client.delete_bucket(Bucket="mlflow")
    try:
        assert faults(diagnosed(servers[0], "ada", ADA)) == ["artifacts"]
    finally:
        client.create_bucket(Bucket="mlflow")
    assert faults(diagnosed(servers[0], "ada", ADA)) == []


def test_secrets_stand_in_no_command_line(servers: list[Process]) -> None:
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
    assert any(b"--app-name\0basic-auth" in line for line in lines)
    assert not any(PASSWORD.encode() in line for line in lines)


def test_both_databases_are_at_one_version(servers: list[Process], postgres: Postgres) -> None:
    for name, table in (("mlflow", "alembic_version"), ("mlflow_auth", "alembic_version_auth")):
        engine = sa.create_engine(postgres.url(name))
        with engine.connect() as connection:
            assert len(connection.execute(sa.text(f"SELECT * FROM {table}")).all()) == 1
        engine.dispose()


def test_what_a_server_does_by_itself_is_told(tmp_path: Path, diagnosed: Diagnosed) -> None:
    server = loose(tmp_path)
    try:
        checks = diagnosed(server.awaited(), "admin", PASSWORD)
    finally:
        server.end()
    assert faults(checks) == ["default permission", "artifacts"]
    assert "READ" in checks["default permission"].told
    assert "own disk" in checks["artifacts"].told
