"""The city's round loop over the in-process Grid: real trainers, ledger and folder, no network."""

import numpy as np
import pytest

from models.chain import verify
from tests.factories import make_dataset
from tests.fixtures.town import NAMES, Town
from training.dataset import open_dataset


@pytest.fixture(scope="module")
def four(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fourth")
    return [*parts, open_dataset(make_dataset(folder / "p3", seed=3))]


def test_a_run_ends_once_and_everybody_has_model_and_receipt(four, tmp_path):
    town = Town(tmp_path, four)
    ended = town.run("first")
    assert (ended["rounds"], ended["reason"]) == (3, "")
    assert set(ended["given_to"]) == set(NAMES) == set(town.given)
    for run, rounds, receipt in town.given.values():
        assert (run, rounds) == ("first", 3)
        verify(town.city.ledger_path, town.city.key.public_key(), [receipt])
    town.given.clear()
    assert town.run("first") == ended
    assert town.given == {}


def test_after_a_withdrawal_the_next_model_is_one_that_never_saw_the_partner(four, tmp_path):
    town = Town(tmp_path / "four", four)
    town.run("first")
    assert "nobody of run first withdrew" in town.run("early", after="first")
    assert "is none of" in town.run("lost", after="nothing")
    town.city.withdraw("enel", "another strategy")
    ended = town.run("second", after="first")
    assert (ended["rounds"], ended["reason"]) == (3, "")
    assert "enel" not in ended["given_to"]
    never = Town(tmp_path / "three", four[:3], NAMES[:3])
    never.run("second")
    for name, values in never.model("second").items():
        np.testing.assert_array_equal(town.model("second")[name], values)
    entries = verify(town.city.ledger_path, town.city.key.public_key())
    assert [e.kind for e in entries if e.kind in ("withdrawal", "stop")] == ["withdrawal", "stop"]


def test_too_few_partners_are_a_reason_and_not_a_hang(four, tmp_path):
    town = Town(tmp_path, four[:2], NAMES[:2])
    assert "2 partners agreed, a round needs 3" in town.run("first")
