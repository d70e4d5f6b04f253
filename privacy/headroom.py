"""What is known to fit into a budget, so that 10 000 charges are not 10 000 compositions.

More steps never cost less. What fits once lets everything smaller pass, and what does not fit once
refuses everything larger. A charge that neither decides is composed together with more of its kind:
twice as many after each success, half as many after a failure, at last alone.
"""

from __future__ import annotations

from models.errors import FelsinaError
from privacy.population import LimitInForce, Mechanisms
from privacy.replay import composed


class Headroom:
    """What fits under one limit.

    Args:
        limit: the budget in force.
    """

    def __init__(self, limit: LimitInForce) -> None:
        self.limit = limit
        self._fits: Mechanisms = Mechanisms()
        self._fails: list[Mechanisms] = []
        self._ahead = 1

    def fits(self, spent: Mechanisms, asked: Mechanisms) -> bool:
        """Whether both together stay within the limit, by the accountants.

        Args:
            spent: steps charged so far.
            asked: further steps.
        """
        together = spent + asked
        if together <= self._fits:
            return True
        while self._ahead:
            more = Mechanisms({kind: self._ahead * steps for kind, steps in asked.items()})
            for start in (together | self._fits, together):
                if self._tried(start + more):
                    self._ahead *= 2
                    return True
            self._ahead //= 2
        self._ahead = 1
        return self._tried(together)

    def _tried(self, steps: Mechanisms) -> bool:
        if any(failed <= steps for failed in self._fails):
            return False
        try:
            fits = composed(steps, self.limit.delta).pld <= self.limit.epsilon
        except FelsinaError:  # nothing was found that could be claimed
            fits = False
        if fits:
            self._fits = steps
        else:
            self._fails = [failed for failed in self._fails if not steps <= failed] + [steps]
        return fits
