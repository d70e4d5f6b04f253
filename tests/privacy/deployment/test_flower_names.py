"""What a partner replaces of Flower's insides; an upgrade that renames it fails here."""

import inspect

import pytest
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode import fleet_http_connection as flower
from flwr.supernode.fleet_http_client import FleetHttpClient

from privacy.deployment import certificates
from privacy.deployment.node import REPLACED, Identity, Node
from privacy.messages import client_app


def test_the_replaced_names_are_there_and_are_used():
    source = inspect.getsource(flower.http_request_response)
    for name in REPLACED:
        assert callable(getattr(flower, name))
        assert f"{name}(" in source or f"{name}." in source
    assert "FleetHttpClient.from_server_address(" in source
    parameters = inspect.signature(flower.http_request_response).parameters
    assert {"insecure", "root_certificates", "authentication_keys", "max_wait_time"} <= set(
        parameters
    )
    for name in ("interceptors", "verify"):
        assert name in inspect.signature(FleetHttpClient.__init__).parameters
    named = {"_task_id", "_run_id", "_node_id"}
    assert named <= set(TaskIdentity.__annotations__)


@pytest.fixture
def identity(tmp_path):
    certificates.create_authority(tmp_path, "bologna")
    key = certificates.create_node_key(tmp_path / "node.key")
    request = certificates.request_of(key, "hera")
    (tmp_path / "node.pem").write_bytes(certificates.certify(tmp_path, request, "hera"))
    own = (tmp_path / name for name in ("ca.crt", "node.key", "node.pem"))
    return Identity("127.0.0.1:1", *own)


def test_a_city_that_is_away_is_waited_for_and_flower_is_left_as_it_was(identity):
    before = {name: getattr(flower, name) for name in REPLACED}
    said: list[str] = []
    asked = [0]

    def stop():
        asked[0] += 1
        return asked[0] > 2

    app = client_app(lambda run: pytest.fail("nothing was asked"))
    Node(identity, "0" * 64, app, said.append, poll_s=0.01, patience_s=0.2).serve(stop)
    assert said == ["127.0.0.1:1 does not answer; tried again until it lets us in"]
    assert {name: getattr(flower, name) for name in REPLACED} == before
