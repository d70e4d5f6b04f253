"""The door, before a stand-in that answers whatever reaches it; test_live has a SuperLink."""

import base64
import contextlib
import http.server
import json
import socket
import ssl
import threading
import time

import httpx
import pytest
from flwr.common.constant import SUPERLINK_NODE_ID
from flwr.proto.fleet_pb2 import PushMessagesRequest
from flwr.proto.message_pb2 import Message, Metadata

from models.errors import FelsinaError
from privacy.deployment import certificates
from privacy.deployment.proxy import MOST_BYTES, OPERATIONS, Proxy
from privacy.deployment.superlink import free_port
from tests.privacy.deployment.conftest import Newcomer, invitation_of, make_city


class Echo(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        said = {"path": self.path, "headers": list(self.headers.items()), "bytes": len(body)}
        content = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("content-type", "application/protobuf")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args): ...


class Caller:
    """Sends to the door with a certificate, or without one."""

    def __init__(self, city, newcomer=None, folder=None, **changes):
        context = ssl.create_default_context(cafile=str(city.folder / "ca.crt"))
        self.headers = {}
        if newcomer is not None:
            pem = folder / "node.pem"
            answer = city.enrol(newcomer.invitation.partner, newcomer.sent(**changes))
            pem.write_text(answer["certificate"])
            context.load_cert_chain(pem, folder / "node.key")
            self.headers = {"flwr-public-key": key_header(newcomer.key)}
        self.client = httpx.Client(base_url=f"https://{city.address}", verify=context)

    def post(self, path, content=b"x", **headers):
        return self.client.post(path, content=content, headers=self.headers | headers)


def key_header(key):
    return base64.b64encode(certificates.public_pem(key.public_key())).decode()


@pytest.fixture
def door(parts, tmp_path):
    """An open door, and who has joined through it."""
    city = make_city(tmp_path / "city", parts[0], address=f"localhost:{free_port()}")
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(city.folder / "server.pem", city.folder / "server.key")
    behind.socket = context.wrap_socket(behind.socket, server_side=True)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    with Proxy(city, lambda: f"127.0.0.1:{behind.server_port}"):
        yield city
    behind.shutdown()


@pytest.fixture
def hera(door, tmp_path):
    folder = tmp_path / "hera"
    newcomer = Newcomer(invitation_of(door, "hera", tmp_path), folder)
    caller = Caller(door, newcomer, folder)
    door.place("hera", 7)
    return caller


def test_a_partner_reaches_the_ten_fleet_operations_and_nothing_else(hera):
    body = pushed(7)
    for operation in OPERATIONS:
        answer = hera.post(f"/v1/fleet/{operation}", body)
        assert answer.status_code == 200
        assert answer.json()["path"] == f"/v1/fleet/{operation}"
        assert answer.json()["bytes"] == len(body)
    for path in (
        "/v1/fleet/register-node",
        "/v1/fleet/unregister-node",
        "/v1/fleet/pull-messages/../../control/start-run",
        "/v1/fleet/..%2Fcontrol%2Fstart-run",
        "/v1/control/start-run",
        "/v1/control/register-node",
        "/v1/runtime/pull-task-input",
        "/health",
        "/docs",
        "/",
    ):
        assert hera.post(path).status_code in (403, 404), path
    assert hera.client.get("/v1/fleet/pull-messages").status_code == 405


def pushed(*nodes):
    messages = [Message(metadata=Metadata(src_node_id=node)) for node in nodes]
    return PushMessagesRequest(messages_list=messages).SerializeToString()


def test_nobody_speaks_for_another_node_or_for_the_city(hera):
    for nodes in ((8,), (7, 8), (SUPERLINK_NODE_ID,), (0,)):
        answer = hera.post("/v1/fleet/push-messages", pushed(*nodes))
        assert (answer.status_code, "another node" in answer.text) == (403, True), nodes
    assert hera.post("/v1/fleet/push-messages", b"\xff").status_code == 403


def test_a_header_that_comes_twice_is_passed_on_once_as_it_was_looked_at(hera, tmp_path):
    other = certificates.create_node_key(tmp_path / "other.key")
    for names in (("flwr-public-key", "Flwr-Public-Key"), ("flwr-public-key", "flwr-public-key")):
        values = (hera.headers["flwr-public-key"], key_header(other))
        headers = list(zip(names, values, strict=True))
        answer = hera.client.post("/v1/fleet/pull-messages", content=b"x", headers=headers)
        assert answer.status_code == 200
        said = [v for k, v in answer.json()["headers"] if k.lower() == "flwr-public-key"]
        assert said == [values[0]]
    strange = {"flwr-public-key": "\xe9".encode()}
    assert hera.client.post("/v1/fleet/get-run", headers=strange).status_code == 403


def test_only_what_flower_needs_is_passed_on(hera):
    answer = hera.post(
        "/v1/fleet/pull-messages",
        **{"flwr-timestamp": "t", "flwr-task-token": "x", "x-forwarded-for": "y", "cookie": "z"},
    )
    headers = {name.lower() for name, _ in answer.json()["headers"]}
    assert "flwr-timestamp" in headers
    assert not headers & {"flwr-task-token", "x-forwarded-for", "cookie"}


def test_without_the_right_certificate_nobody_gets_in(door, hera, tmp_path):
    assert Caller(door).post("/v1/fleet/pull-messages").status_code == 403
    other = certificates.create_node_key(tmp_path / "other.key")
    stolen = hera.post("/v1/fleet/pull-messages", **{"flwr-public-key": key_header(other)})
    assert stolen.status_code == 403
    assert hera.post("/v1/fleet/pull-messages", **{"flwr-public-key": "?"}).status_code == 403
    certificates.create_authority(tmp_path, "elsewhere")
    foreign = certificates.certify(tmp_path, certificates.request_of(other, "hera"), "hera")
    (tmp_path / "foreign.pem").write_bytes(foreign)
    context = ssl.create_default_context(cafile=str(door.folder / "ca.crt"))
    context.load_cert_chain(tmp_path / "foreign.pem", tmp_path / "other.key")
    with pytest.raises(httpx.TransportError):
        httpx.post(f"https://{door.address}/v1/fleet/pull-messages", verify=context)


def test_old_tls_is_refused(door):
    context = ssl.create_default_context(cafile=str(door.folder / "ca.crt"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.TransportError):
        httpx.post(f"https://{door.address}/enrol/hera", verify=context)


def test_whoever_withdrew_is_out_at_once(door, hera):
    assert hera.post("/v1/fleet/pull-messages").status_code == 200
    door.withdraw("hera", None)
    answer = hera.post("/v1/fleet/pull-messages")
    assert (answer.status_code, "withdrew" in answer.text) == (410, True)


def test_joining_says_why_not_and_strangers_keep_nobody_out(door, tmp_path):
    caller = Caller(door)
    newcomer = Newcomer(invitation_of(door, "iren", tmp_path), tmp_path / "iren")
    assert caller.post("/enrol/iren", newcomer.sent(token="no")).status_code == 403
    assert caller.post("/enrol/iren", b"x" * 70_000).status_code == 413
    assert caller.post("/enrol/iren", iter([b"x"])).status_code == 413
    assert {caller.post("/enrol/iren", b"{}").status_code for _ in range(60)} == {403}
    assert caller.post(f"/enrol/{'x' * 300}", newcomer.sent()).status_code == 403
    answer = caller.post("/enrol/iren", newcomer.sent())
    assert answer.status_code == 200
    assert set(answer.json()) == {"certificate", "receipt"}


def test_what_is_too_large_or_of_no_length_is_not_passed_on(hera):
    assert hera.post("/v1/fleet/push-object", bytes(MOST_BYTES)).status_code == 200
    assert hera.post("/v1/fleet/push-object", bytes(MOST_BYTES + 1)).status_code == 413
    assert hera.post("/v1/fleet/push-messages", bytes(2**20 + 1)).status_code == 413
    assert hera.post("/v1/fleet/push-object", iter([b"x"])).status_code == 413


def test_a_partner_has_so_many_requests_at_once_and_others_are_served(door, hera, tmp_path):
    folder = tmp_path / "iren"
    newcomer = Newcomer(invitation_of(door, "iren", tmp_path), folder)
    digests = {"series.parquet": "1" * 64}
    other = Caller(door, newcomer, folder, digests=digests)
    door.place("iren", 8)
    context = ssl.create_default_context(cafile=str(door.folder / "ca.crt"))
    context.load_cert_chain(tmp_path / "hera" / "node.pem", tmp_path / "hera" / "node.key")
    host, port = door.address.split(":")
    head = (
        f"POST /v1/fleet/push-object HTTP/1.1\r\nHost: {host}\r\nContent-Length: {MOST_BYTES}\r\n"
        f"flwr-public-key: {hera.headers['flwr-public-key']}\r\n\r\n"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(8):  # that never end
            plain = stack.enter_context(socket.create_connection((host, int(port))))
            line = stack.enter_context(context.wrap_socket(plain, server_hostname=host))
            line.sendall(head.encode() + bytes(1000))
        assert until(lambda: hera.post("/v1/fleet/pull-messages").status_code == 503)
        assert other.post("/v1/fleet/pull-messages").status_code == 200
    assert until(lambda: hera.post("/v1/fleet/pull-messages").status_code == 200)


def until(what, seconds=10.0):
    ends = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < ends:
        time.sleep(0.05)
    return found


def test_a_silent_superlink_and_a_taken_port_are_said(door, hera):
    with pytest.raises(FelsinaError, match=r"localhost:\d+: .*free the port"), Proxy(door, str):
        pass
    gone = Proxy(door, lambda: f"127.0.0.1:{free_port()}", f"localhost:{free_port()}")
    with gone:
        url = f"https://localhost:{gone.port}/v1/fleet/pull-messages"
        answer = hera.client.post(url, content=b"x", headers=hera.headers)
    assert answer.status_code == 503
