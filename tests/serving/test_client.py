"""The apps' client against the real app; against a small server that is busy, breaks, streams."""

import ast
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import felsina_client
import httpx
import numpy as np
import pytest
import uvicorn
from felsina_client import Event, Felsina, FelsinaError, Refused, Unreachable
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from serving.api import create_app
from serving.catalogue import Catalogue
from serving.store import Store
from tests.fixtures.greenhouse import Sealed
from tests.fixtures.tiny import Tiny, free_port


@pytest.fixture
def felsina(client: TestClient) -> Felsina:
    return Felsina("http://testserver", http=client)


def test_it_needs_httpx_and_numpy_alone() -> None:
    folder = Path(felsina_client.__file__).parent
    known = {*sys.stdlib_module_names, "httpx", "numpy", "felsina_client"}
    files = list(folder.glob("*.py"))
    assert len(files) == 4
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in names} <= known


def test_a_forecast_is_the_services(felsina: Felsina, client: TestClient, tiny: Tiny) -> None:
    (entry,) = [one for one in felsina.datasets("traffic") if one["name"] == "tiny"]
    assert felsina.dataset("tiny") | entry == felsina.dataset("tiny")
    forecast = felsina.forecast("tiny")
    assert forecast.quantiles.shape == (entry["horizon"], entry["nodes"], len(forecast.levels))
    assert (np.diff(forecast.quantiles, axis=2) >= 0).all()
    told = client.get("/v1/forecasts/tiny").json()
    for n, feature in enumerate(told["features"]):
        assert forecast.nodes[n] == feature["id"]
        for level in (0.05, 0.5, 0.95):
            assert forecast.at(level)[:, n].tolist() == feature["quantiles"][f"{level:g}"]
    assert [f"{t}Z" for t in forecast.valid_times] == told["valid_times"]
    assert (forecast.unit, forecast.dataset) == ("veh/h", "tiny")
    with pytest.raises(FelsinaError, match=r"level 0\.51 is not forecast"):
        forecast.at(0.51)


def test_part_of_a_forecast_and_an_older_one(felsina: Felsina, tiny: Tiny) -> None:
    whole = felsina.forecast("tiny")
    nodes = whole.nodes[::-2]
    part = felsina.forecast("tiny", nodes=nodes)
    assert part.nodes == nodes
    assert np.array_equal(part.quantiles, whole.quantiles[:, ::-2])
    row = int(tiny.origins[0])
    (stamp,) = tiny.builder.times(np.array([row]))
    older = felsina.forecast("tiny", init_time=stamp)
    step = whole.valid_times[1] - whole.valid_times[0]
    assert older.valid_times[0] == stamp + step < whole.valid_times[0]


def test_members_lie_where_the_quantiles_do(felsina: Felsina) -> None:
    members, forecast = felsina.members("tiny"), felsina.forecast("tiny")
    assert members.values.shape[1:] == forecast.quantiles.shape[:2]
    below = (members.values <= forecast.at(0.5)).mean()
    assert 0.4 < below < 0.6


def test_what_is_observed_is_held(empty_client: TestClient, tiny: Tiny) -> None:
    felsina = Felsina("http://testserver/", http=empty_client)
    end = len(tiny.dataset.values)
    rows = np.arange(end - 50, end)
    table = tiny.dataset.values[rows].copy()
    table[3, 0] = np.nan
    columns = dict(zip(tiny.dataset.graph.ids, table.T, strict=True))
    assert felsina.observe("tiny", list(tiny.builder.times(rows)), columns) == table.size
    held = empty_client.get("/v1/observations/tiny", params={"last": 50}).json()
    values = np.array([one["values"] for one in held["features"]], float).T
    assert np.array_equal(values, table, equal_nan=True)
    forced = tiny.forced(end - 3, end)
    assert felsina.force("tiny", forced["times"], forced["values"]) == 6
    assert felsina.forecast("tiny").quantiles.shape[0] == tiny.spec.horizon


def test_a_refusal_says_what_the_service_said(felsina: Felsina) -> None:
    with pytest.raises(Refused, match="no release of dataset 'nosuch' is served") as caught:
        felsina.forecast("nosuch")
    assert (caught.value.status, caught.value.title) == (404, "Not found")
    with pytest.raises(Refused, match=r"422 .*nosuch"):
        felsina.forecast("tiny", nodes=["nosuch"])


def test_scenarios(sealed: Sealed, empty_store: Store) -> None:
    client = TestClient(create_app(Catalogue(sealed.home, empty_store)))
    felsina = Felsina("http://testserver", http=client)
    (surrogate,) = client.get("/v1/scenarios").json()["surrogates"]
    detail = client.get(f"/v1/scenarios/{surrogate['name']}").json()
    scalar = detail["scalars"][0]
    cases = [{scalar["name"]: scalar["low"]}, {scalar["name"]: scalar["high"]}]
    answer = felsina.scenario(surrogate["name"], cases)
    told = client.post(f"/v1/scenarios/{surrogate['name']}", json={"scenarios": cases}).json()
    for name, table in answer.outputs.items():
        assert table.shape == (2, len(answer.places), len(answer.levels))
        median = told["scenarios"][1]["outputs"][name]["median"]
        at = answer.levels.index(0.5)
        assert dict(zip(answer.places, table[1, :, at].tolist(), strict=True)) == median
    assert answer.inside.tolist() == [True, True]
    far = [{scalar["name"]: scalar["high"] * 2 + 1}]
    assert felsina.scenario(surrogate["name"], far, extrapolate=True).inside.tolist() == [False]
    with pytest.raises(Refused):
        felsina.scenario(surrogate["name"], far)


class Moody:
    """A server that is busy at first, knows ETags, and whose stream breaks after two events."""

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.busy = [429, 503]
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    async def datasets(self, request: Request) -> Response:
        self.seen.append(request)
        if self.busy:
            headers = {"retry-after": "1"} if self.busy[0] == 429 else {}
            problem = {"title": "Busy", "detail": "come again"}
            return JSONResponse(problem, self.busy.pop(0), headers)
        if request.headers.get("if-none-match") == '"one"':
            return Response(status_code=304, headers={"etag": '"one"'})
        return JSONResponse({"datasets": [{"name": "some"}]}, headers={"etag": '"one"'})

    async def alerts(self, request: Request) -> Response:
        self.seen.append(request)
        return PlainTextResponse("a proxy's page", 502)

    async def events(self, request: Request) -> Response:
        self.seen.append(request)
        last = request.headers.get("last-event-id")

        async def stream():
            if last is None:
                yield ": hello\n\nid: 1\nevent: forecast\ndata: {}\n\n"
                yield 'id: 2\nevent: alert\ndata: {"a":\ndata: 1}\n\nid: 3\nevent: cut'
            else:
                yield 'id: 3\nevent: forecast\ndata: {"dataset": "some"}\n\n'

        return StreamingResponse(stream(), media_type="text/event-stream")

    @property
    def app(self) -> Starlette:
        paths = {"datasets": self.datasets, "alerts": self.alerts, "events": self.events}
        return Starlette(routes=[Route(f"/v1/{name}", call) for name, call in paths.items()])


@pytest.fixture
def moody() -> Iterator[Moody]:
    service = Moody()
    server = uvicorn.Server(uvicorn.Config(service.app, port=service.port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield service
    server.should_exit = True
    thread.join()


def test_a_busy_service_is_asked_again_when_it_says(moody: Moody) -> None:
    with Felsina(moody.url, key="fel_secret") as felsina:
        begun = time.monotonic()
        assert felsina.datasets() == [{"name": "some"}]
        assert time.monotonic() - begun > 1
        assert len(moody.seen) == 3
        assert {r.headers["authorization"] for r in moody.seen} == {"Bearer fel_secret"}


def test_patience_ends(moody: Moody) -> None:
    with Felsina(moody.url, patience=0.2) as felsina, pytest.raises(Refused, match="come again"):
        felsina.datasets()
    assert len(moody.seen) == 1
    with Felsina("http://127.0.0.1:9", patience=0.2) as felsina, pytest.raises(Unreachable):
        felsina.datasets()


def test_what_has_not_changed_is_not_sent_again(moody: Moody) -> None:
    moody.busy = []
    with Felsina(moody.url) as felsina:
        assert felsina.datasets() == felsina.datasets()
        assert [r.headers.get("if-none-match") for r in moody.seen] == [None, '"one"']
        felsina.datasets("traffic")
        assert "if-none-match" not in moody.seen[-1].headers


def test_other_errors_are_raised_at_once(moody: Moody) -> None:
    with Felsina(moody.url) as felsina, pytest.raises(Refused, match=r"502 .*a proxy's page"):
        felsina.alerts()
    assert len(moody.seen) == 1


def test_events_go_on_where_they_broke_off(moody: Moody) -> None:
    with Felsina(moody.url) as felsina:
        events = felsina.events(["some", "other"])
        assert next(events) == Event("forecast", "1", {})
        assert next(events) == Event("alert", "2", {"a": 1})
        assert next(events) == Event("forecast", "3", {"dataset": "some"})
    assert [r.headers.get("last-event-id") for r in moody.seen] == [None, "2"]
    assert moody.seen[0].query_params["datasets"] == "some,other"


def test_a_client_of_ones_own_keeps_its_settings(moody: Moody) -> None:
    moody.busy = []
    with Felsina(moody.url, http=httpx.Client(headers={"x-app": "map"})) as felsina:
        felsina.datasets()
    assert moody.seen[0].headers["x-app"] == "map"
