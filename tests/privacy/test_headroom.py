"""Ten thousand charges are few compositions, and none passes that the accountants would refuse."""

import pytest

from models.errors import FelsinaError
from privacy import headroom
from privacy.accounting import Epsilon
from privacy.headroom import Headroom
from privacy.population import LimitInForce, Mechanisms

ONE, OTHER = (0.01, 1.0), (0.02, 1.0)


@pytest.fixture
def composed(monkeypatch) -> list[Mechanisms]:
    """An accountant that counts 1 for a step, 3 for one of the other kind; what it was asked."""
    asked: list[Mechanisms] = []

    def composed(steps: Mechanisms, delta: float) -> Epsilon:
        asked.append(steps.copy())
        epsilon = float(steps[ONE] + 3 * steps[OTHER])
        if epsilon > 100_000:
            raise FelsinaError("protects nobody")
        return Epsilon(epsilon, epsilon, epsilon, delta)

    monkeypatch.setattr(headroom, "composed", composed)
    return asked


@pytest.mark.parametrize("limit", [1, 7, 1000, 9999])
def test_every_step_within_the_limit_passes_and_none_beyond(composed, limit):
    room, spent = Headroom(LimitInForce(limit, 1e-5)), Mechanisms()
    while room.fits(spent, Mechanisms({ONE: 1})):
        spent[ONE] += 1
    assert spent[ONE] == limit
    assert not room.fits(spent, Mechanisms({ONE: 1}))
    assert len(composed) < 60


def test_two_kinds_in_turn_pass_as_long_as_they_fit(composed):
    room, spent = Headroom(LimitInForce(5000, 1e-5)), Mechanisms()
    kinds = [ONE, OTHER, ONE]
    for i in range(10**6):
        step = Mechanisms({kinds[i % 3]: 1})
        fits = room.fits(spent, step)
        assert fits == (spent[ONE] + 3 * spent[OTHER] + (3 if OTHER in step else 1) <= 5000)
        if not fits:
            break
        spent += step
    assert len(composed) < 200


def test_what_cannot_be_composed_does_not_fit(composed):
    room = Headroom(LimitInForce(10**9, 1e-5))
    assert not room.fits(Mechanisms(), Mechanisms({ONE: 200_000}))
    assert room.fits(Mechanisms(), Mechanisms({ONE: 10}))
