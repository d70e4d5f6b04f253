import asyncio
import json
from collections.abc import Iterable

from serving.gate import BodyLimit


def ask(pieces: Iterable[bytes], most: int, declared: bytes | None = None, starts: bool = False):
    """Status and body of an app that echoes how much it read, behind a limit."""
    sent: list[dict] = []
    waiting = list(pieces)

    async def receive():
        body = waiting.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        if starts:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        read, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            read, more = read + len(message["body"]), message["more_body"]
        if not starts:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(read).encode()})

    headers = [] if declared is None else [(b"content-length", declared)]
    asyncio.run(BodyLimit(app, most)({"type": "http", "headers": headers}, receive, send))
    body = b"".join(message.get("body", b"") for message in sent)
    return [m["status"] for m in sent if "status" in m], body, len(waiting)


def test_bodies_up_to_the_limit_pass() -> None:
    assert ask([b"abc", b"", b"de"], 5) == ([200], b"5", 0)
    assert ask([b"abcde"], 5, b"5") == ([200], b"5", 0)


def test_a_declared_body_is_refused_unread() -> None:
    status, body, unread = ask([b"a"] * 6, 5, b"6")
    assert (status, unread) == ([413], 6)
    assert json.loads(body)["status"] == 413


def test_a_chunked_body_is_refused_as_soon_as_it_is_over() -> None:
    status, body, unread = ask([b"ab"] * 100, 5)
    assert (status, unread) == ([413], 97)
    assert "over 5 bytes" in json.loads(body)["detail"]


def test_a_body_longer_than_declared_is_refused() -> None:
    assert ask([b"ab"] * 3, 5, b"1")[0] == [413]
    assert ask([b"ab"] * 3, 5, b"nonsense")[0] == [413]


def test_an_answer_that_began_is_not_begun_again() -> None:
    assert ask([b"ab"] * 3, 5, starts=True)[0] == [200]


def test_other_messages_pass() -> None:
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(BodyLimit(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan"]
