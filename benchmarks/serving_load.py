"""What the server bears: mixed load, overload, swaps of releases, processes killed.

    FELSINA_HOME=HOME taskset -c 1 python -m benchmarks.serving_load mixed --minutes 10
    FELSINA_HOME=HOME taskset -c 1 python -m benchmarks.serving_load overload --seconds 60
    FELSINA_HOME=HOME python -m benchmarks.serving_load swap --requests 10000
    FELSINA_HOME=HOME python -m benchmarks.serving_load kill --seconds 20

Each starts a real server over a copy of HOME's releases and observations, loads it from this
process, prints Markdown and exits 1 where a bar is missed. Capacity is what 8 connections that ask
one request after another get accepted a second; loads come at random moments (Poisson). Kept to one
core, this process leaves the server the others, so that it does not measure its own hunger.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from benchmarks.loading import (
    LOST,
    Connection,
    Draw,
    Seen,
    Served,
    closed_loop,
    open_loop,
    serving,
    start,
)
from benchmarks.tables import head, row
from models.record import canonical_json
from models.stream import utc_now
from pipelines.settings import home
from serving.release import MANIFEST, champion_pointer, release_id
from tests.fixtures.boards import terms_of

_CLOSED = 8
_WARM = 3.0
_WEIGHTS = {"ready": 70, "list": 5, "page": 5, "computed": 10, "stateless": 5, "write": 5}
"""Requests of a mixed load, in percent."""


async def fetch(served: Served, path: str) -> Any:
    """The JSON answer to a GET."""
    status, body = await Connection(served.port).ask(served.request("GET", path))
    if status != 200:
        raise RuntimeError(f"{path}: {status} {body[:200]!r}")
    return json.loads(body)


async def mixture(served: Served, seed: int = 0) -> Draw:
    """Draws what an office asks: mostly ready forecasts, some computed anew, some writes."""
    names = [d["name"] for d in (await fetch(served, "/v1/datasets"))["datasets"]]
    ready, computed, stateless, writes = [], [], [], []
    for name in names:
        held = await fetch(served, f"/v1/observations/{name}?last=400")
        detail = await fetch(served, f"/v1/datasets/{name}")
        columns = {f["id"]: f["values"] for f in held["features"]}
        ready += [
            served.request("GET", f"/v1/forecasts/{name}{query}")
            for query in ("", "?format=geojson", "?format=csv")
        ]
        computed += [
            served.request("GET", f"/v1/forecasts/{name}?init_time={stamp}&bands=released")
            for stamp in held["times"][-200:]
        ]
        past = {n: v[-detail["lookback"] :] for n, v in columns.items()}
        window = {"init_time": held["times"][-1], "past": past}
        if all(len(v) == detail["lookback"] for v in past.values()):
            body = json.dumps(window).encode()
            stateless.append(served.request("POST", f"/v1/forecasts/{name}", body))
        writes += [
            served.request("POST", f"/v1/observations/{name}", json.dumps(body).encode())
            for body in _sent(held["times"], columns)
        ]
    choices = {
        "ready": ready,
        "list": [served.request("GET", "/v1/datasets")],
        "page": [served.request("GET", "/")],
        "computed": computed,
        "stateless": stateless,
        "write": writes,
    }
    dice = random.Random(seed)
    kinds, weights = list(_WEIGHTS), list(_WEIGHTS.values())

    def draw() -> tuple[str, bytes]:
        (kind,) = dice.choices(kinds, weights)
        return kind, dice.choice(choices[kind])

    return draw


def _sent(times: list[str], columns: dict[str, list[float | None]]) -> list[dict[str, Any]]:
    """What a feed sends: the last values again, as feeds do, and each fifth time other ones."""
    last = {name: values[-1:] for name, values in columns.items()}
    other = {name: values[-2:-1] for name, values in columns.items()}
    return [{"times": times[-1:], "values": v} for v in (last, last, last, last, other)]


async def capacity(served: Served, draw: Draw, seconds: float) -> float:
    """Accepted requests a second, at most."""
    await closed_loop(served.port, draw, _CLOSED, _WARM)
    seen = await closed_loop(served.port, draw, _CLOSED, seconds)
    return seen.accepted / seen.span


def told(name: str, rate: float, seen: Seen) -> None:
    """A line for each kind of request."""
    statuses = ", ".join(f"{k or 'lost'}: {v}" for k, v in sorted(seen.statuses.items()))
    print(f"\n{name}: {rate:.0f} requests/s for {seen.span:.0f} s; answers {statuses}")
    head("request", "accepted", "p50 ms", "p95 ms", "p99 ms")
    for kind in _WEIGHTS:
        cells = [f"{seen.ms(kind, percent):.1f}" for percent in (50, 95, 99)]
        row(kind, len(seen.seconds.get(kind, [])), *cells)


async def resident(served: Served, every: float, into: list[list[float]]) -> None:
    """Keep the MiB that each worker holds, until cancelled."""
    while True:
        with contextlib.suppress(psutil.NoSuchProcess):
            into.append([p.memory_info().rss / 2**20 for p in served.workers()])
        await asyncio.sleep(every)


async def mixed(served: Served, seconds: float) -> bool:
    """70 % of capacity: no error, and memory that stays."""
    draw = await mixture(served)
    most = await capacity(served, draw, 10)
    curve: list[list[float]] = []
    watch = asyncio.create_task(resident(served, seconds / 20, curve))
    seen = await open_loop(served.port, draw, 0.7 * most, seconds)
    watch.cancel()
    told(f"mixed, 70 % of {most:.0f}/s", 0.7 * most, seen)
    head("after s", *(f"worker {n + 1}, MiB" for n in range(len(curve[0]))))
    for n, sizes in enumerate(curve):
        row(f"{n * seconds / 20:.0f}", *(f"{size:.0f}" for size in sizes))
    half = len(curve) // 2
    grown = max(b - a for a, b in zip(curve[half], curve[-1], strict=True))
    errors = sum(seen.statuses.values()) - seen.accepted
    print(f"\nerrors {errors} (bar 0); second half grew by {grown:.1f} MiB (bar: flat)")
    return errors == 0 and grown < 10


async def overload(served: Served, seconds: float) -> bool:
    """Three times capacity: no crash, 429s, and those accepted nearly as fast as at 70 %."""
    draw = await mixture(served)
    workers = [p.pid for p in served.workers()]
    most = await capacity(served, draw, 10)
    calm = await open_loop(served.port, draw, 0.7 * most, seconds)
    told(f"calm, 70 % of {most:.0f}/s", 0.7 * most, calm)
    wild = await open_loop(served.port, draw, 3 * most, seconds)
    told("overload, 3 x capacity", 3 * most, wild)
    head("request", "p50 ratio", "p95 ratio")
    worst = 0.0
    for kind in _WEIGHTS:
        ratios = [wild.ms(kind, percent) / calm.ms(kind, percent) for percent in (50, 95)]
        worst = max(worst, *(ratio for ratio in ratios if ratio == ratio))
        row(kind, *(f"{ratio:.1f}" for ratio in ratios))
    after = 429
    for _ in range(10):  # who was refused comes back each second
        if after == 429:
            await asyncio.sleep(1)
            after, _ = await Connection(served.port).ask(served.request("GET", "/v1/datasets"))
    same = workers == [p.pid for p in served.workers()]
    odd = {s: n for s, n in wild.statuses.items() if s not in (200, 429)}
    print(
        f"\n429s {wild.statuses[429]}; others refused or lost {odd or 'none'}; "
        f"same workers {same}; afterwards {after}; worst ratio {worst:.1f} (bar 2)"
    )
    return same and after == 200 and not odd and wild.statuses[429] > 0 and worst <= 2


async def swap(served: Served, requests: int) -> bool:
    """Releases are swapped under load: no request is lost."""
    names = [d["name"] for d in (await fetch(served, "/v1/datasets"))["datasets"]]
    pairs = {name: _twin(served.home, name) for name in names}
    asked = [served.request("GET", f"/v1/forecasts/{n}?bands=released") for n in names]
    dice, seen, swaps = random.Random(0), Seen(), 0
    served_by: set[str] = set()
    began = time.perf_counter()

    async def one() -> None:
        connection = Connection(served.port)
        while sum(seen.statuses.values()) < requests:
            start = time.perf_counter()
            status, body = await connection.ask(dice.choice(asked))
            seen.add("ready", status, time.perf_counter() - start)
            if status == 200:
                served_by.add(_release(body))

    async def swapping() -> None:
        nonlocal swaps
        while True:
            for name, pair in pairs.items():
                await asyncio.sleep(0.7)
                swaps += 1
                _promote(served, name, pair[swaps % 2])

    task = asyncio.create_task(swapping())
    await asyncio.gather(*(one() for _ in range(4)))
    task.cancel()
    lost = sum(seen.statuses.values()) - seen.accepted
    span = time.perf_counter() - began
    print(
        f"\n{sum(seen.statuses.values())} requests in {span:.0f} s over {swaps} swaps, answered by "
        f"{len(served_by)} releases; lost {lost} (bar 0); p99 {seen.ms('ready', 99):.1f} ms"
    )
    return lost == 0 and len(served_by) == 2 * len(names)


def _release(body: bytes) -> str:
    """The release that an answer says it is of."""
    return json.loads(body)["model"]["version"]


def _promote(served: Served, dataset: str, release: str) -> None:
    assert served.board is not None
    board = served.board.board()
    if board.promoted(dataset)[0].release == release:
        return
    of = terms_of(served.home, served.home / "releases" / release)
    ruling = board.ruling(of.manifest_sha256, utc_now())
    served.board.promote(of, ruling.decision or served.board.approve(of))


def _twin(place: Path, dataset: str) -> tuple[str, str]:
    """The release of a dataset, and another one that differs by a note in its manifest."""
    first = json.loads(champion_pointer(place, dataset).read_bytes())["release"]
    folder = place / "releases" / first
    content = canonical_json(json.loads((folder / MANIFEST).read_bytes()) | {"note": "twin"})
    second = release_id(dataset, content)
    shutil.copytree(folder, place / "releases" / second)
    (place / "releases" / second / MANIFEST).write_bytes(content)
    return first, second


async def kill_one(served: Served, seconds: float) -> bool:
    """kill -9 of one of two workers under load: only what it was answering is lost."""
    draw = await mixture(served)
    connections = [Connection(served.port) for _ in range(4)]
    seen, began = Seen(), time.perf_counter()
    victim, asking = served.workers()[0].pid, 0

    async def one(connection: Connection) -> None:
        while time.perf_counter() - began < seconds:
            kind, request = draw()
            start = time.perf_counter()
            status, _ = await connection.ask(request)
            seen.add(kind, status, time.perf_counter() - start)

    async def killing() -> None:
        nonlocal asking
        await asyncio.sleep(seconds / 4)
        asking = sum(connection.asking for connection in connections)
        psutil.Process(victim).kill()

    await asyncio.gather(killing(), *(one(c) for c in connections))
    ends = time.monotonic() + 60
    while len([p for p in served.workers() if p.pid != victim]) < 2 and time.monotonic() < ends:
        await asyncio.sleep(0.2)
    back = time.perf_counter() - began - seconds / 4
    lost, asked = seen.statuses[LOST], sum(seen.statuses.values())
    print(
        f"\nkill -9 of one of two workers: {asked} requests, lost {lost} of the {asking} in flight "
        f"(bar: no more), {seen.statuses[429]} told to come back; two workers again after "
        f"{back:.0f} s"
    )
    return lost <= asking and seen.accepted + lost + seen.statuses[429] == asked


async def kill_all(served: Served, seconds: float) -> bool:
    """kill -9 of everything while observations come: what was acknowledged is there."""
    name = (await fetch(served, "/v1/datasets"))["datasets"][0]["name"]
    held = await fetch(served, f"/v1/observations/{name}?last=2000")
    nodes = [feature["id"] for feature in held["features"]]
    acknowledged: dict[tuple[str, str], float] = {}
    stop = False

    async def feed(node: str, connection: Connection) -> None:
        for n, stamp in enumerate(held["times"] * 1000):
            value = float(n + 1)
            body = json.dumps({"times": [stamp], "values": {node: [value]}}).encode()
            request = served.request("POST", f"/v1/observations/{name}", body)
            status, _ = await connection.ask(request)
            if status == 200:
                acknowledged[node, stamp] = value
            if stop:
                return

    feeders = [asyncio.create_task(feed(n, Connection(served.port))) for n in nodes[:4]]
    await asyncio.sleep(seconds)
    stop = True
    served.kill()
    await asyncio.gather(*feeders)
    again = start(served.home, 2, served.port)
    try:
        now = await fetch(again, f"/v1/observations/{name}?last=2000")
    finally:
        again.process.terminate()
        again.process.wait(60)
    there = {
        (feature["id"], stamp): value
        for feature in now["features"]
        for stamp, value in zip(now["times"], feature["values"], strict=True)
    }
    # the last write to each cell may have been cut off after it was made, never before
    lost = [cell for cell, value in acknowledged.items() if (there.get(cell) or 0.0) < value]
    print(
        f"\nkill -9 of everything: {len(acknowledged)} values acknowledged, "
        f"lost {len(lost)} (bar 0)"
    )
    return not lost and bool(acknowledged)


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("mixed", "overload", "swap", "kill"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    runs: dict[str, list[Callable[[Served], Any]]] = {
        "mixed": [lambda s: mixed(s, 60 * options.minutes)],
        "overload": [lambda s: overload(s, options.seconds)],
        "swap": [lambda s: swap(s, options.requests)],
        "kill": [lambda s: kill_one(s, options.seconds), lambda s: kill_all(s, options.seconds)],
    }
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(home(), Path(folder), options.workers) as served,
    ):
        good = [asyncio.run(run(served)) for run in runs[options.what]]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
