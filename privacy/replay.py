"""Replay of a privacy ledger from its bytes: what was spent, and whether its rules were kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.chain import Entry, verify
from models.errors import FelsinaError
from models.signing import PublicKey
from privacy.accounting import Epsilon, SampledGaussian, epsilon_of
from privacy.accounts import Accounts
from privacy.entries import Claim, decoded
from privacy.population import ChargeMade, Mechanisms, Population, key_of

CLAIM_TOLERANCE = 0.01
"""Share by which a release's claim may differ from what the charges come to."""
BUDGET_TOLERANCE = 0.001
"""Share by which a replay may exceed a budget: accountants change in their last digits."""


def replay(
    path: Path,
    keys: PublicKey | Iterable[PublicKey],
    receipts: Iterable[Path | Mapping[str, Any]] = (),
) -> Accounts:
    """Verify a ledger from its bytes: signatures, chain, rules, budgets and claims.

    Args:
        path: the stream's file.
        keys: who may sign.
        receipts: signed heads that partners kept.

    Returns:
        What it adds up to.

    Raises:
        FelsinaError: naming the entry that is wrong.
    """
    accounts = Accounts()
    for entry in verify(path, keys, receipts):
        apply_entry(accounts, entry, str(path))
    for population in accounts.populations():
        if (made := overspent(population)) is not None:
            raise FelsinaError(
                f"{path}: entry {made.n} (charge): {key_of(made.charge)}: exceeds epsilon "
                f"{made.limit.epsilon:g} at delta {made.limit.delta:g}, the budget then in force; "
                "ask the city why it was not kept"
            )
    for claimed in accounts.claims:
        try:
            check_claim(claimed.claim, claimed.steps, claimed.release)
        except FelsinaError as error:
            raise FelsinaError(f"{path}: entry {claimed.n} (release): {error}") from error
    return accounts


def apply_entry(accounts: Accounts, entry: Entry, name: str) -> None:
    """Add a verified entry to accounts.

    Args:
        accounts: of the entries before it.
        entry: the next one.
        name: what errors call the file.

    Raises:
        FelsinaError: naming the entry, if it contradicts those before it.
    """
    if entry.n == 0:
        return
    try:
        day = datetime.fromisoformat(entry.time).date()
        accounts.apply(entry.n, decoded(entry.kind, entry.body), day)
    except (FelsinaError, ValueError) as error:
        raise FelsinaError(f"{name}: entry {entry.n} ({entry.kind}): {error}") from error


def composed(steps: Mechanisms, delta: float) -> Epsilon:
    """What steps spend together; composing takes half a second, so that results are kept."""
    return _composed(tuple(sorted((*m, n) for m, n in steps.items() if n)), delta)


def check_claim(claim: Claim, steps: Mechanisms, release: str) -> None:
    """Hold a release's claim to what was charged.

    Raises:
        FelsinaError: if they differ by more than ``CLAIM_TOLERANCE``.
    """
    epsilon = composed(steps, claim.delta).pld
    if abs(claim.epsilon - epsilon) > CLAIM_TOLERANCE * epsilon:
        raise FelsinaError(
            f"release {release} claims epsilon {claim.epsilon:.4g} on {key_of(claim)}, and its "
            f"charges come to {epsilon:.4g} at delta {claim.delta:g}; claim what was spent"
        )


def overspent(population: Population) -> ChargeMade | None:
    """The first charge beyond the limit of its time, or None.

    Under one limit an account only grows, so its last charge tells; the first is looked for only
    where that one exceeds.
    """
    accounts: dict[Any, list[ChargeMade]] = {}
    for made in population.charges:
        accounts.setdefault((made.names, made.limit), []).append(made)
    first: ChargeMade | None = None
    for charges in accounts.values():
        if not _exceeds(charges[-1]):
            continue
        low, high = -1, len(charges) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _exceeds(charges[middle]) else (middle, high)
        if first is None or charges[high].n < first.n:
            first = charges[high]
    return first


def _exceeds(made: ChargeMade) -> bool:
    try:
        most = made.limit.epsilon * (1 + BUDGET_TOLERANCE)
        return composed(made.total, made.limit.delta).pld > most
    except FelsinaError:
        return True


@lru_cache(maxsize=1024)
def _composed(steps: tuple[tuple[float, float, int], ...], delta: float) -> Epsilon:
    return epsilon_of([SampledGaussian(*mechanism) for mechanism in steps], delta)
