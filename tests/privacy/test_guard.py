"""All that a partner can send wrong drops that partner, by a fixed code, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.contracts import FelsinaError
from privacy import drop_codes as guard
from privacy.drop_codes import CODES
from privacy.guard import Guard, Reply
from privacy.strategy import combined

SHAPES = {"trunk.weight": (3, 2), "trunk.bias": (3,)}
AGREED = {"bus": 40.0, "grid": 100.0, "water": 10.0}


def honest(partner: str = "bus", seed: int = 0, weight: float = 10.0) -> Reply:
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    return Reply(partner, 5, arrays, weight)


def spoilt(**changes: np.ndarray | None) -> Reply:
    """An honest reply with arrays exchanged, added or, for None, left out."""
    arrays = dict(honest().arrays)
    for name, values in changes.items():
        key = name.replace("__", ".")
        if values is None:
            del arrays[key]
        else:
            arrays[key] = values
    return replace(honest(), arrays=arrays)


def guarded() -> Guard:
    return Guard(5, SHAPES, AGREED, most_norm=20.0)


FAULTS = {
    guard.UNKNOWN: replace(honest(), partner="stranger"),
    guard.STALE: replace(honest(), round=4),
    guard.ERROR: Reply("bus", 5, failed=True),
    guard.MISSING_KEY: spoilt(trunk__bias=None),
    guard.EXTRA_KEY: spoilt(households=np.ones(3, np.float32)),
    guard.DTYPE: spoilt(trunk__bias=np.ones(3)),
    guard.SHAPE: spoilt(trunk__bias=np.ones((3, 1), np.float32)),
    guard.FINITE: spoilt(trunk__bias=np.array([0, np.nan, 0], np.float32)),
    guard.NORM: spoilt(trunk__bias=np.full(3, 1e6, np.float32)),
    guard.WEIGHT: replace(honest(), weight=1e9),
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_has_its_code_and_drops_nobody_else(code: str) -> None:
    watch = guarded()
    assert watch.take(honest("grid", 1)) is None
    assert watch.take(FAULTS[code]) == code
    assert code in CODES
    assert list(watch.accepted) == ["grid"]
    if code != guard.STALE:
        assert watch.dropped[FAULTS[code].partner] == code


@pytest.mark.parametrize(
    "weight", [0.0, -500.0, np.nan, np.inf, True, "all", None, 40.000001, -0.0]
)
def test_weights_are_numbers_up_to_what_was_agreed(weight: object) -> None:
    assert guarded().take(replace(honest(), weight=weight)) == guard.WEIGHT  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_no_infinity_passes(value: float) -> None:
    assert guarded().take(spoilt(trunk__bias=np.full(3, value, np.float32))) == guard.FINITE


def test_the_largest_finite_numbers_are_a_norm_and_no_overflow() -> None:
    most = np.full(3, np.finfo(np.float32).max, np.float32)
    assert guarded().take(spoilt(trunk__bias=most)) == guard.NORM
    watch = Guard(5, SHAPES, AGREED)
    assert watch.take(spoilt(trunk__bias=most)) is None
    assert np.isfinite(watch.accepted["bus"].norm)


def test_a_second_reply_takes_back_the_first() -> None:
    watch = guarded()
    assert watch.take(honest()) is None
    assert watch.take(honest(seed=2)) == guard.DUPLICATE
    assert not watch.accepted
    assert watch.take(honest(seed=3)) == guard.DUPLICATE  # nor does a third bring it back


def test_a_late_answer_to_an_earlier_round_does_not_undo_this_one() -> None:
    watch = guarded()
    watch.take(honest())
    assert watch.take(replace(honest(), round=4)) == guard.STALE
    assert list(watch.accepted) == ["bus"]
    assert not watch.dropped
    watch = guarded()
    watch.take(replace(honest(), round=4))
    assert watch.take(honest()) is None  # nor does it keep the right one out


def test_who_says_nothing_is_late() -> None:
    watch = guarded()
    watch.take(honest())
    watch.take(replace(honest("grid"), failed=True))
    watch.close()
    assert watch.dropped == {"grid": guard.ERROR, "water": guard.LATE}


def test_what_one_sends_wrong_does_not_move_what_others_say() -> None:
    alone = guarded()
    alone.take(honest("grid", 1))
    alone.take(honest("water", 2))
    expected = combined(list(alone.accepted.values()))
    for reply in FAULTS.values():
        watch = guarded()
        watch.take(honest("grid", 1))
        watch.take(reply)
        watch.take(honest("water", 2))
        found = combined(list(watch.accepted.values()))
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_a_norm_of_nothing_is_refused() -> None:
    with pytest.raises(FelsinaError, match="most_norm = 0"):
        Guard(1, SHAPES, AGREED, most_norm=0)
