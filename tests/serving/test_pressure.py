"""Overload is told by a late loop: then a share is refused, what must be computed first."""

import asyncio
import random
import time

from serving.gate.pressure import Pressure


def refused(pressure: Pressure, ready: bool) -> float:
    return sum(pressure.sheds(ready) for _ in range(2000)) / 2000


def after(*late: float, came: int = 50, worked: float = 1.0) -> Pressure:
    """Intervals that were so many seconds late."""
    pressure = Pressure()
    for one in late:
        pressure.came = came
        pressure.step(one, worked)
    return pressure


def overloaded(level: float) -> Pressure:
    pressure = after(*[0.02] * 8)
    pressure.level = level
    return pressure


def test_one_long_pause_refuses_nothing() -> None:
    pressure = after(0.0, 0.0, 0.5, 0.0, 0.0, 0.5, 0.0)
    assert refused(pressure, ready=False) == 0


def test_a_burst_of_a_third_of_a_second_refuses_nothing() -> None:
    assert refused(after(*[0.02] * 3, *[0.001] * 8, *[0.02] * 3), ready=False) == 0


def test_overload_refuses_what_computes_first_and_never_everything() -> None:
    some = after(*[0.02] * 6)
    assert 0.1 < refused(some, ready=False) < 0.9
    assert refused(some, ready=True) == 0
    much = after(*[0.02] * 20)
    assert 0.93 < refused(much, ready=False) < 0.97
    assert 0.93 < refused(much, ready=True) < 0.97


def test_thrice_of_what_can_be_computed_is_seen_at_once() -> None:
    calm = after(*[0.001] * 40, worked=0.5)
    for _ in range(2):
        calm.came = 200
        calm.step(0.006, 1.0)
    assert refused(calm, ready=False) > 0.4
    same = after(*[0.001] * 40, worked=0.5)
    for _ in range(2):
        same.came = 60
        same.step(0.006, 1.0)
    assert refused(same, ready=False) == 0


def test_what_was_refused_is_let_in_again_within_seconds() -> None:
    pressure = overloaded(2.0)
    for _ in range(120):  # 12 s
        pressure.step(0.0, 0.3)
    assert refused(pressure, ready=False) == 0


def test_a_process_that_is_busy_and_on_time_lets_in_no_more_than_it_can_bear() -> None:
    pressure = overloaded(1.2)

    def goes_on(late: float, worked: float, came: int) -> float:
        for _ in range(50):
            pressure.came = came
            pressure.step(late, worked)
        return pressure.level

    goes_on(0.002, 0.9, came=150)
    before = pressure.level
    assert goes_on(0.002, 0.9, came=150) == before > 0
    assert goes_on(0.0002, 2.5, came=150) < before - 0.2  # cores beside the loop's are at work
    assert goes_on(0.002, 0.9, came=40) < 0  # no more is asked than it can compute


def test_a_late_loop_refuses_nothing_where_less_is_asked_than_can_be_computed() -> None:
    pressure = after(*[0.001] * 100, worked=0.8)
    for _ in range(10):
        pressure.came = 50
        pressure.step(0.03, 0.9)
    assert refused(pressure, ready=False) == 0
    for _ in range(60):  # requests that cost more have come: it is more than can be computed
        pressure.came = 45
        pressure.step(0.03, 1.0)
    assert refused(pressure, ready=False) > 0.9


def test_in_overload_a_burst_is_refused_until_the_loop_has_caught_up() -> None:
    calm, wild = after(*[0.0] * 4), overloaded(0.5)
    for pressure in calm, wild:
        pressure._due = time.monotonic() - 0.05
    assert refused(calm, ready=True) == 0
    assert 0.93 < refused(wild, ready=True) < 0.97
    wild._due = time.monotonic() + 5
    assert refused(wild, ready=True) == 0


def test_a_machine_that_others_keep_busy_is_no_overload() -> None:
    assert refused(after(*[0.05] * 50, came=5), ready=False) == 0
    assert refused(after(*[0.05] * 50, worked=0.5), ready=False) == 0
    assert refused(after(*[0.05] * 50), ready=False) > 0.9


def test_the_level_settles_where_what_is_let_in_is_answered_soon() -> None:
    """A queue of one server at three times its capacity, for a minute."""
    dice, pressure, waiting = random.Random(0), Pressure(), 0.0
    waits = []
    for _ in range(600):
        begun, busy = waiting, 0.0
        for _ in range(300):  # 3000/s, each ready answer takes a millisecond
            pressure.came += 1
            gone = dice.expovariate(3000)
            busy += min(gone, waiting)
            waiting = max(waiting - gone, 0.0)
            if not pressure.sheds(ready=True):
                waiting += 0.001
                waits.append(waiting)
        pressure.step((begun + waiting) / 2, busy / 0.1)
    settled = sorted(waits[len(waits) // 3 :])
    assert settled[len(settled) // 2] < 0.05
    assert len(waits) / 60 > 500  # of a thousand that it could answer


class Watching(Pressure):
    """Keeps how late each interval was."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []

    def step(self, late: float, worked: float, seconds: float = 0.1) -> None:
        self.seen.append(late)


def test_a_loop_that_is_held_up_is_seen_to_be_late() -> None:
    async def load(held: float) -> float:
        pressure = Watching()
        pressure.start()
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            time.sleep(held)
            await asyncio.sleep(0 if held else 0.005)
        return sorted(pressure.seen)[len(pressure.seen) // 2]

    assert 0.01 < asyncio.run(load(0.03)) < 0.3
    assert asyncio.run(load(0.0)) < 0.01
