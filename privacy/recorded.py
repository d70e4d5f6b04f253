"""Rounds whose replies are paid for in the ledger before the model that holds them is kept.

Written is each charge, each reply that was dropped, each partner that was left out of a round, and
each stop. A charge is known by run and step. The rest is known by where it stands: a round's
checkpoint says how long the ledger was and how it ended, and whatever of the round is not found
after that is written. A kill at any moment so costs a round, never an entry, and doubles none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from models.record import canonical_json
from privacy.accounting import SampledGaussian
from privacy.accounts import RefusedError
from privacy.books import Books
from privacy.checkpoints import Checkpoint
from privacy.drop_codes import LATE
from privacy.entries import Body, Charge, Dropped, Stop, decoded, encoded
from privacy.ledger import Ledger
from privacy.population import BudgetKey
from privacy.rounds import Ended, Partners, RoundSettings, run_rounds
from privacy.strategy import Arrays

_REASON = 300
"""Characters that a stop's entry holds."""


@dataclass(frozen=True)
class Part:
    """What a partner's replies cost.

    Attributes:
        key: whose budget.
        a_round: steps of one round.
    """

    key: BudgetKey
    a_round: SampledGaussian


def run_recorded(
    run: str,
    initial: Arrays,
    partners: Partners,
    agreed: Mapping[str, float],
    settings: RoundSettings,
    work: Path,
    ledger: Ledger,
    private: Mapping[str, Part],
    progress: Callable[[str, float], None] = lambda text, share: None,
    record: Callable[[int, dict[str, Any]], None] = lambda round, told: None,
    begun: Sequence[Checkpoint] = (),
) -> Ended:
    """Train a model over rounds, as ``run_rounds``, with a ledger.

    Before each round partners are left out that withdrew, or whose agreement or budget has ended.
    When fewer than ``settings.least`` are left the run stops with the last valid model.

    Args:
        run: name, one for all its attempts and resumptions, and for no other run.
        initial: the model's shared arrays.
        partners: carry it.
        agreed: partner to the most that it may weigh.
        settings: of the rounds.
        work: folder of this run's checkpoints.
        ledger: the city's.
        private: partners whose replies cost budget; those of others are free.
        progress: told a text and the share that is done.
        record: told each round's number and what was decided, at least once.
        begun: checkpoints to go on from, see ``withdrawal.restart_without``.

    Raises:
        BudgetExceededError: if all planned rounds exceed a budget: nothing runs.
        FelsinaError: if a partner may not be charged, names do not fit, the ledger holds more of
            the run than ``work`` does, or was edited or cut: no model is kept that was not charged.
    """
    books = _LedgerBooks(run, dict(agreed), settings, ledger, dict(private))
    return run_rounds(
        run, initial, partners, agreed, settings, work, record, progress, books, begun
    )


@dataclass(frozen=True)
class _LedgerBooks(Books):
    """A run's face towards the ledger."""

    run: str
    agreed: dict[str, float]
    settings: RoundSettings
    ledger: Ledger
    private: dict[str, Part]

    def __post_init__(self) -> None:
        """Refuse names that no entry could hold, and budgets of others."""
        for partner in self.agreed:
            body = {"partner": partner, "run": self.run, "round": 0, "code": LATE}
            decoded(Dropped.kind, body)
        for partner, part in self.private.items():
            if partner not in self.agreed or part.key.partner != partner:
                raise FelsinaError(
                    f"the part of {partner} is charged to {part.key}; give each partner of the run "
                    "its own budget's key"
                )

    def about(self) -> Any:
        """Who pays what for a round."""
        return {
            partner: [*part.key, part.a_round.sampling_rate, part.a_round.noise_multiplier,
                      part.a_round.steps]
            for partner, part in self.private.items()
        }  # fmt: skip

    def begin(self, rounds: int, afresh: bool) -> None:
        """Refuse a plan that exceeds, and a run of which ``work`` has lost rounds."""
        self.ledger.check_unaltered()
        left = self.settings.rounds - rounds
        for part in self.private.values():
            each = part.a_round
            charged = max(self._charged(part.key), default=0)
            if charged > (rounds + 1) * each.steps:
                raise FelsinaError(
                    f"{part.key}: {charged} steps of run {self.run} were charged, its folder holds "
                    f"{rounds * each.steps}; restore the folder, or give the run another name: what"
                    " was seen once costs again"
                )
            if afresh and left:
                plan = SampledGaussian(each.sampling_rate, each.noise_multiplier, left * each.steps)
                self.ledger.require(part.key, plan, self.run)

    def left_out(self, round: int) -> dict[str, str]:
        """Those whose reply could not be used if it came now."""
        self.ledger.check_unaltered()
        return self._refused(round, list(self.agreed))

    def settle(self, round: int, partners: Sequence[str]) -> dict[str, str]:
        """Charge all, or none and say who may not be used."""
        with self.ledger.held():
            self.ledger.check_unaltered()
            refused = self._refused(round, partners)
            if not refused:
                for partner in partners:
                    if (part := self.private.get(partner)) is not None:
                        first = (round - 1) * part.a_round.steps
                        self.ledger.charge(part.key, part.a_round, self.run, first)
            return refused

    def place(self) -> dict[str, Any]:
        """How long the ledger is, and its last entry."""
        with self.ledger.held():
            entries = self.ledger.entries
            return {"entries": len(entries), "sha256": entries[-1].sha256}

    def enter(self, round: int, told: dict[str, Any]) -> None:
        """Write the drops and the stop that do not stand after the place that was noted."""
        place = told["place"]
        bodies: list[Body] = [
            Dropped(partner=one["partner"], run=self.run, round=round, code=one["code"])
            for one in told["dropped"]
            if one["partner"] in self.agreed  # a stranger's name is not the ledger's to keep
        ]
        if "stopped" in told:
            bodies.append(Stop(run=self.run, reason=told["stopped"][:_REASON]))
        with self.ledger.held():
            check_place(self.ledger, self.run, round, place)
            since = self.ledger.entries[place["entries"] :]
            found = Counter(_line(entry.kind, entry.body) for entry in since)
            for body in bodies:
                line = _line(body.kind, encoded(body))
                if found[line]:
                    found[line] -= 1
                else:
                    self.ledger.record(body)

    def _refused(self, round: int, partners: Sequence[str]) -> dict[str, str]:
        codes: dict[str, str] = {}
        for partner in partners:
            part = self.private.get(partner)
            try:
                if part is None:
                    self.ledger.check_partner(partner)
                else:
                    first = (round - 1) * part.a_round.steps
                    self.ledger.check_charge(part.key, part.a_round, self.run, first)
            except RefusedError as error:
                codes[partner] = error.code
        return codes

    def _charged(self, key: BudgetKey) -> list[int]:
        """Steps of the run up to the end of each charge."""
        charges: list[Charge] = [made.charge for made in self.ledger.population(key).charges]
        return [c.first_step + c.steps for c in charges if c.run == self.run]


def check_place(ledger: Ledger, run: str, round: int, place: Mapping[str, Any]) -> None:
    """Refuse a ledger that is another than when a round was paid, or ends before that.

    Args:
        ledger: the city's.
        run: whose round.
        round: that was paid.
        place: how long the ledger was then, and its last entry.
    """
    entries, count = ledger.entries, place["entries"]
    if count > len(entries) or entries[count - 1].sha256 != place["sha256"]:
        raise FelsinaError(
            f"run {run}: the ledger's entry {count - 1} is another than when round {round} was "
            "paid; the ledger was cut or exchanged, restore it"
        )


def _line(kind: str, body: Mapping[str, Any]) -> bytes:
    return canonical_json([kind, dict(body)])
