"""What a serving process does beside answering: evaluate rules, deliver webhooks, replay."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from serving.alerts.backtest import backtest_due
from serving.alerts.engine import Engine
from serving.catalogue import Catalogue
from serving.events.webhooks import Webhooks

log = logging.getLogger(__name__)
EVALUATE_SECONDS, DELIVER_SECONDS, REPLAY_SECONDS, FORGET_SECONDS = 1.0, 1.0, 5.0, 600.0


class Watch:
    """Threads of their own: what a slow receiver or a long replay holds up holds up no other.

    Only the process that has the engine's lease does any of it.

    Args:
        catalogue: that is served.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.engine = Engine(catalogue)
        self.webhooks = Webhooks(self.engine.events)
        self._ended = threading.Event()

    def start(self) -> None:
        """Begin; the threads end with the process, whatever they are at."""
        for work, seconds in (
            (self.engine.tick, EVALUATE_SECONDS),
            (self.deliver, DELIVER_SECONDS),
            (self.replay, REPLAY_SECONDS),
            (self.forget, FORGET_SECONDS),
        ):
            threading.Thread(target=self._repeat, args=(work, seconds), daemon=True).start()

    def stop(self) -> None:
        """End after what is under way, and let another process take over at once."""
        self._ended.set()
        self.engine.lease.release()

    def deliver(self) -> None:
        """Deliver what webhooks lack, if it is this process's turn."""
        if self.engine.lease.held:
            self.webhooks.deliver()

    def forget(self) -> None:
        """Forget events that are no longer kept, if it is this process's turn."""
        if self.engine.lease.held:
            self.engine.events.prune()

    def replay(self) -> None:
        """Replay rules that have no backtest, or one of much less, if it is this process's turn."""
        if self.engine.lease.held:
            backtest_due(self.engine.catalogue, self.engine.held)

    def _repeat(self, work: Callable[[], object], seconds: float) -> None:
        while not self._ended.wait(seconds):
            try:
                work()
            except Exception:  # the next turn may find it mended
                log.exception("%s failed", getattr(work, "__name__", work))
