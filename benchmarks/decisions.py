"""What enforcing the board's decisions costs, and how fast the server follows them.

    FELSINA_HOME=HOME python -m benchmarks.decisions

On copies of HOME's releases: milliseconds of the processor to verify streams of some lengths and to
look at one that has not changed, seconds until two workers under load have fallen back after an
alarm and after an approval's last day (the server's clock is put forward by a file), requests lost
meanwhile, and seconds of ``felsina response verify``. Prints Markdown tables.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.loading import Connection, Served, start
from benchmarks.tables import head, row
from fairness.board import STREAM
from models.board import VOTE, open_board
from models.record import canonical_json
from models.stream import Stream
from pipelines.settings import home
from serving.approvals import Approvals
from serving.release import MANIFEST, champions, release_id
from serving.store import Store
from tests.fixtures.boards import Seats, seats, terms, terms_of

LENGTHS = (10, 1000)
_CLOCK = """
import datetime, pathlib
_real, _file = datetime.datetime, pathlib.Path({path!r})

class Ahead(_real):
    @classmethod
    def now(cls, tz=None):
        days = int(_file.read_text()) if _file.exists() else 0
        return _real.now(tz) + datetime.timedelta(days=days)

datetime.datetime = Ahead
"""


def stream_of(length: int, folder: Path) -> Seats:
    """A board whose stream has so many entries, two votes a release."""
    board = seats(folder)
    keys = board.charter.keys
    streams = {n: Stream(folder / STREAM, board.keys[n], others=keys) for n in "ab"}
    for n in range(length - 1):
        name = "ab"[n % 2]
        body = terms(str(n // 2)).to_dict() | {"member": name}
        streams[name].append(VOTE, body)
    return board


def took(
    work: Callable[[], object], times: int, clock: Callable[[], float] = time.process_time
) -> float:
    """Median milliseconds of some runs, of the processor unless another clock is given."""
    taken = []
    for _ in range(times):
        began = clock()
        work()
        taken.append(1000 * (clock() - began))
    return statistics.median(taken)


def costs(place: Path) -> None:
    """Verification by length of the stream."""
    head("entries", "KiB", "ms to verify", "ms to look at unchanged")
    for length in LENGTHS:
        home_of = place / str(length)
        board = stream_of(length, home_of / "board")
        path = home_of / "board" / STREAM
        whole = took(lambda b=board, p=path: open_board(b.charter, p), 9)
        held = Approvals(home_of, home_of / "board" / "board.json", Store(home_of / "o.db"))
        held.choices()
        look = took(held.choices, 99)
        size = path.stat().st_size / 1024
        row(length, f"{size:.0f}", f"{whole:.1f}", f"{look:.3f}")


def twin(place: Path, dataset: str, note: str) -> Path:
    """A release of a dataset that differs by a note in its manifest."""
    folder = champions(place)[dataset]
    content = canonical_json(json.loads((folder / MANIFEST).read_bytes()) | {"note": note})
    other = place / "releases" / release_id(dataset, content)
    shutil.copytree(folder, other)
    (other / MANIFEST).write_bytes(content)
    return other


async def fall_back(
    served: Served, dataset: str, old: str, what: str, act: Callable[[], object]
) -> None:
    """Ask on four connections while ``act`` is done, and tell how long ``old`` was answered."""
    seen: list[tuple[float, int, bool]] = []
    ends = False
    request = served.request("GET", f"/v1/forecasts/{dataset}")

    async def one() -> None:
        connection = Connection(served.port)
        while not ends:
            status, body = await connection.ask(request)
            seen.append((time.perf_counter(), status, old.encode() in body))

    tasks = [asyncio.create_task(one()) for _ in range(4)]
    await asyncio.sleep(2)
    began = time.perf_counter()
    await asyncio.to_thread(act)
    await asyncio.sleep(8)
    ends = True
    await asyncio.gather(*tasks)
    late = max(at for at, _, was in seen if was) - began
    lost = sum(status != 200 for _, status, _ in seen)
    row(what, f"{late:.2f}", len(seen), lost)


def speed(place: Path) -> None:
    """How fast two workers under load follow an alarm, and the end of an approval."""
    source, dataset = home(), sorted(champions(home()))[0]
    shutil.copytree(source / "releases", place / "releases")
    shutil.copytree(source / "champions", place / "champions")
    shutil.copy(source / "observations.db", place / "observations.db")
    first = champions(place)[dataset]
    board = seats(place / "board", "a", 1)
    second, third = twin(place, dataset, "2"), twin(place, dataset, "3")
    today = datetime.now(UTC).date().isoformat()
    for folder in (first, second, third):
        of = terms_of(place, folder, **({"expires": today} if folder == second else {}))
        board.promote(of, board.approve(of))
    clock = place / "days"
    (place / "clock").mkdir()
    (place / "clock" / "sitecustomize.py").write_text(_CLOCK.format(path=str(clock)))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(place / "clock"), str(Path.cwd())])
    served = start(place, 2)
    try:
        of = terms_of(place, third)
        named = (of.dataset, of.release, of.manifest_sha256)
        head("after", "seconds until both workers fell back", "requests", "lost")
        for what, old, act in (
            ("an alarm", third, lambda: board.register("a").alarm(*named, "measured")),
            ("an approval's last day", second, lambda: clock.write_text("1")),
        ):
            asyncio.run(fall_back(served, dataset, old.name, what, act))
        clock.unlink()
        path = place / "answer.json"
        path.write_bytes(asyncio.run(_body(served, dataset)))
        command = [sys.executable, "-m", "pipelines.cli", "response", "verify", str(path)]
        environment = os.environ | {"FELSINA_HOME": str(place)}
        wall = took(lambda: subprocess.check_output(command, env=environment), 5, time.perf_counter)
        spent = took(lambda: subprocess.check_output(command, env=environment), 5, _of_children)
        print(f"\nresponse verify: {wall / 1000:.2f} s, {spent / 1000:.2f} s of the processor")
    finally:
        served.process.terminate()
        served.process.wait(60)


def _of_children() -> float:
    """Seconds of the processor that ended children took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


async def _body(served: Served, dataset: str) -> bytes:
    return (await Connection(served.port).ask(served.request("GET", f"/v1/forecasts/{dataset}")))[1]


def main() -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        costs(Path(folder) / "costs")
        speed(Path(folder) / "home")


if __name__ == "__main__":
    main()
