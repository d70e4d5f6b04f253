"""Back-pressure: so many requests compute at once, few wait, the others are told to come back."""

from __future__ import annotations

import asyncio
import os
from asyncio import FIRST_COMPLETED
from collections import deque

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gate.bodies import again
from serving.gate.pressure import PRESSURE
from serving.gate.problems import Refusal, busy

_AT_ONCE = max(2, os.cpu_count() or 1)
_WAITING, _STANDS = 256, 10
_SECONDS = 30.0
_GROUPS = ("/v1/", "/v2/")
_PASSING = ("/v1/events", "/v2/health/")


class Line:
    """How long the line may be, second by second.

    A line that was never empty for ten seconds is no burst but overload: then it is short, so
    that those accepted hardly wait, until less than a quarter of those who come must be refused. It
    is shorter, too, the more is refused by how late the loop is.

    Args:
        long: in a burst.
        short: in overload.
    """

    def __init__(self, long: int, short: int) -> None:
        self.long, self.short = long, short
        self.overload = False
        self.refused = 0
        self._came, self._least, self._since, self._stood = 0, 0, 0.0, 0

    def most(self, now: float, waiting: int) -> int:
        """How many may wait, when one more comes and so many wait."""
        if now - self._since >= 1.0:
            stood = self._least > 0 and now - self._since < 2.0
            self._stood = self._stood + 1 if stood else 0
            self.overload = self._stood >= _STANDS or (
                self.overload and 4 * self.refused > self._came
            )
            self._since, self._came, self._least, self.refused = now, 0, waiting, 0
        self._came += 1
        self._least = min(self._least, waiting)
        share = 0.0 if self.overload else 1.0 - max(PRESSURE.level, 0.0)
        return max(int(self.long * share), self.short)


class Slots:
    """ASGI middleware that lets few requests at a time through to what computes.

    It stands behind ready answers and before the routes; the page, its files and streams pass. The
    line may be long in a burst, and is cut in overload (``Line``), with those who wait at its end.
    A slot is held until the answer begins or, where a thread still works after the deadline or
    after its client has left, until that thread ends: it cannot be stopped. A client that leaves
    the line gives its place up.

    Args:
        app: what lies behind.
        at_once: requests that compute at a time.
        waiting: requests that may wait in a burst; those beyond are answered 429.
        seconds: until an answer must begin, the wait included; else 504.
    """

    def __init__(
        self,
        app: ASGIApp,
        at_once: int = _AT_ONCE,
        waiting: int = _WAITING,
        seconds: float = _SECONDS,
    ) -> None:
        self.app, self.at_once, self.seconds = app, at_once, seconds
        self.busy = 0
        self.line: deque[asyncio.Future[bool]] = deque()
        self._bound = Line(waiting, min(at_once, waiting))
        self._late: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on when there is a slot for it."""
        if scope["type"] != "http" or not _computes(scope["path"]):
            await self.app(scope, receive, send)
            return
        began = asyncio.get_running_loop().time()
        if PRESSURE.sheds(ready=False):
            await busy(
                "more is asked than can be computed; try again in a second", "pressure"
            ).send(send)
            return
        if self.busy >= self.at_once:
            most = self._bound.most(began, len(self.line))
            while len(self.line) > most:  # it was cut: they would wait longest
                self.line.pop().set_result(False)
            if len(self.line) >= most:
                await self._busy().send(send)
                return
            try:
                message = await self._turn(receive)
            except Refusal as refusal:
                await refusal.send(send)
                return
            if message is None:
                return
            receive = again(message, receive)
        else:
            self._bound.most(began, 0)
            self.busy += 1
        await self._answer(scope, receive, send, began)

    async def _turn(self, receive: Receive) -> Message | None:
        """Wait for a slot; None where the client left. The message that was read meanwhile.

        Raises:
            Refusal: if none was free in time, or the line was cut before its turn.
        """
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.line.append(turn)
        given = False
        gone: asyncio.Future[Message] | None = None
        try:
            message = await receive()  # the whole body, which is there, or no body
            if message["type"] != "http.disconnect":
                gone = asyncio.ensure_future(receive())
                await asyncio.wait({turn, gone}, timeout=self.seconds, return_when=FIRST_COMPLETED)
                if not gone.done():
                    if not turn.done():
                        raise self._late_answer()
                    if not turn.result():
                        raise self._busy()
                    given = True
            return message if given else None
        finally:
            if gone is not None:
                gone.cancel()
            if not given:
                self._give_up(turn)

    def _give_up(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self.line.remove(turn)
        elif turn.result():
            self._free()

    def _free(self) -> None:
        """Hand a slot to the next in line, or keep it for who comes."""
        if self.line:
            self.line.popleft().set_result(True)
        else:
            self.busy -= 1

    async def _answer(self, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        loop = asyncio.get_running_loop()
        begins: asyncio.Future[None] = loop.create_future()
        late, held = False, True

        def let_go() -> None:
            nonlocal held
            if held:
                held = False
                self._free()
            if not begins.done():
                begins.set_result(None)

        async def answered(message: Message) -> None:
            if not late:
                let_go()
                await send(message)

        async def work() -> None:
            try:
                await self.app(scope, receive, answered)
            finally:
                let_go()

        task = loop.create_task(work())
        try:
            async with asyncio.timeout_at(began + self.seconds):
                await asyncio.shield(begins)
        except TimeoutError:
            late = True
            task.cancel()  # which waits for its thread
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            await self._late_answer().send(send)
            return
        except asyncio.CancelledError:
            task.cancel()
            raise
        await task

    def _busy(self) -> Refusal:
        self._bound.refused += 1
        detail = f"{self.busy} requests are being computed and {len(self.line)} wait"
        return busy(f"{detail}; try again in a second", "busy")

    def _late_answer(self) -> Refusal:
        detail = f"no answer within {self.seconds:g} s; ask for less at once"
        return Refusal(504, "Timed out", detail, "late")


def _computes(path: str) -> bool:
    return path.startswith(_GROUPS) and not path.startswith(_PASSING)
