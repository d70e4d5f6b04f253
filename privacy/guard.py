"""What a partner may send: everything else drops the partner from the round, not the run.

One reply that is not finite ruins a mean, one of a wrong shape ends a run, and a weight of a
billion is a vote for oneself. Each reply is looked at before anything is done with it. What is
wrong is one of a few fixed codes, since a partner's own text could carry its data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import FelsinaError
from privacy.drop_codes import (
    DTYPE,
    DUPLICATE,
    ERROR,
    EXTRA_KEY,
    FINITE,
    LATE,
    MISSING_KEY,
    NORM,
    SHAPE,
    STALE,
    UNKNOWN,
    WEIGHT,
)


@dataclass(frozen=True)
class Reply:
    """What came back from a partner; nothing in it is believed yet.

    Attributes:
        partner: by the key that signed the connection, not by what it says.
        round: that it says it answers.
        arrays: update of the model, name to array.
        weight: that it says it has.
        failed: whether it is an error instead.
    """

    partner: str
    round: int
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    weight: float = 1.0
    failed: bool = False


@dataclass(frozen=True)
class Update:
    """A reply that passed.

    Attributes:
        partner: whose.
        arrays: float32, shaped as the model's.
        weight: as agreed.
        norm: Euclidean length of all arrays together.
    """

    partner: str
    arrays: dict[str, NDArray[np.float32]]
    weight: float
    norm: float


class Guard:
    """Looks at the replies of one round.

    Args:
        round: that is answered.
        shapes: of the model's arrays.
        most_weight: partner to the weight that was agreed; these are the round's partners.
        most_norm: longest update; None for any.
    """

    def __init__(
        self,
        round: int,
        shapes: Mapping[str, tuple[int, ...]],
        most_weight: Mapping[str, float],
        most_norm: float | None = None,
    ) -> None:
        if most_norm is not None and not most_norm > 0:
            raise FelsinaError(f"most_norm = {most_norm:g}: a length above 0, or none")
        self.round, self.shapes, self.most_norm = round, dict(shapes), most_norm
        self.most_weight = dict(most_weight)
        self.accepted: dict[str, Update] = {}
        self.dropped: dict[str, str] = {}
        """Partner to the code of its first fault; those outside of the round too."""

    def take(self, reply: Reply) -> str | None:
        """Accept a reply, or give the code for which it is refused.

        A partner that sent something wrong is out of the round, with what it sent before too: two
        replies that differ say nothing about which one is meant.
        """
        code = self._fault(reply)
        if code is None:
            arrays = {name: np.asarray(reply.arrays[name]) for name in self.shapes}
            norm = _norm(arrays)
            self.accepted[reply.partner] = Update(reply.partner, arrays, reply.weight, norm)
        elif code != STALE:  # an answer to an earlier round that was long under way is no fault
            self.accepted.pop(reply.partner, None)
            self.dropped.setdefault(reply.partner, code)
        return code

    def close(self) -> None:
        """No reply is waited for any more."""
        for partner in self.most_weight:
            if partner not in self.accepted:
                self.dropped.setdefault(partner, LATE)

    def _fault(self, reply: Reply) -> str | None:
        if reply.partner not in self.most_weight:
            return UNKNOWN
        if reply.round != self.round:
            return STALE
        if reply.partner in self.accepted or reply.partner in self.dropped:
            return DUPLICATE
        if reply.failed:
            return ERROR
        if self.shapes.keys() - reply.arrays.keys():
            return MISSING_KEY
        if reply.arrays.keys() - self.shapes.keys():
            return EXTRA_KEY
        arrays = {name: np.asarray(values) for name, values in reply.arrays.items()}
        if any(values.dtype != np.float32 for values in arrays.values()):
            return DTYPE
        if any(values.shape != self.shapes[name] for name, values in arrays.items()):
            return SHAPE
        if not all(np.isfinite(values).all() for values in arrays.values()):
            return FINITE
        if self.most_norm is not None and _norm(arrays) > self.most_norm:
            return NORM
        weight = reply.weight
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not 0 < weight <= self.most_weight[reply.partner]:
            return WEIGHT
        return None


def _norm(arrays: Mapping[str, NDArray[Any]]) -> float:
    """In double precision: a million squares of single numbers may overflow."""
    return float(
        np.sqrt(sum(np.square(values, dtype=np.float64).sum() for values in arrays.values()))
    )
