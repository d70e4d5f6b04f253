"""The parts that stand before the routes, one by one; test_attacks tries them together."""

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from serving.gate import Bodies, Slots
from serving.gate.keys import Key
from serving.gate.problems import Refusal
from serving.gate.rates import Buckets, address_of
from serving.gate.rules import dataset_of, hidden, limited, role_for

Sent = list[dict[str, Any]]


def answer(sent: Sent) -> tuple[int, bytes]:
    (status,) = [message["status"] for message in sent if "status" in message]
    return status, b"".join(message.get("body", b"") for message in sent)


def ask(pieces: Iterable[bytes], most: int, declared: bytes | None = None, **bounds: float):
    """Status and body of an app that echoes how much it read, and the pieces left unread."""
    sent: Sent = []
    waiting = list(pieces)

    async def receive():
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        message = await receive()
        assert not message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})

    sizes = (
        (b"transfer-encoding", b"chunked") if declared is None else (b"content-length", declared)
    )
    scope = {"type": "http", "headers": [sizes]}
    asyncio.run(Bodies(app, most, **bounds)(scope, receive, send))
    return *answer(sent), len(waiting)


def test_bodies_up_to_the_limit_pass_whole() -> None:
    assert ask([b"abc", b"", b"de"], 5) == (200, b"5", 0)
    assert ask([b"abcde"], 5, b"5") == (200, b"5", 0)
    assert ask([b""], 5, b"0") == (200, b"0", 0)


def test_a_declared_body_is_refused_unread() -> None:
    status, body, unread = ask([b"a"] * 6, 5, b"6")
    assert (status, unread) == (413, 6)
    assert json.loads(body)["status"] == 413


def test_a_chunked_body_is_refused_as_soon_as_it_is_over() -> None:
    status, body, unread = ask([b"ab"] * 100, 5)
    assert (status, unread) == (413, 97)
    assert "over 5 bytes" in json.loads(body)["detail"]


def test_a_body_longer_than_declared_is_refused() -> None:
    assert ask([b"ab"] * 3, 5, b"1")[0] == 413
    assert ask([b"ab"] * 3, 5, b"nonsense")[0] == 413


def test_all_bodies_together_have_a_limit() -> None:
    assert ask([b"ab"] * 3, 10, held=6)[0] == 200
    assert ask([b"ab"] * 3, 10, held=5)[0] == 429


def slow(seconds: float, body_seconds: float) -> int:
    sent: Sent = []

    async def receive():
        await asyncio.sleep(seconds)
        return {"type": "http.request", "body": b"a", "more_body": False}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    scope = {"type": "http", "headers": [(b"content-length", b"1")]}
    asyncio.run(Bodies(app, 5, seconds=body_seconds)(scope, receive, send))
    return answer(sent)[0]


def test_a_slow_body_is_refused_in_time() -> None:
    assert slow(0, 5) == 200
    assert slow(30, 0.05) == 408


class Kitchen:
    """An app behind slots whose answers are let out by hand, and clients that may leave."""

    def __init__(self, **bounds: Any) -> None:
        self.slots = Slots(self.app, **bounds)
        self.gates: dict[str, asyncio.Event] = {}
        self.gone: dict[str, asyncio.Event] = {}
        self.sent: dict[str, Sent] = {}
        self.begun: list[str] = []

    async def app(self, scope, receive, send):
        name = scope["path"].rpartition("/")[2]
        self.begun.append(name)
        await self.gates[name].wait()
        if name == "broken":
            raise ZeroDivisionError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def order(self, name: str, path: str = "/v1/forecasts/") -> asyncio.Task[None]:
        self.gates[name], self.gone[name] = asyncio.Event(), asyncio.Event()
        self.sent[name] = []
        first = True

        async def receive():
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": b"", "more_body": False}
            await self.gone[name].wait()
            return {"type": "http.disconnect"}

        async def send(message):
            self.sent[name].append(message)

        scope = {"type": "http", "path": path + name}
        return asyncio.ensure_future(self.slots(scope, receive, send))

    def status(self, name: str) -> int | None:
        return self.sent[name][0]["status"] if self.sent[name] else None


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_few_compute_few_wait_and_the_others_come_back() -> None:
    async def story() -> None:
        kitchen = Kitchen(at_once=1, waiting=1)
        first, second, third = (kitchen.order(name) for name in "abc")
        page = kitchen.order("page", path="/static/")
        await turn()
        assert sorted(kitchen.begun) == ["a", "page"]  # the page never waits
        assert kitchen.status("c") == 429
        assert (b"retry-after", b"1") in kitchen.sent["c"][0]["headers"]
        kitchen.gates["a"].set()
        await turn()
        assert kitchen.begun[2:] == ["b"]
        for name in ("b", "page"):
            kitchen.gates[name].set()
        await asyncio.gather(first, second, third, page)
        assert [kitchen.status(name) for name in "ab"] == [200, 200]
        assert kitchen.slots.busy == 0

    asyncio.run(story())


def test_a_line_that_is_cut_sends_its_end_away() -> None:
    async def story() -> None:
        kitchen = Kitchen(at_once=1, waiting=3)
        orders = {name: kitchen.order(name) for name in "abcd"}
        await turn()
        assert kitchen.begun == ["a"]
        kitchen.slots._bound.overload = True
        orders["e"] = kitchen.order("e")
        await turn()
        assert {name for name in "abcde" if kitchen.status(name) == 429} == {"c", "d", "e"}
        for name in "ab":
            kitchen.gates[name].set()
        await asyncio.gather(*orders.values())
        assert kitchen.begun == ["a", "b"]
        assert (kitchen.slots.busy, len(kitchen.slots.line)) == (0, 0)

    asyncio.run(story())


def test_a_client_that_leaves_the_line_gives_its_place_up() -> None:
    async def story() -> None:
        kitchen = Kitchen(at_once=1, waiting=1)
        first, second = kitchen.order("a"), kitchen.order("b")
        await turn()
        kitchen.gone["b"].set()
        await turn()
        assert second.done()
        third = kitchen.order("c")
        kitchen.gates["a"].set()
        await turn()
        assert kitchen.begun == ["a", "c"]
        kitchen.gates["c"].set()
        await asyncio.gather(first, third)
        assert kitchen.slots.busy == 0

    asyncio.run(story())


def test_nobody_waits_in_line_for_ever() -> None:
    async def story() -> None:
        kitchen = Kitchen(at_once=1, waiting=1, seconds=0.1)
        first, second = kitchen.order("a"), kitchen.order("b")
        await second
        await first
        assert [kitchen.status(name) for name in "ab"] == [504, 504]
        assert kitchen.begun == ["a"]
        await turn()
        assert (kitchen.slots.busy, len(kitchen.slots.line)) == (0, 0)

    asyncio.run(story())


def test_one_who_is_cut_off_in_line_leaves_no_trace() -> None:
    async def story() -> None:
        kitchen = Kitchen(at_once=1, waiting=1)
        first, second = kitchen.order("a"), kitchen.order("b")
        await turn()
        second.cancel()
        await turn()
        kitchen.gates["a"].set()
        await first
        assert (kitchen.slots.busy, len(kitchen.slots.line)) == (0, 0)

    asyncio.run(story())


def test_a_failure_frees_its_slot() -> None:
    async def story() -> None:
        kitchen = Kitchen(at_once=1, waiting=0)
        broken = kitchen.order("broken")
        await turn()
        kitchen.gates["broken"].set()
        with pytest.raises(ZeroDivisionError):
            await broken
        assert kitchen.slots.busy == 0

    asyncio.run(story())


def test_a_late_answer_is_said_and_holds_its_slot_until_it_ends() -> None:
    async def story() -> None:
        working = asyncio.Event()

        async def app(scope, receive, send):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await working.wait()  # as a thread that cannot be stopped
                raise

        slots = Slots(app, at_once=1, waiting=0, seconds=0.05)
        sent: Sent = []

        async def send(message):
            sent.append(message)

        await slots({"type": "http", "path": "/v1/forecasts/a"}, None, send)  # pyright: ignore
        assert answer(sent)[0] == 504
        assert slots.busy == 1
        working.set()
        await turn()
        assert slots.busy == 0

    asyncio.run(story())


def take(buckets: Buckets, caller: str, rate: float = 2.0, burst: float = 4.0) -> int:
    """Seconds to wait, 0 when it may go on."""
    try:
        buckets.take(caller, rate, burst)
    except Refusal as refusal:
        return int(dict(refusal.headers)[b"retry-after"])
    return 0


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    at = [100.0]
    buckets = Buckets(clock=lambda: at[0])
    assert [take(buckets, "a") for _ in range(6)] == [0, 0, 0, 0, 1, 1]
    assert take(buckets, "b") == 0
    at[0] += 1.0
    assert [take(buckets, "a") for _ in range(3)] == [0, 0, 1]
    at[0] += 100.0
    assert [take(buckets, "a") for _ in range(5)] == [0, 0, 0, 0, 1]


def test_over_any_span_no_more_pass_than_burst_and_rate_allow() -> None:
    at = [0.0]
    buckets = Buckets(clock=lambda: at[0])
    passed = 0
    for _ in range(1000):
        passed += take(buckets, "a") == 0
        at[0] += 0.05
    assert passed == pytest.approx(4 + 2 * 50, abs=1)


def test_what_is_left_is_told() -> None:
    at = [0.0]
    buckets = Buckets(clock=lambda: at[0])
    told = dict(buckets.take("a", 2.0, 4.0))
    assert told == {b"ratelimit-policy": b'"rate";q=4;w=2', b"ratelimit": b'"rate";r=3;t=1'}
    for _ in range(3):
        told = dict(buckets.take("a", 2.0, 4.0))
    assert told[b"ratelimit"] == b'"rate";r=0;t=2'


def test_a_flood_of_addresses_takes_bounded_memory() -> None:
    buckets = Buckets(most=100, clock=lambda: 0.0)
    for number in range(10_000):
        take(buckets, f"10.0.{number // 256}.{number % 256}")
    assert len(buckets.full) == 100


def test_an_address_of_ipv6_is_its_network() -> None:
    assert address_of(("2001:db8:1:2:3::4", 1)) == address_of(("2001:db8:1:2:ffff::1", 2))
    assert address_of(("2001:db8:1:2::4", 1)) != address_of(("2001:db8:1:3::4", 1))
    assert address_of(("::ffff:10.0.0.1", 1)) == "10.0.0.1"
    assert address_of(("10.0.0.1", 1)) != address_of(("10.0.0.2", 1))
    assert address_of(None) == "unknown"


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/v1/anything", "read"),
        ("HEAD", "/", "read"),
        ("POST", "/v1/forecasts/a", "read"),
        ("POST", "/v1/scenarios/a", "read"),
        ("POST", "/v2/models/a/infer", "read"),
        ("POST", "/v1/observations/a", "write"),
        ("POST", "/v1/forcings/a", "write"),
        ("DELETE", "/v1/observations/a", "operate"),
        ("POST", "/v1/alerts/rules", "operate"),
        ("GET", "/v1/webhooks", "operate"),
        ("POST", "/v1/forecastsx", "operate"),
        ("POST", "/v2/models/a", "operate"),
        ("PUT", "/v1/forecasts/a", "operate"),
        ("POST", "/", "operate"),
        ("BREW", "/", "operate"),
    ],
)
def test_what_a_request_needs(method: str, path: str, role: str) -> None:
    assert role_for(method, path) == role


def test_roles_include_those_before_them() -> None:
    may = {
        r: [Key("a", "", r).may(s) for s in ("read", "write", "operate")]
        for r in ("read", "write", "operate")
    }
    assert may == {
        "read": [True, False, False],
        "write": [True, True, False],
        "operate": [True, True, True],
    }


def test_paths_tell_their_dataset() -> None:
    assert dataset_of("/v1/forecasts/a/members") == "a"
    assert dataset_of("/v2/models/a/infer") == "a"
    assert dataset_of("/v1/datasets") is None
    assert dataset_of("/v1/scenarios/a") is None
    assert limited("/v1/datasets")
    assert not limited("/static/page.js")
    assert hidden("/docs.json")
    assert not hidden("/openapi.json")
