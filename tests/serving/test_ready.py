"""Ready answers: the same bytes for as long as they are true, and no longer."""

import asyncio
import gzip
import threading
import time
from email.utils import parsedate_to_datetime
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient
from starlette.types import Message

from pipelines.release import point_at
from pipelines.run import hold_observations
from serving import catalogue as catalogue_module
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.ready import MOST_SECONDS, Ready
from serving.retention import RULES
from serving.store import OBSERVED, Store
from tests.fixtures.tiny import Tiny, reseal

URL = "/v1/forecasts/tiny"
PLAIN = {"accept-encoding": "identity"}


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Datasets in the order in which a forecast of them was computed."""
    asked: list[str] = []
    compute = Catalogue._compute

    def counted(self, runtime, *rest):
        asked.append(runtime.release.spec.dataset)
        return compute(self, runtime, *rest)

    monkeypatch.setattr(Catalogue, "_compute", counted)
    return asked


def write(store: Store, tiny: Tiny, value: float, node: str = "a") -> None:
    stamp = np.array([tiny.builder.times(np.array([len(tiny.dataset.values) - 1]))[0]])
    store.write("tiny", OBSERVED, stamp, [node], np.array([[value]]))


def test_an_answer_is_given_again_byte_for_byte(client: TestClient) -> None:
    for query in ("", "?format=geojson", "?format=csv", "?format=arrow", "?nodes=a&leads=1-3"):
        first, second = (client.get(URL + query) for _ in range(2))
        assert first.status_code == 200
        assert first.content == second.content
        assert first.headers == second.headers
        assert first.headers["felsina-release"].startswith("tiny-")
        assert parsedate_to_datetime(first.headers["last-modified"]).timestamp() <= time.time()


def test_gzip_is_another_representation_of_the_same(client: TestClient) -> None:
    plain = client.get(URL, headers=PLAIN)
    zipped = client.get(URL, headers={"accept-encoding": "br, gzip"})
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert zipped.content == plain.content  # the client unpacks it
    assert int(zipped.headers["content-length"]) < len(plain.content) / 2
    assert zipped.headers["etag"] != plain.headers["etag"]
    assert "Accept-Encoding" in plain.headers["vary"]
    refused = client.get(URL, headers={"accept-encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers
    with client.stream("GET", URL, headers={"accept-encoding": "gzip"}) as raw:
        assert gzip.decompress(b"".join(raw.iter_raw())) == plain.content


def test_a_copy_that_still_stands_is_not_sent_again(client: TestClient, store, tiny) -> None:
    first = client.get(URL, headers=PLAIN)
    tag = first.headers["etag"]
    for known in (tag, f'"x", {tag}', tag.removeprefix("W/"), "*"):
        again = client.get(URL, headers=PLAIN | {"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert again.headers["felsina-release"] == first.headers["felsina-release"]
        assert "content-length" not in again.headers
    assert client.get(URL, headers=PLAIN | {"if-none-match": '"x"'}).status_code == 200
    zipped = {"accept-encoding": "gzip", "if-none-match": tag}
    assert client.get(URL, headers=zipped).status_code == 200
    write(store, tiny, 300.0)
    changed = client.get(URL, headers=PLAIN | {"if-none-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_head_tells_what_get_would(client: TestClient) -> None:
    for path in (URL, "/v1/datasets", "/v1/observations/tiny"):
        head, got = client.head(path), client.get(path)
        assert head.status_code == got.status_code == 200
        assert head.content == b""
        assert head.headers == got.headers
    assert client.head("/v1/forecasts/nosuch").status_code == 404


@pytest.mark.parametrize(
    "path", [URL, f"{URL}?format=csv", f"{URL}/members", f"{URL}/areas", "/v1/observations/tiny"]
)
def test_a_write_is_seen_by_the_next_answer(client, tiny, store, path) -> None:
    """Written through the API, by this process's store and by another connection."""
    (init,) = tiny.times(len(tiny.dataset.values) - 1, len(tiny.dataset.values))
    other = Store(store.engine.url.render_as_string(False))

    def post() -> None:
        body = {"times": [init], "values": {"a": [310.0]}}
        assert client.post("/v1/observations/tiny", json=body).status_code == 200

    seen = [client.get(path).content]
    assert client.get(path).content == seen[0]
    for change in (post, lambda: write(store, tiny, 20.0), lambda: write(other, tiny, 250.0)):
        change()
        found = client.get(path).content
        assert found not in seen
        seen.append(found)


def test_a_write_elsewhere_leaves_an_answer_as_it_is(client, tiny, store, computed) -> None:
    first = client.get(URL).content
    stamp = tiny.builder.times(np.array([0]))
    store.write("another", OBSERVED, stamp, ["a"], np.ones((1, 1)))
    assert client.get(URL).content == first
    assert computed == ["tiny"]


def test_a_new_release_is_seen_by_the_next_answer(tiny, store, tmp_path) -> None:
    (home := tmp_path / "home").mkdir()
    (home / "releases").mkdir()
    same = reseal(tiny.release, home, lambda manifest: None)
    client = TestClient(create_app(Catalogue(home, store)))
    first = client.get(URL)
    assert first.headers["felsina-release"] == same.name
    newer = reseal(tiny.release, home, lambda m: m["privacy"].update(statement="another"))
    for chosen in (newer, same, newer):
        point_at(home, chosen)
        answer = client.get(URL)
        assert answer.headers["felsina-release"] == chosen.name
        assert answer.json()["model"]["version"] == chosen.name
    listed = client.get("/v1/datasets").json()["datasets"]
    assert [one["release"] for one in listed] == [newer.name]


def test_a_change_of_the_rules_is_seen_by_the_next_answer(tiny, store, tmp_path) -> None:
    for part in ("releases", "champions"):
        (tmp_path / part).symlink_to(tiny.home / part)
    client, url = TestClient(create_app(Catalogue(tmp_path, store))), "/v1/datasets/tiny"
    before = client.get(url)
    assert before.json()["retention"] is None
    kept = {"if-none-match": before.headers["etag"]}
    assert client.get(url, headers=kept).status_code == 304
    rule = "\n".join(f'{key} = "x"' for key in ("responsible", "contact", "purpose", "legal_basis"))
    for days in (30, 60):
        (tmp_path / RULES).write_text(f"[tiny]\n{rule}\nkeep_days = {{ issues = {days} }}")
        after = client.get(url, headers=kept)
        assert after.json()["retention"]["keep_days"]["issues"] == days


def test_an_answer_says_when_it_turns_stale(client, tiny, monkeypatch) -> None:
    """The clock alone makes another answer of it, and says until when a copy may be kept."""
    latest = int(tiny.builder.times(np.array([len(tiny.dataset.values) - 1]))[0].astype(int))

    def at(second: int):
        monkeypatch.setattr(catalogue_module.time, "time", lambda: float(latest + second))
        return client.get(URL)

    fresh = at(600)
    assert fresh.json()["stale"] is False
    bound = f"public, max-age={MOST_SECONDS}, must-revalidate"
    assert fresh.headers["cache-control"] == bound
    assert at(3555).headers["cache-control"] == "public, max-age=45, must-revalidate"
    assert at(3 * 3600).json()["stale"] is False
    overdue = at(3 * 3600 + 1)
    assert overdue.json()["stale"] is True
    assert overdue.headers["cache-control"] == bound


def test_what_is_no_answer_is_not_kept(client, empty_client, tiny) -> None:
    assert empty_client.get(URL).status_code == 404
    end = len(tiny.dataset.values)
    assert empty_client.post("/v1/observations/tiny", json=tiny.observed(end - 48, end)).is_success
    assert empty_client.get(URL).status_code == 200
    refused = client.get(URL, params={"nodes": "nosuch"})
    assert refused.status_code == 422
    assert "etag" not in refused.headers


def test_those_who_ask_at_once_wait_for_one(client, computed) -> None:
    assert client.get("/v1/datasets").status_code == 200  # the release is loaded
    start, answers = threading.Barrier(8), []

    def ask(form: str) -> None:
        start.wait()
        answers.append(client.get(URL, params={"format": form}))

    forms = ("json", "csv") * 4
    threads = [threading.Thread(target=ask, args=(form,)) for form in forms]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 2
    assert computed == ["tiny"]


def test_what_was_not_asked_for_long_makes_room(client, tiny, store) -> None:
    app = create_app(Catalogue(tiny.home, store))
    whole = len(client.get(URL, headers=PLAIN).content)
    ready = Ready(app, Catalogue(tiny.home, store), most=int(4.5 * (whole + 2500)))
    small = TestClient(ready)
    for first in range(1, 7):
        small.get(URL, params={"leads": f"{first}-6"}, headers=PLAIN)
        small.get(URL, headers=PLAIN)
        bodies = sum(len(kept.body) for kept in ready._kept.values())
        assert ready._bytes > bodies + 2048 * len(ready._kept)
        assert ready._bytes <= ready.most
    queries = [key[1] for key in ready._kept]
    assert b"" in queries
    assert b"leads=1-6" not in queries
    tight = Ready(app, Catalogue(tiny.home, store), most=whole)
    assert TestClient(tight).get(URL, headers=PLAIN).status_code == 200
    assert not tight._kept


def test_a_header_in_parts_is_read_whole(client: TestClient) -> None:
    """Whoever keeps an answer and whoever makes it must speak of the same one."""
    geojson, csv = ("accept", "application/geo+json"), ("accept", "text/csv")
    for parts, media in (([geojson, csv], "geo+json"), ([csv, geojson], "csv")):
        said = ", ".join(value for _, value in parts)
        first = client.get(URL, headers=parts)
        assert media in first.headers["content-type"]
        assert client.get(URL, headers={"accept": said}).content == first.content
    for one, media in ((geojson, "geo+json"), (csv, "csv")):
        assert media in client.get(URL, headers=[one]).headers["content-type"]
    codings = [("accept-encoding", "gzip"), ("accept-encoding", "br")]
    assert client.get(URL, headers=codings).headers["content-encoding"] == "gzip"
    tag = client.get(URL, headers=PLAIN).headers["etag"]
    for tags in ([tag, '"x"'], ['"x"', tag]):
        known = [("if-none-match", one) for one in tags]
        assert client.get(URL, headers=[*PLAIN.items(), *known]).status_code == 304


def test_workers_give_one_tag(tiny, store, monkeypatch) -> None:
    """The second in which each computed is no part of it; what was observed is."""
    for query in ("", "?format=geojson", "?format=ngsi-ld", "?format=arrow", "?format=csv"):
        said = []
        for at in (1, 2):
            monkeypatch.setattr(catalogue_module, "now", lambda at=at: np.datetime64(at, "s"))
            worker = TestClient(create_app(Catalogue(tiny.home, store)))
            said.append(worker.get(URL + query, headers=PLAIN))
        assert said[0].headers["etag"] == said[1].headers["etag"]
        assert said[0].headers["etag"].startswith('W/"')
        assert (said[0].content == said[1].content) == ("csv" in query)
    write(store, tiny, 300.0)
    assert worker.get(URL + query, headers=PLAIN).headers["etag"] != said[1].headers["etag"]


def test_what_a_key_opened_is_the_callers_own(client: TestClient) -> None:
    open_to_all = client.get(URL).headers["cache-control"]
    keyed = client.get(URL, headers={"authorization": "Bearer fel_x"}).headers["cache-control"]
    assert open_to_all.startswith("public, ")
    assert keyed == open_to_all.replace("public", "private")
    assert client.get("/v1/datasets", headers={"authorization": "x"}).headers["cache-control"] == (
        "private, no-cache"
    )


def test_long_questions_and_what_they_hold_are_bounded(client, tiny, store) -> None:
    app = create_app(Catalogue(tiny.home, store))
    ready = Ready(app, Catalogue(tiny.home, store), most=200_000)
    asker = TestClient(ready)
    observed = "/v1/observations/tiny?nodes=a&last="
    for last in range(1, 200):
        assert asker.get(f"{observed}{last}").status_code == 200
    assert len(asker.get(f"{observed}1", headers=PLAIN).content) < 500
    assert 1 < len(ready._kept) <= 200_000 // 2048
    for times, kept in ((1000, True), (1500, False)):  # of a query in bytes, twice as many
        query = f"leads={','.join('1' * times)}"
        assert asker.get(f"{URL}?{query}").status_code == 200
        assert any(key[1] == query.encode() for key in ready._kept) is kept


def scope(path: str = URL) -> dict[str, Any]:
    return {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": []}


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


def test_a_client_that_leaves_is_answered_nothing(tiny, store) -> None:
    """The line lets go of who leaves it; who asks the same next is answered."""
    answers: list[list[tuple[int, bytes]]] = [[], [(200, b"some")]]

    async def app(scope, receive, send) -> None:
        await asyncio.sleep(0.01)
        for status, body in answers.pop(0):
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body", "body": body})

    ready = Ready(app, Catalogue(tiny.home, store))
    sent: dict[int, list[Any]] = {0: [], 1: []}

    async def ask(number: int) -> None:
        async def send(message) -> None:
            sent[number].append(message)

        await ready(scope(), never, send)

    async def both() -> None:
        await asyncio.gather(ask(0), ask(1))

    ready.catalogue.runtimes()
    asyncio.run(both())
    assert sent[0] == []
    assert [message.get("status") for message in sent[1]] == [200, None]
    assert answers == []


def test_those_who_wait_share_what_is_too_large_to_keep(tiny, store) -> None:
    made: list[int] = []

    async def app(scope, receive, send) -> None:
        made.append(1)
        await asyncio.sleep(0.02)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x" * 1000})

    sent: list[bytes] = []

    async def send(message) -> None:
        sent.append(message.get("body", b""))

    async def all_at_once(ready: Ready) -> None:
        await asyncio.gather(*(ready(scope(), never, send) for _ in range(5)))

    for most, rounds in ((1000, 2), (100_000, 1)):
        ready = Ready(app, Catalogue(tiny.home, store), most)
        ready.catalogue.runtimes()
        made.clear()
        for _ in range(2):
            asyncio.run(all_at_once(ready))
        assert len(made) == rounds
    assert sorted({len(body) for body in sent}) == [0, 1000]
    assert len(sent) == 40


def test_a_silent_store_holds_up_nothing_else(tiny, postgres, monkeypatch) -> None:
    """Answers wait for it, in a thread of their own, and not for ever; the loop goes on."""
    store = Store(postgres.database())
    hold_observations(tiny.dataset, tiny.spec.reach, store)
    catalogue = Catalogue(tiny.home, store)
    ready = Ready(create_app(catalogue), catalogue)
    catalogue.runtimes()
    happened: list[Any] = []

    async def ask() -> None:
        async def send(message) -> None:
            if "status" in message:
                happened.append(message["status"])

        await ready(scope(), never, send)

    async def while_held() -> None:
        store.changed()
        with store.engine.connect() as other:
            other.execute(sa.text("LOCK TABLE revisions IN ACCESS EXCLUSIVE MODE"))
            release = threading.Timer(3.0, lambda: (happened.append("let go"), other.rollback()))
            release.start()
            asked = [asyncio.create_task(ask()) for _ in range(3)]
            for _ in range(10):
                await asyncio.sleep(0.01)
            happened.append("went on")
            await asyncio.gather(*asked)
            release.join()

    asyncio.run(while_held())
    assert happened == ["went on", "let go", 200, 200, 200]
    monkeypatch.setattr("serving.ready.LOOK_SECONDS", 0.3)
    happened.clear()
    asyncio.run(while_held())
    assert happened == ["went on", 503, 503, 503, "let go"]
