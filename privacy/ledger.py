"""The privacy ledger: a signed stream of who agreed, what was spent, and on whom.

A budget belongs to a population of units and holds across runs, retrains and new names of the data
set. A charge is written before the steps that it pays for run, and is never taken back. A resumed
run charges its steps again under the same numbers, which is once: so the noise of a step that is
done again must be the same, or nothing of the first attempt may have been seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from pathlib import Path
from typing import Any

from models.chain import Entry, split_lines, verify
from models.errors import FelsinaError
from models.record import sha256_bytes
from models.signing import PrivateKey
from models.stream import Clock, Stream, utc_now
from privacy.accounting import Epsilon, SampledGaussian
from privacy.accounts import Accounts, RefusedError
from privacy.drop_codes import BUDGET
from privacy.entries import (
    Body,
    Charge,
    Claim,
    Release,
    Said,
    Withdrawal,
    decoded,
    encoded,
)
from privacy.headroom import Headroom
from privacy.population import (
    BudgetKey,
    LimitInForce,
    Mechanisms,
    Population,
    key_of,
    mechanism_of,
)
from privacy.replay import apply_entry, check_claim, composed


class BudgetExceededError(RefusedError):
    """A plan or a charge would exceed a budget: do not start, or stop with the last valid model."""

    def __init__(self, said: str) -> None:
        super().__init__(said, BUDGET)


class Ledger:
    """A ledger that the city writes.

    Args:
        path: the stream's file, made by :meth:`create`.
        key: the city's.
        clock: gives each entry's time, and decides whether an agreement is in force.

    Raises:
        FelsinaError: naming the entry, if the ledger was edited, cut or contradicts itself.
    """

    def __init__(self, path: Path, key: PrivateKey, clock: Clock = utc_now) -> None:
        self._take(Stream(path, key, clock), key)

    @classmethod
    def create(cls, path: Path, key: PrivateKey, name: str, clock: Clock = utc_now) -> Ledger:
        """Begin a ledger; ``name`` is what receipts call it."""
        ledger = cls.__new__(cls)
        ledger._take(Stream.create(path, key, name, clock), key)
        return ledger

    def ensure(self, bodies: Iterable[Said]) -> None:
        """Add what does not stand yet, so that who comes back says nothing twice."""
        for body in bodies:
            if not self.stands(body):
                self.record(body)

    @property
    def entries(self) -> list[Entry]:
        """What was read so far; within :meth:`held`, all there is."""
        return self._stream.entries

    def check_unaltered(self) -> None:
        """Hold the file's bytes to what was read from it, also what was read long ago.

        Raises:
            FelsinaError: naming the entry that was edited or cut since.
        """
        with self._stream.held() as entries:
            path = self._stream.path
            lines, _ = split_lines(path.read_bytes())
            if [sha256_bytes(line) for line in lines] != [entry.sha256 for entry in entries]:
                verify(path, self._public)
                raise FelsinaError(f"{path}: was rewritten while it was in use; restore the file")

    def record(self, body: Body) -> Entry:
        """Add an entry.

        Raises:
            FelsinaError: if it contradicts the ledger: what has to come first, what does not fit.
            BudgetExceededError: if it is a charge that would exceed.
        """
        if isinstance(body, Charge):
            return self.charge(key_of(body), mechanism_of(body), body.run, body.first_step)
        with self._stream.held():
            self._catch_up()
            if isinstance(body, Release):
                self._accounts.check(body, self._stream.now().astimezone(UTC).date())
                for claim in body.claim:
                    population = self._accounts.population(key_of(claim))
                    check_claim(claim, population.steps, body.release)
            return self._append(body)

    def stands(self, body: Said) -> bool:
        """Whether this is what was last said of it, and the partner did not withdraw since."""
        with self.held():
            own = encoded(body)
            place = {name: own.get(name) for name in ("partner", "dataset")}
            for entry in reversed(self._stream.entries):
                if entry.kind == Withdrawal.kind and entry.body["partner"] == body.partner:
                    return False
                if entry.kind == body.kind and place == {n: entry.body.get(n) for n in place}:
                    return entry.body == own
            return False

    @contextmanager
    def held(self) -> Iterator[Accounts]:
        """Keep other writers out, and give what all entries add up to; may be nested."""
        with self._stream.held():
            self._catch_up()
            yield self._accounts

    def find(self, body: Body) -> Entry | None:
        """The entry that says exactly this, for what must be written once; None where none does."""
        with self.held():
            same = (e for e in self._stream.entries if e.kind == body.kind)
            content = encoded(body)
            return next((entry for entry in same if entry.body == content), None)

    def population(self, key: BudgetKey) -> Population:
        """The account that a key belongs to, up to date."""
        with self._stream.held():
            self._catch_up()
            return self._accounts.population(key)

    def spent(self, key: BudgetKey) -> list[SampledGaussian]:
        """Every charge on a key's population, in order."""
        return [mechanism_of(made.charge) for made in self.population(key).charges]

    def epsilon(self, key: BudgetKey) -> Epsilon:
        """What was spent on a key's population, at its budget's delta."""
        with self._stream.held():
            population = self.population(key)
            return composed(population.steps, self._accounts.budget(key).delta)

    def remaining(self, key: BudgetKey) -> float:
        """Epsilon between what was spent and the limit; what it still buys depends on the plan."""
        with self._stream.held():
            spent = self.epsilon(key).pld
            return max(self._accounts.budget(key).epsilon - spent, 0.0)

    def claim(self, key: BudgetKey) -> Claim:
        """What a release that is made now has to say of a data set."""
        epsilon = self.epsilon(key)
        return Claim(**key._asdict(), epsilon=epsilon.pld, delta=epsilon.delta)

    def require(self, key: BudgetKey, planned: SampledGaussian, run: str | None = None) -> None:
        """Refuse a plan that does not fit into the budget, before anything runs.

        Args:
            key: whose budget.
            planned: all steps of the run.
            run: its name, where some of its steps may have been charged before a kill.

        Raises:
            FelsinaError: if the partner withdrew, or agreement, data set or budget are missing.
            BudgetExceededError: if spent and planned together exceed the limit.
        """
        with self._stream.held():
            limit, population = self._limit(key), self.population(key)
            own = Mechanisms()
            for charge in (made.charge for made in population.charges):
                if charge.run == run:
                    own += _steps(mechanism_of(charge))
            asked = _steps(planned) - own
            if not self._headroom(key, limit).fits(population.steps, asked):
                raise _exceeded(key, limit, population.steps, asked)

    def charge(
        self, key: BudgetKey, mechanism: SampledGaussian, run: str, first_step: int
    ) -> Entry:
        """Pay for steps that are about to run; the same steps of a resumed run are paid for once.

        Args:
            key: whose budget.
            mechanism: the steps.
            run: which training run.
            first_step: number of the first of them.

        Returns:
            The charge's entry, which may be an old one.

        Raises:
            FelsinaError: as :meth:`require`, or if these steps were charged otherwise.
            BudgetExceededError: if it would exceed: the run stops with the last valid model.
        """
        with self.held():
            due = self._due(key, mechanism, run, first_step)
            return due if isinstance(due, Entry) else self._append(due)

    def check_charge(
        self, key: BudgetKey, mechanism: SampledGaussian, run: str, first_step: int
    ) -> None:
        """Refuse what :meth:`charge` would refuse now, and write nothing."""
        with self.held():
            self._due(key, mechanism, run, first_step)

    def check_partner(self, partner: str) -> None:
        """Refuse a partner that withdrew or whose agreement has ended.

        Raises:
            RefusedError: with the code for it.
        """
        with self.held():
            day = self._stream.now().astimezone(UTC).date()
            self._accounts.check_partner(partner, day, f"partner {partner}")

    def withdrew(self, partner: str) -> bool:
        """Whether a partner's last word is that it withdraws."""
        with self.held():
            return partner in self._accounts.withdrawn

    def receipt(self) -> dict[str, Any]:
        """A signed head, for a partner to keep."""
        return self._stream.head()

    def _take(self, stream: Stream, key: PrivateKey) -> None:
        self._stream, self._public = stream, key.public_key()
        self._accounts = Accounts()
        self._seen = 0
        self._headrooms: dict[tuple[str, ...], Headroom] = {}
        self._catch_up()

    def _catch_up(self) -> None:
        """Take in what was written since, by whatever process."""
        while self._seen < len(self._stream.entries):
            apply_entry(self._accounts, self._stream.entries[self._seen], str(self._stream.path))
            self._seen += 1

    def _append(self, body: Body) -> Entry:
        now = self._stream.now().astimezone(UTC)
        self._accounts.check(body, now.date())
        entry = self._stream.append(body.kind, encoded(body), now)
        self._catch_up()
        return entry

    def _due(
        self, key: BudgetKey, mechanism: SampledGaussian, run: str, first_step: int
    ) -> Charge | Entry:
        """The charge that steps have to be paid with, or its entry where they are paid."""
        charge = decoded(
            Charge.kind,
            {
                **key._asdict(),
                "run": run,
                "first_step": first_step,
                "steps": mechanism.steps,
                "sampling_rate": mechanism.sampling_rate,
                "noise_multiplier": mechanism.noise_multiplier,
            },
        )
        assert isinstance(charge, Charge)
        limit, population = self._limit(key), self._accounts.population(key)
        if (n := self._accounts.charged(charge)) is not None:
            return self._stream.entries[n]
        asked = _steps(mechanism)
        if not self._headroom(key, limit).fits(population.steps, asked):
            raise _exceeded(key, limit, population.steps, asked)
        return charge

    def _limit(self, key: BudgetKey) -> LimitInForce:
        self._catch_up()
        return self._accounts.limit(key, self._stream.now().astimezone(UTC).date())

    def _headroom(self, key: BudgetKey, limit: LimitInForce) -> Headroom:
        place = key.partner, *self._accounts.population(key).names
        known = self._headrooms.get(place)
        if known is None or known.limit != limit:
            known = self._headrooms[place] = Headroom(limit)
        return known


def _steps(mechanism: SampledGaussian) -> Mechanisms:
    rate, noise = mechanism.sampling_rate, mechanism.noise_multiplier
    return Mechanisms({(rate, noise): mechanism.steps})


def _exceeded(
    key: BudgetKey, limit: LimitInForce, spent: Mechanisms, asked: Mechanisms
) -> BudgetExceededError:
    try:
        before = f"{composed(spent, limit.delta).pld:.4g}"
        after = f"epsilon {composed(spent + asked, limit.delta).pld:.4g} with the steps asked for"
    except FelsinaError as error:
        before, after = "some", f"with the steps asked for: {error}"
    return BudgetExceededError(
        f"{key}: epsilon {before} was spent, {after}, and the budget is {limit.epsilon:g} at delta "
        f"{limit.delta:g}; take fewer steps, more noise, a lower sampling rate, or agree on more"
    )
