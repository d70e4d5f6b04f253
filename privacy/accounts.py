"""What the entries of a ledger add up to: who agreed, what is known, what was charged on whom.

Every rule that needs no accountant is here; :mod:`privacy.replay` asks what the steps come to.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from datetime import date

from models.errors import FelsinaError
from privacy.drop_codes import AGREEMENT, WITHDRAWN
from privacy.entries import Agreement, Body, Budget, Charge, Consent, Dataset, Release, Withdrawal
from privacy.population import (
    UNITS_PER_FAILURE,
    BudgetKey,
    ChargeMade,
    Claimed,
    LimitInForce,
    Population,
    key_of,
    most_delta,
)


class RefusedError(FelsinaError):
    """A partner's data may not be used now.

    Args:
        said: what is wrong.
        code: the same as one of ``drop_codes``.
    """

    def __init__(self, said: str, code: str) -> None:
        super().__init__(said)
        self.code = code


class Accounts:
    """Entries, added up in their order."""

    def __init__(self) -> None:
        self.agreements: dict[str, Agreement] = {}
        self.withdrawn: set[str] = set()
        self.claims: list[Claimed] = []
        self._populations: dict[tuple[str, str], Population] = {}
        self._digests: dict[str, tuple[str, str]] = {}
        self._first_steps: dict[tuple[str, str, str], list[int]] = {}
        self._charged: dict[tuple[str, str, str, int], tuple[int, Charge]] = {}

    def populations(self) -> list[Population]:
        """Each once, in the order in which they were first registered."""
        return list({id(p): p for p in self._populations.values()}.values())

    def population(self, key: BudgetKey) -> Population:
        """The account that a key belongs to.

        Raises:
            FelsinaError: if the data set is not registered, or for another unit.
        """
        found = self._populations.get((key.partner, key.dataset))
        if found is None:
            raise FelsinaError(f"{key}: the dataset is not in the ledger; register it first")
        if found.key.unit != key.unit:
            raise FelsinaError(
                f"{key}: the dataset is registered for unit {found.key.unit}; a unit never "
                "changes, or the same people would have a second budget"
            )
        return found

    def holder(self, digest: str) -> tuple[str, str] | None:
        """Partner and data set that registered a file with this SHA-256, or None."""
        return self._digests.get(digest)

    def limit(self, key: BudgetKey, day: date) -> LimitInForce:
        """What may be spent on a key's population on a day.

        Raises:
            FelsinaError: if no budget was set.
            RefusedError: if the partner withdrew or no agreement is in force.
        """
        limit = self.budget(key)
        self.check_partner(key.partner, day, str(key))
        if (unit := self.agreements[key.partner].unit) != key.unit:
            raise RefusedError(f"{key}: the agreement protects unit {unit}; agree anew", AGREEMENT)
        return limit

    def check_partner(self, partner: str, day: date, name: str) -> None:
        """Refuse a partner that withdrew or whose agreement has ended.

        Args:
            partner: who; one that the ledger knows no agreement of passes.
            day: of which it is asked.
            name: what errors call the partner.
        """
        if partner in self.withdrawn:
            said = f"{name}: the partner withdrew; a new agreement has to come first"
            raise RefusedError(said, WITHDRAWN)
        agreement = self.agreements.get(partner)
        if agreement is not None and day > agreement.until:
            said = f"{name}: the agreement ended on {agreement.until}, it is {day}; agree anew"
            raise RefusedError(said, AGREEMENT)

    def budget(self, key: BudgetKey) -> LimitInForce:
        """The limit on a key's population, whether or not anything may be charged any more.

        Raises:
            FelsinaError: if no budget was set.
        """
        population, agreement = self.population(key), self.agreements[key.partner]
        if population.budget is None:
            raise FelsinaError(f"{key}: no budget was set; record one first")
        return LimitInForce(
            min(population.budget.epsilon, agreement.epsilon),
            min(population.budget.delta, agreement.delta, most_delta(population.units)),
        )

    def charged(self, charge: Charge) -> int | None:
        """Number of the entry that made this charge already, or None.

        Raises:
            FelsinaError: if steps of the run were charged otherwise.
        """
        place = charge.partner, charge.dataset, charge.run
        if (known := self._charged.get((*place, charge.first_step))) is not None:
            if known[1] == charge:
                return known[0]
            raise FelsinaError(
                f"{key_of(charge)}: step {charge.first_step} of run {charge.run} was charged in "
                f"entry {known[0]} as {_mechanism(known[1])}, now as {_mechanism(charge)}; resume "
                "the run as it was, or give it another name"
            )
        firsts = self._first_steps.get(place, [])
        at = bisect_right(firsts, charge.first_step)
        before = self._charged[*place, firsts[at - 1]][1] if at else None
        if (before and before.first_step + before.steps > charge.first_step) or (
            at < len(firsts) and charge.first_step + charge.steps > firsts[at]
        ):
            raise FelsinaError(
                f"{key_of(charge)}: of {charge.steps} steps of run {charge.run} from step "
                f"{charge.first_step} on, some were charged; resume where a charge begins"
            )
        return None

    def check(self, body: Body, day: date) -> None:
        """Refuse a body that contradicts what is known.

        Raises:
            FelsinaError: naming partner, data set and what has to come first.
        """
        if isinstance(body, Dataset):
            self._check_dataset(body)
        elif isinstance(body, Budget):
            self._check_budget(body)
        elif isinstance(body, Charge):
            self.limit(key_of(body), day)
            if (n := self.charged(body)) is not None:
                raise FelsinaError(f"{key_of(body)}: entry {n} is this charge; charge it once")
        elif isinstance(body, Consent) and (body.partner, body.dataset) not in self._populations:
            raise FelsinaError(f"dataset {body.dataset} is not in the ledger; register it first")
        elif isinstance(body, Withdrawal) and body.partner not in self.agreements:
            raise FelsinaError(f"partner {body.partner} never agreed; there is nothing to withdraw")
        elif isinstance(body, Release):
            for claim in body.claim:
                if claim.delta > (most := self.budget(key_of(claim)).delta):
                    raise FelsinaError(
                        f"release {body.release} claims delta {claim.delta:g} on {key_of(claim)}, "
                        f"whose budget has {most:g}; claim at that"
                    )

    def apply(self, n: int, body: Body, day: date) -> None:
        """Add one entry.

        Raises:
            FelsinaError: as :meth:`check` does.
        """
        self.check(body, day)
        if isinstance(body, Agreement):
            self.agreements[body.partner] = body
            self.withdrawn.discard(body.partner)
        elif isinstance(body, Withdrawal):
            self.withdrawn.add(body.partner)
        elif isinstance(body, Dataset):
            self._register(body)
        elif isinstance(body, Budget):
            limit = LimitInForce(body.epsilon, body.delta)
            self.population(key_of(body)).budget = limit
        elif isinstance(body, Charge):
            population = self.population(key_of(body))
            population.steps[body.sampling_rate, body.noise_multiplier] += body.steps
            limit, total = self.limit(key_of(body), day), population.steps.copy()
            population.charges.append(ChargeMade(n, body, limit, population.names, total))
            place = body.partner, body.dataset, body.run
            insort(self._first_steps.setdefault(place, []), body.first_step)
            self._charged[*place, body.first_step] = n, body
        elif isinstance(body, Release):
            for claim in body.claim:
                steps = self.population(key_of(claim)).steps.copy()
                self.claims.append(Claimed(n, body.release, claim, steps))

    def _check_dataset(self, body: Dataset) -> None:
        key = key_of(body)
        if body.partner not in self.agreements:
            raise FelsinaError(f"{key}: the partner has no agreement; record it first")
        if self.agreements[body.partner].unit != body.unit:
            unit = self.agreements[body.partner].unit
            raise FelsinaError(f"{key}: the agreement protects unit {unit}; register it so")
        for name in (*body.continues, body.dataset):
            if name != body.dataset or (body.partner, name) in self._populations:
                self.population(BudgetKey(body.partner, name, body.unit))
        joined = {id(p) for p in self._joined(body)}
        for digest in body.digests.values():
            owner = self._digests.get(digest)
            if owner is not None and id(self._populations[owner]) not in joined:
                own = owner[0] == body.partner
                remedy = f"name {owner[1]} in `continues`" if own else "let one partner bring it"
                raise FelsinaError(
                    f"{key}: a file with sha256 {digest[:12]} is in dataset {owner[1]} of partner "
                    f"{owner[0]}, and a population has one budget; {remedy}"
                )

    def _check_budget(self, body: Budget) -> None:
        key = key_of(body)
        population, agreement = self.population(key), self.agreements[body.partner]
        most = most_delta(population.units)
        if body.delta > most:
            raise FelsinaError(
                f"{key}: delta {body.delta:g} is too large for {population.units} units; give at "
                f"most 1/({UNITS_PER_FAILURE} x units) = {most:.3g}"
            )
        if body.epsilon > agreement.epsilon or body.delta > agreement.delta:
            raise FelsinaError(
                f"{key}: budget ({body.epsilon:g}, {body.delta:g}) exceeds the agreement "
                f"({agreement.epsilon:g}, {agreement.delta:g}); stay within it, or agree anew"
            )

    def _joined(self, body: Dataset) -> list[Population]:
        names = dict.fromkeys((*body.continues, body.dataset))
        found = [self._populations.get((body.partner, name)) for name in names]
        return list({id(p): p for p in found if p is not None}.values())

    def _register(self, body: Dataset) -> None:
        joined = self._joined(body)
        names = tuple(dict.fromkeys([*(n for p in joined for n in p.names), body.dataset]))
        budgets = [p.budget for p in joined if p.budget is not None]
        population = Population(key_of(body), body.units, names)
        if budgets:
            population.budget = LimitInForce(
                min(b.epsilon for b in budgets), min(b.delta for b in budgets)
            )
        population.charges = sorted((c for p in joined for c in p.charges), key=lambda c: c.n)
        population.steps = sum((p.steps for p in joined), Counter())
        for name in names:
            self._populations[body.partner, name] = population
        for digest in body.digests.values():
            self._digests[digest] = body.partner, body.dataset


def _mechanism(charge: Charge) -> str:
    q, noise = charge.sampling_rate, charge.noise_multiplier
    return f"{charge.steps} steps at rate {q:g} and noise {noise:g}"
