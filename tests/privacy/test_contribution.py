"""Shapley values of cosines against their definition, and what makes them Shapley values."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from privacy import contribution
from privacy.contribution import shapley
from privacy.strategy import Arrays


def update(*numbers: float) -> Arrays:
    flat = np.array(numbers, np.float32)
    return {"b": flat[:1], "w": flat[1:].reshape(1, -1)}


def drawn(partners: int, seed: int, size: int = 12) -> dict[str, Arrays]:
    """Updates about one direction, with noise of their own."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=size)
    return {
        f"p{k:02}": update(*(rng.random() * 5 * (common + rng.normal(size=size))))
        for k in range(partners)
    }


def defined(updates: dict[str, Arrays]) -> dict[str, float]:
    """Mean over all orders of joining of what each adds, from the vectors themselves."""
    units = {}
    for name, one in updates.items():
        flat = np.concatenate([one["b"].ravel(), one["w"].ravel()]).astype(np.float64)
        units[name] = flat / np.linalg.norm(flat)
    whole = sum(units.values())

    def worth(members: tuple[str, ...]) -> float:
        if not members:
            return 0.0
        some = sum(units[name] for name in members)
        return float(some @ whole / np.linalg.norm(some) / np.linalg.norm(whole))

    orders = list(permutations(updates))
    found = dict.fromkeys(updates, 0.0)
    for order in orders:
        for place, name in enumerate(order):
            found[name] += (worth(order[: place + 1]) - worth(order[:place])) / len(orders)
    return found


@pytest.mark.parametrize("partners", [1, 2, 3, 5, 6])
def test_it_is_the_mean_over_all_orders(partners: int) -> None:
    updates = drawn(partners, partners)
    assert shapley(updates) == pytest.approx(defined(updates), abs=1e-9)


@pytest.mark.parametrize("partners", [3, 8, 10, 14])
def test_all_together_contribute_one(partners: int) -> None:
    assert sum(shapley(drawn(partners, 1)).values()) == pytest.approx(1)


def test_partners_alike_contribute_alike() -> None:
    updates = drawn(6, 2)
    updates["p04"] = {name: 1000 * values for name, values in updates["p01"].items()}
    found = shapley(updates)
    assert found["p04"] == pytest.approx(found["p01"], abs=1e-6)  # whatever the length


@pytest.mark.parametrize("partners", [6, 12])
def test_who_sends_nothing_contributes_nothing(partners: int) -> None:
    updates = drawn(partners, 3)
    updates["p02"] = {name: 0 * values for name, values in updates["p02"].items()}
    found = shapley(updates)
    assert found["p02"] == 0
    del updates["p02"]
    if partners <= contribution.MOST_EXACT:
        without = shapley(updates)
        assert {k: v for k, v in found.items() if k != "p02"} == pytest.approx(without, abs=1e-9)


@pytest.mark.parametrize("partners", [4, 10, 20])
@pytest.mark.parametrize("seed", range(5))
def test_noise_alone_ranks_last_and_the_opposite_below_nought(partners: int, seed: int) -> None:
    rng = np.random.default_rng(1000 + seed)
    updates = drawn(partners, seed, size=500)
    updates["noise"] = update(*(100 * rng.normal(size=500)))
    found = shapley(updates)
    assert min(found, key=found.__getitem__) == "noise"
    updates["noise"] = {name: -values for name, values in updates["p00"].items()}
    found = shapley(updates)
    assert min(found, key=found.__getitem__) == "noise"
    assert found["noise"] < 0


def test_orders_that_are_drawn_come_close_and_are_the_same_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    updates = drawn(13, 4)
    close = shapley(updates, seed=7)
    assert close == shapley(updates, seed=7)
    monkeypatch.setattr(contribution, "MOST_EXACT", 13)
    exact = shapley(updates)
    assert close == pytest.approx(exact, abs=0.005)


def test_updates_that_cancel_are_worth_nothing_and_large_ones_overflow_nothing() -> None:
    found = shapley({"a": update(1, 2, 3), "b": update(-1, -2, -3)})
    assert found == {"a": 0.0, "b": 0.0}
    most = float(np.finfo(np.float32).max)
    found = shapley({"a": update(most, most), "b": update(most, 0)})
    assert sum(found.values()) == pytest.approx(1)
    assert shapley({}) == {}
