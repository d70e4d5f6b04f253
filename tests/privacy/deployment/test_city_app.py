"""The city's round loop over the in-process Grid: real trainers, ledger and folder, no network."""

import json

import numpy as np
import pytest

from models.chain import verify
from privacy.deployment.city_app import conduct
from privacy.deployment.results import ENDED, FAULT, load_arrays
from privacy.federation import client_app
from privacy.grid import InProcessGrid
from privacy.local import LocalTrainer, federated
from tests.factories import make_dataset
from tests.privacy.deployment.conftest import Newcomer, invitation_of, make_city
from training.dataset import open_dataset

NAMES = ("hera", "iren", "tper", "enel")


class Town:
    """A city whose partners are apps in this process."""

    def __init__(self, folder, parts, names=NAMES, private=False):
        self.city = make_city(folder / "city", parts[0], private=private, rounds=3)
        self.given = {}
        apps = {}
        for number, (name, part) in enumerate(zip(names, parts, strict=False), start=1):
            terms = {} if private else {"epsilon": 0.0}
            newcomer = Newcomer(invitation_of(self.city, name, folder, **terms), folder / name)
            plain = {} if private else {"sampling_rate": None, "noise_multiplier": None}
            weight = 4.0 if private else 1e5
            digests = {"series.parquet": part.digests["series.parquet"]}
            sent = newcomer.sent(weight=weight, digests=digests, **plain)
            self.city.enrol(name, sent)
            self.city.place(name, number)
            apps[number] = client_app(self.trainer_of(number, part), self.keep(name))
        self.grid = InProcessGrid(apps)

    def trainer_of(self, number, part):
        made = {}

        def trainer(run):
            settings = self.city.plan.training
            assert settings is not None
            if run not in made:
                made[run] = LocalTrainer(part, federated(settings), 3, number)
            return made[run]

        return trainer

    def keep(self, name):
        def keep(run, rounds, arrays, receipt):
            self.given[name] = run, rounds, json.loads(receipt)

        return keep

    def run(self, run, **named):
        conduct(self.grid, self.city, run, 0.0, **named)
        work = self.city.folder / "runs" / run
        told = work / (ENDED if (work / ENDED).exists() else FAULT)
        return json.loads(told.read_bytes())

    def model(self, run):
        return load_arrays(self.city.folder / "runs" / run / "model.npz")


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
