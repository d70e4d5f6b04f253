"""The OpenAPI document is kept: a fuzzer that reads it finds no 5xx and no breach."""

import shutil
from pathlib import Path

import pytest

from benchmarks.serving_fuzz import fuzz
from tests.fixtures.greenhouse import Sealed
from tests.fixtures.tiny import Server, Tiny

pytestmark = pytest.mark.slow


def test_a_fuzzer_finds_nothing(tiny: Tiny, sealed: Sealed, tmp_path: Path) -> None:
    home = tmp_path / "home"
    for part in ("releases", "champions"):
        shutil.copytree(tiny.home / part, home / part)
    shutil.copytree(sealed.release, home / "releases" / sealed.release.name)
    server = Server(home, tmp_path / "observations.db", tmp_path / "log")
    try:
        end = len(tiny.dataset.values)
        for path, body in (
            ("/v1/observations/tiny", tiny.observed(end - 400, end)),
            ("/v1/forcings/tiny", tiny.forced(end - 400, end)),
        ):
            assert server.client.post(path, json=body).status_code == 200
        secret = server.client.headers["authorization"].removeprefix("Bearer ")
        done = fuzz(f"http://127.0.0.1:{server.port}", secret, 75, seed=0)
        found = done.stdout.partition("= FAILURES =")[2]
        assert done.returncode == 0, found or done.stdout + done.stderr
        assert "generated" in done.stdout
        assert server.client.get("/v1/forecasts/tiny").status_code == 200
    finally:
        server.kill()
