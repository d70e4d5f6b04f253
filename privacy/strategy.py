"""How partners' updates become one: weighted means, and means without the extremes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.contracts import FelsinaError
from privacy.guard import Update

Arrays = dict[str, NDArray[np.float32]]
Rule = Literal["mean", "trimmed"]
_FIRST, _SECOND = "first/", "second/"
_DECAY, _SLOW_DECAY, _LEAST_SIZE = 0.9, 0.999, 1e-8


def shares(weights: Mapping[str, float], most: float = 1.0) -> dict[str, float]:
    """Shares of one that follow weights, none above ``most``.

    What is cut off goes to the others by their weights, until none is above; where ``most`` is less
    than one partner's equal share, all are equal.

    Args:
        weights: partner to a number above 0.
        most: largest share.
    """
    if not 0 < most <= 1:
        raise FelsinaError(f"most = {most:g}: a share above 0, to 1")
    if most * len(weights) <= 1:
        return dict.fromkeys(weights, 1 / len(weights))
    capped: set[str] = set()
    while True:
        free = {name: weight for name, weight in weights.items() if name not in capped}
        left, whole = 1 - most * len(capped), sum(free.values())
        found = {name: left * weight / whole for name, weight in free.items()}
        above = {name for name, share in found.items() if share > most}
        if not above:
            return {name: most if name in capped else found[name] for name in weights}
        capped |= above


def adam_step(update: Arrays, moments: Arrays, round: int, rate: float) -> tuple[Arrays, Arrays]:
    """The city's own Adam on what partners sent (Reddi et al. 2021, arXiv 2003.00295).

    Each weight moves by at most about ``rate`` a round, by the mean of its updates over their size:
    where partners' noise is most of an update, rounds average it out before the model moves far.

    Args:
        update: what a round's replies combine to.
        moments: first and second of each array, from the round before; empty at first.
        round: its number, from 1 on.
        rate: of the step.

    Returns:
        The step, and the moments after it.
    """
    step: Arrays = {}
    after: Arrays = {}
    for name, values in update.items():
        first, second = f"{_FIRST}{name}", f"{_SECOND}{name}"
        nothing = np.zeros_like(values)
        mean = _DECAY * moments.get(first, nothing) + (1 - _DECAY) * values
        square = _SLOW_DECAY * moments.get(second, nothing) + (1 - _SLOW_DECAY) * values**2
        after[first], after[second] = mean.astype(np.float32), square.astype(np.float32)
        size = np.sqrt(square / (1 - _SLOW_DECAY**round)) + _LEAST_SIZE
        step[name] = (rate * mean / (1 - _DECAY**round) / size).astype(np.float32)
    return step, after


def combined(
    updates: Sequence[Update], rule: Rule = "mean", most: float = 1.0, trim: float = 0.2
) -> Arrays:
    """One update of several.

    Args:
        updates: that a guard let pass, at least one.
        rule: ``mean`` by capped shares (FedAvg, McMahan et al. 2017, arXiv 1602.05629), or
            ``trimmed``: of each number the mean without the largest and the smallest (Yin et al.
            2018, arXiv 1803.01498), all partners alike.
        most: largest share of a partner in a mean.
        trim: share of the partners that is left out at each end, at least one.

    Raises:
        FelsinaError: if trimming would leave nobody.
    """
    # Sorted, so that the order of arrival does not change the last digit.
    ordered = sorted(updates, key=lambda update: update.partner)
    if not ordered:
        raise FelsinaError("no update passed the guard: nothing to combine")
    names = list(ordered[0].arrays)
    if rule == "mean":
        share = shares({update.partner: update.weight for update in ordered}, most)
        found = {name: np.zeros(ordered[0].arrays[name].shape) for name in names}
        for update in ordered:
            for name in names:
                found[name] += share[update.partner] * update.arrays[name]
        return {name: values.astype(np.float32) for name, values in found.items()}
    out = max(1, round(trim * len(ordered)))
    if 2 * out >= len(ordered):
        raise FelsinaError(
            f"a mean trimmed by {out} at each end needs {2 * out + 1} partners, {len(ordered)} are"
            " left; use the mean, or wait for more"
        )
    middle: Arrays = {}
    for name in names:
        values = np.sort(np.stack([update.arrays[name] for update in ordered]), axis=0)
        middle[name] = values[out:-out].mean(axis=0, dtype=np.float64).astype(np.float32)
    return middle
