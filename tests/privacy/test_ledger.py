"""Budgets that hold across runs, names and processes."""

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from models.errors import FelsinaError
from models.signing import create_key
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.drop_codes import CODES
from privacy.entries import (
    Claim,
    Consent,
    Dropped,
    Release,
    Stop,
    Withdrawal,
    decoded,
    encoded,
)
from privacy.ledger import BudgetExceededError, Ledger
from privacy.population import BudgetKey
from privacy.replay import composed, replay
from tests.fixtures.ledgers import (
    HOMES,
    KEY,
    NOW,
    PUBLIC,
    STEP,
    THOUSAND,
    agreement,
    budget,
    charge_body,
    dataset,
    opened,
)
from tests.fixtures.tiny import ROOT


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "ledger.jsonl"


def test_every_kind_is_recorded_and_replayed(path):
    ledger = opened(path)
    ledger.charge(HOMES, THOUSAND, "first", 0)
    claim = ledger.claim(HOMES)
    assert claim.epsilon == pytest.approx(1.828, abs=5e-4)
    bodies = [
        Consent(partner="hera", dataset="homes", units=4000, basis="GDPR art. 6(1)(a)"),
        Release(release="energy-0a1b", manifest_sha256="b" * 64, claim=(claim,)),
        Dropped(partner="hera", run="second", round=3, code="not-finite"),
        Stop(run="second", reason="too few partners"),
        Withdrawal(partner="hera", reason="fusione societaria, città nuova"),
    ]
    for body in bodies:
        entry = ledger.record(body)
        assert decoded(entry.kind, entry.body) == body
    accounts = replay(path, PUBLIC, [ledger.receipt()])
    (population,) = accounts.populations()
    assert population.runs == ["first"]
    assert accounts.withdrawn == {"hera"}
    assert composed(population.steps, 1e-5) == ledger.epsilon(HOMES)


@pytest.mark.parametrize(
    ("kind", "changes", "said"),
    [
        ("agreement", {"epsilon": -1.0}, "epsilon"),
        ("agreement", {"epsilon": "4"}, "epsilon"),
        ("agreement", {"delta": 1.0}, "delta"),
        ("agreement", {"unit": "window"}, "unit"),
        ("agreement", {"purposes": []}, "purposes"),
        ("agreement", {"partner": "her a"}, "partner"),
        ("agreement", {"text_sha256": "A" * 64}, "text_sha256"),
        ("agreement", {"note": "more"}, "note"),
        ("dropped", {"code": "Traceback (most recent call last)"}, "code"),
        ("charge", {}, "partner: field required"),
        ("gift", {}, "kind 'gift' is unknown"),
    ],
)
def test_what_is_no_entry_is_refused_in_one_line(kind, changes, said):
    content = {
        "agreement": encoded(agreement()),
        "dropped": encoded(Dropped(partner="a", run="r", round=0, code="late")),
    }.get(kind, {})
    with pytest.raises(FelsinaError, match=said) as caught:
        decoded(kind, content | changes)
    assert "\n" not in str(caught.value)


def test_a_budget_holds_across_two_runs(path):
    ledger = opened(path)
    ledger.require(HOMES, THOUSAND)
    for step in range(0, 1000, 250):
        ledger.charge(HOMES, SampledGaussian(0.01, 1.0, 250), "first", step)
    assert ledger.spent(HOMES) == [SampledGaussian(0.01, 1.0, 250)] * 4
    assert ledger.epsilon(HOMES) == epsilon_of([THOUSAND], 1e-5)
    assert ledger.remaining(HOMES) == pytest.approx(2 - 1.828, abs=1e-3)
    size = path.stat().st_size
    with pytest.raises(
        BudgetExceededError, match=r"hera.*homes.*1\.828 was spent.*budget is 2"
    ) as e:
        ledger.require(HOMES, THOUSAND, "second")
    assert "epsilon 2.5" in str(e.value)
    assert "fewer steps" in str(e.value)
    assert path.stat().st_size == size
    ledger.require(HOMES, SampledGaussian(0.01, 1.0, 100), "second")
    again = Ledger(path, KEY, lambda: NOW)
    with pytest.raises(BudgetExceededError):
        again.require(HOMES, THOUSAND, "third")


def test_a_run_that_reaches_its_budget_is_stopped_at_the_step_that_would_exceed(path):
    ledger = opened(path, epsilon=0.6)
    done = 0
    with suppress(BudgetExceededError):
        while True:
            ledger.charge(HOMES, SampledGaussian(0.01, 1.0, 20), "greedy", done)
            done += 20
    assert epsilon_of([SampledGaussian(0.01, 1.0, done)], 1e-5).pld <= 0.6
    assert epsilon_of([SampledGaussian(0.01, 1.0, done + 20)], 1e-5).pld > 0.6
    assert composed(replay(path, PUBLIC).populations()[0].steps, 1e-5).pld <= 0.6


def test_what_protects_nobody_exceeds_every_budget(path):
    ledger = opened(path)
    with pytest.raises(BudgetExceededError, match=r"with the steps asked for: .*protects nobody"):
        ledger.require(HOMES, SampledGaussian(1.0, 0.05, 1000))


def test_a_resumed_run_charges_once(path):
    ledger = opened(path)
    first = ledger.charge(HOMES, STEP, "run", 0)
    ledger.charge(HOMES, STEP, "run", 1)
    resumed = Ledger(path, KEY, lambda: NOW)
    assert resumed.charge(HOMES, STEP, "run", 0) == first
    resumed.charge(HOMES, STEP, "run", 1)
    resumed.charge(HOMES, STEP, "run", 2)
    assert resumed.spent(HOMES) == [STEP] * 3
    assert ledger.spent(HOMES) == [STEP] * 3
    ledger.require(HOMES, SampledGaussian(0.01, 1.0, 1100), "run")
    with pytest.raises(FelsinaError, match="step 2 of run run was charged in entry 6 as 1 steps"):
        resumed.charge(HOMES, SampledGaussian(0.01, 2.0, 1), "run", 2)
    ledger.charge(HOMES, SampledGaussian(0.01, 1.0, 10), "run", 20)
    for start, steps in ((25, 1), (15, 6), (10, 100)):
        with pytest.raises(FelsinaError, match="some were charged"):
            ledger.charge(HOMES, SampledGaussian(0.01, 1.0, steps), "run", start)
    assert sum(m.steps for m in ledger.spent(HOMES)) == 13
    ledger.charge(HOMES, SampledGaussian(0.01, 1.0, 10), "run", 10)


def test_a_dropped_reply_costs_nothing(path):
    ledger = opened(path)
    for code in CODES:
        ledger.record(Dropped(partner="hera", run="run", round=0, code=code))
    assert ledger.spent(HOMES) == []
    assert ledger.epsilon(HOMES).pld == 0
    assert ledger.remaining(HOMES) == 2.0


def test_a_partner_that_withdrew_is_left_alone_and_nothing_is_refunded(path):
    ledger = opened(path)
    ledger.charge(HOMES, THOUSAND, "run", 0)
    ledger.record(Withdrawal(partner="hera"))
    bare = decoded("charge", charge_body("other", 1))
    for refused in (
        lambda: ledger.require(HOMES, STEP),
        lambda: ledger.charge(HOMES, STEP, "run", 1000),
        lambda: ledger.record(bare),
    ):
        with pytest.raises(FelsinaError, match="withdrew"):
            refused()
    assert ledger.epsilon(HOMES).pld == pytest.approx(1.828, abs=5e-4)
    ledger.record(agreement())
    with pytest.raises(BudgetExceededError):
        ledger.require(HOMES, THOUSAND)
    with pytest.raises(FelsinaError, match="never agreed"):
        ledger.record(Withdrawal(partner="stranger"))


def test_what_has_to_come_first_is_asked_for(path):
    ledger = Ledger.create(path, KEY, "bologna", lambda: NOW)
    with pytest.raises(FelsinaError, match="no agreement"):
        ledger.record(dataset())
    ledger.record(agreement())
    for refused in (
        lambda: ledger.require(HOMES, STEP),
        lambda: ledger.charge(HOMES, STEP, "run", 0),
        lambda: ledger.record(budget()),
        lambda: ledger.epsilon(HOMES),
        lambda: ledger.record(Consent(partner="hera", dataset="homes", units=1, basis="form 7")),
        lambda: ledger.record(dataset("later", continues=("homes",))),
    ):
        with pytest.raises(FelsinaError, match="not in the ledger; register it first"):
            refused()
    ledger.record(dataset())
    with pytest.raises(FelsinaError, match="no budget was set"):
        ledger.require(HOMES, STEP)
    with pytest.raises(FelsinaError, match="exceeds the agreement"):
        ledger.record(budget(epsilon=5.0))
    ledger.record(agreement(delta=0.1))
    with pytest.raises(FelsinaError, match=r"too large for 5000 units.*2e-05"):
        ledger.record(budget(delta=1e-4))
    assert len(replay(path, PUBLIC).populations()) == 1


def test_an_agreement_ends(path):
    day = [NOW]
    ledger = Ledger.create(path, KEY, "bologna", lambda: day[0])
    for body in (agreement(until=date(2026, 3, 1)), dataset(), budget()):
        ledger.record(body)
    ledger.charge(HOMES, STEP, "run", 0)
    day[0] = datetime(2026, 3, 2, tzinfo=UTC)
    with pytest.raises(FelsinaError, match="ended on 2026-03-01, it is 2026-03-02"):
        ledger.charge(HOMES, STEP, "run", 1)
    assert replay(path, PUBLIC).populations()[0].runs == ["run"]


def test_a_stricter_agreement_counts_at_once(path):
    ledger = opened(path)
    ledger.require(HOMES, THOUSAND)
    ledger.record(agreement(epsilon=1.0))
    with pytest.raises(BudgetExceededError, match="budget is 1 "):
        ledger.charge(HOMES, THOUSAND, "run", 0)


def test_a_new_name_or_new_files_give_no_new_budget(path):
    ledger = opened(path)
    ledger.charge(HOMES, THOUSAND, "run", 0)
    with pytest.raises(FelsinaError, match=r"is in dataset homes.*name homes in `continues`"):
        ledger.record(dataset("homes-2026"))
    ledger.record(dataset(digest="2", units=6000))
    ledger.record(dataset("homes-2026", "3", continues=("homes",)))
    renamed = BudgetKey("hera", "homes-2026", "household")
    for key in (HOMES, renamed):
        assert ledger.spent(key) == [THOUSAND]
        with pytest.raises(BudgetExceededError):
            ledger.require(key, THOUSAND)
    days = BudgetKey("hera", "homes", "day")
    with pytest.raises(FelsinaError, match="a unit never changes"):
        ledger.require(days, STEP)
    ledger.record(agreement(partner="iren"))
    with pytest.raises(FelsinaError, match="let one partner bring it"):
        ledger.record(dataset("mine", "1", partner="iren"))
    (population,) = replay(path, PUBLIC).populations()
    assert population.names == ("homes", "homes-2026")
    assert population.key == renamed


def test_two_data_sets_that_are_joined_have_spent_both(path):
    ledger = opened(path, epsilon=3.0)
    other = BudgetKey("hera", "flats", "household")
    ledger.record(dataset("flats", "4"))
    ledger.record(budget(2.5, key=other))
    for key in (HOMES, other):
        ledger.charge(key, THOUSAND, "run", 0)
    ledger.record(dataset("all", "5", continues=("homes", "flats")))
    joined = BudgetKey("hera", "all", "household")
    assert ledger.spent(joined) == [THOUSAND, THOUSAND]
    with pytest.raises(BudgetExceededError, match=r"budget is 2\.5"):
        ledger.charge(joined, THOUSAND, "next", 0)
    assert len(replay(path, PUBLIC).populations()) == 1


def test_a_release_claims_what_was_spent(path):
    ledger = opened(path)
    ledger.charge(HOMES, THOUSAND, "run", 0)
    spent = ledger.epsilon(HOMES).pld

    def release(epsilon: float, delta: float = 1e-5) -> Release:
        claim = Claim(**HOMES._asdict(), epsilon=epsilon, delta=delta)
        return Release(release="energy-1", manifest_sha256="c" * 64, claim=(claim,))

    for wrong in (0.0, 0.98 * spent, 1.02 * spent):
        with pytest.raises(FelsinaError, match=r"energy-1 claims epsilon .* come to 1.828"):
            ledger.record(release(wrong))
    with pytest.raises(FelsinaError, match=r"claims delta 0\.1"):
        ledger.record(release(0.17, 0.1))
    ledger.record(release(1.005 * spent))
    ledger.charge(HOMES, SampledGaussian(0.01, 1.0, 100), "run", 1000)
    replay(path, PUBLIC)


RUNNER = """
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from models.signing import load_key
from privacy.accounting import SampledGaussian
from privacy.ledger import BudgetExceededError, Ledger
from privacy.population import BudgetKey
now = lambda: datetime(2026, 3, 1, tzinfo=UTC)
ledger = Ledger(Path(sys.argv[1]), load_key(Path(sys.argv[2])), now)
key = BudgetKey("hera", "homes", "household")
made = 0
try:
    for i in range(4):
        ledger.charge(key, SampledGaussian(0.01, 1.0, 250), sys.argv[3], 250 * i)
        made += 1
except BudgetExceededError:
    pass
print(made)
"""


def test_two_runs_at_once_share_one_budget(tmp_path, path):
    key = tmp_path / "city.key"
    ledger = Ledger.create(path, create_key(key), "bologna", lambda: NOW)
    for body in (agreement(), dataset(), budget(2.0)):
        ledger.record(body)
    command = [sys.executable, "-c", RUNNER, str(path), str(key)]
    processes = [
        subprocess.Popen([*command, run], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for run in ("a", "b")
    ]
    made = [int(process.communicate(timeout=180)[0]) for process in processes]
    assert len(ledger.spent(HOMES)) == sum(made) < 8
    assert ledger.epsilon(HOMES).pld <= 2.0
    one_more = [*ledger.spent(HOMES), SampledGaussian(0.01, 1.0, 250)]
    assert epsilon_of(one_more, 1e-5).pld > 2.0


def test_what_is_written_once_is_found(path):
    ledger = opened(path)
    ledger.charge(HOMES, THOUSAND, "run", 0)
    release = Release(release="e-1", manifest_sha256="b" * 64, claim=(ledger.claim(HOMES),))
    assert ledger.find(release) is None
    with ledger.held() as accounts:
        entry = ledger.record(release)
        assert [claimed.release for claimed in accounts.claims] == ["e-1"]
    assert ledger.find(release) == Ledger(path, KEY).find(release) == entry
    assert ledger.find(release.model_copy(update={"manifest_sha256": "c" * 64})) is None
    Ledger(path, KEY).record(Stop(run="run", reason="enough"))
    assert ledger.find(Stop(run="run", reason="enough")) is not None
