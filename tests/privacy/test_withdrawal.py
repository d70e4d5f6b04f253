"""A partner leaves: what is trained next never saw it, and nothing is charged to it any more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from models.contracts import FelsinaError
from privacy.accounting import SampledGaussian
from privacy.accounts import RefusedError
from privacy.checkpoints import kept
from privacy.entries import Withdrawal
from privacy.guard import Reply
from privacy.ledger import Ledger
from privacy.recorded import run_recorded
from privacy.rounds import Ended, digest
from privacy.withdrawal import Restart, restart_without
from tests.fixtures.rounds import (
    AGREED,
    INITIAL,
    KEYS,
    PARTS,
    SETTINGS,
    Fault,
    Town,
    charges,
    drops,
    ran,
    stops,
    town_ledger,
    written,
)

LATER = {"grid": 4, "heat": 3}
"""First rounds; the others are there from round 1."""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return town_ledger(tmp_path / "ledger.jsonl")


def joining(reply: Reply, round: int, attempt: int) -> list[Reply]:
    return [reply] if round >= LATER.get(reply.partner, 1) else []


def together(reply: Reply, round: int, attempt: int) -> list[Reply]:
    return [reply]


def without(
    names: tuple[str, ...], restart: Restart, work: Path, ledger: Ledger, who: Fault = joining
) -> Ended:
    """The next run, of those who are left."""
    agreed = {name: most for name, most in AGREED.items() if name not in names}
    parts = {name: part for name, part in PARTS.items() if name not in names}
    town = Town(who)
    ended = run_recorded(
        work.name, restart.arrays, town, agreed, SETTINGS, work, ledger, parts, begun=restart.begun
    )
    assert not {name for _, _, name in town.asked} & set(names)
    return ended


def never_there(names: tuple[str, ...], tmp_path: Path, who: Fault = joining) -> Ended:
    """A run in which some never were."""
    agreed = {name: most for name, most in AGREED.items() if name not in names}
    parts = {name: part for name, part in PARTS.items() if name not in names}
    ledger = town_ledger(tmp_path / "others.jsonl")
    return ran(tmp_path / "others", ledger, Town(who), agreed=agreed, private=parts)


def test_checkpoints_before_a_partners_first_round_stay(tmp_path: Path, ledger: Ledger) -> None:
    ran(tmp_path, ledger, Town(joining), replace(SETTINGS, rounds=9))
    run, checkpoints = kept(tmp_path / "work")
    assert run == "r"
    assert [one.round for one in checkpoints] == [0, 2, 3, 8, 9]
    assert checkpoints[-1].told["first"] == {"bus": 1, "tram": 1, "water": 1} | LATER


@pytest.mark.parametrize(
    ("partner", "rounds", "who"),
    [("grid", 3, joining), ("heat", 2, joining), ("water", 0, together)],
)
def test_the_next_model_is_that_of_a_run_in_which_the_partner_never_was(
    tmp_path: Path, ledger: Ledger, partner: str, rounds: int, who: Fault
) -> None:
    whole = ran(tmp_path, ledger, Town(who))
    before = charges(ledger)
    restart = restart_without(tmp_path / "work", partner, ledger, "sold its homes")
    assert (restart.rounds, restart.lost, restart.run) == (rounds, 6 - rounds, "r")
    ended = without((partner,), restart, tmp_path / "next", ledger, who)
    assert ended.rounds == 6
    assert digest(ended.arrays) == digest(never_there((partner,), tmp_path, who).arrays)
    assert digest(ended.arrays) != digest(whole.arrays)
    assert partner not in ended.contribution
    # The others paid for the rounds that were run again; what was spent stays spent.
    again = charges(ledger)[len(before) :]
    assert {name for name, _ in again} == set(PARTS) - {partner}
    assert min(first for _, first in again) >= 50 * rounds
    assert charges(ledger)[: len(before)] == before
    assert written(ledger, "withdrawal") == [
        ("withdrawal", {"partner": partner, "reason": "sold its homes"})
    ]
    assert stops(ledger) == [
        f"{partner} withdrew: what is trained next begins after round {rounds} of this run"
    ]


def test_no_charge_is_possible_after_a_withdrawal(tmp_path: Path, ledger: Ledger) -> None:
    ran(tmp_path, ledger, Town(joining))
    spent = ledger.epsilon(KEYS["grid"])
    restart_without(tmp_path / "work", "grid", ledger)
    with pytest.raises(RefusedError, match=r"partner grid.* the partner withdrew"):
        ledger.charge(KEYS["grid"], SampledGaussian(0.01, 1.0, 1), "next", 0)
    with pytest.raises(RefusedError, match="the partner withdrew"):  # not even an old one again
        ledger.charge(KEYS["grid"], PARTS["grid"].a_round, "r", 150)
    with pytest.raises(RefusedError, match="the partner withdrew"):  # nor a run that counts on it
        ran(tmp_path / "next", ledger, Town(joining), run="next")
    # A run that has begun goes on without it.
    town = Town(joining)
    work = tmp_path / "begun"
    other = town_ledger(tmp_path / "begun.jsonl")
    ran(work, other, Town(lambda r, n, a: joining(r, n, a) if n < 5 else []))
    other.record(Withdrawal(partner="grid"))
    assert ran(work, other, town).rounds == 6
    assert ("grid", 6, "withdrawn") in drops(other)
    assert "grid" not in {name for _, _, name in town.asked}
    assert ledger.epsilon(KEYS["grid"]) == spent


def test_one_after_the_other_may_leave(tmp_path: Path, ledger: Ledger) -> None:
    """What a restarted run begins from still says whom each model saw."""
    ran(tmp_path, ledger, Town(joining))
    first = restart_without(tmp_path / "work", "grid", ledger)
    without(("grid",), first, tmp_path / "next", ledger)
    second = restart_without(tmp_path / "next", "heat", ledger)
    assert (second.rounds, second.run) == (2, "next")
    ended = without(("grid", "heat"), second, tmp_path / "third", ledger)
    assert digest(ended.arrays) == digest(never_there(("grid", "heat"), tmp_path).arrays)
    third = restart_without(tmp_path / "third", "water", ledger)
    assert third.rounds == 0  # from nothing
    assert digest(third.arrays) == digest(INITIAL)


def test_asked_again_it_enters_nothing_twice(tmp_path: Path, ledger: Ledger) -> None:
    ran(tmp_path, ledger, Town(joining))
    first = restart_without(tmp_path / "work", "grid", ledger)
    again = restart_without(tmp_path / "work", "grid", ledger)
    assert (first.rounds, digest(first.arrays)) == (again.rounds, digest(again.arrays))
    assert len(written(ledger, "withdrawal", "stop")) == 2
    # A killed restart goes on too.
    without(("grid",), first, tmp_path / "next", ledger)
    paid = charges(ledger)
    without(("grid",), again, tmp_path / "next", ledger)
    assert charges(ledger) == paid


def test_who_was_in_no_round_costs_none(tmp_path: Path, ledger: Ledger) -> None:
    late = Town(lambda r, n, a: [] if r.partner == "grid" else [r])
    ended = ran(tmp_path, ledger, late)
    restart = restart_without(tmp_path / "work", "grid", ledger)
    assert (restart.rounds, restart.lost) == (6, 0)
    assert digest(restart.arrays) == digest(ended.arrays)


def test_what_is_not_there_is_said(tmp_path: Path, ledger: Ledger) -> None:
    with pytest.raises(FelsinaError, match="holds no run's checkpoints"):
        restart_without(tmp_path / "work", "grid", ledger)
    ran(tmp_path, ledger, Town(joining))
    with pytest.raises(FelsinaError, match="tram never agreed"):
        restart_without(tmp_path / "work", "tram", ledger)
    (tmp_path / "work" / "round-000002.npz").unlink()
    with pytest.raises(FelsinaError, match="round 2, the last without heat, is gone"):
        restart_without(tmp_path / "work", "heat", ledger)


def test_nobody_claims_that_a_model_unlearns() -> None:
    root = Path(__file__).parents[2]
    text = (root / "docs" / "federation.md").read_text()
    assert "This is not unlearning" in text
    for path in [*root.glob("privacy/*.py"), *root.glob("pipelines/**/*.py")]:
        assert "unlearn" not in path.read_text().lower(), path
