"""Accountants against published values and against each other."""

import math

import pytest
from opacus.accountants.analysis.rdp import compute_rdp

from models.contracts import FelsinaError
from privacy import accounting
from privacy.accounting import SampledGaussian, epsilon_of, noise_for

REFERENCE = SampledGaussian(0.01, 1.0, 1000)
MNIST = SampledGaussian(256 / 60000, 1.1, 60 * 60000 // 256)


def test_the_reference_values():
    epsilon = epsilon_of([REFERENCE], 1e-5)
    assert epsilon.pld == pytest.approx(1.828, rel=0.005)
    assert epsilon.prv == pytest.approx(1.838, rel=0.005)
    assert epsilon.rdp == pytest.approx(2.101, rel=0.005)


def test_the_tutorial_of_tensorflow_privacy():
    """MNIST, batch 256, sigma 1.1, 60 epochs: 3.01 by moments (Abadi et al. 2016, theorem 2)."""
    orders = [1 + x / 10 for x in range(1, 100)] + list(range(12, 64))
    rdp = compute_rdp(q=MNIST.sampling_rate, noise_multiplier=1.1, steps=MNIST.steps, orders=orders)
    classic = min(r + math.log(1e5) / (a - 1) for a, r in zip(orders, rdp, strict=True))
    assert classic == pytest.approx(3.01, rel=0.005)
    epsilon = epsilon_of([MNIST], 1e-5)
    assert epsilon.pld < epsilon.rdp < classic
    assert epsilon.rdp == pytest.approx(2.60, rel=0.005)  # the conversion of Balle et al. 2020


def test_one_gaussian_without_sampling_is_the_analytic_one():
    """Balle and Wang 2018, theorem 8 (arXiv 1805.06530)."""

    def phi(x: float) -> float:
        return math.erfc(-x / math.sqrt(2)) / 2

    sigma = 2.0
    epsilon = epsilon_of([SampledGaussian(1.0, sigma, 1)], 1e-5).pld
    low = phi(1 / (2 * sigma) - epsilon * sigma)
    high = math.exp(epsilon) * phi(-1 / (2 * sigma) - epsilon * sigma)
    assert low - high == pytest.approx(1e-5, rel=0.005)


def test_steps_compose_however_they_are_cut():
    whole = epsilon_of([REFERENCE], 1e-5)
    assert epsilon_of([SampledGaussian(0.01, 1.0, n) for n in (600, 400)], 1e-5) == whole
    assert epsilon_of([SampledGaussian(0.01, 1.0, 1)] * 1000, 1e-5) == whole
    nearly = [SampledGaussian(0.01, 1.0, 600), SampledGaussian(0.01, 1.0 + 1e-9, 400)]
    assert epsilon_of(nearly, 1e-5).pld == pytest.approx(whole.pld, rel=1e-3)


def test_more_of_anything_but_noise_spends_more():
    spent = [
        epsilon_of([SampledGaussian(*mechanism)], 1e-5)
        for mechanism in [(0.01, 1.0, 500), (0.01, 1.0, 1000), (0.02, 1.0, 1000), (0.02, 0.8, 1000)]
    ]
    for kind in ("pld", "prv", "rdp"):
        values = [getattr(epsilon, kind) for epsilon in spent]
        assert values == sorted(set(values)), kind
    assert all(e.pld <= e.rdp for e in spent)
    assert epsilon_of([REFERENCE], 1e-6).pld > epsilon_of([REFERENCE], 1e-5).pld


@pytest.mark.parametrize("mechanism", [(0.001, 1.0, 100), (1.0, 20.0, 3), (0.2, 0.7, 200)])
def test_small_and_large_epsilon_agree_too(mechanism):
    epsilon = epsilon_of([SampledGaussian(*mechanism)], 1e-6)
    assert epsilon.pld == pytest.approx(epsilon.prv, rel=0.01)


def test_nothing_done_spends_nothing():
    assert epsilon_of([], 1e-5).pld == 0


@pytest.mark.parametrize("spent", [[], [SampledGaussian(0.01, 1.2, 500)]])
def test_the_noise_found_is_enough_and_hardly_more(spent):
    noise = noise_for(2.0, 1e-5, 0.01, 500, spent)
    assert epsilon_of([*spent, SampledGaussian(0.01, noise, 500)], 1e-5).pld <= 2.0
    assert epsilon_of([*spent, SampledGaussian(0.01, noise - 0.0015, 500)], 1e-5).pld > 2.0


def test_a_spent_budget_is_refused():
    with pytest.raises(FelsinaError, match=r"epsilon 1\.828.* of 1 is spent already"):
        noise_for(1.0, 1e-5, 0.01, 500, [REFERENCE])


def test_accountants_that_disagree_are_not_believed(monkeypatch):
    monkeypatch.setattr(accounting.PRVAccountant, "get_epsilon", lambda *_, **__: 1.75)
    with pytest.raises(FelsinaError, match=r"1\.828.*1\.75.*claim neither"):
        epsilon_of([REFERENCE], 1e-5)


@pytest.mark.parametrize(
    ("mechanism", "said"),
    [
        ((0.0, 1.0, 10), "sampling rate 0.0"),
        ((1.1, 1.0, 10), "sampling rate 1.1"),
        ((float("nan"), 1.0, 10), "sampling rate nan"),
        ((0.1, 0.0, 10), "noise multiplier 0.0"),
        ((0.1, float("inf"), 10), "noise multiplier inf"),
        ((0.1, 1.0, 0), "0 steps"),
        ((0.1, 1.0, 1.5), "1.5 steps"),
    ],
)
def test_what_is_no_mechanism_is_refused(mechanism, said):
    with pytest.raises(FelsinaError, match=said):
        SampledGaussian(*mechanism)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1e-5, float("nan")])
def test_what_is_no_delta_is_refused(delta):
    with pytest.raises(FelsinaError, match="delta"):
        epsilon_of([REFERENCE], delta)


def test_no_noise_to_speak_of_is_refused():
    with pytest.raises(FelsinaError, match="protects nobody"):
        epsilon_of([SampledGaussian(0.5, 0.05, 1000)], 1e-5)
