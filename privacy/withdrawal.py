"""A partner leaves: the last model that never saw it, from which the next one is trained anew.

Nothing is taken out of a model that exists: no such claim is made (docs/federation.md). The rounds
since the partner's first one are run again without it, by a run of another name whose charges are
the other partners' to pay again; what the partner's units spent stays spent.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.contracts import FelsinaError
from privacy.checkpoints import Checkpoint, kept, to_begin_from
from privacy.entries import Stop, Withdrawal, encoded
from privacy.ledger import Ledger
from privacy.strategy import Arrays


@dataclass(frozen=True)
class Restart:
    """What the next run begins from.

    Attributes:
        partner: that no model of it saw.
        run: that the partner was in.
        begun: checkpoints for ``run_recorded``, the last of which goes on.
        lost: rounds of the run that have to be run again.
    """

    partner: str
    run: str
    begun: tuple[Checkpoint, ...]
    lost: int

    @property
    def arrays(self) -> Arrays:
        """The last model that never saw the partner."""
        return self.begun[-1].arrays

    @property
    def rounds(self) -> int:
        """How many rounds it holds."""
        return self.begun[-1].round


def restart_without(work: Path, partner: str, ledger: Ledger, reason: str | None = None) -> Restart:
    """Enter a withdrawal and the end of the run, and give the last model that never saw a partner.

    The next run is ``run_recorded`` under a new name and in a new folder, of the partners that are
    left, with ``begun`` and the same number of rounds; its model is then, bit for bit, that of a
    run in which the partner never was. Asked again, it gives the same and enters nothing twice.

    Args:
        work: folder of the run's checkpoints.
        partner: who withdraws; it may have withdrawn in the ledger already.
        ledger: the city's.
        reason: as far as the partner wants it known.

    Raises:
        FelsinaError: if the folder holds no run, or the partner never agreed.
    """
    run, checkpoints = kept(work)
    newest = checkpoints[-1]
    first = newest.told.get("first", {}).get(partner)
    before = newest.round if first is None else first - 1
    held = [one for one in checkpoints if one.round <= before]
    if not held or held[-1].round != before:
        raise FelsinaError(
            f"{work}: the checkpoint of round {before}, the last without {partner}, is gone; "
            "restore it, or begin a run from nothing"
        )
    if not ledger.withdrew(partner):
        ledger.record(Withdrawal(partner=partner, reason=reason))
    ended = f"{partner} withdrew: what is trained next begins after round {before} of this run"
    stop = Stop(run=run, reason=ended)
    with ledger.held():
        entries = ledger.entries
        if not any((entry.kind, entry.body) == (stop.kind, encoded(stop)) for entry in entries):
            ledger.record(stop)
    return Restart(partner, run, to_begin_from(held), newest.round - before)
