"""The gate: what every request passes before BentoML's routes and the API's."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterable, Mapping
from functools import partial
from http import HTTPStatus
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.catalogue import Catalogue
from serving.gate.drain import Drain
from serving.gate.keys import PREFIX, Key, Keys
from serving.gate.metrics import Metrics, Told
from serving.gate.pressure import PRESSURE
from serving.gate.problems import PROBLEM, Headers, Refusal, busy
from serving.gate.rates import ANONYMOUS, Buckets, Quotas, address_of, burst_of
from serving.gate.ring import Ring
from serving.gate.rules import FORMS, SAFE, dataset_of, datasets_of, hidden, limited, role_for

ANONYMOUS_RATE = 10.0
ANONYMOUS_BURST = 100.0
"""A page asks for some thirty answers at once, and an office shares an address."""
_READ = "GET, HEAD"
_ALWAYS = ("/healthz", "/livez", "/metrics")
_WHAT = {
    404: "nothing is served at this path; /openapi.json lists what is",
    405: "the path exists and this method does not; the Allow header says which do",
    500: "an error of ours; it is in the log",
    503: "no release is loaded yet",
}


class Gate:
    """ASGI middleware: keys, roles, rates, quotas, drain, metrics, logs, and problems as JSON.

    Args:
        app: what lies behind.
        catalogue: its store's database holds the keys.
        routes: path and methods of each route, as ``rules.methods_of`` has them.
        anonymous: whether callers without a key may read.
        drain: of the process; one of its own by default.
    """

    def __init__(
        self,
        app: ASGIApp,
        catalogue: Catalogue,
        routes: Mapping[str, Iterable[str]],
        anonymous: bool = True,
        drain: Drain | None = None,
    ) -> None:
        self.app, self.catalogue, self.anonymous = app, catalogue, anonymous
        keys = Keys(catalogue.store.engine)
        self.ring, self.quotas, self.buckets = Ring(keys), Quotas(keys), Buckets()
        self.metrics = Metrics(routes, catalogue)
        self.routes = {path: ", ".join(sorted(methods)) for path, methods in routes.items()}
        self.drain = drain or Drain()
        self.drain.at_end = self.quotas.give_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it; tell of it either way."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            self.drain.watch()  # the process begins
            PRESSURE.start()
            await self.app(scope, receive, send)
            return
        told = Told(scope["method"], scope["path"], time.perf_counter())
        self.drain.in_flight += 1
        self.metrics.in_flight.inc()
        try:
            await self._answer(scope, receive, send, told)
        finally:
            self.drain.in_flight -= 1
            self.metrics.in_flight.dec()
            self.metrics.ended(told)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, told: Told) -> None:
        answer = _Answer(send, told, self)
        try:
            answer.more = await self._admit(scope, told)
            if told.path == "/metrics":
                if told.method not in SAFE:
                    raise _problem(405)
                await answer.text(await self.metrics.latest())
                return
            await self.app(_reading(scope), receive, answer.send)
        except Refusal as refusal:
            await refusal.send(answer.send)
        except Exception as error:
            told.error = _where(error)
            if not told.status:
                await _problem(500).send(answer.send)

    async def _admit(self, scope: Scope, told: Told) -> Headers:
        """Refuse who may not pass; the headers that tell of the caller's rate."""
        path, method = told.path, told.method
        if self.drain.draining and path not in _ALWAYS:
            refusal = busy("this server ends; ask another, or again", "drain", status=503)
            refusal.headers += ((b"connection", b"close"),)
            raise refusal
        if hidden(path):
            raise _problem(404)
        PRESSURE.came += 1
        if limited(path) and PRESSURE.sheds(ready=True):
            raise busy("more is asked than can be answered; try again in a second", "pressure")
        secret = _secret(scope["headers"])
        if secret is None and not limited(path) and role_for(method, path) == "read":
            return ()
        key = None
        if secret is not None:
            key = await self._found(secret)
        if key is None or key.stopped(time.time()):
            address = address_of(scope.get("client"))
            headers = self.buckets.take(address, ANONYMOUS_RATE, ANONYMOUS_BURST)
            if secret is not None:
                why = "is unknown" if key is None else f"is {key.stopped(time.time())}"
                raise _unauthorised(f"the key {why}; ask for a new one", b', error="invalid_token"')
            if not self.anonymous or role_for(method, path) != "read":
                raise _unauthorised("send a key: Authorization: Bearer fel_...")
            told.caller = ANONYMOUS
        else:
            told.caller = key.name
            headers = self.buckets.take(f"key {key.name}", key.rate, burst_of(key.rate))
            _allow(key, scope)
            await self._spend(key)
        scope.setdefault("state", {}).update(
            caller=told.caller,
            role="read" if key is None else key.role,
            stands=partial(self._stands, secret),
        )
        return headers

    async def _stands(self, secret: str | None) -> bool:
        """Whether who was let in would be let in still; a long answer asks now and then."""
        try:
            key = None if secret is None else await self._found(secret)
        except Refusal:
            return False
        return secret is None or (key is not None and not key.stopped(time.time()))

    async def _spend(self, key: Key) -> None:
        try:
            await self.quotas.spend(key)
        except SQLAlchemyError as error:
            detail = "quotas cannot be counted now; try again"
            raise busy(detail, "keys", 5, 503) from error

    def allow(self, path: str) -> str:
        """The methods of a path's route."""
        return self.routes.get(self.metrics.route(path), _READ)

    async def _found(self, secret: str) -> Key | None:
        try:
            return await self.ring.find(secret) if secret.startswith(PREFIX) else None
        except Exception as error:
            detail = "keys cannot be looked up now; try again"
            raise busy(detail, "keys", 5, 503) from error


class _Answer:
    """The answer on its way out: what others answered in plain text becomes a problem.

    Args:
        send: to the client.
        told: what is told of the request.
        gate: knows what is served.
    """

    def __init__(self, send: Send, told: Told, gate: Gate) -> None:
        self._send, self.told, self._gate = send, told, gate
        self.more: Headers = ()
        self._instead: Refusal | None = None

    async def send(self, message: Message) -> None:
        """Send a message on, with the caller's rate."""
        if message["type"] == "http.response.start":
            status = self.told.status = message["status"]
            self.told.refused = message.get("refused", "")
            headers = list(message.get("headers", ()))
            named = dict(headers)
            if release := named.get(b"felsina-release", b"").decode("latin-1"):
                self.told.release = release
                self.told.dataset = release.rpartition("-")[0]
            elif (dataset := dataset_of(self.told.path)) and self._gate.catalogue.serves(dataset):
                self.told.dataset = dataset
            if status == 405:  # the app names the methods of the first of several routes
                headers = [pair for pair in headers if pair[0] != b"allow"]
                headers.append((b"allow", self._gate.allow(self.told.path).encode()))
            kinds = (PROBLEM, b"text/html") if self.told.path in FORMS else PROBLEM
            if status >= 400 and not named.get(b"content-type", b"").startswith(kinds):
                kept = tuple(pair for pair in headers if pair[0] in (b"allow", b"retry-after"))
                self._instead = _problem(status, kept + self.more)
                await self._instead.send(self._send)
                return
            headers.extend(self.more)
            message = {**message, "headers": headers}
        elif self._instead is not None:
            return
        if self.told.method == "HEAD" and message.get("body"):
            message = {**message, "body": b""}
        await self._send(message)

    async def text(self, content: bytes) -> None:
        """Answer with metrics."""
        kind = (b"content-type", b"text/plain; version=1.0.0; charset=utf-8")
        length = (b"content-length", str(len(content)).encode())
        start = {"type": "http.response.start", "status": 200, "headers": [kind, length]}
        await self.send(start)
        await self.send({"type": "http.response.body", "body": content})


def _reading(scope: Scope) -> Scope:
    """A HEAD request is answered as the GET whose body is left out."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _secret(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key that was sent, None where there is none."""
    given = [value for name, value in headers if name == b"authorization"]
    if not given:
        return None
    scheme, _, secret = given[0].decode("latin-1").strip().partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        detail = "send one header Authorization: Bearer fel_..., or none"
        raise _unauthorised(detail, b', error="invalid_request"')
    return secret.strip()


def _allow(key: Key, scope: Scope) -> None:
    role = role_for(scope["method"], scope["path"])
    if not key.may(role):
        lacks = b', error="insufficient_scope", scope="%s"' % role.encode()
        detail = f"this needs a key of role {role}; yours is of role {key.role}"
        raise Refusal(403, "Forbidden", detail, "role", (_challenge(lacks),))
    if key.datasets is None or not limited(scope["path"]):
        return
    asked = datasets_of(scope["path"], scope["query_string"])
    if asked is None or not asked <= set(key.datasets):
        detail = f"your key is for {', '.join(key.datasets)}; ask for one of these by name"
        raise Refusal(403, "Forbidden", detail, "dataset", (_challenge(b""),))


def _unauthorised(detail: str, more: bytes = b"") -> Refusal:
    return Refusal(401, "Unauthorized", detail, "key", (_challenge(more),))


def _challenge(more: bytes) -> tuple[bytes, bytes]:
    return b"www-authenticate", b'Bearer realm="felsina"' + more


def _problem(status: int, headers: Headers = ()) -> Refusal:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Refused"
    return Refusal(status, phrase, _WHAT.get(status, phrase), "", headers)


def _where(error: BaseException) -> str:
    """Type and place of an error; its text may hold what a caller sent."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def anonymous_allowed() -> bool:
    """Whether ``FELSINA_ANONYMOUS`` lets callers without a key read; they may, by default."""
    return os.environ.get("FELSINA_ANONYMOUS", "1") != "0"
