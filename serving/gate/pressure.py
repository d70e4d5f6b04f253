"""Overload, told by what is asked for and by how late the loop comes to its work.

What is asked for is known by count: what requests cost is learned while all are let in. Where it is
less than can be computed, a late loop is a burst or a pause, and refuses nothing. Else a share is
turned away, the more the later the loop is: that costs little, and then what is accepted waits
little. In overload the level stays where the process is busy but not late, and falls only as far as
there is room: were it to fall until the loop is late again, each fall would end in a queue.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import deque

_TICK, _INTERVAL, _INTERVALS = 0.01, 0.1, 3
_LATE = 0.004
"""Mean seconds of delay from which it is too much; at 70 % of capacity it is half of that."""
_CAME, _WORKED = 10, 0.8
"""Requests in an interval, and share of it that the process computed, below which it is not its own
work that makes the loop late."""
_RISE, _MOST_RISE = 0.15, 0.3
_FULL, _EASE, _MOST_FALL = 0.85, 0.15, 0.025
"""Share of the time that the process may compute in overload, and how fast more is let in below."""
_CREEP = 0.005
"""What the level falls by above that where the loop is on time or little more is asked than can be
computed: other cores may be at work, or the cost was learned wrongly."""
_SLACK, _FORGET = 1.0, 0.15
"""What the level must rise by before anything is refused, and falls by where there is none."""
_MUCH, _SURE, _BEGIN, _LEARN = 0.9, 1.5, 0.5, 0.05
"""Work asked for, as a share of an interval, from which there may be overload, and surely is; the
level then; and how fast its cost is learned."""
_BURST = 0.015
"""Seconds of delay beyond which, in overload, nearly all is refused until the loop is on time."""
_MOST = 0.95
"""Share of a kind that is refused at most: some of everything goes on."""
_BUSY = 0.6


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
        self._late, self._worked, self._asked = (
            deque([0.0] * _INTERVALS, _INTERVALS) for _ in range(3)
        )
        self._cost = 0.0
        self._due = math.inf
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Watch the running loop until it ends."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def sheds(self, ready: bool) -> bool:
        """Whether a request is to be refused; one that lies ready is, only where need be."""
        if self.level <= 0:
            return False
        burst = time.monotonic() - self._due > _BURST
        return self._dice.random() < (_MOST if burst else min(self.level - ready, _MOST))

    @property
    def busy(self) -> bool:
        """Whether the process computes most of the time, so that what can wait should."""
        return sum(self._worked) / _INTERVALS > _BUSY

    def step(self, late: float, worked: float, seconds: float = _INTERVAL) -> None:
        """An interval has passed.

        Args:
            late: seconds that the loop was late in it, on average.
            worked: share of it that the process computed.
            seconds: that it took.
        """
        many = self.came >= _CAME
        self._late.append(late if many and worked >= _WORKED else 0.0)
        self._worked.append(worked)
        self._asked.append(self.came * self._cost / seconds)
        if many and self.level <= 0:
            cost = worked * seconds / self.came
            self._cost += (_LEARN if self._cost else 1.0) * (cost - self._cost)
        by, asked = _median(self._late) / _LATE, _median(self._asked)
        self.level = min(max(self.level + self._change(by, asked, late), -_SLACK), 2.0)
        self.came = 0

    def _change(self, by: float, asked: float, late: float) -> float:
        """By how much the level moves; ``by`` 1 the loop is too late."""
        room = _FULL - sum(self._worked) / _INTERVALS
        if asked < _MUCH:
            return -_FORGET
        if by > 1:
            sure = self.level <= 0 and asked > _SURE
            return _BEGIN - self.level if sure else min(_RISE * by, _MOST_RISE)
        if self.level <= 0:
            return -_FORGET
        if room > 0:
            return -min(_EASE * room, _MOST_FALL)
        return -_CREEP if asked < _SURE or late < _LATE / 4 else 0.0

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began, used, late, ticks = loop.time(), time.process_time(), 0.0, 0
            while loop.time() < began + _INTERVAL:
                due = loop.time() + _TICK
                self._due = time.monotonic() + _TICK
                await asyncio.sleep(_TICK)
                late, ticks = late + loop.time() - due, ticks + 1
            seconds = loop.time() - began
            worked = (time.process_time() - used) / seconds
            self.step(late / ticks, worked, seconds)


def _median(values: deque[float]) -> float:
    return sorted(values)[len(values) // 2]


PRESSURE = Pressure()
"""Of this process, which has one loop that serves."""
