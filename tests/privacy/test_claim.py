"""What a ledger promises in words: the right numbers, on the side that promises less."""

import math
import re

import numpy as np
import pytest

from models.errors import FelsinaError
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.accounts import Accounts
from privacy.claim import Coverage, claims_of, coverage, guesses, odds, one_in, statement
from privacy.entries import Claim, Release
from privacy.population import BudgetKey
from privacy.replay import replay
from privacy.units import UNITS
from privacy.wording import ENGLISH, ITALIAN, english_number, italian_number
from tests.fixtures.ledgers import HOMES, PUBLIC, THOUSAND, agreement, budget, dataset, opened


def claim(epsilon: float = 1.8282, delta: float = 1e-5, **changes) -> Claim:
    return Claim(**HOMES._asdict() | changes, epsilon=epsilon, delta=delta)


def covered(runs=("march",), releases=("e-1",)) -> Coverage:
    return Coverage(5000, ("homes",), runs, releases)


def test_the_numbers_of_a_known_claim():
    said = statement([claim()], {HOMES: covered()})
    for text in (said.en, said.it):
        assert "hera" in text
        assert "(march)" in text
        assert "(e-1)" in text
    assert "every single household in the data set homes" in said.en
    assert "about 5,000 households" in said.en
    assert "at most 6.23 times as likely" in said.en
    assert "1 chance in 100,000" in said.en
    assert "epsilon 1.83, delta 1 in 100,000" in said.en
    assert "right at most 87 times in 100" in said.en
    assert "ogni singolo nucleo familiare" in said.it
    assert "circa 5.000 nuclei familiari" in said.it
    assert "al massimo 6,23 volte" in said.it
    assert "1 caso su 100.000" in said.it
    assert "epsilon 1,83, delta 1 su 100.000" in said.it
    assert "al massimo 87 volte su 100" in said.it


@pytest.mark.parametrize("seed", range(20))
def test_no_number_promises_more_than_the_claim(seed):
    rng = np.random.default_rng(seed)
    epsilon, delta = rng.uniform(0.01, 9), 10.0 ** rng.uniform(-8, -1)
    assert odds(epsilon) >= math.exp(epsilon) * (1 - 1e-9)
    assert odds(epsilon) <= math.exp(epsilon) * 1.011
    assert 1 / one_in(delta) >= delta
    right = (math.exp(epsilon) + delta) / (1 + math.exp(epsilon))
    assert right <= guesses(epsilon, delta) / 100 < right + 0.01 + 1e-9


def test_no_guess_does_better_than_is_said():
    """The best test of one Gaussian release, from even odds, which the claim holds for."""
    noise, delta = 2.0, 1e-3
    epsilon = epsilon_of([SampledGaussian(1.0, noise, 1)], delta).pld
    best = 0.5 * (1 + math.erf(0.5 / noise / math.sqrt(2)))  # threshold half way between
    assert best < guesses(epsilon, delta) / 100


def test_a_claim_of_nothing_and_a_weak_one():
    nothing = statement([claim(0.0)], {HOMES: covered((), ())})
    assert "Nothing has been trained" in nothing.en
    assert "non è stato addestrato nulla" in nothing.it
    assert "epsilon" not in nothing.en
    weak = statement([claim(6.0)], {HOMES: covered()})
    assert "weak promise" in weak.en
    assert "garanzia debole" in weak.it
    assert "weak" not in statement([claim()], {HOMES: covered()}).en


def test_a_release_speaks_of_itself():
    said = statement([claim()], {HOMES: covered(releases=())}, new=True)
    assert "(this one)" in said.en
    assert "(questo)" in said.it
    none = statement([claim()], {HOMES: covered(releases=())})
    assert "lists no release" in none.en
    assert "non elenca alcun modello" in none.it


def test_of_many_names_the_last_are_told():
    runs = tuple(f"run-{n}" for n in range(30))
    said = statement([claim()], {HOMES: covered(runs)})
    assert "(18 earlier ones, run-18, " in said.en
    assert "(18 precedenti, run-18, " in said.it
    assert "run-29)" in said.en


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_has_its_words_and_nothing_is_left_open(unit):
    key = HOMES._replace(unit=unit)
    said = statement([claim(unit=unit)], {key: covered()})
    lines = [said.en, said.it, *said.not_protected_en, *said.not_protected_it]
    assert not [line for line in lines if re.search(r"[{}]|\n|  ", line)]
    assert len(said.not_protected_en) == len(said.not_protected_it) == 8
    assert said.not_protected_en[-1] == ENGLISH.by_unit[unit]
    assert said.not_protected_it[-1] == ITALIAN.by_unit[unit]


@pytest.mark.parametrize(
    ("english", "italian"),
    [
        ("secrets", "segreti"),
        ("in common", "in comune"),
        ("by agreement", "d'accordo con"),
        ("dropped", "scartate"),
        ("this ledger does not list", "questo registro non elenca"),
    ],
)
def test_what_is_not_protected_is_said(english, italian):
    said = statement([claim()], {HOMES: covered()})
    assert [english in line for line in said.not_protected_en] == [
        italian in line for line in said.not_protected_it
    ]
    assert sum(english in line for line in said.not_protected_en) == 1


def test_numbers_are_written_as_each_language_does():
    assert [english_number(n) for n in (5000, 6.23, 54.6, 2990.0)] == [
        "5,000",
        "6.23",
        "54.6",
        "2,990",
    ]
    assert italian_number(12345.5) == "12.345,5"


def two_partners(path) -> Accounts:
    ledger = opened(path)
    ledger.charge(HOMES, THOUSAND, "march", 0)
    ledger.record(Release(release="e-1", manifest_sha256="b" * 64, claim=(ledger.claim(HOMES),)))
    ledger.record(dataset("homes-2026", digest="2", continues=("homes",)))
    ledger.record(agreement(partner="tper", unit="vehicle"))
    ledger.record(dataset("buses", digest="3", partner="tper", unit="vehicle", units=900))
    ledger.record(budget(1.0, 1e-5, BudgetKey("tper", "buses", "vehicle")))
    return replay(path, PUBLIC)


def test_claims_follow_from_the_ledger_alone(tmp_path):
    accounts = two_partners(tmp_path / "ledger.jsonl")
    claims = claims_of(accounts)
    assert [(c.partner, c.dataset) for c in claims] == [("hera", "homes-2026"), ("tper", "buses")]
    assert claims[0].epsilon == pytest.approx(1.828, abs=5e-4)
    assert claims[1].epsilon == 0
    reach = coverage(accounts, claims)
    renamed = reach[BudgetKey("hera", "homes-2026", "household")]
    assert renamed == Coverage(5000, ("homes", "homes-2026"), ("march",), ("e-1",))
    said = statement(claims, reach)
    assert "homes-2026 (and what it continues: homes) of partner hera" in said.en
    assert "homes-2026 (e ciò di cui è il seguito: homes) del partner hera" in said.it
    assert len(said.en.split("\n\n")) == len(said.it.split("\n\n")) == 2
    assert "households, vehicles" in said.not_protected_en[1]
    assert len(said.not_protected_en) == 9
    assert [c.partner for c in claims_of(accounts, "tper")] == ["tper"]


def test_nothing_to_claim_is_refused(tmp_path):
    accounts = two_partners(tmp_path / "ledger.jsonl")
    with pytest.raises(FelsinaError, match=r"of partner iren has a budget.*: hera, tper"):
        claims_of(accounts, "iren")
    with pytest.raises(FelsinaError, match=r"no data set has a budget.*: none"):
        claims_of(Accounts())
    with pytest.raises(FelsinaError, match="no claim"):
        statement([], {})
