"""How long a backup and its restoration take, and how much memory.

python -m benchmarks.backups [--nodes 864] [--hours 8760]

A store with so many hourly values is filled, backed up, and restored into sqlite and, where a
server of our own can be started, PostgreSQL; each in a process of its own, so that memory is its.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from benchmarks.tables import head, row
from pipelines.backup import backup, restore
from serving.store import OBSERVED, Store


def _fill(place: Path, nodes: int, hours: int) -> None:
    store, chunk = Store(place), 720
    names = [f"loop-{n}" for n in range(nodes)]
    dice = np.random.default_rng(0)
    for start in range(0, hours, chunk):
        span = np.arange(start, min(start + chunk, hours))
        times = np.datetime64("2025-01-01", "s") + span * np.timedelta64(3600, "s")
        store.write("city", OBSERVED, times, names, dice.poisson(300.0, (len(span), nodes)) * 1.0)


def _quiet(share: float) -> None:
    del share


def _backup(home: Path, archive: Path) -> None:
    backup(home, Store(home / "observations.db"), archive, _quiet)


def _restore(archive: Path, home: Path, place: str) -> None:
    restore(archive, home, place or home / "observations.db", _quiet)


def _timed(name: str, work: str, *given: Path | str) -> None:
    """Do it in a new process, and print seconds and the most memory that it held."""
    with get_context("spawn").Pool(1) as pool:
        seconds, mib = pool.apply(_measured, (work, given))
    row(name, f"{seconds:.0f}", f"{mib:.0f}")


def _measured(work: str, given: tuple[Path | str, ...]) -> tuple[float, float]:
    began = time.perf_counter()
    globals()[work](*given)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return time.perf_counter() - began, peak


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=864)
    parser.add_argument("--hours", type=int, default=8760)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        _fill(home / "observations.db", options.nodes, options.hours)
        size = (home / "observations.db").stat().st_size / 1e6
        print(f"{options.nodes * options.hours:,} values, {size:.0f} MB of sqlite\n")
        head("work", "s", "MiB at most")
        archive = Path(folder) / "backup.tar"
        _timed("backup", "_backup", home, archive)
        _timed("restore into sqlite", "_restore", archive, Path(folder) / "again", "")
        from tests.fixtures.postgres import Absent, Postgres

        try:
            server = Postgres()
        except Absent as absent:
            print(f"\n{absent}")
            sys.exit(0)
        try:
            _timed(
                "restore into PostgreSQL",
                "_restore",
                archive,
                Path(folder) / "third",
                server.database(),
            )
        finally:
            server.remove()
        print(f"\nthe archive has {archive.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
