"""The line before what computes: long in a burst, short in overload."""

from collections import deque

import numpy as np
import pytest

from serving.gate.slots import Line


def line(load: float, seconds: float, bound: Line, began: float = 0.0) -> tuple[float, float]:
    """Share refused and mean wait, in the second half, where one is served each 20 ms."""
    dice = np.random.default_rng(0)
    free, waiting, waits, refused = began, deque[float](), [], []
    now = began
    while now < began + seconds:
        now += dice.exponential(0.02 / load)
        while waiting and waiting[0] <= now:
            waiting.popleft()
        begins = max(now, free)
        full = free > now and len(waiting) >= bound.most(now, len(waiting))
        if free <= now:
            bound.most(now, 0)
        if now > began + seconds / 2:
            refused.append(full)
            waits += [] if full else [begins - now]
        if full:
            bound.refused += 1
            continue
        free = begins + 0.02
        waiting.append(begins)
    return float(np.mean(refused)), float(np.mean(waits))


def test_bursts_wait_and_overload_does_not() -> None:
    bound = Line(32, 2)
    assert line(0.7, 60, bound)[0] == 0
    refused, wait = line(3.0, 60, bound, 60)
    assert refused == pytest.approx(2 / 3, abs=0.05)
    assert wait < 0.05
    assert line(0.7, 60, bound, 120)[0] == 0  # and it is over when the load is
    assert line(3.0, 60, Line(32, 32), 180)[1] > 0.5
