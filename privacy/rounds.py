"""The city's rounds: ask, guard, combine, keep. What is killed goes on at the round it was in.

A round ends in one file, written at once: the model after it and what was decided about each reply.
Whatever is killed before that file is there, the round is asked again; whatever is killed after it,
the next begins. What the books are told is kept in the same file and told again after a kill, so
that nothing is lost; they know what they were told already, so that it stands there once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as checked

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes
from privacy.books import Books
from privacy.checkpoints import Checkpoint, Checkpoints, digest
from privacy.contribution import shapley
from privacy.guard import Guard, Reply, Update
from privacy.strategy import Arrays, Rule, adam_step, combined

LEAST_PARTNERS = 3
"""With fewer, a partner could take its own part out of the sum and see the other's."""


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class RoundSettings:
    """How rounds are run; a part of the run's record.

    Attributes:
        rounds: to be run.
        least: replies that a round needs.
        attempts: how often a round is asked until it has them.
        rule: how updates are combined.
        most_share: largest share of a partner in a mean.
        trim: share that a trimmed mean leaves out at each end.
        most_norm: longest update; None for any.
        server_rate: of the city's own Adam on what updates combine to; None adds them as they are.
    """

    rounds: int
    least: int = LEAST_PARTNERS
    attempts: int = 3
    rule: Rule = "mean"
    most_share: float = 1.0
    trim: float = 0.2
    most_norm: float | None = None
    server_rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse what would ask nobody, or too few."""
        if self.rounds < 1 or self.attempts < 1:
            raise FelsinaError(f"rounds = {self.rounds}, attempts = {self.attempts}: 1 at least")
        if self.server_rate is not None and not 0 < self.server_rate < 1:
            raise FelsinaError(f"server_rate = {self.server_rate:g}: give one above 0, below 1")
        if self.least < LEAST_PARTNERS:
            raise FelsinaError(
                f"least = {self.least}: a round of fewer than {LEAST_PARTNERS} partners shows one"
                " what the other sent"
            )


class Partners(Protocol):
    """Whoever carries a model to the partners and brings their replies."""

    def ask(
        self, round: int, attempt: int, arrays: Arrays, among: Collection[str]
    ) -> Iterable[Reply]:
        """Replies of ``among`` as they come, until all are there or the deadline has passed."""
        ...


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        arrays: the last valid model.
        rounds: that went into it.
        reason: why there are no more; empty when all were run.
        contribution: partner to its mean contribution to a round; the sum is 1, less where the
            updates of a round cancelled.
    """

    arrays: Arrays
    rounds: int
    reason: str = ""
    contribution: dict[str, float] = field(default_factory=dict)


def run_rounds(
    run: str,
    initial: Arrays,
    partners: Partners,
    agreed: Mapping[str, float],
    settings: RoundSettings,
    work: Path,
    record: Callable[[int, dict[str, Any]], None],
    progress: Callable[[str, float], None] = lambda text, share: None,
    books: Books | None = None,
    begun: Sequence[Checkpoint] = (),
) -> Ended:
    """Train a model over rounds.

    Args:
        run: name, one for all its attempts and resumptions.
        initial: the model's shared arrays; what is found in ``work`` goes on instead.
        partners: carry it.
        agreed: partner to the most that it may weigh.
        settings: of the rounds.
        work: folder of this run's checkpoints.
        record: told each round's number and what was decided, at least once.
        progress: told a text and the share that is done.
        books: say who may take part, are paid, and told of rounds and stops exactly once.
        begun: checkpoints of an earlier run to go on from, the last one in place of ``initial``.

    Raises:
        FelsinaError: if ``work`` holds another run, or fewer partners agreed than a round needs.
    """
    if len(agreed) < settings.least:
        raise FelsinaError(f"{len(agreed)} partners agreed, a round needs {settings.least}")
    books = books or Books()
    begins = list(begun) or [Checkpoint(0, initial, {})]
    asked = {"run": run, "agreed": dict(agreed), "settings": asdict(settings)}
    if (about := books.about()) is not None:
        asked["books"] = about
    begins_at, shapes = begins[-1].round, _shapes(begins[-1].arrays)
    if begun:
        asked["begun"] = [begins_at, digest(begins[-1].arrays)]
    key = sha256_bytes(canonical_json([asked, shapes]))
    checkpoints = Checkpoints(work, run, key)
    last = checkpoints.newest()
    if last is not None and last.round < begins_at:  # killed while they were copied
        last = None
    books.begin(last.round if last else begins_at, last is None or last.round == begins_at)
    if last is None:
        for one in begins:
            checkpoints.keep(one)
        last = begins[-1]
    elif last.round > begins_at:
        books.enter(last.round, last.told)
        record(last.round, last.told)
    if (stop := checkpoints.stop()) is not None:
        books.enter(*stop)
        checkpoints.forget_stop()
    rounds = _Rounds(partners, agreed, settings, books, progress)
    while last.round < settings.rounds:
        number = last.round + 1
        moved, told = rounds.run(number, last)
        if moved is None:
            checkpoints.keep_stop(number, told)
            books.enter(number, told)
            checkpoints.forget_stop()
            return Ended(last.arrays, last.round, told["stopped"], _mean(last))
        last = Checkpoint(number, moved[0], told, moved[1])
        checkpoints.keep(last)
        books.enter(number, told)
        record(number, told)
        progress(f"round {number}: {len(told['accepted'])} partners", number / settings.rounds)
    return Ended(last.arrays, last.round, "", _mean(last))


_Moved = tuple[Arrays, Arrays]
"""Model and moments."""


@dataclass(frozen=True)
class _Rounds:
    """What the rounds of a run have in common."""

    partners: Partners
    agreed: Mapping[str, float]
    settings: RoundSettings
    books: Books
    progress: Callable[[str, float], None]

    def run(self, number: int, last: Checkpoint) -> tuple[_Moved | None, dict[str, Any]]:
        """Model and moments after a round, or None, and what was decided of it."""
        least, out = self.settings.least, self.books.left_out(number)
        dropped, faults = _dropped(out, 0), []
        for attempt in range(1, self.settings.attempts + 1):
            among = {one: most for one, most in self.agreed.items() if one not in out}
            if len(among) < least:
                reason = f"{len(among)} partners may take part, {least} are needed"
                return self._stopped(number, f"{reason} ({_named(_dropped(out, 0))})", dropped)
            guard = Guard(number, _shapes(last.arrays), among, self.settings.most_norm)
            for reply in self.partners.ask(number, attempt, last.arrays, among):
                guard.take(reply)
            guard.close()
            faults = _dropped(guard.dropped, attempt)
            updates = sorted(guard.accepted.values(), key=lambda update: update.partner)
            while len(updates) >= least:
                moved = self._moved(last, updates)
                if isinstance(moved, str):
                    return self._stopped(number, moved, dropped + faults)
                refused = self.books.settle(number, [update.partner for update in updates])
                if not refused:
                    told = {"attempts": attempt, "dropped": dropped + faults}
                    return moved, told | self._told(number, moved[0], updates, last)
                out |= refused
                faults += _dropped(refused, attempt)
                updates = [update for update in updates if update.partner not in refused]
            dropped += faults
            text = f"round {number}: {len(updates)} of {least} replies, asked again"
            self.progress(text, last.round / self.settings.rounds)
        reason = f"fewer than {least} sound replies in {self.settings.attempts} attempts"
        return self._stopped(number, f"{reason} ({_named(faults)})", dropped)

    def _moved(self, last: Checkpoint, updates: list[Update]) -> _Moved | str:
        """Model and moments after updates, or why there are none."""
        rule, most, trim = self.settings.rule, self.settings.most_share, self.settings.trim
        try:
            step = combined(updates, rule, most, trim)
        except FelsinaError as error:
            return str(error)
        moments, rate = last.moments, self.settings.server_rate
        if rate is not None:
            step, moments = adam_step(step, moments, last.round + 1, rate)
        moved = {name: last.arrays[name] + step[name] for name in last.arrays}
        if not all(np.isfinite(values).all() for values in moved.values()):
            return "the combined model is not finite; set most_norm"
        return moved, moments

    def _told(
        self, number: int, moved: Arrays, updates: list[Update], last: Checkpoint
    ) -> dict[str, Any]:
        """What a checkpoint says beside the model."""
        contribution = shapley({update.partner: update.arrays for update in updates}, number)
        sums = dict(last.told.get("contributed", {}))
        for partner, share in contribution.items():
            sums[partner] = sums.get(partner, 0.0) + share
        return {
            "accepted": {update.partner: update.weight for update in updates},
            "model": digest(moved),
            "first": {update.partner: number for update in updates} | last.told.get("first", {}),
            "contribution": contribution,
            "contributed": sums,
            "place": self.books.place(),
        }

    def _stopped(
        self, number: int, reason: str, dropped: list[dict[str, str]]
    ) -> tuple[None, dict[str, Any]]:
        told = {"stopped": f"round {number}: {reason}", "dropped": dropped}
        return None, told | {"place": self.books.place()}


def _dropped(codes: Mapping[str, str], attempt: int) -> list[dict[str, str]]:
    """In order of names; attempt 0 are those who were not asked."""
    return [
        {"partner": partner, "code": code, "attempt": str(attempt)}
        for partner, code in sorted(codes.items())
    ]


def _named(dropped: list[dict[str, str]]) -> str:
    return ", ".join(f"{one['partner']} {one['code']}" for one in dropped)


def _mean(last: Checkpoint) -> dict[str, float]:
    """Contribution to a round, over all rounds that the model holds."""
    return {one: share / last.round for one, share in last.told.get("contributed", {}).items()}


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in arrays.items()}
