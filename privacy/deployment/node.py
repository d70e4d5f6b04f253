"""A partner's end of the line: it asks the city for work, does it here, and sends what may leave.

It speaks Flower's fleet protocol with Flower's own client and answers with the app of this
installation. Nothing that the city sends is ever run: of a run's bundle only the hash is looked at,
before anything else, and a run of another bundle than the agreed one gets no answer but a refusal.
"""

from __future__ import annotations

import logging
import math
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import httpx
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import (
    pull_and_inflate_object_from_tree,
    push_object_contents_from_iterable,
)
from flwr.supercore.run import RunNotRunningException
from flwr.supernode import fleet_http_connection as flower
from flwr.supernode.fleet_http_client import FleetHttpClient

from models.errors import FelsinaError
from models.record import sha256_bytes
from privacy.deployment.certificates import ends_on, load_node_key

log = logging.getLogger(__name__)
REFUSED = 2
"""Code of Flower's errors for a run of another bundle; the text of an error stays at home."""
_WHO, _GONE = 401, 410
_LINGERS = 6
REPLACED = ("FleetHttpClient", "flwr_exit")
"""What a partner has in place of what Flower's connection uses; a test looks that it still does."""


@dataclass(frozen=True)
class Identity:
    """What a partner shows to the city.

    Attributes:
        address: host:port of the city's proxy.
        authority: file of the city's certificate authority.
        key: file of the node's key.
        certificate: file of its certificate.
    """

    address: str
    authority: Path
    key: Path
    certificate: Path

    def context(self) -> ssl.SSLContext:
        """TLS 1.3 that believes this one authority and shows this one certificate."""
        context = ssl.create_default_context(cafile=str(self.authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.certificate, self.key)
        return context


class RefusedError(FelsinaError):
    """The city lets this partner in no more."""


class _NotConnectedError(Exception):
    """In place of Flower's end of the process; its context is what happened."""


def _not_connected(code: int, message: str = "", *given: Any, **named: Any) -> NoReturn:
    raise _NotConnectedError(message)


class Node:
    """Answers the city until it is told to stop.

    Args:
        identity: of the partner.
        bundle_sha256: of the bundle that was agreed on.
        app: of this installation.
        told: of what happens, one line each.
        poll_s: seconds between questions.
        patience_s: how long a city that does not answer is tried before it is told.
    """

    def __init__(
        self,
        identity: Identity,
        bundle_sha256: str,
        app: ClientApp,
        told: Callable[[str], None],
        poll_s: float = 1.0,
        patience_s: float = 10.0,
    ) -> None:
        self.identity, self.bundle_sha256, self.app = identity, bundle_sha256, app
        self.told, self.poll_s, self.patience_s = told, poll_s, patience_s
        self._checked: dict[int, bool] = {}

    def serve(self, stop: Callable[[], bool]) -> None:
        """Connect, and connect again, until ``stop`` says so.

        Raises:
            RefusedError: if the city says that the partner is out, or its certificate has ended.
        """
        silent = False
        while not stop():
            try:
                with self._connected() as line:
                    if silent:
                        self.told("the city answers again")
                    silent = False
                    self._answer(line, stop)
            except (httpx.HTTPStatusError, httpx.TransportError, _NotConnectedError) as error:
                said = error.__context__ if isinstance(error, _NotConnectedError) else error
                what = "does not answer"
                if isinstance(said, httpx.HTTPStatusError):
                    status = said.response.status_code
                    if status == _GONE:
                        raise RefusedError(f"the city says: {said.response.text}") from None
                    what = f"answers {status}" + ("; is the clock right?" if status == _WHO else "")
                if not silent:
                    self.told(f"{self.identity.address} {what}; tried again until it lets us in")
                    log.warning("%s", said)
                silent = True
                time.sleep(self.poll_s)

    @contextmanager
    def _connected(self) -> Iterator[Sequence[Any]]:
        """Flower's fleet connection, with a client certificate, which its own does not show."""
        ends = ends_on(self.identity.certificate)
        if ends < datetime.now(UTC):
            raise RefusedError(
                f"{self.identity.certificate} ended on {ends:%Y-%m-%d}; the same command, started "
                "again, gets a new one"
            )
        context = self.identity.context()

        class Certified(FleetHttpClient):
            @classmethod
            def from_server_address(cls, server_address: str, *given: Any, **named: Any):  # noqa: ANN206
                interceptors = named.get("interceptors") or given[2]
                return cls(f"https://{server_address}", interceptors=interceptors, verify=context)

        key = load_node_key(self.identity.key)
        fault: BaseException | None = None
        plain = {name: getattr(flower, name) for name in REPLACED}
        for name, own in zip(REPLACED, (Certified, _not_connected), strict=True):
            setattr(flower, name, own)
        try:
            connection = flower.http_request_response(
                self.identity.address,
                insecure=False,
                root_certificates=str(self.identity.authority),
                authentication_keys=(key, key.public_key()),
                max_wait_time=self.patience_s,
            )
            with connection as line:
                # Flower's own context would swallow what is raised within it.
                try:
                    yield line
                except BaseException as error:
                    fault = error
        finally:
            for name, theirs in plain.items():
                setattr(flower, name, theirs)
        if fault is not None:
            raise fault

    def _answer(self, line: Sequence[Any], stop: Callable[[], bool]) -> None:
        number, receive, send, get_run, get_fab, pull, push, confirm = line
        context = Context(0, number, {}, RecordDict(), {})
        self.told(f"connected to {self.identity.address}")
        sent = -math.inf
        while not stop():
            try:
                got = receive()
                if got is None:
                    time.sleep(self.poll_s)
                    continue
                asked, tree = got
                run = asked.metadata.run_id
                agreed = self._agreed(run, get_run, get_fab)
                message = pull_and_inflate_object_from_tree(
                    tree,
                    lambda name, run=run: pull(run, name),
                    lambda name, run=run: confirm(run, name),
                    return_type=Message,
                )
                message.metadata.__dict__["_message_id"] = tree.object_id
                reply = (
                    self.app(message, context)
                    if agreed
                    else Message(Error(REFUSED), reply_to=message)
                )
                _send(reply, send, push)
                sent = time.monotonic()
            except RunNotRunningException:
                time.sleep(self.poll_s)
            except (httpx.HTTPError, OSError):
                raise
            except Exception as error:  # what was sent is no message, or its session has ended
                log.exception("a message was not answered")
                self.told(f"a message was not answered: {type(error).__name__}, the log has it")
                time.sleep(self.poll_s)
        # A SuperLink gives no reply of a node that has left.
        time.sleep(max(0.0, sent + _LINGERS * self.poll_s - time.monotonic()))

    def _agreed(self, run: int, get_run: Callable, get_fab: Callable) -> bool:
        """Whether a run is of the agreed bundle, by what it says and by what it holds."""
        if run not in self._checked:
            named = get_run(run).fab_hash
            held = sha256_bytes(get_fab(named, run).content)
            self._checked[run] = named == held == self.bundle_sha256
            if not self._checked[run]:
                self.told(
                    f"the city runs bundle {held[:12]}, agreed was {self.bundle_sha256[:12]}: "
                    "refused, nothing was trained"
                )
        return self._checked[run]


def _send(reply: Message, send: Callable, push: Callable) -> None:
    """As Flower's node does it: the message first, then the arrays that the city lacks.

    But for the seconds that the work took, which tell how many rows there are: it says none.
    """
    reply.metadata.__dict__["_message_id"] = reply.object_id
    with no_object_id_recompute():
        objects = get_all_nested_objects(reply)
        wanted, session = send(reply, get_object_tree(reply), 0.0)
        run = reply.metadata.run_id
        push_object_contents_from_iterable(
            ((name, objects[name].deflate()) for name in wanted),
            lambda name, content: push(run, session, name, content),
        )
