"""What the fetcher does when a server is slow to answer, busy, broken, or has nothing new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from models.contracts import FelsinaError
from pipelines.ingest.fetching import TRIES, Absent, Fetcher, Unchanged
from tests.fixtures.portal import Answer, Portal, serving

BODY = bytes(range(256)) * 400


@pytest.fixture
def portal() -> Iterator[Portal]:
    with serving(lambda path, query: BODY if path == "/there" else None) as found:
        yield found


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def fetcher(waits: list[float]) -> Iterator[Fetcher]:
    with Fetcher(0.0, waits.append) as found:
        yield found


@pytest.fixture
def get(portal: Portal, fetcher: Fetcher, tmp_path: Path) -> Callable[..., bytes]:
    def fetch(path: str = "/there", **more) -> bytes:
        return fetcher.get(portal.url + path, tmp_path / "body", **more).path.read_bytes()

    return fetch


def test_a_body_comes_whole_and_nothing_else_stays(get, tmp_path, waits) -> None:
    assert get() == BODY
    assert [p.name for p in tmp_path.iterdir()] == ["body"]
    assert waits == []


def test_what_is_held_is_not_sent_again(portal, get, fetcher, tmp_path) -> None:
    first = fetcher.get(portal.url + "/there", tmp_path / "one")
    with pytest.raises(Unchanged):
        get(etag=first.etag)
    assert get(etag='"another"') == BODY
    assert portal.statuses == {200: 2, 304: 1}


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_busy_servers_are_asked_again(portal, get, waits, status) -> None:
    portal.first = [Answer(status=status), Answer(status=status)]
    assert get() == BODY
    assert len(waits) == 2
    assert 0 <= waits[0] <= 1
    assert 0 <= waits[1] <= 2


def test_a_server_is_waited_for_as_long_as_it_asks(portal, get, waits) -> None:
    later = formatdate(time() + 90, usegmt=True)
    portal.first = [
        Answer(status=429, headers={"Retry-After": "17"}),
        Answer(status=503, headers={"Retry-After": later}),
    ]
    assert get() == BODY
    assert waits[0] == 17
    assert 80 < waits[1] <= 90


def test_a_server_that_asks_for_an_hour_is_left_in_peace(portal, get, waits) -> None:
    portal.first = [Answer(status=429, headers={"Retry-After": "3600"})]
    with pytest.raises(FelsinaError, match="asks to wait 3600 s; run the same command then"):
        get()
    assert waits == []


def test_a_server_that_never_works_is_given_up(portal, get, waits) -> None:
    portal.first = [Answer(status=503)] * TRIES
    with pytest.raises(FelsinaError, match="answered 503, 6 times; what was fetched is kept"):
        get()
    assert len(portal.asked) == TRIES
    assert len(waits) == TRIES - 1


def test_a_refusal_is_told_and_not_repeated(portal, get) -> None:
    portal.first = [Answer(b'{"error":true,"reason":"no such zone"}', 400)]
    with pytest.raises(FelsinaError, match=r'answered 400: .*"no such zone"'):
        get()
    assert len(portal.asked) == 1
    with pytest.raises(Absent):
        get("/elsewhere")


def test_a_broken_body_goes_on_where_it_stopped(portal, get) -> None:
    portal.first = [Answer(BODY, cut=70_000)]
    assert get() == BODY
    assert portal.statuses == {200: 1, 206: 1}
    assert portal.asked[1][2]["range"] == "bytes=70000-"


def test_without_a_validator_it_comes_anew(portal, get) -> None:
    portal.first = [Answer(BODY, cut=70_000, etag=False)]
    assert get() == BODY
    assert portal.statuses == {200: 2}
    assert "range" not in portal.asked[1][2]


def test_a_body_that_changed_meanwhile_comes_anew(portal, get) -> None:
    portal.first = [Answer(BODY, cut=70_000)]
    portal.route = lambda path, query: BODY[::-1]
    assert get() == BODY[::-1]
    assert portal.statuses == {200: 2}
    assert portal.asked[1][2]["range"] == "bytes=70000-"


def test_another_process_goes_on_with_a_part(portal, get, fetcher, tmp_path) -> None:
    portal.first = [Answer(BODY, cut=70_000), *[Answer(status=503)] * (TRIES - 1)]
    with pytest.raises(FelsinaError):
        get()
    with Fetcher(0.0) as other:
        assert other.get(portal.url + "/there", tmp_path / "body").path.read_bytes() == BODY
    assert portal.statuses[206] == 1


def test_a_sentence_in_place_of_rows_is_no_body(portal, get) -> None:
    portal.first = [Answer(b"a;b\n1;2\nStreaming interrupted: limit", etag=False)]
    assert get(broken_by=b"Streaming interrupted") == BODY
    portal.first = [Answer(b"a;b\n1;2\n", etag=False)]
    assert get(broken_by=b"Streaming interrupted") == b"a;b\n1;2\n"


def test_two_requests_are_apart(portal, tmp_path) -> None:
    waits: list[float] = []
    with Fetcher(5.0, waits.append) as fetcher:
        for _ in range(2):
            fetcher.get(portal.url + "/there", tmp_path / "body")
    assert len(waits) == 1
    assert 4 < waits[0] <= 5
    assert portal.most == 1
