"""Pages of other origins, before the gate."""

import pytest
from starlette.testclient import TestClient

from serving.api import create_app
from serving.catalogue import Catalogue
from serving.gate.gate import Gate
from serving.gate.origins import Origins
from serving.gate.rules import methods_of
from serving.store import Store
from tests.fixtures.tiny import Tiny

ORIGIN = {"origin": "https://map.example"}
ASKED = ORIGIN | {
    "access-control-request-method": "GET",
    "access-control-request-headers": "authorization",
}


@pytest.fixture(params=[True, False], ids=["open", "private"])
def client(tiny: Tiny, store: Store, request: pytest.FixtureRequest) -> TestClient:
    """The process as the service puts it together."""
    catalogue = Catalogue(tiny.home, store)
    app = create_app(catalogue)
    return TestClient(Origins(Gate(app, catalogue, methods_of(app.routes), request.param)))


def test_pages_of_other_origins_may_ask_without_a_key_whether_they_may(client: TestClient) -> None:
    for path in ("/v1/datasets", "/v1/webhooks"):
        assert client.options(path, headers=ASKED).status_code == 200
    refused = ASKED | {"access-control-request-method": "DELETE"}
    assert client.options("/v1/datasets", headers=refused).status_code == 400
    assert client.options("/v1/webhooks", headers=ORIGIN).status_code == 401  # no such question


def test_they_read_answers_and_refusals_with_the_rate(client: TestClient) -> None:
    for path in ("/v1/datasets", "/v1/webhooks"):
        answer = client.get(path, headers=ORIGIN)
        assert answer.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in answer.headers
        exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
        assert {"ratelimit", "ratelimit-policy", "retry-after", "etag"} <= set(exposed)
        assert "access-control-allow-origin" not in client.get(path).headers
    assert answer.status_code == 401


def test_questions_of_browsers_make_no_labels(client: TestClient) -> None:
    for path in ("/v1/forecasts/made-up-1", "/v2/models/made-up-2/infer"):
        assert client.options(path, headers=ASKED).status_code == 200
        client.options(path, headers={"authorization": "Bearer fel_x"})
        client.options(path)
    assert client.get("/v1/datasets/tiny").status_code in (200, 401)
    assert "made-up" not in client.get("/metrics").text
