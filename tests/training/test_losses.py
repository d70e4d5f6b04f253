"""The pinball loss against a plain loop."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.losses import pinball, total_error

LEVELS = torch.tensor([0.1, 0.5, 0.9])


def plain(quantiles, target, levels, weight) -> float:
    total, count = 0.0, 0
    for b, h, n in np.ndindex(*target.shape):
        if np.isnan(target[b, h, n]):
            continue
        count += 1
        losses = []
        for q, level in enumerate(levels):
            error = target[b, h, n] - quantiles[b, h, n, q]
            losses.append(level * error if error >= 0 else (level - 1) * error)
        total += weight[n] * np.mean(losses)
    return total / max(count, 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1))
def test_it_is_the_plain_loop(seed, missing):
    rng = np.random.default_rng(seed)
    quantiles = rng.normal(size=(3, 2, 4, 3))
    target = rng.normal(size=(3, 2, 4))
    target[rng.random(target.shape) < missing] = np.nan
    weight = rng.uniform(0.1, 2, 4)
    loss = pinball(
        *(torch.as_tensor(a) for a in (quantiles, target)), LEVELS.double(), torch.as_tensor(weight)
    )
    assert loss.item() == pytest.approx(plain(quantiles, target, LEVELS.tolist(), weight), rel=1e-6)


def test_without_targets_it_is_zero_and_gives_no_gradient():
    quantiles = torch.randn(2, 3, 4, 3, requires_grad=True)
    loss = pinball(quantiles, torch.full((2, 3, 4), torch.nan), LEVELS, torch.ones(4))
    loss.backward()
    assert loss.item() == 0
    assert (quantiles.grad == 0).all()


def test_a_missing_target_gives_no_gradient_and_the_others_are_unmoved():
    target = torch.randn(2, 3, 4)
    target[0, 1, 2] = torch.nan
    quantiles = torch.randn(2, 3, 4, 3, requires_grad=True)
    pinball(quantiles, target, LEVELS, torch.ones(4)).backward()
    assert (quantiles.grad[0, 1, 2] == 0).all()
    assert torch.isfinite(quantiles.grad).all()
    assert (quantiles.grad[1] != 0).all()


def test_the_least_loss_is_at_the_quantiles():
    truth = torch.arange(1001.0)[:, None, None]
    levels = torch.tensor([0.2, 0.5, 0.7])

    def loss(guess: list[float]) -> float:
        quantiles = torch.tensor(guess).expand(1001, 1, 1, 3)
        return pinball(quantiles, truth, levels, torch.ones(1)).item()

    best = loss([200.0, 500.0, 700.0])
    for shift in ([20, 0, 0], [-20, 0, 0], [0, 20, 0], [0, -20, 0], [0, 0, 20], [0, 0, -20]):
        assert loss([200.0 + shift[0], 500.0 + shift[1], 700.0 + shift[2]]) > best


def test_total_error_is_relative_to_each_runs_sum_and_leaves_other_outputs_out() -> None:
    target = torch.tensor([[[1.0, torch.nan], [3.0, 2.0]], [[0.0, 5.0], [0.0, 5.0]]])
    answer = torch.tensor([[[2.0, 9.0], [3.0, 9.0]], [[0.5, 9.0], [0.5, 9.0]]])
    weight, typical = torch.tensor([0.5, 0.0]), torch.tensor([1.0, 7.0])
    # Sums are 5 for 4 and 1 for 0: 1 of 4 + 1, and 1 of 0 + 1.
    found = total_error(answer, target, weight, typical)
    torch.testing.assert_close(found, torch.tensor(0.5 * (1 / 5 + 1 / 1) / 2))
