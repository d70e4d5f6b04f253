"""What a run leaves to the city when it has ended: its last model, and whose rows that has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from models.errors import FelsinaError
from privacy.accounts import Accounts
from privacy.checkpoints import kept
from privacy.deployment.city import City
from privacy.deployment.member import Enrolment
from privacy.deployment.results import BEGUN, ENDED, MEMBERS
from privacy.entries import Charge, is_name
from privacy.population import BudgetKey
from privacy.recorded import check_place
from privacy.strategy import Arrays


@dataclass(frozen=True)
class Share:
    """What a model has seen of a partner.

    Attributes:
        key: whose data.
        enrolled: how it took part.
        charges: the noisy steps that the model holds; none where the plan has no noise.
    """

    key: BudgetKey
    enrolled: Enrolment
    charges: tuple[Charge, ...]


@dataclass(frozen=True)
class Outcome:
    """A run that has ended.

    Attributes:
        run: its name.
        rounds: that its model holds, those of an earlier run that it was begun from too.
        stopped: why there are no more; empty when all were run.
        arrays: the last model.
        shares: one of each dataset that the model has seen, by partner.
        ledger: stream and key of the ledger that paid.
    """

    run: str
    rounds: int
    stopped: str
    arrays: Arrays
    shares: tuple[Share, ...]
    ledger: dict[str, str]


def outcome_of(city: City, run: str) -> Outcome:
    """Read a run that has ended from a city's folder and ledger.

    Raises:
        FelsinaError: if there is none, it has no round, or the ledger is not the one that paid.
    """
    work = city.folder / "runs" / run
    if not is_name(run) or not (work / ENDED).is_file():
        raise FelsinaError(
            f"run {run!r} of {city.folder} has not ended; felsina city status names the runs, and "
            "felsina city run goes on with one"
        )
    stopped = json.loads((work / ENDED).read_bytes())["reason"]
    last = kept(work)[1][-1]
    if not last.round:
        raise FelsinaError(
            f"run {run} has no round ({stopped}), so its model has learned nothing; run another"
        )
    ledger = city.ledger()
    if place := last.told.get("place"):  # else no round is its own: it was begun and stopped
        check_place(ledger, run, last.round, place)
    receipt = ledger.receipt()
    with ledger.held() as accounts:
        shares = _shares(city, accounts, run, last.told["first"])
    paid = {"stream": receipt["stream"], "key": receipt["key"]}
    return Outcome(run, last.round, stopped, last.arrays, shares, paid)


def _shares(city: City, accounts: Accounts, run: str, first: dict[str, int]) -> tuple[Share, ...]:
    """Each dataset whose partner ``first`` names, once; with noise, one that was charged."""
    shares: dict[BudgetKey, Share] = {}
    for name, last in _line(city, run):
        members = json.loads((city.folder / "runs" / name / MEMBERS).read_bytes())
        for partner in sorted(members):
            if partner not in first or (last is not None and first[partner] > last):
                continue
            enrolled = Enrolment.model_validate(members[partner])
            key = BudgetKey(partner, enrolled.dataset, enrolled.terms.unit)
            charges = _charges(accounts, key, name, last)
            if charges or city.plan.private is None:
                before = shares.get(key)
                latest = before.enrolled if before else enrolled
                earlier = before.charges if before else ()
                shares[key] = Share(key, latest, (*charges, *earlier))
    if unpaid := sorted(set(first) - {key.partner for key in shares}):
        raise FelsinaError(
            f"run {run}: its model has seen {', '.join(unpaid)}, of whom the folder or the ledger "
            "knows nothing; restore both as they were when it ended"
        )
    return tuple(shares[key] for key in sorted(shares))


def _line(city: City, run: str) -> Iterator[tuple[str, int | None]]:
    """A run and those before it that it was begun from, each with its last round that counts."""
    last: int | None = None
    while run:
        yield run, last
        path: Path = city.folder / "runs" / run / BEGUN
        told = json.loads(path.read_bytes()) if path.is_file() else {"run": "", "rounds": 0}
        last = told["rounds"] if last is None else min(last, told["rounds"])
        run = told["run"]


def _charges(accounts: Accounts, key: BudgetKey, run: str, last: int | None) -> list[Charge]:
    """What a partner was charged for rounds of a run, up to the last that counts."""
    made = (one.charge for one in accounts.population(key).charges if one.charge.run == run)
    return [c for c in made if last is None or c.first_step < last * c.steps]
