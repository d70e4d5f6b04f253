"""Does a private model keep its claim? An audit by canaries, in the run that is audited.

Steinke, Nasr and Jagielski (2023, arXiv 2305.08846): a coin decides for each canary unit whether it
is trained on; who sees the model alone then guesses the coins. A mechanism that is (epsilon,
delta)-private bounds how many guesses can be right, so many right guesses refute a small epsilon.
Few right ones prove nothing: the bound is from below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, rankdata

from models.contracts import BoolArray, FelsinaError, FloatArray

LEAST_CANARIES = 1000
"""Fewer say too little to be called an audit."""
CONFIDENCE = 0.95
GUESSED = 0.1
"""Share of the canaries that are guessed in, and as many out; the others' coins are left open."""
_MOST_EPSILON = 50.0


@dataclass(frozen=True)
class Audit:
    """What the guesses say.

    Attributes:
        canaries: coins that were flipped.
        guesses: of them.
        right: guesses.
        epsilon: lower bound at ``confidence``; 0 where the guesses refute nothing.
        delta: that the bound holds at.
        confidence: probability with which a bound above the truth is avoided.
        auc: area under the curve of the scores as a test of membership, .5 for none.
        claim: upper bound that was claimed.
    """

    canaries: int
    guesses: int
    right: int
    epsilon: float
    delta: float
    confidence: float
    auc: float
    claim: float

    @property
    def contradicts(self) -> bool:
        """Whether the claim is refuted."""
        return self.epsilon > self.claim


def audit(
    scores: FloatArray,
    included: BoolArray,
    claim: float,
    delta: float,
    guessed: float = GUESSED,
    confidence: float = CONFIDENCE,
) -> Audit:
    """Guess the coins of canaries by their scores.

    Args:
        scores: [M] larger the likelier a canary was trained on, such as how far its loss fell.
        included: [M] how the coins fell: fair, each by itself, before training.
        claim: epsilon that the model is said to have.
        delta: of the same claim.
        guessed: share of the canaries, fixed before the scores are seen, that is guessed to be in,
            by the highest scores, and as large a one to be out.
        confidence: of the bound.

    Raises:
        FelsinaError: for fewer than ``LEAST_CANARIES``, or scores that are no numbers.
    """
    count = len(scores)
    if count < LEAST_CANARIES:
        raise FelsinaError(f"{count} canaries: an audit needs {LEAST_CANARIES} at least")
    if not np.isfinite(scores).all():
        bad = int((~np.isfinite(scores)).sum())
        raise FelsinaError(f"canaries: {bad} of {count} scores are no numbers; was training sound?")
    if not 0 < guessed <= 0.5:
        raise FelsinaError(f"guessed = {guessed:g}: a share above 0, to a half")
    each = max(1, int(guessed * count))
    order = np.argsort(scores, kind="stable")
    right = int(included[order[-each:]].sum() + (~included[order[:each]]).sum())
    bound = least_epsilon(count, 2 * each, right, delta, confidence)
    return Audit(
        count, 2 * each, right, bound, delta, confidence, membership_auc(scores, included), claim
    )


def membership_auc(scores: FloatArray, included: BoolArray) -> float:
    """Probability that a unit that was trained on scores higher than one that was not."""
    inside = int(included.sum())
    outside = len(included) - inside
    if not inside or not outside:
        return math.nan
    ranks = rankdata(scores)[included].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def least_epsilon(
    canaries: int, guesses: int, right: int, delta: float, confidence: float = CONFIDENCE
) -> float:
    """Largest epsilon that so many right guesses refute; 0 for none.

    Args:
        canaries: coins, M.
        guesses: of them.
        right: guesses.
        delta: of the claim.
        confidence: at which it is refuted.
    """
    mistaken = 1 - confidence

    def excess(epsilon: float) -> float:
        return chance(canaries, guesses, right, epsilon, delta) - mistaken

    if excess(0.0) >= 0:
        return 0.0
    if excess(_MOST_EPSILON) < 0:
        return _MOST_EPSILON
    low, high = 0.0, _MOST_EPSILON
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) < 0 else (low, middle)
    return low


def chance(canaries: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """At most how probable so many right guesses are under (epsilon, delta), Theorem 5.2.

    Each guess is right with odds of ``exp(epsilon)`` at best. Delta moves a few of them: by at most
    ``2 M delta`` times the steepest mean of the binomial's mass just below ``right``.
    """
    odds = 1 / (1 + math.exp(-epsilon))
    tail = float(binom.sf(right - 1, guesses, odds))
    below = binom.pmf(np.arange(right - 1, -1, -1), guesses, odds)
    steepest = (np.cumsum(below) / np.arange(1, right + 1)).max(initial=0.0)
    return min(1.0, tail + 2 * canaries * delta * float(steepest))
