"""Means of updates against plain numbers, and what a liar can move."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from privacy.guard import Update
from privacy.strategy import adam_step, combined, shares


def update(partner: str, value: float, weight: float = 1.0) -> Update:
    return Update(partner, {"w": np.full((2, 2), value, np.float32)}, weight, abs(value) * 2)


def test_shares_follow_weights_up_to_a_cap() -> None:
    assert shares({"a": 3, "b": 1}) == {"a": 0.75, "b": 0.25}
    capped = shares({"a": 90, "b": 6, "c": 3, "d": 1}, most=0.4)
    assert capped == pytest.approx({"a": 0.4, "b": 0.36, "c": 0.18, "d": 0.06})
    assert sum(capped.values()) == pytest.approx(1)
    # What is cut off one may lift the next above.
    assert shares({"a": 60, "b": 39, "c": 1}, most=0.45) == pytest.approx(
        {"a": 0.45, "b": 0.45, "c": 0.1}
    )


def test_a_cap_under_an_equal_share_makes_all_equal() -> None:
    assert shares({"a": 9, "b": 1}, most=0.3) == {"a": 0.5, "b": 0.5}


def test_a_mean_is_weighted() -> None:
    found = combined([update("a", 1.0, 3), update("b", 5.0, 1)])
    np.testing.assert_allclose(found["w"], 2.0)
    assert found["w"].dtype == np.float32


def test_the_order_of_arrival_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    updates = [update(name, rng.normal(), rng.random() + 0.1) for name in "abcdefg"]
    for rule in ("mean", "trimmed"):
        first = combined(updates, rule)["w"]
        np.testing.assert_array_equal(combined(updates[::-1], rule)["w"], first)


def test_one_liar_moves_a_trimmed_mean_no_further_than_the_honest_lie() -> None:
    honest = [update(name, value) for name, value in zip("abcd", (1.0, 2.0, 3.0, 4.0), strict=True)]
    for lie in (-1e30, 1e30):
        found = combined([*honest, update("z", lie)], "trimmed")["w"]
        assert ((found >= 1) & (found <= 4)).all()
    assert abs(combined([*honest, update("z", 1e30)])["w"]).max() > 1e28  # a mean follows


def test_a_trimmed_mean_needs_somebody_in_the_middle() -> None:
    with pytest.raises(FelsinaError, match="needs 3 partners, 2 are left"):
        combined([update("a", 1), update("b", 2)], "trimmed")
    with pytest.raises(FelsinaError, match="nothing to combine"):
        combined([])


def test_the_citys_adam_is_torchs() -> None:
    rng = np.random.default_rng(0)
    weight = torch.nn.Parameter(torch.zeros(5))
    theirs = torch.optim.Adam([weight], lr=0.01)
    ours, moments = np.zeros(5, np.float32), {}
    for round in range(1, 8):
        update = rng.normal(size=5).astype(np.float32)
        weight.grad = -torch.as_tensor(update)
        theirs.step()
        step, moments = adam_step({"w": update}, moments, round, 0.01)
        ours = ours + step["w"]
    np.testing.assert_allclose(ours, weight.detach().numpy(), rtol=1e-4, atol=1e-7)


def test_the_citys_adam_moves_a_quiet_weight_as_far_as_a_loud_one() -> None:
    step, _ = adam_step({"w": np.array([1e-4, -10.0], np.float32)}, {}, 1, 0.01)
    np.testing.assert_allclose(step["w"], [0.01, -0.01], rtol=1e-3)
