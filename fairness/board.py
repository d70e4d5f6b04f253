"""Writing the ethics board's decisions: nothing is written that whoever reads them would refuse."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from models.board import ALARM, CHARTER, PROMOTE, STREAM, VOTE, Board, moment, replayed
from models.chain import Entry
from models.charter import OPERATOR, Charter, read_charter
from models.decisions import Terms
from models.errors import FelsinaError
from models.record import canonical_json, write_atomic
from models.signing import PrivateKey, key_id
from models.stream import Clock, Stream, iso, utc_now

_BEHIND, _AHEAD = timedelta(minutes=5), timedelta(days=1)
"""How far a clock may be behind the entry before, and ahead of the disk that holds the stream."""


def begin_board(folder: Path, charter: Charter, key: PrivateKey, clock: Clock = utc_now) -> Path:
    """Found a board: open the stream of its decisions and write its charter, which makes it one.

    Args:
        folder: that holds no board; one whose founding was cut off before the charter is gone on
            with.
        charter: who decides.
        key: the operator's, which signs the first entry.
        clock: gives its time.

    Returns:
        The charter's file.

    Raises:
        FelsinaError: if there is a board already, or the key is not the operator's.
    """
    path, begun = folder / CHARTER, folder / STREAM
    if charter.who(key_id(key.public_key()))[0] != OPERATOR:
        raise FelsinaError(f"the key is not that of {charter.operator.name}, who is the operator")
    if path.exists():
        raise FelsinaError(f"{path} exists; a board begins once, name another folder")
    if begun.is_file():
        stream = Stream(begun, key, clock, charter.keys)
        if stream.name != charter.stream or len(stream.entries) > 1:
            raise FelsinaError(
                f"{begun} is of another board; restore {path}, or name another folder"
            )
    else:
        Stream.create(begun, key, charter.stream, clock)
    write_atomic(path, canonical_json(charter.to_dict()))
    return path


class Register:
    """The board's stream, written with one person's key.

    Args:
        folder: of the board.
        key: the person's.
        clock: gives each entry's time.

    Raises:
        FelsinaError: if the key is a stranger's, or the stream is not what was written.
    """

    def __init__(self, folder: Path, key: PrivateKey, clock: Clock = utc_now) -> None:
        self.charter = read_charter(folder / CHARTER)
        self.key = key_id(key.public_key())
        self.role, self.name = self.charter.who(self.key)
        if not self.role:
            raise FelsinaError(
                f"key {self.key} is that of no member of {self.charter.name}, nor the operator's; "
                "name the key whose public half the charter holds"
            )
        self._stream = Stream(folder / STREAM, key, clock, self.charter.keys)
        self.read()

    def read(self) -> Board:
        """The decisions as they are now."""
        with self._stream.held() as entries:
            return replayed(self.charter, entries, str(self._stream.path))

    def vote(self, terms: Terms) -> Board:
        """Vote on a release."""
        return self._write(VOTE, terms.to_dict() | {"member": self.name})

    def alarm(self, dataset: str, release: str, manifest_sha256: str, reason: str) -> Board:
        """Suspend a release at once, until the board votes anew; no clock stands against it."""
        of = {"dataset": dataset, "release": release, "manifest_sha256": manifest_sha256}
        return self._write(ALARM, of | {"reason": reason})

    def promote(
        self, dataset: str, release: str, manifest_sha256: str, decision: str, reason: str = ""
    ) -> Board:
        """Make a release the one to serve."""
        of = {"dataset": dataset, "release": release, "manifest_sha256": manifest_sha256}
        return self._write(PROMOTE, of | {"decision": decision, "reason": reason})

    def _write(self, kind: str, body: Mapping[str, Any]) -> Board:
        """Add an entry that fits; the decisions with it."""
        with self._stream.held() as entries:
            now, last = self._stream.now(), moment(entries[-1].time)
            disk = _disk_time(self._stream.path)
            if kind == ALARM:
                now = min(now, disk)
            elif last - now > _BEHIND:
                raise FelsinaError(
                    f"the clock says {iso(now)}, and entry {entries[-1].n} is of {iso(last)}; set "
                    "this machine's clock, or see who wrote that entry (alarms need no clock)"
                )
            elif now - disk > _AHEAD:
                raise FelsinaError(
                    f"the clock says {iso(now)}, and the disk of {self._stream.path} {iso(disk)}; "
                    "nothing was signed, set this machine's clock"
                )
            now = max(now, last)
            tried = Entry(len(entries), iso(now), kind, dict(body), "", self.key)
            if fault := self.read().take(tried):
                raise FelsinaError(f"nothing was signed: this {kind} {fault}")
            self._stream.append(kind, body, now)
            return self.read()


def _disk_time(path: Path) -> datetime:
    """What time it is where a file lies: of a share, by the clock of the machine that holds it.

    An entry from the future would make everyone else's clock look late.
    """
    os.utime(path)
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)
