"""Rounds on the ledger: paid before they are kept, entered once, stopped where they must."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.chain import head_path
from models.contracts import FelsinaError
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.checkpoints import kept
from privacy.entries import Agreement, Withdrawal
from privacy.guard import Reply
from privacy.ledger import BudgetExceededError, Ledger
from privacy.recorded import Part, run_recorded
from privacy.replay import replay
from privacy.rounds import digest, run_rounds
from tests.fixtures.rounds import (
    A_ROUND,
    AGREED,
    FAULTS,
    INITIAL,
    KEY,
    KEYS,
    NAMES,
    PARTS,
    PAYING,
    SETTINGS,
    Clock,
    Town,
    charges,
    drops,
    of_rounds,
    ran,
    stops,
    town_ledger,
    written,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return town_ledger(tmp_path / "ledger.jsonl")


def test_each_round_is_paid_once_by_those_who_pay(tmp_path: Path, ledger: Ledger) -> None:
    ended = ran(tmp_path, ledger, Town())
    assert (ended.rounds, ended.reason) == (6, "")
    assert charges(ledger) == of_rounds(6)
    assert drops(ledger) == stops(ledger) == []
    whole = [SampledGaussian(0.01, 1.0, 300)]
    assert ledger.epsilon(KEYS["heat"]).pld == epsilon_of(whole, 1e-5).pld
    # The ledger changes nothing of the model.
    free = run_rounds(
        "r", INITIAL, Town(), AGREED, SETTINGS, tmp_path / "free", lambda round, told: None
    )
    assert digest(ended.arrays) == digest(free.arrays)
    assert ended.contribution.keys() == set(NAMES)
    assert sum(ended.contribution.values()) == pytest.approx(1)
    # Told again, it says nothing twice.
    ran(tmp_path, ledger, Town())
    assert charges(ledger) == of_rounds(6)
    assert len(replay(tmp_path / "ledger.jsonl", KEY.public_key()).populations()) == 3


@pytest.mark.parametrize("partner", ["grid", "tram"])
@pytest.mark.parametrize("code", FAULTS)
def test_a_dropped_reply_costs_nothing_and_is_entered(
    tmp_path: Path, ledger: Ledger, code: str, partner: str
) -> None:
    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        return FAULTS[code](reply) if reply.partner == partner and round == 2 else [reply]

    ended = ran(tmp_path, ledger, Town(fault), replace(SETTINGS, rounds=3))
    assert ended.rounds == 3
    assert drops(ledger) == [(partner, 2, code.strip())]
    missing = Counter(of_rounds(3)) - Counter(charges(ledger))
    assert missing == (Counter([(partner, 50)]) if partner in PAYING else Counter())
    assert len(set(charges(ledger))) == len(charges(ledger))


def test_a_plan_that_exceeds_does_not_start(tmp_path: Path) -> None:
    ledger, town = town_ledger(tmp_path / "ledger.jsonl", epsilon=1.0), Town()
    with pytest.raises(BudgetExceededError, match=r"partner grid.*budget is 1"):
        ran(tmp_path, ledger, town, replace(SETTINGS, rounds=20))
    assert (town.asked, charges(ledger)) == ([], [])
    assert not (tmp_path / "work").exists()


def test_a_budget_that_another_run_spends_leaves_its_partner_out(
    tmp_path: Path, ledger: Ledger
) -> None:
    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        if round == 3 and reply.partner == "bus":  # 1 000 steps come to 1.83, of 2
            ledger.charge(KEYS["heat"], SampledGaussian(0.01, 1.0, 1000), "other", 0)
        return [reply]

    town = Town(fault)
    ended = ran(tmp_path, ledger, town)
    assert (ended.rounds, ended.reason) == (6, "")
    left = {round for round, _, name in town.asked if name == "heat"}
    codes = dict.fromkeys(range(max(left) + 1, 7), "budget-spent")
    assert 3 <= max(left) < 6
    assert {round: code for _, round, code in drops(ledger)} == codes
    assert {name for name, _, _ in drops(ledger)} == {"heat"}
    assert ledger.epsilon(KEYS["heat"]).pld <= 2


def test_who_withdraws_amid_a_round_is_in_no_model_after_it(tmp_path: Path, ledger: Ledger) -> None:
    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        if round == 3 and reply.partner == "water":  # after grid's reply has come
            ledger.record(Withdrawal(partner="grid"))
        return [reply]

    town = Town(fault)
    ended = ran(tmp_path, ledger, town)
    assert ended.rounds == 6
    assert drops(ledger) == [("grid", round, "withdrawn") for round in range(3, 7)]
    assert max(round for round, _, name in town.asked if name == "grid") == 3
    assert [first for name, first in charges(ledger) if name == "grid"] == [0, 50]
    silent = ran(
        tmp_path / "silent",
        town_ledger(tmp_path / "other.jsonl"),
        Town(lambda r, n, a: [] if r.partner == "grid" and n > 2 else [r]),
    )
    assert digest(silent.arrays) == digest(ended.arrays)


def test_when_agreements_end_the_run_stops_with_its_last_model(tmp_path: Path) -> None:
    clock = Clock()
    ledger = town_ledger(tmp_path / "ledger.jsonl", clock=clock)

    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        if round == 2 and reply.partner == "water":
            clock.now = datetime(2027, 1, 1, tzinfo=UTC)
        return [reply]

    town = Town(fault)
    ended = ran(tmp_path, ledger, town)
    assert ended.rounds == 1
    assert charges(ledger) == of_rounds(1)
    expected = "2 partners may take part, 3 are needed (grid no-agreement, heat no-agreement, water"
    assert stops(ledger) == [ended.reason]
    assert f"round 2: {expected}" in ended.reason
    assert drops(ledger) == [(name, 2, "no-agreement") for name in PAYING]
    # They agree anew, and the same run goes on.
    for name in PAYING:
        ledger.record(_renewed(name))
    again = ran(tmp_path, ledger, Town())
    assert (again.rounds, again.reason) == (6, "")
    assert charges(ledger) == of_rounds(6)
    assert len(stops(ledger)) == 1


def _renewed(partner: str) -> Agreement:
    return Agreement(
        partner=partner,
        text_sha256="b" * 64,
        unit="household",
        epsilon=4.0,
        delta=1e-5,
        purposes=("energy forecasts",),
        until=datetime(2027, 12, 31, tzinfo=UTC).date(),
    )


def test_too_few_replies_cost_nothing_and_every_one_is_entered(
    tmp_path: Path, ledger: Ledger
) -> None:
    gone = ("bus", "grid", "tram")

    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        return [] if round == 2 and reply.partner in gone else [reply]

    for time in (1, 2):  # it goes on, and stops again
        ended = ran(tmp_path, ledger, Town(fault))
        assert ended.rounds == 1
        assert charges(ledger) == of_rounds(1)
        assert stops(ledger) == [ended.reason] * time
        each = Counter((name, 2, "late") for name in gone for _ in range(SETTINGS.attempts))
        assert Counter(drops(ledger)) == Counter({key: time * n for key, n in each.items()})
    assert ran(tmp_path, ledger, Town()).rounds == 6
    assert charges(ledger) == of_rounds(6)


def test_who_does_not_pay_is_only_dropped(tmp_path: Path, ledger: Ledger) -> None:
    ended = ran(tmp_path, ledger, Town(), private={})
    assert ended.rounds == 6
    assert written(ledger, "charge", "dropped", "stop") == []
    ledger.record(Withdrawal(partner="grid"))
    ran(tmp_path / "next", ledger, Town(), private={})
    assert drops(ledger) == [("grid", round, "withdrawn") for round in range(1, 7)]


def edited(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"epsilon":2.0', b'"epsilon":9.0', 1))


def cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))


def cut_and_padded(path: Path) -> None:
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:-1], lines[-2], lines[-2]]))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (edited, "entry 3 was edited"),
        (cut, "the file was cut"),
        (cut_and_padded, r"entry \d+"),
        (Path.unlink, "restore it"),
    ],
)
@pytest.mark.parametrize("when", ["bus", "water"])
def test_an_altered_ledger_stops_the_run(
    tmp_path: Path, ledger: Ledger, spoil, said: str, when: str
) -> None:
    path = tmp_path / "ledger.jsonl"

    def fault(reply: Reply, round: int, attempt: int) -> list[Reply]:
        if (round, reply.partner) == (3, when):
            spoil(path)
        return [reply]

    with pytest.raises(FelsinaError, match=said) as caught:
        ran(tmp_path, ledger, Town(fault))
    assert "\n" not in str(caught.value)
    _, checkpoints = kept(tmp_path / "work")
    assert checkpoints[-1].round == 2  # of which both rounds had been charged


def test_a_backup_of_the_ledger_is_not_gone_on_with(tmp_path: Path, ledger: Ledger) -> None:
    path = tmp_path / "ledger.jsonl"
    ran(tmp_path, ledger, Town(), replace(SETTINGS, rounds=2))
    before = path.read_bytes(), head_path(path).read_bytes()
    work = tmp_path / "work"
    settings = replace(SETTINGS, rounds=4)
    run_recorded("s", INITIAL, Town(), AGREED, settings, work / "s", ledger, PARTS)
    path.write_bytes(before[0])
    head_path(path).write_bytes(before[1])
    restored = Ledger(path, KEY, Clock())
    with pytest.raises(FelsinaError, match=r"run s: the ledger's entry .* cut or exchanged"):
        run_recorded("s", INITIAL, Town(), AGREED, settings, work / "s", restored, PARTS)


def test_a_lost_folder_is_not_trained_again_for_free(tmp_path: Path, ledger: Ledger) -> None:
    ran(tmp_path, ledger, Town())
    town = Town()
    with pytest.raises(FelsinaError, match="300 steps of run r were charged, its folder holds 0"):
        ran(tmp_path / "elsewhere", ledger, town)
    assert town.asked == []


def test_names_and_parts_that_do_not_fit_are_refused(tmp_path: Path, ledger: Ledger) -> None:
    with pytest.raises(FelsinaError, match=r"partner = .via zamboni"):
        ran(tmp_path, ledger, Town(), agreed=AGREED | {"via zamboni": 1.0})
    with pytest.raises(FelsinaError, match="the part of bus is charged to partner grid"):
        ran(tmp_path, ledger, Town(), private={"bus": PARTS["grid"]})
    other = Part(KEYS["heat"]._replace(dataset="shops"), A_ROUND)
    with pytest.raises(FelsinaError, match="not in the ledger; register it first"):
        ran(tmp_path, ledger, Town(), private=PARTS | {"heat": other})
    ran(tmp_path, ledger, Town())
    other = replace(PARTS["heat"], a_round=replace(A_ROUND, noise_multiplier=2.0))
    with pytest.raises(FelsinaError, match="of other settings, partners"):
        ran(tmp_path, ledger, Town(), private=PARTS | {"heat": other})
