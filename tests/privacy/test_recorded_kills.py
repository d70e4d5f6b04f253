"""A city that is killed at any moment pays for each round, and enters each fault, exactly once."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from privacy.guard import Reply
from privacy.ledger import Ledger
from privacy.rounds import Ended, digest
from tests.fixtures.rounds import (
    KEY,
    PAYING,
    Clock,
    Town,
    charges,
    of_rounds,
    ran,
    town_ledger,
    written,
)


def faulty(reply: Reply, round: int, attempt: int) -> list[Reply]:
    """Two faults in round 4, both entered after its charges."""
    if round == 4 and reply.partner == "tram":
        return []
    return [replace(reply, failed=True)] if round == 4 and reply.partner == "grid" else [reply]


def too_few(reply: Reply, round: int, attempt: int) -> list[Reply]:
    """Round 4 comes to nothing."""
    return [] if round == 4 and reply.partner in PAYING else [reply]


KILLED = """
import os, signal, sys
from pathlib import Path
from privacy import checkpoints, recorded
from privacy.ledger import Ledger
from tests.fixtures import rounds as t
from tests.privacy import test_recorded_kills as tests

now = {"round": 0}
place = ""

def die(where):
    if where == place and now["round"] == 4:
        os.kill(os.getpid(), signal.SIGKILL)

def before_and_after(owner, name, before, after):
    plain = getattr(owner, name)
    def spied(*given, **named):
        die(before)
        result = plain(*given, **named)
        die(after)
        return result
    setattr(owner, name, spied)

class Town(t.Town):
    def ask(self, round, attempt, arrays, among):
        now["round"] = round
        die("before the ask")
        for number, reply in enumerate(super().ask(round, attempt, arrays, among)):
            if number == 2:
                die("amid the replies")
            yield reply

before_and_after(Ledger, "charge", "before the charges", "between two charges")
before_and_after(checkpoints.Checkpoints, "keep", "before the checkpoint", "after the checkpoint")
before_and_after(checkpoints.Checkpoints, "keep_stop", "before the stop", "after the stop")
before_and_after(checkpoints.Checkpoints, "forget_stop", "after the stop's entries", "")
before_and_after(Ledger, "record", "before the entries", "between two entries")

for given in sys.argv[1:]:
    place, fault, folder = given.split("|")
    child = os.fork()  # nothing was computed yet, so that there are no threads
    if not child:
        ledger = Ledger(Path(folder, "ledger.jsonl"), t.KEY, t.Clock())
        town = Town(getattr(tests, fault))
        recorded.run_recorded(
            "r", t.INITIAL, town, t.AGREED, t.SETTINGS, Path(folder, "work"), ledger, t.PARTS
        )
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (place, status)
"""
KILLS = [
    ("before the ask", "faulty"),
    ("amid the replies", "faulty"),
    ("before the charges", "faulty"),
    ("between two charges", "faulty"),
    ("before the checkpoint", "faulty"),
    ("after the checkpoint", "faulty"),
    ("before the entries", "faulty"),
    ("between two entries", "faulty"),
    ("before the stop", "too_few"),
    ("after the stop", "too_few"),
    ("between two entries", "too_few"),
    ("after the stop's entries", "too_few"),
]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Folders of cities that were killed, each at its place in round 4."""
    folders = {kill: tmp_path_factory.mktemp("killed") for kill in KILLS}
    for folder in folders.values():
        town_ledger(folder / "ledger.jsonl")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    given = ["|".join([*kill, str(folder)]) for kill, folder in folders.items()]
    subprocess.run([sys.executable, "-c", KILLED, *given], env=environment, check=True)
    return folders


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Ended, list]]:
    found = {}
    for fault in (faulty, too_few):
        folder = tmp_path_factory.mktemp(fault.__name__)
        ledger = town_ledger(folder / "ledger.jsonl")
        ended = ran(folder, ledger, Town(fault))
        found[fault.__name__] = ended, written(ledger, "charge", "dropped", "stop")
    return found


@pytest.mark.parametrize(("place", "fault"), KILLS)
def test_a_killed_city_pays_and_enters_all_once(
    killed: dict[tuple[str, str], Path],
    unbroken: dict[str, tuple[Ended, list]],
    place: str,
    fault: str,
) -> None:
    folder = killed[place, fault]
    ledger = Ledger(folder / "ledger.jsonl", KEY, Clock())
    whole, entries = unbroken[fault]
    if fault == "too_few" and place != "before the stop":
        # The stop was decided: it is entered before the round is asked again, now with success.
        ended = ran(folder, ledger, Town())
        assert ended.rounds == 6
        found = written(ledger, "dropped", "stop")
        assert found == [entry for entry in entries if entry[0] != "charge"]
        assert charges(ledger) == of_rounds(6)
        return
    ended = ran(folder, ledger, Town(globals()[fault]))
    assert (ended.rounds, ended.reason) == (whole.rounds, whole.reason)
    assert digest(ended.arrays) == digest(whole.arrays)
    assert written(ledger, "charge", "dropped", "stop") == entries
