"""The city's rounds: ask, guard, combine, keep. What is killed goes on at the round it was in.

A round ends in one file, written at once: the model after it and what was decided about each reply.
Whatever is killed before that file is there, the round is asked again; whatever is killed after it,
the next begins. What the ledger is told is kept in the same file and told again after a kill, so
that nothing is lost; the ledger knows a round by run and number, so that it stands there once.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, write_atomic
from privacy.guard import Guard, Reply
from privacy.strategy import Arrays, Rule, combined

LEAST_PARTNERS = 3
"""With fewer, a partner could take its own part out of the sum and see the other's."""


@dataclass(frozen=True)
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
    """

    rounds: int
    least: int = LEAST_PARTNERS
    attempts: int = 3
    rule: Rule = "mean"
    most_share: float = 1.0
    trim: float = 0.2
    most_norm: float | None = None

    def __post_init__(self) -> None:
        """Refuse what would ask nobody, or too few."""
        if self.rounds < 1 or self.attempts < 1:
            raise FelsinaError(f"rounds = {self.rounds}, attempts = {self.attempts}: 1 at least")
        if self.least < LEAST_PARTNERS:
            raise FelsinaError(
                f"least = {self.least}: a round of fewer than {LEAST_PARTNERS} partners shows one"
                " what the other sent"
            )


class Partners(Protocol):
    """Whoever carries a model to the partners and brings their replies."""

    def ask(self, round: int, attempt: int, arrays: Arrays) -> Iterable[Reply]:
        """Replies as they come, until all are there or the deadline has passed."""
        ...


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        arrays: the last valid model.
        rounds: that went into it.
        reason: why there are no more; empty when all were run.
    """

    arrays: Arrays
    rounds: int
    reason: str = ""


def run_rounds(
    run: str,
    initial: Arrays,
    partners: Partners,
    agreed: Mapping[str, float],
    settings: RoundSettings,
    work: Path,
    record: Callable[[int, dict[str, Any]], None],
    progress: Callable[[str, float], None] = lambda text, share: None,
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

    Raises:
        FelsinaError: if ``work`` holds another run, or fewer partners agreed than a round needs.
    """
    if len(agreed) < settings.least:
        raise FelsinaError(f"{len(agreed)} partners agreed, a round needs {settings.least}")
    asked = {"run": run, "agreed": dict(agreed), "settings": asdict(settings)}
    key = sha256_bytes(canonical_json([asked, _shapes(initial)]))
    number, arrays, last = _resume(work, key, initial, run)
    if last is not None:
        record(number, last)
    while number < settings.rounds:
        decided = _round(number + 1, arrays, partners, agreed, settings, progress)
        if isinstance(decided, str):
            return Ended(arrays, number, decided)
        arrays, told = decided
        number += 1
        _keep(work, key, number, arrays, told)
        record(number, told)
        progress(f"round {number}: {len(told['accepted'])} partners", number / settings.rounds)
    return Ended(arrays, number)


def _round(
    number: int,
    arrays: Arrays,
    partners: Partners,
    agreed: Mapping[str, float],
    settings: RoundSettings,
    progress: Callable[[str, float], None],
) -> tuple[Arrays, dict[str, Any]] | str:
    """The model after a round and what is recorded of it; or why there is none."""
    dropped: list[dict[str, str]] = []
    for attempt in range(1, settings.attempts + 1):
        guard = Guard(number, _shapes(arrays), agreed, settings.most_norm)
        for reply in partners.ask(number, attempt, arrays):
            guard.take(reply)
        guard.close()
        dropped += [
            {"partner": partner, "code": code, "attempt": str(attempt)}
            for partner, code in sorted(guard.dropped.items())
        ]
        updates = list(guard.accepted.values())
        if len(updates) >= settings.least:
            step = combined(updates, settings.rule, settings.most_share, settings.trim)
            moved = {name: arrays[name] + step[name] for name in arrays}
            if not all(np.isfinite(values).all() for values in moved.values()):
                return f"round {number}: the combined model is not finite; set most_norm"
            accepted = {update.partner: update.weight for update in updates}
            return moved, {
                "accepted": {partner: accepted[partner] for partner in sorted(accepted)},
                "attempts": attempt,
                "dropped": dropped,
                "model": digest(moved),
            }
        progress(f"round {number}: {len(updates)} of {settings.least} replies, asked again", 0.0)
    faults = ", ".join(f"{one['partner']} {one['code']}" for one in dropped[-len(agreed) :])
    return (
        f"round {number}: fewer than {settings.least} sound replies in {settings.attempts}"
        f" attempts ({faults})"
    )


def digest(arrays: Arrays) -> str:
    """SHA-256 over names, shapes and little-endian bytes."""
    parts = [
        [name, list(arrays[name].shape), sha256_bytes(arrays[name].astype("<f4").tobytes())]
        for name in sorted(arrays)
    ]
    return sha256_bytes(canonical_json(parts))


def _shapes(arrays: Arrays) -> dict[str, tuple[int, ...]]:
    return {name: values.shape for name, values in arrays.items()}


def _keep(work: Path, key: str, number: int, arrays: Arrays, told: dict[str, Any]) -> None:
    """One file a round, and the one before it."""
    header = {"key": key, "round": number, "told": told, "names": sorted(arrays)}
    content = io.BytesIO()
    named = {f"a{i}": arrays[name] for i, name in enumerate(header["names"])}
    text = np.frombuffer(canonical_json(header), np.uint8)
    np.savez(content, header=text, **named)  # pyright: ignore[reportArgumentType]
    write_atomic(work / f"round-{number:06d}.npz", content.getvalue())
    for old in sorted(work.glob("round-*.npz"))[:-2]:
        old.unlink(missing_ok=True)


def _resume(
    work: Path, key: str, initial: Arrays, run: str
) -> tuple[int, Arrays, dict[str, Any] | None]:
    """The newest round that was kept whole."""
    found = sorted(work.glob("round-*.npz"))
    if not found:
        return 0, initial, None
    with np.load(found[-1], allow_pickle=False) as file:
        header = json.loads(file["header"].tobytes())
        arrays = {name: file[f"a{i}"] for i, name in enumerate(header["names"])}
    if header["key"] != key:
        raise FelsinaError(
            f"{found[-1]}: of other settings, partners or model than run {run!r} now has; give the"
            " run another name, or take the folder away"
        )
    return header["round"], arrays, header["told"]
