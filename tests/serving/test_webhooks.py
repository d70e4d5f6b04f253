"""Webhooks against a real receiver that fails, hangs and dies."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.api import create_app
from serving.catalogue import Catalogue
from serving.events import delivery, schemas, webhooks
from serving.events.log import EventLog
from serving.events.webhooks import Webhooks
from serving.store import Store
from tests.fixtures.listening import Receiver
from tests.fixtures.tiny import Tiny, free_port


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    one = Receiver()
    yield one
    one.close()


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Webhooks:
    monkeypatch.setenv("FELSINA_WEBHOOK_LOCAL", "1")
    monkeypatch.setattr(webhooks, "FIRST_WAIT", 0.0)
    monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 1.0)
    return Webhooks(EventLog(Store(tmp_path / "hooks.db").engine))


def happen(hooks: Webhooks, *changes: str, dataset: str = "tiny") -> None:
    for change in changes:
        with hooks.engine.begin() as connection:
            kind = "forecast" if change == "forecast" else "alert"
            data = {"change": change, "node": "à"}
            hooks.events.append(connection, kind, dataset, data)


def url(receiver: Receiver) -> str:
    return f"http://127.0.0.1:{receiver.port}/hook?token=t"


def told(receiver: Receiver) -> list[str]:
    return [json.loads(body)["type"] for _, body in receiver.got]


def test_what_happens_is_posted_in_order_and_signed(hooks: Webhooks, receiver: Receiver) -> None:
    happen(hooks, "raised")  # before anybody asked
    made = hooks.add(url(receiver), ["tiny"], ["alert"])
    happen(hooks, "raised", "updated", "forecast", "ended")
    happen(hooks, "raised", dataset="other")
    hooks.deliver()
    assert told(receiver) == ["alert.raised", "alert.updated", "alert.ended"]
    key = base64.b64decode(made.secret.removeprefix("whsec_"))
    for head, body in receiver.got:
        signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body
        code = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert head["webhook-signature"] == f"v1,{code}"
        assert abs(int(head["webhook-timestamp"]) - time.time()) < 30
        assert set(json.loads(body)) == {"type", "timestamp", "data"}
    assert [head["webhook-id"] for head, _ in receiver.got] == ["evt_2", "evt_3", "evt_5"]
    hooks.deliver()
    assert len(receiver.got) == 3
    (after,) = hooks.all()
    assert after.position == 6  # what it does not want is behind it as well
    assert after.delivered_at is not None


def test_the_example_of_the_standard_is_signed_as_it_says() -> None:
    """standard-webhooks/spec: the key, message and signature of its reference libraries' tests."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    code = delivery.signature(
        secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert code == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("fault", [500, 301, 400, "hang", "flood", "nothing"])
def test_what_failed_is_tried_again_until_it_is_taken(
    hooks: Webhooks, receiver: Receiver, fault: int | str
) -> None:
    hooks.add(url(receiver), None, ["alert"])
    happen(hooks, "raised", "ended")
    receiver.answers = [fault, fault]
    for failures in (1, 2):
        hooks.deliver()
        (one,) = hooks.all()
        assert one.attempts == failures
        assert one.failure
        assert one.failing_since is not None
        assert one.position == 0
    hooks.deliver()
    assert told(receiver) == ["alert.raised"] * 3 + ["alert.ended"]
    assert len({head["webhook-id"] for head, _ in receiver.got}) == 2
    (one,) = hooks.all()
    assert (one.attempts, one.failure, one.failing_since) == (0, None, None)


def test_a_receiver_that_was_dead_gets_all_when_it_is_back(hooks: Webhooks, tmp_path: Path) -> None:
    port = free_port()
    hooks.add(f"http://127.0.0.1:{port}/", None, ["alert"])
    happen(hooks, "raised")
    hooks.deliver()
    assert hooks.all()[0].attempts == 1
    happen(hooks, *["updated"] * 30)
    anew = Webhooks(EventLog(Store(tmp_path / "hooks.db").engine))  # another process
    receiver = Receiver(port)
    for _ in range(3):
        anew.deliver()
    assert told(receiver) == ["alert.raised"] + ["alert.updated"] * 30
    receiver.close()


def test_attempts_wait_longer_each_time_and_end_after_a_day(
    hooks: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "FIRST_WAIT", 5.0)
    clock = {"now": time.time()}
    monkeypatch.setattr(webhooks.time, "time", lambda: clock["now"])
    hooks.add(url(receiver), None, ["alert"])
    happen(hooks, "raised")
    receiver.answers = [500] * 100
    waits, begin = [], clock["now"]
    while not (one := hooks.all()[0]).disabled:
        hooks.deliver()
        one = hooks.all()[0]
        waits.append(one.due - clock["now"])
        before = len(receiver.got)
        hooks.deliver()
        assert len(receiver.got) == before  # not yet due
        clock["now"] = one.due + 1
    for attempt, wait in enumerate(waits):
        usual = min(5.0 * 2**attempt, 3600)
        assert 0.5 * usual <= wait <= 1.5 * usual
    assert 86400 <= clock["now"] - begin <= 86400 + 3 * 3600
    assert len(waits) < 60
    assert one.failure == "HTTP 500; disabled"
    clock["now"] += 10**6
    hooks.deliver()
    assert len(receiver.got) == len(waits)


def test_one_who_is_gone_is_left_alone_at_once(hooks: Webhooks, receiver: Receiver) -> None:
    hooks.add(url(receiver), None, ["alert"])
    happen(hooks, "raised")
    receiver.answers = [410]
    hooks.deliver()
    assert hooks.all()[0].disabled


def test_one_that_hangs_holds_up_no_other(hooks: Webhooks, receiver: Receiver) -> None:
    slow = Receiver()
    slow.answers = ["hang"]
    hanging = hooks.add(url(slow), None, ["alert"])
    hooks.add(url(receiver), None, ["alert"])
    happen(hooks, *["updated"] * 5)
    hooks.deliver()
    assert len(receiver.got) == 5
    assert {hook.id: hook.attempts for hook in hooks.all()}[hanging.id] == 1
    slow.close()


@pytest.mark.parametrize(
    ("address", "open_to_all"),
    [
        ("1.1.1.1", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.0.8", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:1.1.1.1", True),
        ("::7f00:1", False),
        ("::ffff:0:7f00:1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("2002:7f00:1::", False),
        ("2001:0:7f00:1::", False),
    ],
)
def test_only_addresses_in_the_open_are_reached(address: str, open_to_all: bool) -> None:
    assert delivery.public(address) == open_to_all


@pytest.mark.parametrize(
    "bad",
    [
        "http://example.org/hook",
        "ftp://example.org/",
        "https:///hook",
        "https://user:pass@example.org/",
        "https://@example.org/",
        "https://:@example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://example.org/a b",
        "https://example.org/\r\nx: y",
        "https://example.org:99999/",
        "https://example.org/" + "x" * 2000,
        "file:///etc/passwd",
    ],
)
def test_addresses_that_must_not_be_posted_to_are_refused(
    client: TestClient, bad: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FELSINA_WEBHOOK_LOCAL", raising=False)
    assert client.post("/v1/webhooks", json={"url": bad}).status_code == 422
    assert client.get("/v1/webhooks").json() == {"webhooks": []}


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1"])
def test_a_name_that_leads_inside_is_refused_when_it_is_connected_to(
    hooks: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.delenv("FELSINA_WEBHOOK_LOCAL")
    hooks.add(f"https://{host}:{receiver.port}/", None, ["alert"])
    happen(hooks, "raised")
    hooks.deliver()
    (one,) = hooks.all()
    assert one.failure is not None
    assert "not at a public address" in one.failure
    assert receiver.got == []


def test_the_routes(tiny: Tiny, store: Store) -> None:
    client = TestClient(create_app(Catalogue(tiny.home, store)))
    body = {"url": "https://example.org/secret-path", "datasets": ["tiny"], "events": ["forecast"]}
    answer = client.post("/v1/webhooks", json=body)
    assert answer.status_code == 200
    made = answer.json()
    schemas.NewWebhook.model_validate(made)
    assert made["secret"].startswith("whsec_")
    (listed,) = client.get("/v1/webhooks").json()["webhooks"]
    schemas.Webhook.model_validate(listed)
    assert "secret" not in json.dumps(listed)
    assert listed["url"] == "https://example.org/..."
    assert client.post("/v1/webhooks", json=body | {"datasets": ["nosuch"]}).status_code == 404
    assert client.post("/v1/webhooks", json=body | {"events": ["all"]}).status_code == 422
    assert client.delete(f"/v1/webhooks/{made['id']}").json() == {"id": made["id"]}
    assert client.delete(f"/v1/webhooks/{made['id']}").status_code == 404
