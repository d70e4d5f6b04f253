"""What a second ``felsina run`` costs, and whether killed runs end as undisturbed ones do.

python -m benchmarks.again [--home HOME] [--rounds 3]

The embedded city is run in HOME (a folder of its own when left out, which takes some minutes), then
again. The tiny dataset of the tests is killed -9 in each of its stages in turn, gone on with each
time, and held to an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.tables import head, row
from tests.factories import make_dataset
from tests.fixtures.killed import KILLS, killed_at
from tests.fixtures.tiny import ROOT, SET_FLAGS, command, environment


def run(home: Path, *words: str) -> tuple[float, float, list[dict[str, str]]]:
    """Wall seconds, CPU seconds and the answer of ``felsina run``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        command("run", "--json", *words),
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.PIPE,
        check=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, json.loads(done.stdout)


def digests(home: Path) -> dict[str, bytes]:
    """Every file of the releases and reports, by its place."""
    rooms = [home / room for room in ("releases", "reports")]
    files = [path for room in rooms for path in room.rglob("*") if path.is_file()]
    return {
        str(path.relative_to(home)): path.read_bytes() for path in files if ".lock" not in path.name
    }


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = options.home or Path(place) / "city"
        head("felsina run, embedded city", "done", "wall s", "CPU s", "load")
        for at in range(options.rounds + 1):
            wall, cpu, answer = run(home)
            done = sum(len(record["done"]) for record in answer)
            what = "first" if at == 0 else "again"
            row(what, str(done), f"{wall:.1f}", f"{cpu:.1f}", f"{os.getloadavg()[0]:.1f}")
        print()
        folder = make_dataset(Path(place) / "tiny")
        words = ("--dataset", str(folder), *SET_FLAGS)
        run(whole := Path(place) / "whole", *words)
        expected = digests(whole)
        killed = Path(place) / "killed"
        for stage, seen in KILLS.items():
            killed_at(killed, folder, *seen)
            print(f"killed in {stage}", flush=True)
        (record,) = run(killed, *words)[2]
        last = ", ".join(record["done"]) or "nothing"
        same = "the same" if digests(killed) == expected else "NOT the same"
        print(f"the last run did {last}; releases and reports are {same} as of an undisturbed run")


if __name__ == "__main__":
    main()
