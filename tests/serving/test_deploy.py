"""What is deployed: the listed packages serve, a built bento too, the stack is bounded."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.fixtures.boards import charter_of
from tests.fixtures.tiny import ROOT, Tiny, environment, family, free_port

DEPLOY = ROOT / "serving" / "deploy"
STACK: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def listed() -> set[str]:
    lines = (DEPLOY / "requirements.txt").read_text().splitlines()
    return {canonicalize_name(Requirement(x).name) for x in lines if not x.startswith("#")}


def needed(names: set[str]) -> set[str]:
    """The distributions and all that they require, as installed."""
    found, ahead = set(), list(names)
    while ahead:
        name = ahead.pop()
        if name in found:
            continue
        try:
            wanted = [Requirement(text) for text in requires(name) or []]
        except PackageNotFoundError:
            continue
        found.add(name)
        markers = [w for w in wanted if w.marker is None or w.marker.evaluate({"extra": ""})]
        ahead += [canonicalize_name(w.name) for w in markers]
    return found


FENCED = """
import sys

class Fence:
    def find_spec(self, name, path=None, target=None):
        if path is None and name in FORBIDDEN:
            raise ModuleNotFoundError(name)

FORBIDDEN = set(sys.argv[1].split(","))
sys.meta_path.insert(0, Fence())
import serving.service
"""
"""Loads the service as if only some distributions were installed."""


def loaded(known: set[str], home: Path) -> subprocess.CompletedProcess[str]:
    """The service's modules loaded where nothing but these distributions can be imported."""
    owners = packages_distributions().items()
    absent = {m for m, names in owners if not {canonicalize_name(n) for n in names} & known}
    return subprocess.run(
        [sys.executable, "-c", FENCED, ",".join(absent - {"serving", "models"})],
        cwd=ROOT,
        env=environment(home, FELSINA_BOARD=str(charter_of(home))) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_requirements_are_enough(tmp_path: Path) -> None:
    known = needed(listed())
    assert known & {"torch", "pandas", "mlflow", "lightning", "scipy"} == set()
    done = loaded(known, tmp_path)
    assert done.returncode == 0, done.stderr
    done = loaded(known - {"onnxruntime"}, tmp_path)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: onnxruntime"


def test_requirements_are_pinned() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines}
    assert needed(listed()) <= pinned


@pytest.mark.parametrize("name", ["Containerfile", "mlflow.Containerfile"])
def test_images_take_files_that_exist_and_are_nobodys(name: str) -> None:
    lines = (DEPLOY / name).read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if re.match(r"COPY (?!--from)", line)]
    assert copied
    for source in (one for sources in copied for one in sources):
        assert (ROOT / source).exists()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users
    assert int(users[-1]) > 0


@pytest.mark.parametrize("name", STACK["services"])
def test_every_service_is_bounded_and_watched(name: str) -> None:
    service = STACK["services"][name]
    limits = service["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or "HEALTHCHECK" in (DEPLOY / "Containerfile").read_text()
    assert "build" in service or re.search(r":[\w.-]*\d", service["image"])
    for port in service.get("ports", []):
        assert port.startswith(("127.0.0.1:", "${FELSINA_ADDRESS:-127.0.0.1}:"))
    for volume in service.get("volumes", []):
        source = volume.partition(":")[0]
        assert source in STACK["volumes"] or source.startswith("${") or (DEPLOY / source).is_file()


def test_no_password_stands_in_the_stack() -> None:
    for service in STACK["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET", key):
                assert key.endswith("_FILE")
                assert value.removeprefix("/run/secrets/") in service["secrets"]
    for name, secret in STACK["secrets"].items():
        assert secret == {"file": secret["file"]}
        assert secret["file"].startswith("${FELSINA_SECRETS")
        assert secret["file"].endswith(f"/{name}")


def test_the_page_says_how_every_password_is_made() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    (names,) = re.findall(r"for name in ([\w ]+); do openssl rand", page)
    assert {f"{name}_password" for name in names.split()} == set(STACK["secrets"])


def test_the_dashboard_asks_for_metrics_that_there_are(tiny: Tiny, store) -> None:
    metrics = pytest.importorskip("serving.gate.metrics")
    from serving.catalogue import Catalogue

    told = metrics.Metrics([], Catalogue(tiny.home, store))
    text = told.text().decode()
    known = set(re.findall(r"^# TYPE (felsina_\w+)", text, re.M))
    known |= {f"{name}_total" for name in known} | {f"{name}_bucket" for name in known}
    board = json.loads((DEPLOY / "grafana" / "felsina.json").read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    names = {name for query in asked for name in re.findall(r"felsina_\w+", query)}
    assert len(names) > 5
    assert names - known == set()


@pytest.mark.slow
def test_a_built_bento_serves(tiny: Tiny, tmp_path: Path) -> None:
    place = tmp_path / "elsewhere"
    place.mkdir()
    home = tmp_path / "home"
    for part in ("releases", "champions"):
        shutil.copytree(tiny.home / part, home / part)
    settings = environment(
        home,
        FELSINA_BOARD=str(charter_of(home)),
        FELSINA_STORE=str(tmp_path / "observations.db"),
        BENTOML_HOME=str(tmp_path / "bentoml"),
        BENTOML_DO_NOT_TRACK="True",
    )
    settings.pop("PYTHONPATH", None)
    bentoml = [sys.executable, "-m", "bentoml"]
    recipe = str(DEPLOY / "bentofile.yaml")
    built = subprocess.run(
        [*bentoml, "build", "-f", recipe, "-o", "tag", str(ROOT)],
        cwd=ROOT,
        env=settings | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    tag = built.stdout.strip().removeprefix("__tag__:")
    (source,) = (tmp_path / "bentoml" / "bentos" / "felsina").glob("*/src")
    assert {part.name for part in source.iterdir()} >= {"models", "serving"}
    assert not (source / "serving" / "deploy").exists()
    page = source / "serving" / "web" / "index.html"
    page.write_text(page.read_text() + "<!-- of the bento -->")
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        served = subprocess.Popen(
            [*bentoml, "serve", tag, "--host", "127.0.0.1", "--port", str(port)],
            cwd=place,
            env=settings,
            stdout=log,
            stderr=log,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            _await(client)
            assert "of the bento" in client.get("/").text
            window = tiny.window(int(tiny.origins[0]), with_lags=True)
            answer = client.post("/v1/forecasts/tiny", json=window)
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["features"]) == 4
    finally:
        members = family(served.pid)
        for pid in members:
            os.kill(pid, signal.SIGTERM)
        served.wait(30)


def _await(client: httpx.Client, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError("the bento did not come up")
