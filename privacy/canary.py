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
_SHARES = (GUESSED, 0.2, 0.3, 0.4)
_ROOM = 1.1
"""What guesses that are all right have to refute, over the claim, for so few to be enough."""
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
        ceiling: what ``epsilon`` would be, were all guesses right: a claim above it cannot be
            contradicted by so few canaries, or at so large a delta.
    """

    canaries: int
    guesses: int
    right: int
    epsilon: float
    delta: float
    confidence: float
    auc: float
    claim: float
    ceiling: float

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
    guessed_out: float | None = None,
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
        guessed_out: share that is guessed to be out where it is another, fixed beforehand too.

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
    out = guessed if guessed_out is None else guessed_out
    if not 0 <= out <= 0.5:
        raise FelsinaError(f"guessed_out = {out:g}: a share from 0 to a half")
    high, low = max(1, int(guessed * count)), int(out * count)
    order = np.argsort(scores, kind="stable")
    right = int(included[order[count - high :]].sum() + (~included[order[:low]]).sum())
    return Audit(
        canaries=count,
        guesses=high + low,
        right=right,
        epsilon=least_epsilon(count, high + low, right, delta, confidence),
        delta=delta,
        confidence=confidence,
        auc=membership_auc(scores, included),
        claim=claim,
        ceiling=least_epsilon(count, high + low, high + low, delta, confidence),
    )


def shares_to_guess(
    canaries: int, claim: float, delta: float, rate: float, steps: int
) -> tuple[float, float]:
    """Shares of the canaries to guess in and out, by what is known before any score.

    The fewest that could contradict the claim: of few guesses more are right. A canary that is in
    takes part at least once with probability ``1 - (1 - rate)^steps`` only; who never does looks
    like one that is out, so where that is likely nobody is guessed out.

    Args:
        canaries: M.
        claim: epsilon.
        delta: of it.
        rate: at which a unit takes part in a step.
        steps: of the training.
    """
    unseen = steps * math.log1p(-rate) if rate < 1 else -math.inf
    inside = outside = 0.0
    for share in _SHARES:
        inside = share * -math.expm1(unseen)
        outside = share if -unseen > claim + 1 else 0.0
        guesses = max(1, int(inside * canaries)) + int(outside * canaries)
        if least_epsilon(canaries, guesses, guesses, delta) > _ROOM * claim:
            break
    return inside, outside


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


def right_to_refute(found: Audit) -> int | None:
    """Fewest right guesses that refute the claim of an audit; None where even all do not."""
    fewest = None
    for right in range(found.guesses, -1, -1):
        likely = chance(found.canaries, found.guesses, right, found.claim, found.delta)
        if likely >= 1 - found.confidence:
            break
        fewest = right
    return fewest


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
