"""Overload, told by how late the loop comes to its work: the later, the more is refused at once.

Work that is turned away costs little, and then what is accepted waits little. A burst, or one long
pause, refuses nothing: what counts is the median of the last intervals.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

_TICK, _INTERVAL, _INTERVALS = 0.01, 0.2, 3
_LATE = 0.004
"""Mean seconds of delay from which it is too much; at 70 % of capacity it is half of that."""
_CAME, _WORKED = 20, 0.8
"""Requests in an interval, and share of it that the process computed, below which it is not its own
work that makes the loop late."""
_RISE, _MOST_RISE, _FALL = 0.1, 0.3, 0.05
_SLACK = 0.3
"""What the level must rise by before anything is refused."""
_MOST = 0.95
"""Share of a kind that is refused at most: some of everything goes on."""


class Pressure:
    """How much of what comes is refused, so that what is accepted is answered soon.

    Attributes:
        level: to 0 nothing; to 1 that share of what must be computed; to 2 nearly all of that, and
            the share beyond 1 of what lies ready.
        came: requests since the interval began.
    """

    def __init__(self) -> None:
        self.level, self.came = -_SLACK, 0
        self._dice = random.Random()
        self._late: deque[float] = deque([0.0] * _INTERVALS, _INTERVALS)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch the running loop until it ends."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def sheds(self, ready: bool) -> bool:
        """Whether a request is to be refused; one that lies ready is, only where need be."""
        beyond = min(self.level - ready, _MOST)
        return beyond > 0 and self._dice.random() < beyond

    def step(self, late: float, worked: float) -> None:
        """An interval has passed.

        Args:
            late: seconds that the loop was late in it, on average.
            worked: share of it that the process computed.
        """
        self._late.append(late if self.came >= _CAME and worked >= _WORKED else 0.0)
        self.came = 0
        usual = sorted(self._late)[_INTERVALS // 2]
        by = usual / _LATE
        change = min(_RISE * by, _MOST_RISE) if by > 1 else _FALL * (by - 1)
        self.level = min(max(self.level + change, -_SLACK), 2.0)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began, used, late, ticks = loop.time(), time.process_time(), 0.0, 0
            while loop.time() < began + _INTERVAL:
                due = loop.time() + _TICK
                await asyncio.sleep(_TICK)
                late, ticks = late + loop.time() - due, ticks + 1
            worked = (time.process_time() - used) / (loop.time() - began)
            self.step(late / ticks, worked)


PRESSURE = Pressure()
"""Of this process, which has one loop that serves."""
