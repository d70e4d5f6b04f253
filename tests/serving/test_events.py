"""Server-sent events, read over a real connection."""

import socket
import time
from collections.abc import Iterator

import pytest

from serving.events import log as event_log
from serving.events import stream
from serving.events.log import EventLog
from serving.gate.gate import Gate
from serving.gate.keys import Keys
from serving.gate.rules import methods_of
from tests.fixtures.alarmed import City
from tests.fixtures.listening import Reader, running


@pytest.fixture
def served(city: City, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(stream, "POLL_SECONDS", 0.05)
    with running(city.client.app) as base:
        yield base


def append(city: City, count: int, dataset: str = "tiny", padding: int = 0) -> None:
    log = EventLog(city.store.engine)
    for number in range(count):
        with log.engine.begin() as connection:
            log.append(connection, "forecast", dataset, {"n": number, "pad": "x" * padding})


def test_new_forecasts_and_alerts_are_heard_as_they_come(city: City, served: str) -> None:
    reader = Reader(served, "?datasets=tiny")
    assert reader.status == 200
    assert reader.headers["content-type"].startswith("text/event-stream")
    city.run(city.first + 1, city.first + 13)
    alerts = city.alerts()
    assert alerts
    events = reader.wait(EventLog(city.store.engine).last())
    heard = [data for _, kind, data in events if kind == "forecast"]
    assert [one["init_time"] for one in heard] == city.tiny.times(city.first + 1, city.first + 13)
    assert heard[-1] == {
        "dataset": "tiny",
        "init_time": heard[-1]["data_as_of"],
        "data_as_of": heard[-1]["data_as_of"],
        "release": city.release.name,
        "url": "/v1/forecasts/tiny",
    }
    raised = [data for _, kind, data in events if kind == "alert" and data["change"] == "raised"]
    assert {data["id"] for data in raised} == {alert["id"] for alert in alerts}
    numbers = [number for number, _, _ in events]
    assert numbers == sorted(set(numbers))
    reader.close()


def test_one_who_comes_back_misses_nothing_and_hears_nothing_twice(city: City, served: str) -> None:
    append(city, 5)
    log = EventLog(city.store.engine)
    start = log.last() - 5
    early = Reader(served, last=start + 2)
    append(city, 3)
    assert [number for number, _, _ in early.wait(6)] == list(range(start + 3, start + 9))
    late = Reader(served)
    append(city, 1)
    assert [number for number, _, _ in late.wait(1)] == [start + 9]
    early.close()
    late.close()


def test_only_the_asked_datasets_are_heard(city: City, served: str) -> None:
    reader = Reader(served, "?datasets=tiny", last=0)
    append(city, 2, "other")
    append(city, 1)
    ((number, kind, data),) = reader.wait(1)
    assert (number, kind, data["n"]) == (3, "forecast", 0)
    assert city.client.get("/v1/events", params={"datasets": "tiny,nosuch"}).status_code == 404
    reader.close()


def test_who_missed_what_is_no_longer_kept_is_told_so(
    city: City, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(city, 3)
    monkeypatch.setattr(event_log, "KEPT_SECONDS", -10)
    EventLog(city.store.engine).prune()
    append(city, 2)
    behind, ahead, right = (Reader(served, last=n) for n in (1, 99, 3))
    assert [e[:2] for e in behind.wait(3)] == [(-1, "gap"), (4, "forecast"), (5, "forecast")]
    assert [e[:2] for e in ahead.wait(3)] == [(-1, "gap"), (4, "forecast"), (5, "forecast")]
    assert [e[:2] for e in right.wait(2)] == [(4, "forecast"), (5, "forecast")]
    for reader in (behind, ahead, right):
        reader.close()


def test_a_quiet_line_is_kept_open(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.1)
    reader = Reader(served)
    time.sleep(0.8)
    assert reader.comments.count(": still here") >= 3
    assert not reader.ended.is_set()
    reader.close()


def test_too_many_are_turned_away_until_one_leaves(
    served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_LISTENERS", 2)
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.1)
    first, second = Reader(served), Reader(served)
    third = Reader(served)
    assert (first.status, second.status, third.status) == (200, 200, 503)
    assert third.headers["retry-after"] == "30"
    first.close()
    assert first.ended.wait(5)
    until = time.monotonic() + 5
    while (fourth := Reader(served)).status == 503 and time.monotonic() < until:
        time.sleep(0.1)
    assert fourth.status == 200
    second.close()
    fourth.close()


def test_one_who_does_not_read_is_dropped_and_the_others_hear_all(
    city: City, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SEND_SECONDS", 0.5)
    host, port = served.removeprefix("http://").split(":")
    lazy = socket.socket()
    lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    lazy.connect((host, int(port)))
    lazy.sendall(b"GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.3)
    reader = Reader(served)
    append(city, 300, padding=40_000)
    assert len(reader.wait(300, 30)) == 300
    time.sleep(1)
    lazy.settimeout(10)
    taken = 0
    while piece := lazy.recv(2**20):
        taken += len(piece)
    assert taken < 300 * 40_000
    reader.close()


def test_numbers_are_gapless_whoever_writes(city: City) -> None:
    """Two writers at once: numbers come in the order in which they can be read."""
    import threading

    writers = [threading.Thread(target=append, args=(city, 20)) for _ in range(2)]
    log, seen = EventLog(city.store.engine), []
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen += [event.id for event in log.after(seen[-1] if seen else 0, 100)]
    seen += [event.id for event in log.after(seen[-1] if seen else 0, 100)]
    assert seen == list(range(1, 41))


@pytest.fixture
def guarded(city: City, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The stream behind a gate, where keys tell callers apart."""
    monkeypatch.setattr(stream, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.2)
    app = city.client.app
    with running(Gate(app, city.catalogue, methods_of(app.routes))) as base:
        yield base


def test_one_caller_does_not_take_all_places(city: City, guarded: str) -> None:
    keys = Keys(city.store.engine)
    first, second = (keys.create(name, "read") for name in ("first", "second"))
    readers = [Reader(guarded, key=first) for _ in range(5)]
    assert [reader.status for reader in readers] == [200] * 4 + [429]
    others = [Reader(guarded, key=second), *(Reader(guarded) for _ in range(5))]
    assert [reader.status for reader in others] == [200] * 5 + [429]
    readers[0].close()
    assert readers[0].ended.wait(5)
    until = time.monotonic() + 5
    while (again := Reader(guarded, key=first)).status == 429 and time.monotonic() < until:
        time.sleep(0.1)
    assert again.status == 200
    for reader in (*readers, *others, again):
        reader.close()


@pytest.mark.parametrize("busy", [False, True])
def test_the_stream_of_a_key_ends_with_it(city: City, guarded: str, busy: bool) -> None:
    keys = Keys(city.store.engine)
    secrets = [keys.create(name, "read") for name in ("stays", "goes")]
    stays, goes = (Reader(guarded, key=secret) for secret in secrets)
    open_to_all = Reader(guarded)
    assert (stays.status, goes.status, open_to_all.status) == (200, 200, 200)
    keys.revoke("goes")
    until = time.monotonic() + 5
    while not goes.ended.is_set() and time.monotonic() < until:
        append(city, int(busy))
        time.sleep(0.05)
    assert goes.ended.is_set()
    assert goes.failure is None
    assert not stays.ended.is_set()
    assert not open_to_all.ended.is_set()
    stays.close()
    open_to_all.close()
