"""A worker that is told to end answers what it began, takes nothing new, and ends in time."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

log = logging.getLogger(__name__)
SECONDS = 20.0
"""The longest that what is in flight may take."""
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Drain:
    """Holds the signals that end a worker back until nothing is in flight.

    Meanwhile the server still listens, and the gate answers 503, so that a balancer goes
    elsewhere; the host's own handler, which closes the socket at once, comes after.

    Args:
        seconds: after which it ends in any case.
        at_end: called before the host's handler.
    """

    def __init__(self, seconds: float = SECONDS, at_end: Callable[[], None] = lambda: None) -> None:
        self.seconds, self.at_end = seconds, at_end
        self.in_flight = 0
        self.draining = False
        self.began = asyncio.Event()
        """Set when the worker is told to end; streams end then."""

    def watch(self) -> None:
        """Put itself before the handlers of the host; call it in the main thread, in the loop."""
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            before = signal.getsignal(number)
            if not callable(before):
                continue

            def handle(got: int, frame: FrameType | None, go_on: Callable = before) -> None:
                if self.draining:
                    return
                self.draining = True
                loop.call_soon_threadsafe(self.began.set)
                loop.call_soon_threadsafe(self._wait, loop.time(), lambda: go_on(got, frame))

            signal.signal(number, handle)

    def _wait(self, since: float, go_on: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        if self.in_flight and loop.time() - since < self.seconds:
            loop.call_later(0.05, self._wait, since, go_on)
            return
        if self.in_flight:
            log.error("%d requests are cut off after %g s", self.in_flight, self.seconds)
        last = threading.Timer(self.seconds, os._exit, (1,))  # a thread that never ends
        last.daemon = True
        last.start()
        try:
            self.at_end()
        except Exception as error:
            log.error("not all was tidied up: %s", type(error).__name__)
        go_on()
