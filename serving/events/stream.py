"""Server-sent events of what happens: ``GET /v1/events`` (WHATWG HTML, 9.2).

One watcher a process reads the log once a second, however many listen, and only while somebody
does. A listener that resumes gets what it missed from the log; one that does not read is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import anyio
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send

from serving.events.log import Event, EventLog
from serving.gate.problems import busy
from serving.gate.rates import ANONYMOUS, address_of

log = logging.getLogger(__name__)
MEDIA = "text/event-stream"
Stands = Callable[[], Awaitable[bool]]
"""Whether the listener's key would be let in still; the gate gives it along."""
MOST_LISTENERS = 32
"""A process; half of what it serves at a time."""
MOST_OF_ONE = 4
"""A caller, so that one does not take the places of all: a key, or an address without one."""
POLL_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
"""How often a quiet line is kept open, and any listener's key is looked up anew."""
SEND_SECONDS = 10.0
"""A listener that takes none of what is sent for so long is dropped."""
_WAITING = 200
_RETRY = b"retry: 3000\n\n"
_GAP = b"event: gap\ndata: {}\n\n"
"""Some of what was missed is no longer kept: read anew what you show."""


class Listener:
    """One who listens; events wait for it in a queue that is bounded.

    Args:
        caller: whose it is.
    """

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(_WAITING)
        self.dropped = False

    def offer(self, events: list[Event]) -> None:
        """Give events, from any thread."""
        with suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(self._put, *events)

    def end(self) -> None:
        """Let it go, from any thread."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._put, None)

    async def next(self, seconds: float) -> Event | None:
        """The next event; None to end.

        Raises:
            TimeoutError: if none comes for so long.
        """
        with anyio.fail_after(seconds):
            return None if self.dropped else await self._queue.get()

    def _put(self, *events: Event | None) -> None:
        try:
            for event in events:
                self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.dropped = True


class TooMany(Exception):
    """A caller listens often enough."""


class Stream:
    """The listeners of one process.

    Args:
        events: where events are read.
    """

    def __init__(self, events: EventLog) -> None:
        self.events = events
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        self._ending = False
        self._watched = False

    async def open(self, caller: str) -> Listener | None:
        """Begin to listen; None where too many do, or where the process ends.

        Raises:
            TooMany: if this caller's alone are too many.
        """
        self._end_at_signals()
        last = await anyio.to_thread.run_sync(self.events.last)
        with self._lock:
            if self._ending or len(self._listeners) >= MOST_LISTENERS:
                return None
            if sum(one.caller == caller for one in self._listeners) >= MOST_OF_ONE:
                raise TooMany
            listener = Listener(caller)
            self._listeners.add(listener)
            if not self._watched:
                self._watched = True
                threading.Thread(target=self._watch, args=(last,), daemon=True).start()
        return listener

    def close(self, listener: Listener) -> None:
        """Cease to listen."""
        with self._lock:
            self._listeners.discard(listener)

    def end(self) -> None:
        """Let all go, so that a server that drains need not wait for them."""
        self._ending = True
        for listener in tuple(self._listeners):
            listener.end()

    def _watch(self, last: int) -> None:
        """Hand events after number ``last`` to all, until nobody listens."""
        while True:
            time.sleep(POLL_SECONDS)
            events: list[Event] = []
            try:
                if self.events.last() > last:
                    events = self.events.after(last, _WAITING // 2)
            except SQLAlchemyError as error:
                log.error("events cannot be read now: %s", error)
            # after reading: whoever came meanwhile may have read the log before these were in it
            with self._lock:
                listeners = tuple(self._listeners)
                if not listeners:
                    self._watched = False
                    return
            if events:
                last = events[-1].id
                for listener in listeners:
                    listener.offer(events)

    def _end_at_signals(self) -> None:
        """Hear of the server's end before it waits for its connections to close.

        ASGI tells an app of it only after that; the handlers that are there are called as before.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before) and not isinstance(before, _Chained):
                signal.signal(number, _Chained(self.end, before))


class _Chained:
    """A signal handler before another."""

    def __init__(self, first: Callable[[], None], then: Callable[..., Any]) -> None:
        self._first, self._then = first, then

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._first()
        self._then(number, frame)


class EventStream(Response):
    """The answer to one who listens.

    Args:
        stream: of the process.
        datasets: whose events; None for all.
        after: number of the last event seen; None to begin with what happens next.
    """

    media_type = MEDIA

    def __init__(self, stream: Stream, datasets: frozenset[str] | None, after: int | None) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.stream, self.datasets, self.after = stream, datasets, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until either side has enough."""
        state = scope.get("state", {})
        key = state.get("caller", ANONYMOUS)
        try:
            caller = address_of(scope.get("client")) if key == ANONYMOUS else f"key {key}"
            listener = await self.stream.open(caller)
        except TooMany:
            await busy(f"you listen {MOST_OF_ONE} times already; end one", "listeners", 30).send(
                send
            )
            return
        if listener is None:
            detail = f"{MOST_LISTENERS} listen already, or the process ends; come again later"
            await busy(detail, "listeners", 30, 503).send(send)
            return
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            async with anyio.create_task_group() as group:

                async def tell() -> None:
                    if await self._tell(listener, send, state.get("stands")):
                        await send({"type": "http.response.body", "body": b""})
                    group.cancel_scope.cancel()

                group.start_soon(tell)
                while (await receive())["type"] != "http.disconnect":
                    pass
                group.cancel_scope.cancel()
        finally:
            self.stream.close(listener)

    async def _tell(self, listener: Listener, send: Send, stands: Stands | None) -> bool:
        """Send events until the key ends; False where the listener took none for too long."""
        loop = asyncio.get_running_loop()

        async def put(text: bytes) -> bool:
            with anyio.move_on_after(SEND_SECONDS) as scope:
                await send({"type": "http.response.body", "body": text, "more_body": True})
            return not scope.cancelled_caught

        if not await put(_RETRY):
            return False
        last, events = -1, self.stream.events
        if self.after is not None:
            first, latest = await anyio.to_thread.run_sync(events.kept)
            last = self.after
            if not first - 1 <= last <= latest:
                last = first - 1
                if not await put(_GAP):
                    return False
            while missed := await anyio.to_thread.run_sync(events.after, last, _WAITING):
                for event in missed:
                    last = event.id
                    if self._wanted(event) and not await put(as_text(event)):
                        return False
        due = loop.time() + HEARTBEAT_SECONDS
        while True:
            if loop.time() >= due:
                due = loop.time() + HEARTBEAT_SECONDS
                if stands is not None and not await stands():
                    return True
                if not await put(b": still here\n\n"):
                    return False
            try:
                event = await listener.next(due - loop.time())
            except TimeoutError:
                continue
            if event is None:
                return not listener.dropped
            if event.id > last and self._wanted(event) and not await put(as_text(event)):
                return False

    def _wanted(self, event: Event) -> bool:
        return self.datasets is None or event.dataset in self.datasets


def as_text(event: Event) -> bytes:
    """An event as it is sent."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.kind.encode(), event.data)
