"""Rounds over partners that lie, fail and stay away, and over a city that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from privacy.guard import Reply
from privacy.rounds import RoundSettings, digest, run_rounds
from privacy.strategy import Arrays
from tests.fixtures.rounds import FAULTS

NAMES = ("bus", "grid", "tram", "water")
AGREED = dict.fromkeys(NAMES, 100.0)
INITIAL: Arrays = {"w": np.zeros((2, 3), np.float32), "b": np.zeros(3, np.float32)}
SETTINGS = RoundSettings(rounds=6, most_norm=50.0)


class Town:
    """Partners that each pull the model towards a number of their own."""

    def __init__(self, fault: Callable[[Reply, int, int], list[Reply]] | None = None) -> None:
        self.fault = fault or (lambda reply, round, attempt: [reply])
        self.asked: list[tuple[int, int]] = []

    def ask(
        self, round: int, attempt: int, arrays: Arrays, among: Collection[str]
    ) -> Iterator[Reply]:
        self.asked.append((round, attempt))
        for goal, name in enumerate(NAMES):
            if name not in among:
                continue
            step = {
                key: (0.5 * (goal - values)).astype(np.float32) for key, values in arrays.items()
            }
            yield from self.fault(Reply(name, round, step, 10.0), round, attempt)


def ran(tmp_path: Path, town: Town, settings: RoundSettings = SETTINGS, agreed=AGREED):
    told: list[tuple[int, dict]] = []
    ended = run_rounds(
        "r", INITIAL, town, agreed, settings, tmp_path, lambda n, body: told.append((n, body))
    )
    return ended, told


def test_all_agree_on_the_mean_of_their_goals(tmp_path: Path) -> None:
    ended, told = ran(tmp_path, Town(), replace(SETTINGS, rounds=30))
    np.testing.assert_allclose(ended.arrays["w"], 1.5, atol=1e-6)
    assert (ended.rounds, ended.reason) == (30, "")
    assert [number for number, _ in told] == list(range(1, 31))
    assert told[-1][1]["model"] == digest(ended.arrays)
    # The last two, and the one that has seen nobody.
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert kept == ["round-000000.npz", "round-000029.npz", "round-000030.npz"]


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_drops_the_partner_and_the_run_goes_on(tmp_path: Path, code: str) -> None:
    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        return FAULTS[code](reply) if reply.partner == "grid" and round == 3 else [reply]

    ended, told = ran(tmp_path, Town(fault))
    assert (ended.rounds, ended.reason) == (6, "")
    assert told[2][1]["dropped"] == [{"partner": "grid", "code": code.strip(), "attempt": "1"}]
    assert list(told[2][1]["accepted"]) == ["bus", "tram", "water"]
    assert all(not body["dropped"] for number, body in told if number != 3)
    # As if it had not been asked in that round.
    silent = Town(lambda r, n, a: [] if r.partner == "grid" and n == 3 else [r])
    other, _ = ran(tmp_path / "silent", silent)
    assert digest(ended.arrays) == digest(other.arrays)


def test_too_few_are_asked_again_and_then_the_run_stops_with_the_last_model(tmp_path: Path) -> None:
    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        gone = round >= 4 and reply.partner in ("grid", "tram")
        return [] if gone else [reply]

    town = Town(fault)
    ended, told = ran(tmp_path, town)
    assert ended.rounds == 3
    assert "round 4: fewer than 3 sound replies in 3 attempts (grid late, tram late" in ended.reason
    assert town.asked[3:] == [(4, 1), (4, 2), (4, 3)]
    assert digest(ended.arrays) == told[-1][1]["model"]
    # They come back: the same run goes on where it stopped.
    ended, _ = ran(tmp_path, Town())
    assert (ended.rounds, ended.reason) == (6, "")
    assert digest(ended.arrays) == digest(ran(tmp_path / "whole", Town())[0].arrays)


def test_what_was_dropped_in_an_attempt_is_told_with_the_one_that_came_through(
    tmp_path: Path,
) -> None:
    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        return [] if attempt == 1 and reply.partner in ("grid", "tram") else [reply]

    ended, told = ran(tmp_path, Town(fault), replace(SETTINGS, rounds=1))
    assert ended.rounds == 1
    assert told[0][1]["attempts"] == 2
    assert [one["partner"] for one in told[0][1]["dropped"]] == ["grid", "tram"]


def test_a_folder_of_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    ran(tmp_path, Town())
    with pytest.raises(FelsinaError, match="of other settings, partners or model"):
        ran(tmp_path, Town(), replace(SETTINGS, rule="trimmed"))


def test_fewer_than_three_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FelsinaError, match="2 partners agreed, a round needs 3"):
        ran(tmp_path, Town(), agreed={"bus": 1.0, "grid": 1.0})
    with pytest.raises(FelsinaError, match="least = 2"):
        RoundSettings(rounds=1, least=2)


def writing(log: Path) -> Callable[[int, dict], None]:
    """A ledger of the simplest kind: a line for each round and the digest of its model."""

    def record(number: int, body: dict) -> None:
        with log.open("a") as file:
            file.write(f"{number} {body['model']}\n")

    return record


KILLED = """
import os, signal, sys
from pathlib import Path
from privacy import checkpoints, rounds
from tests.privacy import test_rounds as t

place = ""

def die(where, number):
    if where == place and number == 4:
        os.kill(os.getpid(), signal.SIGKILL)

class Town(t.Town):
    def ask(self, *asked):
        round, *_ = asked
        for reply in super().ask(*asked):
            if reply.partner == "tram":
                die("amid the replies", round)
            yield reply

keep = checkpoints.Checkpoints.keep
def kept(self, checkpoint):
    die("before the checkpoint", checkpoint.round)
    keep(self, checkpoint)
checkpoints.Checkpoints.keep = kept

for given in sys.argv[1:]:
    place, folder = given.split("|")
    child = os.fork()  # nothing was computed yet, so that there are no threads
    if not child:
        write = t.writing(Path(folder, "ledger.txt"))
        def record(number, body):
            die("before the ledger", number)
            write(number, body)
            die("after the ledger", number)
        work = Path(folder, "work")
        rounds.run_rounds("r", t.INITIAL, Town(), t.AGREED, t.SETTINGS, work, record)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (place, status)
"""
PLACES = ("amid the replies", "before the checkpoint", "before the ledger", "after the ledger")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of cities that were killed, each at its place in round 4."""
    folders = {place: tmp_path_factory.mktemp("killed") for place in PLACES}
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    given = [f"{place}|{folder}" for place, folder in folders.items()]
    subprocess.run([sys.executable, "-c", KILLED, *given], env=environment, check=True)
    return folders


@pytest.mark.parametrize("place", PLACES)
def test_a_killed_city_loses_at_most_the_round_it_was_in(
    tmp_path: Path, killed: dict[str, Path], place: str
) -> None:
    whole, told = ran(tmp_path / "whole", Town())
    work, log = killed[place] / "work", killed[place] / "ledger.txt"
    assert list(work.glob("round-*.npz"))
    run_rounds("r", INITIAL, Town(), AGREED, SETTINGS, work, writing(log))
    lines = [line.split() for line in log.read_text().splitlines()]
    assert {int(number): model for number, model in lines} == {
        number: body["model"] for number, body in told
    }
    repeated = [int(number) for number, _ in lines]
    assert repeated == sorted(repeated)  # in order; a round may stand twice, which a ledger knows
    assert len(repeated) <= 7
    assert whole.rounds == 6
