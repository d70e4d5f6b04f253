"""The audit against mechanisms whose epsilon is known."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, norm

from models.contracts import FelsinaError
from privacy.canary import (
    audit,
    chance,
    least_epsilon,
    membership_auc,
    right_to_refute,
    shares_to_guess,
)

CANARIES = 2000
DELTA = 1e-5


def gaussian_epsilon(sigma: float, delta: float) -> float:
    """Of one release with sensitivity 1 (Balle and Wang 2018, arXiv 1805.06530, theorem 8)."""
    low, high = 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        a, b = 1 / (2 * sigma), middle * sigma
        spent = norm.cdf(a - b) - math.exp(middle) * norm.cdf(-a - b)
        low, high = (middle, high) if spent > delta else (low, middle)
    return high


def released(sigma: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each canary adds 1 to a coordinate of its own; noise is added to all."""
    rng = np.random.default_rng(seed)
    included = rng.random(CANARIES) < 0.5
    return included + sigma * rng.normal(size=CANARIES), included


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 4.0])
def test_the_bound_stays_below_what_the_mechanism_spends(sigma: float) -> None:
    truth = gaussian_epsilon(sigma, DELTA)
    bounds = [audit(*released(sigma, seed), truth, DELTA) for seed in range(20)]
    assert sum(found.contradicts for found in bounds) <= 1
    assert np.median([found.epsilon for found in bounds]) > 0.1 * truth


def test_without_noise_the_claim_is_contradicted() -> None:
    found = audit(*released(1e-6, 0), claim=4.0, delta=DELTA)
    assert found.contradicts
    assert found.right == found.guesses == 400
    assert found.auc == 1.0


def test_scores_that_know_nothing_refute_nothing() -> None:
    rng = np.random.default_rng(1)
    found = [
        audit(rng.normal(size=CANARIES), rng.random(CANARIES) < 0.5, 0.5, DELTA) for _ in range(40)
    ]
    assert sum(one.epsilon > 0 for one in found) <= 5  # one in twenty by chance
    assert abs(np.mean([one.auc for one in found]) - 0.5) < 0.01


def test_pure_privacy_is_the_binomial_tail() -> None:
    epsilon = 1.5
    odds = math.exp(epsilon) / (1 + math.exp(epsilon))
    expected = binom.sf(89, 100, odds)
    assert chance(1000, 100, 90, epsilon, 0.0) == pytest.approx(expected)
    assert chance(1000, 100, 90, epsilon, 1e-4) > expected
    # All of n right: q^n = 1 - confidence at the bound.
    bound = least_epsilon(1000, 100, 100, 0.0)
    q = 0.05 ** (1 / 100)
    assert bound == pytest.approx(math.log(q / (1 - q)), abs=1e-4)


def test_more_right_guesses_and_less_delta_refute_more() -> None:
    by_right = [least_epsilon(1000, 200, right, DELTA) for right in range(90, 201, 10)]
    assert by_right == sorted(by_right)
    assert by_right[0] == 0
    by_delta = [least_epsilon(1000, 200, 195, delta) for delta in (1e-3, 1e-4, 1e-6, 0)]
    assert by_delta == sorted(by_delta)


def test_membership_auc_counts_pairs() -> None:
    scores = np.array([3.0, 1.0, 2.0, 2.0])
    included = np.array([True, False, True, False])
    assert membership_auc(scores, included) == pytest.approx((1 + 1 + 1 + 0.5) / 4)
    assert math.isnan(membership_auc(scores, np.ones(4, bool)))


def test_too_few_canaries_and_scores_without_a_number_are_refused() -> None:
    scores, included = released(1.0, 0)
    with pytest.raises(FelsinaError, match="999 canaries: an audit needs 1000"):
        audit(scores[:999], included[:999], 4, DELTA)
    scores[7] = np.nan
    with pytest.raises(FelsinaError, match="1 of 2000 scores are no numbers"):
        audit(scores, included, 4, DELTA)


def test_guesses_of_who_is_out_can_be_left_away():
    scores, included = released(1e-6, 0)
    found = audit(scores, included, 2.0, DELTA, guessed=0.05, guessed_out=0.0)
    assert (found.guesses, found.right) == (100, 100)
    assert found.epsilon == found.ceiling == least_epsilon(CANARIES, 100, 100, DELTA)
    with pytest.raises(FelsinaError, match=r"guessed_out = 0\.6"):
        audit(scores, included, 2.0, DELTA, guessed_out=0.6)


def test_as_many_are_guessed_as_the_claim_needs():
    """Never by a score: by the settings alone."""
    assert shares_to_guess(1000, 1.0, DELTA, 0.5, 100) == pytest.approx((0.1, 0.1))
    assert shares_to_guess(1000, 4.0, DELTA, 0.5, 100) == pytest.approx((0.2, 0.2))
    assert shares_to_guess(1000, 4.0, DELTA, 1.0, 1) == pytest.approx((0.2, 0.2))
    inside, outside = shares_to_guess(1000, 1.0, DELTA, 0.001, 100)
    assert 0.009 < inside < 0.04  # one in ten of those who are in ever takes part
    assert outside == 0  # and who never does looks as if out


def test_an_audit_tells_what_it_could_have_refuted():
    found = audit(*released(1e-6, 0), claim=4.0, delta=0.006)
    assert found.right == found.guesses
    assert found.epsilon == found.ceiling < 1.5  # so large a delta excuses nearly everything
    assert not found.contradicts


def test_fewest_right_guesses_that_refute_are_the_edge_of_the_bound():
    scores, included = np.linspace(0, 1, 1000), np.arange(1000) % 2 == 0
    found = audit(scores, included, claim=1.0, delta=1e-5)
    fewest = right_to_refute(found)
    assert fewest is not None
    given = (found.canaries, found.guesses)
    assert least_epsilon(*given, fewest, found.delta) > 1.0
    assert least_epsilon(*given, fewest - 1, found.delta) <= 1.0
    assert right_to_refute(replace(found, claim=found.ceiling + 0.01)) is None
