"""What the ethics board lets be served, verified by each process itself.

Nothing here is believed because a file or a registry says so: the stream of decisions is verified
under a charter that the operator named, entry by entry, and held to the furthest entry that any
process on this store has seen, so that an older copy put back shows too. A stream that does not
verify never widens what is served: what was verified stays in force until it expires, and a process
that has verified nothing serves nothing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from models.board import BOARD, STREAM, Board, moment, open_board
from models.chain import Entry, head_path
from models.charter import read_charter
from models.contracts import FelsinaError
from serving import tables
from serving.release import UNDECIDED, Approval
from serving.store import Store

log = logging.getLogger(__name__)
AHEAD = timedelta(minutes=5)
"""How far an entry's time may lie before the server's: clocks differ."""
_AGAIN_SECONDS = 10.0
"""How long a stream that did not verify, and has not changed since, is left alone."""


@dataclass(frozen=True)
class Allowed:
    """A release that may be served.

    Attributes:
        folder: where it should lie.
        manifest_sha256: that the board has approved; None where no board decides.
        approval: what its answers say.
    """

    folder: Path
    manifest_sha256: str | None = None
    approval: Approval = UNDECIDED


@dataclass(frozen=True)
class Choice:
    """What may be served of a dataset.

    Attributes:
        allowed: the release to serve, then those to fall back to.
        why: what stands against the release promoted last; empty where nothing does.
    """

    allowed: tuple[Allowed, ...] = ()
    why: str = ""


def trusted(home: Path, store: Store) -> Approvals:
    """The decisions of the board whose charter ``FELSINA_BOARD`` names.

    Raises:
        FelsinaError: if it names none, or a demo board without ``FELSINA_DEMO=1``.
    """
    charter = os.environ.get("FELSINA_BOARD")
    if not charter:
        raise FelsinaError("FELSINA_BOARD is not set; name the charter of the ethics board")
    found = Approvals(home, Path(charter), store)
    if found.charter.demo and os.environ.get("FELSINA_DEMO") != "1":
        raise FelsinaError(f"{charter} is of a demo board, which felsina up alone trusts")
    return found


class Approvals:
    """The board's decisions as this process has verified them.

    Args:
        home: the ``mlruns`` folder.
        charter: the board's charter, from wherever the operator keeps it.
        store: remembers the furthest entry that was seen.

    Attributes:
        board: as it was verified last; None until it was.
        fault: why the stream as it is now is not believed; empty if it is.

    Raises:
        FelsinaError: if the charter cannot be read.
    """

    def __init__(self, home: Path, charter: Path, store: Store) -> None:
        self.charter = read_charter(charter)
        self.folder = home / BOARD
        self.board: Board | None = None
        self.fault = ""
        self._later: Board | None = None
        self._releases, self._store = home / "releases", store
        self._seen: tuple[object, ...] = ()
        self._tried = -_AGAIN_SECONDS
        self._lock = threading.Lock()

    def choices(self) -> dict[str, Choice]:
        """Dataset, or surrogate's name, to what may be served of it now."""
        board, now = self.verified(), datetime.now(UTC)
        if board is None:
            return {}
        return {dataset: self._choice(board, dataset, now) for dataset in board.datasets()}

    def promoted(self) -> dict[str, Path]:
        """Name to the folder of what was promoted last, as far as is known without a look."""
        board = self.board
        if board is None:
            return {}
        return {name: self._releases / board.promoted(name)[0].release for name in board.datasets()}

    def verified(self) -> Board | None:
        """The board as it was verified last, looked at now."""
        self._look()
        return self.board

    def _choice(self, board: Board, dataset: str, now: datetime) -> Choice:
        state = "demo" if self.charter.demo else "approved"
        allowed, why = [], ""
        for place, one in enumerate(board.promoted(dataset)):
            ruling = board.ruling(one.manifest_sha256, now)
            if ruling.state == "approved" and self._later is not None:
                later = self._later.ruling(one.manifest_sha256, now)
                ruling = ruling if later.state == "approved" else later
            if ruling.state == "approved":
                terms = ruling.report_sha256, ruling.conditions, ruling.expires
                approval = Approval(state, ruling.decision, *terms)
                allowed.append(Allowed(self._releases / one.release, one.manifest_sha256, approval))
            elif place == 0:
                why = f"{one.release} {ruling.why}"
        return Choice(tuple(allowed), why)

    def _look(self) -> None:
        """Verify the stream anew where its files have changed."""
        with self._lock:
            stream = self.folder / STREAM
            seen = (_mark(stream), _mark(head_path(stream)))
            waited = time.monotonic() - self._tried >= _AGAIN_SECONDS
            if seen == self._seen and not (self.fault and waited):
                return
            self._seen, self._tried = seen, time.monotonic()
            try:
                self.board = self._verified(stream)
                fault = ""
            except (FelsinaError, OSError) as error:
                fault = str(error).replace(f"{self.folder}/", "")  # answers name no paths
            except SQLAlchemyError as error:
                log.error("decisions: %s", " ".join(str(error).split()))
                fault = f"the store does not say what was seen of them ({type(error).__name__})"
            except Exception as error:
                log.exception("decisions")
                fault = f"they cannot be read ({type(error).__name__})"
            if fault != self.fault:
                (log.error if fault else log.warning)("decisions: %s", fault or "verified again")
            self.fault = fault

    def _verified(self, stream: Path) -> Board:
        """The board, once its stream holds all that was ever seen of it.

        Where the store is silent, what extends all that this process has verified may forbid and
        not allow: an alarm counts, a promotion does not.
        """
        board = open_board(self.charter, stream)
        furthest = board.entries[-1]
        if moment(furthest.time) > datetime.now(UTC) + AHEAD:
            raise FelsinaError(
                f"{stream.name}: entry {furthest.n} is of {furthest.time}, which is to come; set "
                "this machine's clock, or restore the file"
            )
        if self.board is not None:
            last = self.board.entries[-1]
            _hold(board.entries, last.n, last.sha256, stream.name)
        try:
            self._hold_to_the_store(board.entries, stream.name)
        except SQLAlchemyError:
            self._later = board
            raise
        self._later = None
        return board

    def _hold_to_the_store(self, entries: list[Entry], name: str) -> None:
        """Refuse what lacks what any process has seen; remember what this one sees."""
        furthest = entries[-1]
        with self._store.engine.begin() as connection:
            mine = tables.heads.c.stream == self.charter.stream
            known = connection.execute(sa.select(tables.heads).where(mine)).first()
            if known is not None:
                _hold(entries, known.n, known.sha256, name)
            insert = self._store.insert(tables.heads).values(
                stream=self.charter.stream, n=furthest.n, sha256=furthest.sha256
            )
            given = insert.excluded
            further = insert.on_conflict_do_update(
                index_elements=["stream"],
                set_={"n": given.n, "sha256": given.sha256},
                where=given.n > tables.heads.c.n,
            )
            if known is None or known.n < furthest.n:
                connection.execute(further)


def _hold(entries: list[Entry], n: int, sha256: str, name: str) -> None:
    """Refuse a stream that lacks, or has otherwise, what was seen of it."""
    if n >= len(entries):
        raise FelsinaError(
            f"{name} holds entries 0 to {len(entries) - 1}, and this service has seen entry {n}; "
            "its end was cut or an old copy was put back, restore it"
        )
    if entries[n].sha256 != sha256:
        raise FelsinaError(
            f"{name}: entry {n} is not the one that this service has seen; the stream was written "
            "anew, restore it"
        )


def _mark(path: Path) -> object:
    """What changes when a file does; ``ctime`` cannot be set back as ``mtime`` can."""
    try:
        found = os.stat(path)  # noqa: PTH116 (as in served.changed_at)
    except OSError:  # what it is, verifying says
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
