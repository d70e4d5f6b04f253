"""A chain of signed entries, read and verified: edits, cuts and swaps show.

Each line of a stream is the canonical JSON of one entry: ``n`` counts from 0, ``previous`` is the
SHA-256 of the line before it without its newline (64 zeros at first), ``key`` and ``signature`` are
those of a signed record. Entry 0 has kind ``open`` and names the stream. A chain alone cannot show
that its end was cut; a **head**, the signed record {stream, n, sha256 of line n, time}, can. The
head beside the file is the city's own; one that a partner keeps is a **receipt**, and shows it also
when the whole chain was written anew and signed again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from models.errors import FelsinaError
from models.record import canonical_json, sha256_bytes
from models.signing import PublicKey, key_ring, signature_fault

OPEN = "open"
"""Kind of entry 0."""
HEAD_SUFFIX = ".head"
FIRST = "0" * 64
_MEMBERS = {"n", "time", "kind", "body", "previous", "key", "signature"}
_HEAD_MEMBERS = {"stream", "n", "sha256", "time", "key", "signature"}
_BEGINS = b'{"body":'


@dataclass(frozen=True)
class Entry:
    """One verified entry.

    Attributes:
        n: its place, from 0.
        time: when the writer's clock says it was written, UTC in ISO 8601.
        kind: what it says.
        body: what it says of it.
        sha256: of its line.
        key: id of the key that signed it.
    """

    n: int
    time: str
    kind: str
    body: dict[str, Any]
    sha256: str
    key: str


class Chain:
    """Verifies entries one after the other, and remembers them.

    Args:
        name: what errors call the file.
        keys: who may sign.
    """

    def __init__(self, name: str, keys: PublicKey | Iterable[PublicKey]) -> None:
        self.name = name
        self.ring = key_ring(keys)
        self.entries: list[Entry] = []

    @property
    def stream(self) -> str:
        """Name of the stream, from entry 0."""
        return self.entries[0].body["stream"]

    @property
    def last(self) -> str:
        """What the next entry's ``previous`` is."""
        return self.entries[-1].sha256 if self.entries else FIRST

    def add(self, line: bytes, later: Iterable[bytes] = ()) -> Entry:
        """Verify the next line, without its newline.

        Args:
            line: the entry.
            later: the lines after it, which tell a swap from a cut.

        Raises:
            FelsinaError: naming the entry and what was done to it.
        """
        n = len(self.entries)
        record = _parsed(line)
        if record is None:
            unsigned = _object(line)
            fault = "has no signature" if unsigned and "signature" not in unsigned else ""
            raise self._wrong(n, fault or "was edited: its line is not the canonical JSON of one")
        if fault := signature_fault(record, self.ring):
            raise self._wrong(n, fault)
        if record["n"] != n:
            numbers = {parsed["n"] for other in later if (parsed := _parsed(other))}
            what = "was moved or doubled" if n in numbers or record["n"] < n else "was cut out"
            raise self._wrong(n, f"{what}: entry {record['n']} stands in its place")
        if record["previous"] != self.last:
            before = f"entry {n - 1} was replaced" if n else "an entry before it was cut"
            raise self._wrong(n, f"follows another entry than entry {n - 1} here; {before}")
        body = record["body"]
        if n == 0 and (record["kind"] != OPEN or not isinstance(body.get("stream"), str)):
            raise self._wrong(n, "does not name the stream; this is not the beginning of one")
        entry = Entry(n, record["time"], record["kind"], body, sha256_bytes(line), record["key"])
        self.entries.append(entry)
        return entry

    def check_head(self, head: Any, what: str) -> None:
        """Hold the chain to a signed head.

        Args:
            head: the record, as parsed JSON.
            what: what errors call it, such as a receipt's file.

        Raises:
            FelsinaError: naming the entry that was cut or rewritten since the head was signed.
        """
        if not isinstance(head, dict) or set(head) | {"signature"} != _HEAD_MEMBERS:
            raise FelsinaError(f"{what}: not a signed head of a stream; name a receipt")
        if fault := signature_fault(head, self.ring):
            raise FelsinaError(f"{what}: the head {fault}; ask for the original")
        if self.entries and head["stream"] != self.stream:
            raise FelsinaError(
                f"{what}: of stream {head['stream']!r}, and {self.name} is {self.stream!r}; "
                "name a receipt of this stream"
            )
        n, held = head["n"], len(self.entries)
        if n >= held:
            raise FelsinaError(
                f"{self.name}: entry {held} is missing: {what} of {head['time']} vouches for "
                f"entries 0 to {n}, the file holds {held}; its end was cut, ask for the original"
            )
        if head["sha256"] != self.entries[n].sha256:
            raise FelsinaError(
                f"{self.name}: entry {n} is not the one that {what} of {head['time']} vouches for; "
                f"the stream was rewritten at entry {n} or before it, ask for the original"
            )

    def _wrong(self, n: int, what: str) -> FelsinaError:
        return FelsinaError(f"{self.name}: entry {n} {what} (line {n + 1}); ask for the original")


def verify(
    path: Path,
    keys: PublicKey | Iterable[PublicKey],
    receipts: Iterable[Path | Mapping[str, Any]] = (),
) -> list[Entry]:
    """Verify a stream: every signature, the chain, its head and whatever receipts are given.

    A line without its newline at the end was being written when the writer was killed. It was not
    acknowledged to anyone, no head vouches for it, and it is left out.

    Args:
        path: the file; its head is beside it, and may be absent if there is a receipt.
        keys: who may sign.
        receipts: heads that were kept elsewhere, as files or records.

    Returns:
        Its entries, in order.

    Raises:
        FelsinaError: in one line, the entry that was edited, cut, moved or not signed.
    """
    kept = [(_named(r), r if isinstance(r, Mapping) else read_head(r)) for r in receipts]
    beside = head_path(path)
    if beside.is_file():  # read before the lines: a writer at work only adds to them
        kept.append((str(beside), read_head(beside)))
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a stream of records")
    if not kept:
        raise FelsinaError(f"{beside} is missing; without it, or a receipt, a cut would not show")
    chain = Chain(str(path), keys)
    lines, _ = split_lines(path.read_bytes())
    for at, line in enumerate(lines):
        chain.add(line, islice(lines, at + 1, None))
    for name, head in kept:
        chain.check_head(head, name)
    return chain.entries


def head_path(path: Path) -> Path:
    """The head beside a stream."""
    return path.with_name(path.name + HEAD_SUFFIX)


def read_head(path: Path) -> Any:
    """A head or a receipt, not yet verified."""
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name a receipt")
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise FelsinaError(f"{path}: not a signed head of a stream; name a receipt") from error


def split_lines(content: bytes) -> tuple[list[bytes], bytes]:
    """Whole lines without their newlines, and what stands after the last newline."""
    *lines, torn = content.split(b"\n")
    return lines, torn


def is_torn_entry(tail: bytes) -> bool:
    """Whether bytes without a newline can be an entry that a crash cut short."""
    written = tail.rstrip(b"\0")[: len(_BEGINS)]
    return _BEGINS.startswith(written)


def _named(receipt: Path | Mapping[str, Any]) -> str:
    return str(receipt) if isinstance(receipt, Path) else "the receipt"


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _parsed(line: bytes) -> dict[str, Any] | None:
    """The entry in a line, or None where the line is not exactly one."""
    record = _object(line)
    if record is None or set(record) != _MEMBERS or type(record["n"]) is not int:
        return None
    texts = ("time", "kind", "previous", "key", "signature")
    if not isinstance(record["body"], dict) or not all(isinstance(record[t], str) for t in texts):
        return None
    try:
        return record if canonical_json(record) == line else None
    except (ValueError, RecursionError):
        return None
