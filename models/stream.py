"""Append-only records that cannot be rewritten unseen: budgets and decisions are streams of them.

An entry that :meth:`Stream.append` has returned is on disk and signed, and so is the head that
vouches for it. The file is only ever added to, under a lock, so that two processes may write; what
a killed process left unfinished at its end is cut by the next writer (:mod:`models.chain` has the
format).
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from models.chain import (
    OPEN,
    Chain,
    Entry,
    head_path,
    is_torn_entry,
    read_head,
    split_lines,
)
from models.errors import FelsinaError
from models.record import canonical_json, write_atomic
from models.signing import PrivateKey, PublicKey, public_hex, sign_record

FORMAT = 1
_WAIT, _AGAIN = 10.0, 0.02
"""Seconds that a writer waits for the others, and between two tries."""
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The machine's clock."""
    return datetime.now(UTC)


class Stream:
    """A stream that its owner writes, or several who trust each other's keys.

    Args:
        path: JSON Lines file, made by :meth:`create`.
        key: signs every entry and head written here.
        clock: gives each entry's time.
        others: whose entries and heads are believed besides.

    Raises:
        FelsinaError: if the file is missing, or does not verify.
    """

    def __init__(
        self,
        path: Path,
        key: PrivateKey,
        clock: Clock = utc_now,
        others: Iterable[PublicKey] = (),
    ) -> None:
        if not path.is_file():
            raise FelsinaError(f"{path} is missing; restore it, or create a stream")
        self.path, self._key, self._clock = path, key, clock
        self._chain = Chain(str(path), [key.public_key(), *others])
        self._end = 0
        self._descriptor = -1
        self._depth = 0
        self._thread = threading.RLock()
        with self.held():
            pass

    @classmethod
    def create(cls, path: Path, key: PrivateKey, stream: str, clock: Clock = utc_now) -> Stream:
        """Begin a stream.

        Args:
            path: a file that does not exist.
            key: signs every entry and head.
            stream: its name, which receipts carry.
            clock: gives each entry's time.

        Raises:
            FelsinaError: if there is a stream already, or what one left behind.
        """
        for taken in (path, head_path(path)):
            if taken.exists():
                raise FelsinaError(f"{taken} exists; a stream begins once, open it or name another")
        body = {"stream": stream, "format": FORMAT, "public_key": public_hex(key.public_key())}
        chain = Chain(str(path), key.public_key())
        line = _signed_line(chain, key, OPEN, body, clock())
        _begin(path, line + b"\n")
        chain.add(line)
        write_atomic(head_path(path), canonical_json(_head(chain, key, clock())))
        _keep_names(path.parent)
        return cls(path, key, clock)

    @property
    def name(self) -> str:
        """What receipts call the stream."""
        return self._chain.stream

    @property
    def entries(self) -> list[Entry]:
        """What was read so far; :meth:`held` reads what other writers added."""
        return self._chain.entries

    def now(self) -> datetime:
        """The stream's clock."""
        return self._clock()

    @contextmanager
    def held(self) -> Iterator[list[Entry]]:
        """Keep other writers out, having read what they wrote; may be nested.

        Yields:
            Every entry. What is decided on them holds until the block ends.

        Raises:
            FelsinaError: if the file was cut or rewritten, or others hold it for too long.
        """
        with self._thread:
            if not self._depth:
                self._descriptor = self._opened()
            try:
                if not self._depth:
                    self._lock()
                    self._catch_up()
                self._depth += 1
                try:
                    yield self._chain.entries
                finally:
                    self._depth -= 1
            finally:
                if not self._depth:
                    os.close(self._descriptor)

    def append(self, kind: str, body: Mapping[str, Any], time: datetime | None = None) -> Entry:
        """Add an entry; when this returns, entry and head are on disk.

        Args:
            kind: what it says.
            body: what it says of it.
            time: when the clock was read, where something was decided on it; else it is read now.

        Raises:
            FelsinaError: if the kind is ``open``, or the file was cut or rewritten.
            ValueError: if the body holds a number that is not finite.
        """
        if kind == OPEN:
            raise FelsinaError(f"{self.path}: kind {OPEN!r} begins a stream; use another")
        with self.held():
            line = _signed_line(self._chain, self._key, kind, body, time or self._clock())
            try:
                _write_all(self._descriptor, line + b"\n", self._end)
                os.fsync(self._descriptor)
            except OSError:
                os.ftruncate(self._descriptor, self._end)
                raise
            entry = self._chain.add(line)
            self._end += len(line) + 1
            self._write_head()
            return entry

    def head(self) -> dict[str, Any]:
        """A signed head for a partner to keep: the receipt of everything up to now."""
        with self.held():
            return _head(self._chain, self._key, self._clock())

    def _opened(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise FelsinaError(f"{self.path}: {error.strerror}; restore it, or its mode") from error

    def _lock(self) -> None:
        """Keep others out; whoever may read the file could hold it for good, so ask no longer."""
        end = time.monotonic() + _WAIT
        while True:
            try:
                return fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > end:
                    raise FelsinaError(
                        f"{self.path} is held since {_WAIT:g} seconds: by a felsina that writes "
                        "it, or a program that has it open (fuser -v names it); end that, try again"
                    ) from error
                time.sleep(_AGAIN)

    def _catch_up(self) -> None:
        """Read what was added since; cut an entry that nobody finished."""
        size = os.fstat(self._descriptor).st_size
        if size < self._end:
            raise FelsinaError(
                f"{self.path}: {size} bytes, {self._end} were read before; the file was cut, "
                "restore it"
            )
        added = _read_all(self._descriptor, size - self._end, self._end)
        lines, torn = split_lines(added)
        for at, line in enumerate(lines):
            self._chain.add(line, islice(lines, at + 1, None))
            self._end += len(line) + 1
        if not self.entries:
            raise FelsinaError(f"{self.path}: no entry; this is no stream, name another file")
        beside = head_path(self.path)
        if beside.is_file():
            self._chain.check_head(read_head(beside), str(beside))
        elif len(self.entries) > 1:
            raise FelsinaError(f"{beside} is missing, so a cut would not show; restore it")
        else:
            self._write_head()
        if torn:
            if not is_torn_entry(torn):
                raise FelsinaError(
                    f"{self.path}: entry {len(self.entries)} was edited: what stands after the "
                    "last line is no unfinished entry; restore the file"
                )
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)

    def _write_head(self) -> None:
        head = _head(self._chain, self._key, self._clock())
        write_atomic(head_path(self.path), canonical_json(head))


def iso(time: datetime) -> str:
    """A time as entries have it: UTC, to the millisecond."""
    if time.tzinfo is None:
        raise FelsinaError(f"the clock says {time} without a time zone; give it one")
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _signed_line(
    chain: Chain, key: PrivateKey, kind: str, body: Mapping[str, Any], time: datetime
) -> bytes:
    record = {
        "n": len(chain.entries),
        "time": iso(time),
        "kind": kind,
        "body": dict(body),
        "previous": chain.last,
    }
    return canonical_json(sign_record(record, key))


def _head(chain: Chain, key: PrivateKey, time: datetime) -> dict[str, Any]:
    n = len(chain.entries) - 1
    record = {"stream": chain.stream, "n": n, "sha256": chain.last, "time": iso(time)}
    return sign_record(record, key)


def _write_all(descriptor: int, content: bytes, at: int) -> None:
    """Write at an offset, in as many pieces as the system takes."""
    while content:
        written = os.pwrite(descriptor, content, at)
        content, at = content[written:], at + written


def _read_all(descriptor: int, size: int, at: int) -> bytes:
    """Read from an offset, in as many pieces as the system gives."""
    pieces = []
    while size and (piece := os.pread(descriptor, size, at)):
        pieces.append(piece)
        size, at = size - len(piece), at + len(piece)
    return b"".join(pieces)


def _begin(path: Path, content: bytes) -> None:
    """Write a file that did not exist: whole, durable, and only one of two who try at once."""
    part = path.with_name(f".{path.name}.{os.getpid()}.begin")
    try:
        write_atomic(part, content)
        path.hardlink_to(part)
    except FileExistsError as error:
        raise FelsinaError(
            f"{path} exists; a stream begins once, open it or name another"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _keep_names(folder: Path) -> None:
    """Make new file names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
