"""Rounds over partners that lie, fail and stay away, and over a city that is killed."""

from __future__ import annotations

import os
import signal
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


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_rounds as t
from privacy import checkpoints, rounds

place, at, work = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
log = work.with_name("ledger.txt")

def die(number):
    if number == at:
        os.kill(os.getpid(), signal.SIGKILL)

def record(number, body):
    if place == "before the ledger":
        die(number)
    with log.open("a") as file:
        file.write(f"{{number}} {{body['model']}}\\n")
    if place == "after the ledger":
        die(number)

class Town(t.Town):
    def ask(self, *asked):
        round, *_ = asked
        for reply in super().ask(*asked):
            if place == "amid the replies" and reply.partner == "tram":
                die(round)
            yield reply

keep = checkpoints.Checkpoints.keep
def kept(self, checkpoint):
    if place == "before the checkpoint":
        die(checkpoint.round)
    keep(self, checkpoint)
checkpoints.Checkpoints.keep = kept
rounds.run_rounds("r", t.INITIAL, Town(), t.AGREED, t.SETTINGS, work, record)
"""


@pytest.mark.parametrize(
    "place",
    ["amid the replies", "before the checkpoint", "before the ledger", "after the ledger"],
)
def test_a_killed_city_loses_at_most_the_round_it_was_in(tmp_path: Path, place: str) -> None:
    whole, told = ran(tmp_path / "whole", Town())
    script = KILLED.format(tests=str(Path(__file__).parent))
    work = tmp_path / "work"
    command = [sys.executable, "-c", script]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    first = subprocess.run([*command, place, "4", str(work)], env=environment, check=False)
    assert first.returncode == -signal.SIGKILL
    kept = len(sorted(work.glob("round-*.npz")))
    assert kept
    again = subprocess.run([*command, "nowhere", "0", str(work)], env=environment, check=False)
    assert again.returncode == 0
    lines = [line.split() for line in (tmp_path / "ledger.txt").read_text().splitlines()]
    assert {int(number): model for number, model in lines} == {
        number: body["model"] for number, body in told
    }
    repeated = [int(number) for number, _ in lines]
    assert repeated == sorted(repeated)  # in order; a round may stand twice, which a ledger knows
    assert len(repeated) <= 7
    assert whole.rounds == 6
