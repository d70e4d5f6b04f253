"""The one door of the city: Flower's fleet operations for partners that joined, and joining.

TLS ends here. A fleet request needs a client certificate of the city's authority, whose key is the
node key that the request names and whose partner has joined and not withdrawn; then it is handed to
the SuperLink on loopback under a path that is rebuilt from a fixed list. Whatever else is asked of
a SuperLink (starting runs, registering nodes, its documentation) is not there.

A SuperLink looks whose a request is, but not whose the messages in it say that they are: in the
name of another node a partner could answer for it, in the SuperLink's own it could ask it. So what
is pushed has to say the number of the partner that the connection belongs to.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from flwr.proto.fleet_pb2 import PushMessagesRequest
from google.protobuf.message import DecodeError

from models.errors import FelsinaError
from privacy.deployment.certificates import who_shows
from privacy.deployment.city import City, split_address

log = logging.getLogger(__name__)
OPERATIONS = (
    "activate-node",
    "deactivate-node",
    "send-node-heartbeat",
    "pull-messages",
    "push-messages",
    "get-run",
    "get-fab",
    "push-object",
    "pull-object",
    "confirm-message-received",
)
"""What a node with a key of its own needs; registering and unregistering are the city's."""
MOST_BYTES = 16 * 2**20
_NODE_KEY = "flwr-public-key"
_PASSED_ON = {
    "content-type",
    "accept",
    "flwr-public-key",
    "flwr-timestamp",
    "flwr-signature",
    "flwr-package-name",
    "flwr-package-version",
    "flwr-component-name",
}
_ENROL_BYTES = 64 * 2**10
_PLAIN_BYTES = 2**20
"""Of whatever carries no array."""
_AT_ONCE = 8
"""Requests of one partner; its node sends one, a heartbeat and two objects at a time."""
_TIMEOUT_S, _UPLOAD_S = 60.0, 300.0


class Proxy:
    """Serves in a thread of its own while it is entered.

    Args:
        city: whose door.
        superlink: gives host:port of the SuperLink, which may change when it is started again.
        address: host:port to listen on; the city's own when left out.
    """

    def __init__(self, city: City, superlink: Callable[[], str], address: str = "") -> None:
        self.city, self.superlink = city, superlink
        self.host, self.port = split_address(address or city.address)
        self._under_way: Counter[str] = Counter()
        self._joining = asyncio.Lock()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._fault: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        """Listen.

        Raises:
            FelsinaError: if the port is taken.
        """
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            raise FelsinaError(
                f"{self.host}:{self.port}: {self._fault}; free the port, or make a city at another"
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            runner = self._loop.run_until_complete(self._listen())
        except (OSError, FelsinaError) as error:
            self._fault = error
            self._ready.set()
            return
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _listen(self) -> web.AppRunner:
        app = web.Application(client_max_size=MOST_BYTES)
        app.cleanup_ctx.append(self._session)
        app.router.add_post("/v1/fleet/{operation}", self._fleet)
        app.router.add_post("/enrol/{partner}", self._enrol)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port, ssl_context=_door(self.city.folder))
        await site.start()
        return runner

    async def _session(self, app: web.Application):  # noqa: ANN202
        context = ssl.create_default_context(cafile=str(self.city.folder / "ca.crt"))
        timeout = ClientTimeout(total=_TIMEOUT_S)
        connector = TCPConnector(ssl=context)
        async with ClientSession(connector=connector, timeout=timeout) as session:
            self._client = session
            yield

    async def _fleet(self, request: web.Request) -> web.Response:
        operation = request.match_info["operation"]
        if operation not in OPERATIONS:
            raise web.HTTPForbidden(text="not here")
        shown = request.transport.get_extra_info("ssl_object") if request.transport else None
        certificate = shown.getpeercert(binary_form=True) if shown else None
        if not certificate:
            raise web.HTTPForbidden(text="a client certificate is needed; join first")
        partner, key = who_shows(certificate)
        if _named_key(request) != key:
            raise web.HTTPForbidden(text="the request names another key than the certificate")
        member = self.city.admitted(partner, key)
        if member is None:
            raise web.HTTPGone(text=f"{partner} is not in: it withdrew, or joined with another key")
        if member.node is None:
            raise web.HTTPServiceUnavailable(text="joined a moment ago; try again")
        if self._under_way[partner] >= _AT_ONCE:
            raise web.HTTPServiceUnavailable(text="too many requests at once; try again")
        self._under_way[partner] += 1
        try:
            return await self._passed_on(request, operation, member.node)
        finally:
            self._under_way[partner] -= 1

    async def _passed_on(self, request: web.Request, operation: str, node: int) -> web.Response:
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        body = await _body(request, MOST_BYTES if operation == "push-object" else _PLAIN_BYTES)
        if operation == "push-messages" and not _only_of(node, body):
            raise web.HTTPForbidden(text="a message says that it is another node's")
        url = f"https://{self.superlink()}/v1/fleet/{operation}"
        try:
            async with self._client.post(url, data=body, headers=headers) as answer:
                content = await answer.read()
                return web.Response(
                    body=content, status=answer.status, content_type=answer.content_type
                )
        except (ClientError, TimeoutError):
            raise web.HTTPServiceUnavailable(text="the SuperLink does not answer") from None

    async def _enrol(self, request: web.Request) -> web.Response:
        content = await _body(request, _ENROL_BYTES)
        partner = request.match_info["partner"]
        try:
            # One after another: whoever has no token costs next to nothing.
            async with self._joining:
                answer = await asyncio.to_thread(self.city.enrol, partner, content)
        except FelsinaError as error:
            log.warning("enrolment as %r refused: %s", partner, error)
            return web.Response(text=str(error), status=403)
        log.info("%s joined", partner)
        return web.Response(body=json.dumps(answer).encode(), content_type="application/json")


async def _body(request: web.Request, most: int) -> bytes:
    """What a request holds; its length is looked at before any of it is kept."""
    length = request.content_length
    if length is None or length > most:
        raise web.HTTPRequestEntityTooLarge(most, length or 0)
    try:
        async with asyncio.timeout(_UPLOAD_S):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the request did not come to its end") from None


def _named_key(request: web.Request) -> bytes:
    """The node key that a request claims, by the header that is passed on."""
    try:
        return base64.b64decode(request.headers.get(_NODE_KEY, ""), validate=True)
    except ValueError:
        return b""


def _only_of(node: int, body: bytes) -> bool:
    """Whether all messages that are pushed say that they come from a node."""
    try:
        pushed = PushMessagesRequest.FromString(body)
    except DecodeError:
        return False
    return all(message.metadata.src_node_id == node for message in pushed.messages_list)


def _door(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.crt"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    # Whoever joins has no certificate yet; fleet operations look for it themselves.
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
