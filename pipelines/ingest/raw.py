"""Raw files as they were fetched, and the manifest that says whence: ``DATASET/raw/``.

A version of a document is a file named by its digest, and a line of ``manifest.jsonl``; the last
line of a key is what is read. Earlier versions stay as evidence of what was published before; they
may be deleted.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_file, write_atomic
from pipelines.ingest.fetching import Fetched

RAW, MANIFEST = "raw", "manifest.jsonl"


@dataclass(frozen=True)
class Held:
    """One version of a document.

    Attributes:
        source: name of the source.
        key: which of its documents, such as ``2024-03``.
        file: path under ``raw/``.
        url: where it came from.
        sha256: of its bytes.
        size: bytes.
        fetched: UTC, as ISO text.
        etag: the server's validator, or empty.
        last_modified: the same by time.
        licence: under which the publisher gives it.
        attribution: whom to name.
    """

    source: str
    key: str
    file: str
    url: str
    sha256: str
    size: int
    fetched: str
    etag: str
    last_modified: str
    licence: str
    attribution: str


class Raw:
    """The raw files of a dataset folder."""

    def __init__(self, dataset: Path) -> None:
        self.folder = dataset / RAW
        self._lines = self._read()

    def held(self, source: str) -> dict[str, Held]:
        """The last version of each document of a source, by key in order."""
        found = {held.key: held for held in self._lines if held.source == source}
        return dict(sorted(found.items()))

    def sources(self) -> list[str]:
        """Names of the sources that anything is held of."""
        return sorted({held.source for held in self._lines})

    def sweep(self) -> None:
        """Remove what killed writers of the manifest left; whoever calls holds the lock."""
        for left in self.folder.glob(".*.json*.*"):
            left.unlink(missing_ok=True)

    def path(self, held: Held) -> Path:
        """Where a version lies; one that was changed since is refused."""
        path = self.folder / held.file
        if not path.is_file() or path.stat().st_size != held.size:
            raise FelsinaError(
                f"{path}: not what was fetched ({held.size} bytes, sha256 {held.sha256[:12]}); "
                f"take its lines out of {self.folder / MANIFEST} and ingest again"
            )
        return path

    def part(self, source: str, key: str) -> Path:
        """Where a document is fetched to before it is whole."""
        part = self.folder / source / f".{key}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        return part

    def keep(
        self, source: str, key: str, url: str, fetched: Fetched, licence: str, attribution: str
    ) -> bool:
        """Make a whole body the last version of its document; whether its bytes are new."""
        digest = sha256_file(fetched.path)
        last = self.held(source).get(key)
        name = Path(url.partition("?")[0]).name
        suffix = "".join(Path(name).suffixes[-2:]) if "." in name else ""
        file = f"{source}/{key}-{digest[:12]}{suffix}"
        size = fetched.path.stat().st_size
        with fetched.path.open("rb") as stream:
            os.fsync(stream.fileno())
        fetched.path.replace(self.folder / file)
        held = Held(
            source=source,
            key=key,
            file=file,
            url=url,
            sha256=digest,
            size=size,
            fetched=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            etag=fetched.etag,
            last_modified=fetched.last_modified,
            licence=licence,
            attribution=attribution,
        )
        new = last is None or last.sha256 != digest
        if last is None or (last.sha256, last.etag, last.last_modified) != (
            digest,
            held.etag,
            held.last_modified,
        ):
            self._lines.append(held)
            lines = (canonical_json(asdict(line)) + b"\n" for line in self._lines)
            write_atomic(self.folder / MANIFEST, b"".join(lines))
        return new

    def _read(self) -> list[Held]:
        path = self.folder / MANIFEST
        if not path.exists():
            return []
        lines: list[Held] = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                lines.append(Held(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise FelsinaError(
                    f"{path}: line {number} is no entry of a raw file ({error}); delete that line "
                    "and ingest again"
                ) from error
        return lines
