"""Populations of units: whose budget a charge is, under which limit, and what it came to so far.

A **population** is a data set and everything that it continues: it has one budget and one account,
whatever its files are called today.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from privacy.accounting import SampledGaussian
from privacy.entries import Budget, Charge, Claim, Dataset, Unit

UNITS_PER_FAILURE = 10
"""A budget's delta is at most 1 over this many times the number of units."""
Mechanisms = Counter[tuple[float, float]]
"""Steps by sampling rate and noise multiplier; their order does not matter."""


class BudgetKey(NamedTuple):
    """Whose budget: it holds across runs and retrains.

    Attributes:
        partner: who holds the data.
        dataset: under which name.
        unit: whom the guarantee protects.
    """

    partner: str
    dataset: str
    unit: Unit

    def __str__(self) -> str:
        """As errors name it."""
        return f"partner {self.partner}, dataset {self.dataset} (unit {self.unit})"


@dataclass(frozen=True)
class LimitInForce:
    """The strictest of a budget, its agreement and what so many units allow.

    Attributes:
        epsilon: most that may be spent.
        delta: at which it is counted.
    """

    epsilon: float
    delta: float


@dataclass(frozen=True)
class ChargeMade:
    """A charge, and what stood in the ledger when it was made.

    Attributes:
        n: number of its entry.
        charge: what it paid for.
        limit: then in force.
        names: of the population at that time.
        total: steps of that account, these included.
    """

    n: int
    charge: Charge
    limit: LimitInForce
    names: tuple[str, ...]
    total: Mechanisms


@dataclass
class Population:
    """The account of one population.

    Attributes:
        key: under its newest name.
        units: how many there are.
        names: every name that it had.
        budget: its own limit, if one was set.
        charges: all of them, in order.
        steps: of the charges, by mechanism.
    """

    key: BudgetKey
    units: int
    names: tuple[str, ...]
    budget: LimitInForce | None = None
    charges: list[ChargeMade] = field(default_factory=list)
    steps: Mechanisms = field(default_factory=Counter)

    @property
    def runs(self) -> list[str]:
        """The runs that were charged, in order."""
        return list(dict.fromkeys(made.charge.run for made in self.charges))


@dataclass(frozen=True)
class Claimed:
    """A release's claim beside what had been charged when it was made."""

    n: int
    release: str
    claim: Claim
    steps: Mechanisms


def key_of(body: Dataset | Budget | Charge | Claim) -> BudgetKey:
    """Whose budget a body is about."""
    return BudgetKey(body.partner, body.dataset, body.unit)


def mechanism_of(charge: Charge) -> SampledGaussian:
    """What a charge spent."""
    return SampledGaussian(charge.sampling_rate, charge.noise_multiplier, charge.steps)


def most_delta(units: int) -> float:
    """The largest delta that means anything for so many units."""
    return 1 / (UNITS_PER_FAILURE * units)
