"""The real server: what it answers is what was backtested, and what it took in stays."""

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

from models.contracts import QUANTILES
from serving.formats import MEDIA
from serving.gate import MOST_BYTES
from tests.factories import NODES
from tests.fixtures.greenhouse import Sealed
from tests.fixtures.tensors import as_batch, as_stream
from tests.fixtures.tiny import Server, Tiny, felsina, free_port

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tiny: Tiny, sealed: Sealed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home of its own that holds the release and a surrogate, and no observation."""
    home = tmp_path_factory.mktemp("served") / "home"
    for part in ("releases", "champions"):
        shutil.copytree(tiny.home / part, home / part)
    shutil.copytree(sealed.release, home / "releases" / sealed.release.name)
    return home


@pytest.fixture(scope="module")
def server(place: Path) -> Iterator[Server]:
    running = Server(place, place.parent / "observations.db", place.parent / "log")
    yield running
    running.kill()


def post(server: Server, path: str, body) -> None:
    answer = server.client.post(path, json=body)
    assert answer.status_code == 200, answer.text


def forecast(server: Server, **query: str):
    answer = server.client.get("/v1/forecasts/tiny", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def array(answer) -> np.ndarray:
    """[H, N, Q]"""
    table = [list(feature["quantiles"].values()) for feature in answer["features"]]
    return np.array(table).transpose(2, 0, 1)


def backtested(tiny: Tiny) -> dict[str, np.ndarray]:
    """Init time to [H, N, Q]."""
    table = pd.read_parquet(tiny.trained / "forecasts.parquet")
    columns = [f"q{level:g}" for level in QUANTILES]
    out = {}
    for init, rows in table.groupby("init_time"):
        rows = rows.set_index(["lead", "node"]).loc[:, columns]
        leads = [rows.loc[lead].loc[list(NODES)].to_numpy() for lead in range(1, 7)]
        out[f"{init:%Y-%m-%dT%H:%M:%SZ}"] = np.array(leads)
    return out


def test_replaying_the_test_span_gives_the_backtest(server: Server, tiny: Tiny) -> None:
    assert server.client.get("/v1/forecasts/tiny").status_code == 404
    truth = backtested(tiny)
    origins = tiny.origins
    assert len(truth) == len(origins)
    horizon = tiny.spec.horizon
    held = int(origins[0]) - tiny.spec.reach + 1
    ahead = held
    visited = [*origins[:14], *origins[14:-1:13], origins[-1]]
    for origin in map(int, visited):
        if held < origin:  # a step may bring several rows, and late ones first
            post(server, "/v1/observations/tiny", tiny.observed(held, origin))
        post(server, "/v1/observations/tiny", tiny.observed(origin, origin + 1))
        post(server, "/v1/forcings/tiny", tiny.forced(held, origin + 1, "rain_mm"))
        stop = origin + 1 + horizon
        post(server, "/v1/forcings/tiny", tiny.forced(ahead, stop, "temp_c"))
        held, ahead = origin + 1, stop
        answer = forecast(server, bands="released")
        (init,) = tiny.times(origin, origin + 1)
        assert answer["init_time"] == answer["data_as_of"] == init
        assert answer["valid_times"] == tiny.times(origin + 1, stop)
        assert answer["warnings"] == []
        np.testing.assert_allclose(array(answer), truth[init], rtol=1e-5, err_msg=init)
    for origin in map(int, origins):
        (init,) = tiny.times(origin, origin + 1)
        answer = forecast(server, init_time=init, bands="released")
        np.testing.assert_allclose(array(answer), truth[init], rtol=1e-5, err_msg=init)


def test_the_host_answers_its_own_routes(server: Server) -> None:
    paths = server.client.get("/openapi.json").json()["paths"]
    for path in ("/healthz", "/readyz", "/metrics"):
        assert path in paths
        assert server.client.get(path).status_code == 200
    page = server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")


def test_no_process_of_the_server_holds_torch_or_pandas(server: Server, tiny: Tiny) -> None:
    forecast(server)
    assert server.client.get("/v1/forecasts/tiny", params={"format": "arrow"}).is_success
    window = tiny.builder.batch(tiny.origins[:1]).inputs()
    body, head = as_stream(as_batch(window)), {"content-type": MEDIA["arrow"]}
    assert server.client.post("/v2/models/tiny/infer", content=body, headers=head).is_success
    post(server, "/v1/scenarios/beds", {"inputs": {"glass_share": 0.5}})
    pids = server.pids()
    maps = "".join(Path(f"/proc/{pid}/maps").read_text() for pid in pids)
    assert "onnxruntime" in maps
    for name in ("libtorch", "/torch/", "/pandas/", "/mlflow/", "/lightning/"):
        assert name not in maps


def test_too_large_a_body_is_refused_as_it_comes(server: Server) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 2**20 + 1):
            yield b" " * 2**20

    url, head = "/v1/observations/tiny", {"content-type": "application/json"}
    declared = server.client.post(url, content=b" " * (MOST_BYTES + 1), headers=head)
    chunked = server.client.post(url, content=pieces(), headers=head)
    for answer in (declared, chunked):
        assert answer.status_code == 413
        assert answer.headers["content-type"] == "application/problem+json"
    assert server.client.get("/v1/datasets").status_code == 200


def test_a_taken_port_is_said_in_one_line(server: Server, place: Path) -> None:
    charter = str(place / "board" / "board.json")
    done = felsina(place, "serve", "--port", str(server.port), "--board", charter)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"port {server.port} is taken" in done.stderr


def test_a_home_without_releases_is_said_in_one_line(place: Path, server, tmp_path: Path) -> None:
    charter = str(place / "board" / "board.json")
    done = felsina(tmp_path, "serve", "--port", str(free_port()), "--board", charter)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no release" in done.stderr


def test_what_was_acknowledged_survives_kill_9(place: Path, tiny: Tiny, tmp_path: Path) -> None:
    store, acknowledged = tmp_path / "observations.db", []
    first = Server(place, store, tmp_path / "log")
    enough = threading.Event()

    def feed() -> None:
        for row in range(len(tiny.dataset.values)):
            body = {"times": tiny.times(row, row + 1), "values": {"a": [float(row)]}}
            try:
                answer = first.client.post("/v1/observations/tiny", json=body)
            except (httpx.TransportError, RuntimeError):
                return
            if answer.status_code == 200:
                acknowledged.append(row)
            if len(acknowledged) == 40:
                enough.set()

    feeder = threading.Thread(target=feed)
    feeder.start()
    came = enough.wait(60)
    first.kill()
    feeder.join(60)
    assert came
    second = Server(place, store, tmp_path / "log", port=first.port)
    try:
        query = {"nodes": "a", "last": str(acknowledged[-1] + 5)}
        answer = second.client.get("/v1/observations/tiny", params=query).json()
        values = dict(zip(answer["times"], answer["features"][0]["values"], strict=True))
        times = tiny.times(0, acknowledged[-1] + 1)
        assert [values[times[row]] for row in acknowledged] == acknowledged
        assert forecast(second)["data_as_of"] >= times[-1]
    finally:
        second.kill()
    assert json.loads((place / "champions" / "tiny.json").read_bytes())["release"]
