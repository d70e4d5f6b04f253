"""One archive of what cannot be made again: the store, releases, decisions, reports and ledger.

A backup is a tar file: ``home/`` holds parts of the home folder, ``store/`` one parquet file a
table, and ``backup.json`` the sha256 of each. Tables are read in one transaction, so they fit each
other; what lies in the home folder is only ever added to, so it holds all that the tables name.
Trained folders, runs and datasets are not in it: they can be made again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa

from models.chain import HEAD_SUFFIX
from models.contracts import FelsinaError
from models.record import canonical_json, sha256_file
from serving import tables
from serving.alerts import held
from serving.events import webhooks
from serving.gate import keys
from serving.release import INPUTS, load_release, releases
from serving.retention import RULES
from serving.store import Store
from serving.surrogate import load_surrogate

PARTS = ("releases", "champions", "board", "reports", "city", "partner", RULES)
"""Of a home folder, those that are there."""
FORMAT = 1
_RECORD = "backup.json"
_ROWS = 50_000
_PASSING = {"leases", "chores"}
"""Tables that are about running processes."""
_OWNERS = (held, keys, webhooks)
"""Modules whose tables stand in ``tables.metadata`` once they are imported."""
Progress = Callable[[float], None]


def backup(home: Path, store: Store, archive: Path, progress: Progress) -> dict[str, int]:
    """Write an archive, whole or not at all; a server may be running.

    Args:
        home: the ``mlruns`` folder.
        store: where observations are held.
        archive: a tar file that does not exist; only its owner may read it.
        progress: told the share that is done.

    Returns:
        How many rows, files and bytes are in it.

    Raises:
        FelsinaError: if the archive exists.
    """
    if archive.exists():
        raise FelsinaError(f"{archive} exists; a backup is never overwritten, name another file")
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{archive.name}.", dir=archive.parent) as made:
        rows = _dump(store.engine, Path(made) / "store", progress)
        files = {f"store/{p.name}": p for p in sorted((Path(made) / "store").iterdir())}
        files |= {f"home/{p.relative_to(home)}": p for p in _kept(home)}
        part = Path(made) / "part"
        part.touch(0o600)
        with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
            for done, (name, path) in enumerate(files.items()):
                tar.add(path, name)
                progress(0.5 + done / len(files) / 2)
        record = {"format": FORMAT, "files": _digests(part), "rows": rows}
        with tarfile.open(part, "a") as tar:
            _add(tar, _RECORD, canonical_json(record))
        with part.open("rb") as stream:
            os.fsync(stream.fileno())
        part.rename(archive)
    return {"rows": sum(rows.values()), "files": len(files), "bytes": archive.stat().st_size}


def restore(archive: Path, home: Path, place: str | Path, progress: Progress) -> dict[str, int]:
    """Bring an archive back, into a home folder and a store that are empty.

    Args:
        archive: made by ``backup``.
        home: does not exist, or is empty; it appears whole, by one rename.
        place: the store's; a path must lie in ``home``.
        progress: told the share that is done.

    Returns:
        How many rows, files and releases came back; every release was verified.

    Raises:
        FelsinaError: if the archive is damaged, or what is there is not empty.
    """
    if home.exists() and any(home.iterdir()):
        raise FelsinaError(f"{home} is not empty; move it away, or set FELSINA_HOME to another")
    own = isinstance(place, Path)
    if own and home not in place.parents:
        raise FelsinaError(f"{place} lies outside {home}; restore with FELSINA_STORE unset")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{home.name}.", dir=home.parent) as made:
        record = _unpacked(archive, Path(made))
        fresh = Path(made) / "home"
        fresh.mkdir(exist_ok=True)
        found = releases(fresh)
        for folder in found:
            (load_surrogate if (folder / INPUTS).is_file() else load_release)(folder)
        store = Store(fresh / place.relative_to(home) if own else place)
        rows = _load(store.engine, Path(made) / "store", record["rows"], progress)
        store.engine.dispose()
        fresh.rename(home)
    return {"rows": rows, "files": len(record["files"]), "releases": len(found)}


def _kept(home: Path) -> Iterator[Path]:
    """Files to keep: folders that are being written left out, heads before what they vouch for."""
    for part in (home / name for name in PARTS):
        found = [part] if part.is_file() else sorted(part.rglob("*"))
        for path in sorted(found, key=lambda p: p.suffix != HEAD_SUFFIX):
            hidden = any(name.startswith(".") for name in path.relative_to(home).parts)
            if path.is_file() and not hidden:
                yield path


def _dump(engine: sa.Engine, folder: Path, progress: Progress) -> dict[str, int]:
    """Write each table as a parquet file, all as they are at one moment; rows by table."""
    folder.mkdir()
    rows = {}
    with _snapshot(engine) as connection:
        there = set(sa.inspect(connection).get_table_names())
        wanted = [t for t in tables.metadata.sorted_tables if t.name not in _PASSING]
        for done, table in enumerate(wanted):
            if table.name not in there:
                continue
            schema, rows[table.name] = _schema(table), 0
            query = sa.select(table).order_by(*table.primary_key.columns)
            path = folder / f"{table.name}.parquet"
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                found = connection.execution_options(yield_per=_ROWS).execute(query)
                for part in found.partitions():
                    columns = zip(*part, strict=True)
                    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
                    writer.write_table(pa.table(arrays, schema))
                    rows[table.name] += len(part)
            progress(0.5 * (done + 1) / len(wanted))
    return rows


@contextmanager
def _snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that sees the database as it is at its begin."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN")
        else:
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        yield connection
        connection.rollback()


def _schema(table: sa.Table) -> pa.Schema:
    kinds = {sa.Integer: pa.int64(), sa.Float: pa.float64(), sa.LargeBinary: pa.binary()}

    def kind(column: sa.Column[Any]) -> pa.DataType:
        return next((a for s, a in kinds.items() if isinstance(column.type, s)), pa.string())

    return pa.schema([pa.field(column.name, kind(column)) for column in table.columns])


def _load(engine: sa.Engine, folder: Path, rows: dict[str, int], progress: Progress) -> int:
    """Fill the tables in one transaction."""
    tables.create(engine)
    total, done = max(1, sum(rows.values())), 0
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        for name in rows:
            table = tables.metadata.tables[name]
            if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
                raise FelsinaError(
                    f"the store {engine.url} holds rows in table {name}; name an empty database"
                )
            for batch in pq.ParquetFile(folder / f"{name}.parquet").iter_batches(_ROWS):
                _insert(connection, table, batch)
                done += batch.num_rows
                progress(done / total)
            _go_on_counting(connection, table)
    return done


def _insert(connection: sa.Connection, table: sa.Table, batch: pa.RecordBatch) -> None:
    if connection.dialect.name != "postgresql":
        connection.execute(sa.insert(table), batch.to_pylist())
        return
    columns = ", ".join(f'"{name}"' for name in batch.schema.names)
    raw: Any = connection.connection.cursor()
    with raw.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy:
        for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            copy.write_row(row)


def _go_on_counting(connection: sa.Connection, table: sa.Table) -> None:
    """Let PostgreSQL number new rows after those that came with their numbers."""
    column = table.autoincrement_column
    if connection.dialect.name != "postgresql" or column is None:
        return
    last = connection.execute(sa.select(sa.func.max(column))).scalar()
    if last is not None:
        sequence = sa.func.pg_get_serial_sequence(f'"{table.name}"', column.name)
        connection.execute(sa.select(sa.func.setval(sequence, last)))


def _unpacked(archive: Path, folder: Path) -> dict[str, Any]:
    """Unpack an archive and hold every file to its digest; its record."""
    if not archive.is_file():
        raise FelsinaError(f"{archive} is missing; name a file that felsina backup made")
    try:
        with tarfile.open(archive, "r:") as tar:
            tar.extractall(folder, filter="data")
        record = json.loads((folder / _RECORD).read_bytes())
        known = {f"{name}.parquet" for name in tables.metadata.tables}
        if record["format"] != FORMAT or not {f"{n}.parquet" for n in record["rows"]} <= known:
            raise FelsinaError(f"{archive}: of another version of Felsina; restore it with that")
    except (tarfile.TarError, OSError, ValueError, KeyError, EOFError) as error:
        raise FelsinaError(
            f"{archive}: not a whole backup ({type(error).__name__}: {error}); take another"
        ) from error
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {_RECORD}
    for name in sorted(there ^ set(record["files"])):
        raise FelsinaError(f"{archive}: {name} is missing, or not in its record; take another")
    for name, digest in record["files"].items():
        if sha256_file(folder / name) != digest:
            raise FelsinaError(f"{archive}: {name} was changed or is damaged; take another")
    return record


def _digests(archive: Path) -> dict[str, str]:
    """Of what was packed, which may be older than what a running process has added since."""
    found = {}
    with tarfile.open(archive) as tar:
        for entry in tar:
            stream: Any = tar.extractfile(entry)
            found[entry.name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return found


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
