"""How much privacy noisy training spends: three accountants of the sampled Gaussian mechanism.

Google's privacy loss distribution is what counts (pessimistic, connect the dots: Doroshenko et al.
2022, arXiv 2207.04380); Opacus' numerical composition checks it (Gopi et al. 2021, arXiv
2106.02848); Renyi accounting (Mironov et al. 2019, arXiv 1908.10530) bounds it from above.
Gaussian DP is not offered: its central limit understates. Datasets are neighbours when one has one
unit more than the other (add or remove), and each step samples every unit on its own (Poisson).
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
from dp_accounting.pld.privacy_loss_distribution import (
    PrivacyLossDistribution,
    from_gaussian_mechanism,
)
from opacus.accountants import PRVAccountant, RDPAccountant

from models.contracts import FelsinaError

MOST_DISAGREEMENT = 0.02
"""Share by which the two numerical accountants may differ before neither is believed."""
MOST_EPSILON = 1000.0
"""Beyond this Renyi epsilon nothing is computed: it protects nobody."""
FINEST_INTERVAL = 1e-4
"""Grid of privacy losses; coarser in proportion once epsilon is above ``FINE_EPSILON``."""
FINE_EPSILON = 5.0
SEARCH_COARSER = 5
"""The search for noise takes so much coarser a grid: pessimistic too, epsilon + .01 %."""
LEAST_NOISE, MOST_NOISE = 1e-2, 1e6
"""Noise multipliers between which ``noise_for`` looks."""


class BudgetReached(FelsinaError):
    """A step that the budget no longer pays for: the run ends with what was paid."""


@dataclass(frozen=True)
class SampledGaussian:
    """Steps that each add noise to a clipped sum over Poisson-sampled units.

    Attributes:
        sampling_rate: probability that a unit takes part in a step.
        noise_multiplier: standard deviation of the noise over the clip norm.
        steps: how many.
    """

    sampling_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        """Refuse what is no mechanism."""
        if not 0 < self.sampling_rate <= 1:
            raise FelsinaError(
                f"sampling rate {self.sampling_rate} is no probability; give one above 0, at most 1"
            )
        if not 0 < self.noise_multiplier < math.inf:
            raise FelsinaError(
                f"noise multiplier {self.noise_multiplier} protects nobody; give one above 0"
            )
        if isinstance(self.steps, bool) or self.steps != int(self.steps) or self.steps < 1:
            raise FelsinaError(f"{self.steps} steps: give a whole number, at least 1")


@dataclass(frozen=True)
class Epsilon:
    """What mechanisms spend together at one delta, by each accountant.

    Attributes:
        pld: privacy loss distribution: the one that counts.
        prv: numerical composition: the check.
        rdp: Renyi: an upper bound.
        delta: probability with which the bound may not hold.
    """

    pld: float
    prv: float
    rdp: float
    delta: float


def epsilon_of(mechanisms: Sequence[SampledGaussian], delta: float) -> Epsilon:
    """Compose mechanisms, also ones chosen after the results of the ones before.

    Args:
        mechanisms: all that touched the same units; none spend nothing.
        delta: between 0 and 1.

    Raises:
        FelsinaError: when delta is no probability, or the accountants disagree by more than 2 %.
    """
    _check_delta(delta)
    if not mechanisms:
        return Epsilon(0.0, 0.0, 0.0, delta)
    return _composed(_merged(mechanisms), delta)


@lru_cache(maxsize=256)
def _composed(mechanisms: tuple[SampledGaussian, ...], delta: float) -> Epsilon:
    rdp = _renyi(mechanisms, delta)
    if not rdp <= MOST_EPSILON:
        raise FelsinaError(
            f"epsilon is about {rdp:.3g}, which protects nobody; take more noise, fewer steps or a "
            "lower sampling rate"
        )
    pld = _loss_distribution(mechanisms, _interval(rdp)).get_epsilon_for_delta(delta)
    prv = _numerical(mechanisms, delta, pld)
    if not abs(pld - prv) <= MOST_DISAGREEMENT * max(pld, prv):
        raise FelsinaError(
            f"the accountants disagree: epsilon {pld:.5g} by privacy loss distribution, {prv:.5g} "
            f"by numerical composition at delta {delta:g}; claim neither, change noise or steps"
        )
    return Epsilon(float(pld), prv, rdp, delta)


def noise_for(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    spent: Sequence[SampledGaussian] = (),
) -> float:
    """Least noise multiplier, rounded up to .001, with which more steps stay within a budget.

    Args:
        epsilon: what ``spent`` and the new steps may spend together.
        delta: of that budget.
        sampling_rate: of the new steps.
        steps: how many.
        spent: what the same units have spent already.

    Raises:
        FelsinaError: when nothing is left of the budget.
    """
    _check_delta(delta)
    if not 0 < epsilon < math.inf:
        raise FelsinaError(f"epsilon {epsilon} is no budget; give a number above 0")
    return _least_noise(epsilon, delta, sampling_rate, steps, _merged(spent))


@lru_cache(maxsize=256)
def _least_noise(
    epsilon: float,
    delta: float,
    sampling_rate: float,
    steps: int,
    spent: tuple[SampledGaussian, ...],
) -> float:
    before = epsilon_of(spent, delta).pld
    interval = SEARCH_COARSER * _interval(epsilon)
    earlier = _loss_distribution(spent, interval) if spent else None

    def within(noise: float) -> bool:
        new = SampledGaussian(sampling_rate, noise, steps)
        if _renyi([new], delta) > 4 * epsilon + 10:  # far off: spare the grid
            return False
        distribution = _loss_distribution([new], interval)
        if earlier is not None:
            distribution = distribution.compose(earlier)
        return distribution.get_epsilon_for_delta(delta) <= epsilon

    low, high = LEAST_NOISE, 1.0
    while before >= epsilon or not within(high):
        low, high = high, 2 * high
        if before >= epsilon or high > MOST_NOISE:
            raise FelsinaError(
                f"epsilon {before:.5g} of {epsilon:g} is spent already: no noise makes {steps} "
                "more steps fit; stop here, or agree on a larger budget"
            )
    while high - low > 4e-4 * max(1.0, high):
        middle = (low + high) / 2
        low, high = (low, middle) if within(middle) else (middle, high)
    return math.ceil(round(high * 1000, 6)) / 1000


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise FelsinaError(f"delta {delta} is no probability; give one below 1/(10 x units)")


def _merged(mechanisms: Sequence[SampledGaussian]) -> tuple[SampledGaussian, ...]:
    """Steps of equal rate and noise as one mechanism: a ledger holds them one by one."""
    steps: Counter[tuple[float, float]] = Counter()
    for mechanism in mechanisms:
        steps[mechanism.sampling_rate, mechanism.noise_multiplier] += int(mechanism.steps)
    return tuple(SampledGaussian(*kind, count) for kind, count in sorted(steps.items()))


def _history(mechanisms: Sequence[SampledGaussian]) -> list[tuple[float, float, int]]:
    return [(m.noise_multiplier, m.sampling_rate, m.steps) for m in _merged(mechanisms)]


def _numerical(mechanisms: Sequence[SampledGaussian], delta: float, expected: float) -> float:
    """The check, told to be finer than the agreement that it has to show."""
    accountant = PRVAccountant()
    accountant.history = _history(mechanisms)
    error = max(0.25 * MOST_DISAGREEMENT * expected, 1e-5)
    with _quiet():
        return float(accountant.get_epsilon(delta, eps_error=error))


def _renyi(mechanisms: Sequence[SampledGaussian], delta: float) -> float:
    accountant = RDPAccountant()
    accountant.history = _history(mechanisms)
    with _quiet():
        return float(accountant.get_epsilon(delta))


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings about orders of a bound, nor about logarithms of 0 without sampling."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.filterwarnings("ignore", message="Optimal order is")
        yield


def _interval(epsilon: float) -> float:
    return FINEST_INTERVAL * max(1.0, epsilon / FINE_EPSILON)


def _loss_distribution(
    mechanisms: Sequence[SampledGaussian], interval: float
) -> PrivacyLossDistribution:
    """Pessimistic distribution of the privacy loss, on a grid of ``interval``."""
    parts = [
        from_gaussian_mechanism(
            m.noise_multiplier,
            sampling_prob=m.sampling_rate,
            value_discretization_interval=interval,
            pessimistic_estimate=True,
            use_connect_dots=True,
        ).self_compose(m.steps)
        for m in _merged(mechanisms)
    ]
    return reduce(PrivacyLossDistribution.compose, parts)
