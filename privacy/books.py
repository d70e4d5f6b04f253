"""What rounds ask and tell beside their checkpoints: who may take part, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Books:
    """What is known and written of a run beside its checkpoints: here nothing."""

    def about(self) -> Any:
        """What must not change while the run goes on, as JSON."""
        return None

    def begin(self, rounds: int, afresh: bool) -> None:
        """A run begins, or goes on, after ``rounds``; refuse what must not."""

    def left_out(self, round: int) -> dict[str, str]:
        """Partners that may not be asked in a round, each with its code."""
        return {}

    def settle(self, round: int, partners: Sequence[str]) -> dict[str, str]:
        """Pay for the replies of ``partners``; where any may not be used, pay for none.

        Returns:
            Partners whose reply may not be used, each with its code: empty once all are paid.
        """
        return {}

    def place(self) -> dict[str, Any]:
        """Where what is entered next will stand, as JSON."""
        return {}

    def enter(self, round: int, told: dict[str, Any]) -> None:
        """Write what was decided in a round, or that it was not reached; once, however often."""
