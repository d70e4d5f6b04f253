"""Replays come to what the accountants say, and name the entry that is wrong."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from models.errors import FelsinaError
from models.record import canonical_json
from models.stream import Stream
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.entries import Dropped
from privacy.ledger import Ledger
from privacy.replay import composed, replay
from tests.fixtures.ledgers import (
    HOMES,
    KEY,
    NOW,
    PUBLIC,
    THOUSAND,
    charge_body,
    opened,
)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_a_writer_that_does_not_keep_the_rules_is_named(path):
    opened(path)
    stream = Stream(path, KEY, lambda: NOW)
    for run, steps in (("a", 700), ("b", 300), ("c", 400), ("d", 10)):
        stream.append("charge", charge_body(run, steps))
    with pytest.raises(FelsinaError, match=r"entry 6 \(charge\).*exceeds epsilon 2 at delta 1e-05"):
        replay(path, PUBLIC)


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("charge", charge_body("run", 0), r"entry 5 \(charge\): steps"),
        ("charge", charge_body("run", 10), r"entry 5 \(charge\).*charged in entry 4"),
        ("charge", charge_body("r", 10) | {"dataset": "else"}, "entry 5.*register it first"),
        ("gift", {}, r"entry 5 \(gift\)"),
        (
            "release",
            {
                "release": "e",
                "manifest_sha256": "d" * 64,
                "claim": [{**HOMES._asdict(), "epsilon": 0.1, "delta": 1e-5}],
            },
            r"entry 5 \(release\): release e claims epsilon 0.1",
        ),
    ],
)
def test_false_entries_that_were_signed_are_named(path, kind, body, said):
    opened(path).charge(HOMES, THOUSAND, "run", 0)
    Stream(path, KEY, lambda: NOW).append(kind, body)
    with pytest.raises(FelsinaError, match=said) as caught:
        replay(path, PUBLIC)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(2))
def test_random_runs_replay_to_what_composing_them_gives(path, seed):
    draw = random.Random(seed)
    ledger = opened(path, epsilon=4.0)
    kinds = [SampledGaussian(0.01, 1.0, 1), SampledGaussian(0.02, 2.0, 1)]
    made: list[SampledGaussian] = []
    first_steps = dict.fromkeys("abc", 0)
    killed = draw.randrange(16)
    for i in range(16):
        run, kind, steps = draw.choice("abc"), draw.choice(kinds), draw.randint(1, 40)
        mechanism = replace(kind, steps=steps)
        if i == 0:
            ledger.require(HOMES, replace(kinds[0], steps=1200))
        ledger.charge(HOMES, mechanism, run, first_steps[run])
        if i == killed:
            ledger = Ledger(path, KEY, lambda: NOW)
            ledger.charge(HOMES, mechanism, run, first_steps[run])
            ledger.require(HOMES, replace(kinds[0], steps=1200))
        if draw.random() < 0.2:
            ledger.record(Dropped(partner="hera", run=run, round=0, code="late"))
        first_steps[run] += steps
        made.append(mechanism)
    assert ledger.spent(HOMES) == made
    (population,) = replay(path, PUBLIC).populations()
    expected = epsilon_of(made, 1e-5)
    assert composed(population.steps, 1e-5) == ledger.epsilon(HOMES) == expected


def test_an_edited_ledger_is_not_opened(path):
    opened(path).charge(HOMES, THOUSAND, "run", 0)
    path.write_bytes(path.read_bytes().replace(b'"steps":1000', b'"steps":1001'))
    for read in (lambda: replay(path, PUBLIC), lambda: Ledger(path, KEY)):
        with pytest.raises(FelsinaError, match="entry 4 was edited"):
            read()


def test_a_receipt_shows_that_spent_budget_was_cut(tmp_path, path):
    ledger = opened(path)
    ledger.charge(HOMES, THOUSAND, "run", 0)
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(canonical_json(ledger.receipt()))
    for file in (path, path.with_name(path.name + ".head")):
        file.unlink()
    opened(path)
    assert replay(path, PUBLIC).populations()[0].runs == []
    with pytest.raises(FelsinaError, match=r"entry 4 is missing.*receipt\.json"):
        replay(path, PUBLIC, [receipt])
