"""A partner's noisy rounds: paid before they are formed, answered once, told nothing beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from privacy import local_private
from privacy.accounting import BudgetReached, SampledGaussian
from privacy.dp import PrivateTraining
from privacy.grid import GridPartners, InProcessGrid
from privacy.guard import Guard
from privacy.local_private import PrivateTrainer, a_round, first_private_model
from privacy.messages import client_app
from privacy.resume import CHECKPOINT
from privacy.strategy import Arrays
from tests.privacy.test_dp import KEY, make_settings
from training.dataset import CityDataset

ROUNDS = 4
SETTINGS = make_settings()
A_ROUND = SampledGaussian(0.5, 8.0, 3)


@pytest.fixture(autouse=True)
def fixed_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_private, "new_key", lambda: KEY)


class Account:
    """Remembers what was charged."""

    def __init__(self) -> None:
        self.charges: list[tuple[SampledGaussian, int]] = []

    def __call__(self, mechanism: SampledGaussian, first_step: int) -> None:
        self.charges.append((mechanism, first_step))


def trainer(
    homes: CityDataset, work: Path, charge: Callable[[SampledGaussian, int], None] | None = None
) -> PrivateTrainer:
    return PrivateTrainer(homes, SETTINGS, ROUNDS, work, charge or Account())


@pytest.fixture(scope="module")
def initial(homes: CityDataset) -> Arrays:
    """Weights at random, so that no gradient is nought."""
    rng = np.random.default_rng(0)
    first = first_private_model(homes.spec, SETTINGS)
    return {k: (v + 0.1 * rng.normal(size=v.shape)).astype(np.float32) for k, v in first.items()}


def same(one: Arrays, other: Arrays) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


def test_the_first_model_is_made_without_a_row(homes: CityDataset, tmp_path: Path) -> None:
    first = first_private_model(homes.spec, SETTINGS)
    own = trainer(homes, tmp_path)
    assert list(first) == own.names
    # As a private training on the rows would begin.
    torch.manual_seed(SETTINGS.seed)
    torch.testing.assert_close(
        torch.tensor(first["members.0.past.weight"]),
        torch.nn.Linear(2 * homes.spec.lookback, 8).weight.detach(),
        rtol=0,
        atol=0,
    )


def test_each_round_is_charged_before_its_sum_is_formed(
    homes: CityDataset, tmp_path: Path, initial: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    account, seen = Account(), []
    noisy_sum = PrivateTraining.noisy_sum

    def spied(training: PrivateTraining, step: int) -> torch.Tensor:
        mechanism, first = account.charges[-1]
        assert first <= step < first + mechanism.steps
        seen.append(step)
        return noisy_sum(training, step)

    monkeypatch.setattr(PrivateTraining, "noisy_sum", spied)
    own = trainer(homes, tmp_path, account)
    for round in range(1, ROUNDS + 1):
        own.update(round, initial)
    assert account.charges == [(A_ROUND, 0), (A_ROUND, 3), (A_ROUND, 6), (A_ROUND, 9)]
    assert a_round(SETTINGS, ROUNDS) == A_ROUND
    assert seen == list(range(12))


def test_a_round_asked_again_is_the_same_and_free(
    homes: CityDataset, tmp_path: Path, initial: Arrays
) -> None:
    account = Account()
    first = trainer(homes, tmp_path / "own", account)
    one, two = first.update(1, initial), first.update(2, initial)
    assert same(first.update(1, initial), one)
    again = trainer(homes, tmp_path / "own", account)  # another process
    assert same(again.update(1, initial), one)
    assert same(again.update(2, initial), two)
    assert len(account.charges) == 2
    assert any((one[name] != two[name]).any() for name in one)
    # Nothing is carried over: who was not asked in round 1 answers round 2 alike.
    assert same(trainer(homes, tmp_path / "other").update(2, initial), two)


def test_a_partner_killed_amid_a_round_draws_it_again_alike(
    homes: CityDataset, tmp_path: Path, initial: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trainer(homes, tmp_path / "whole").update(1, initial)
    account, take = Account(), PrivateTraining.take

    def dies(training: PrivateTraining, step: int) -> None:
        if step == 2:
            raise KeyboardInterrupt
        take(training, step)

    monkeypatch.setattr(PrivateTraining, "take", dies)
    with pytest.raises(KeyboardInterrupt):
        trainer(homes, tmp_path / "own", account).update(1, initial)
    monkeypatch.setattr(PrivateTraining, "take", take)
    assert same(trainer(homes, tmp_path / "own", account).update(1, initial), whole)
    # Under the same number, which a ledger counts once.
    assert account.charges == [(A_ROUND, 0)] * 2


def test_the_noise_of_a_round_is_never_on_two_models(
    homes: CityDataset, tmp_path: Path, initial: Arrays
) -> None:
    account = Account()
    own = trainer(homes, tmp_path, account)
    own.update(1, initial)
    other = {name: values + 1 for name, values in initial.items()}
    with pytest.raises(FelsinaError, match="round 1 was answered for another model"):
        own.update(1, other)
    with pytest.raises(FelsinaError, match="round 5: the run that was agreed to has 4"):
        own.update(5, initial)
    with pytest.raises(FelsinaError, match="has other arrays"):
        own.update(2, {**initial, "rows": np.ones(1, np.float32)})
    assert len(account.charges) == 1


def test_what_cannot_be_paid_is_not_formed(
    homes: CityDataset, tmp_path: Path, initial: Arrays
) -> None:
    def refuses(mechanism: SampledGaussian, first_step: int) -> None:
        raise BudgetReached("nothing left")

    own = trainer(homes, tmp_path, refuses)
    with pytest.raises(BudgetReached):
        own.update(1, initial)
    assert not list(tmp_path.glob("answer-*"))


def test_how_many_homes_there_are_is_not_told(
    homes: CityDataset, tmp_path: Path, initial: Arrays
) -> None:
    few = homes.part(np.array([0, 1]))
    own, other = trainer(homes, tmp_path / "a"), trainer(few, tmp_path / "b")
    assert own.observed == other.observed == 4.0  # a public figure
    steps = [t.update(1, initial) for t in (own, other)]
    assert {k: v.shape for k, v in steps[0].items()} == {k: v.shape for k, v in steps[1].items()}


def test_of_a_finished_run_the_key_is_gone(
    homes: CityDataset, tmp_path: Path, initial: Arrays
) -> None:
    own = trainer(homes, tmp_path)
    own.update(1, initial)
    assert KEY in (tmp_path / CHECKPOINT).read_bytes()
    last = own.update(ROUNDS, initial)
    for path in tmp_path.iterdir():
        assert KEY not in path.read_bytes()
    assert tmp_path.stat().st_mode & 0o077 == 0
    assert same(trainer(homes, tmp_path).update(ROUNDS, initial), last)


def test_a_folder_serves_one_run_of_one_dataset(homes: CityDataset, tmp_path: Path) -> None:
    trainer(homes, tmp_path)
    with pytest.raises(FelsinaError, match="other settings or data"):
        trainer(homes.part(np.array([0, 1, 2])), tmp_path)
    with pytest.raises(FelsinaError, match="other settings or data"):
        PrivateTrainer(homes, SETTINGS, 3, tmp_path, Account())
    with pytest.raises(FelsinaError, match="steps = 12 are fewer than the 13 rounds"):
        PrivateTrainer(homes, SETTINGS, 13, tmp_path / "other", Account())
    other = replace(homes, digests=homes.digests | {"series.parquet": "0"})
    with pytest.raises(FelsinaError, match="other settings or data"):
        trainer(other, tmp_path)


def test_it_answers_through_the_same_app(
    homes: CityDataset, tmp_path: Path, initial: Arrays
) -> None:
    own = trainer(homes, tmp_path)
    app = client_app(lambda context: own)
    (reply,) = GridPartners(InProcessGrid({1: app}), {1: "a"}, 60).ask(1, 1, initial, ["a"])
    guard = Guard(1, {name: values.shape for name, values in initial.items()}, {"a": 4.0})
    assert guard.take(reply) is None
    assert reply.weight == 4.0  # about how many homes, a public figure
    assert same(dict(guard.accepted["a"].arrays), own.update(1, initial))
