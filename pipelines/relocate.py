"""A home folder that was moved or copied finds the files of its runs again.

MLflow's database holds where each run's files lie as absolute paths, and a client that looks in
the wrong folder is told of none. Here every path under the old home becomes one under the new.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from models.contracts import FelsinaError
from pipelines.settings import held
from training.tracking import EXPERIMENT

_PATHS = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
"""Columns of MLflow's database that hold paths."""
_ARTIFACTS = "artifacts"


@dataclass(frozen=True)
class Relocation:
    """What a relocation changes, or has changed.

    Attributes:
        old: the home folder whose paths are in the database.
        new: where it lies.
        rows: how many paths of each table are under ``old``.
    """

    old: Path
    new: Path
    rows: dict[str, int]


def relocate(home: Path, apply: bool) -> Relocation:
    """Rewrite the paths in ``mlflow.db`` in one transaction; only count them without ``apply``.

    Raises:
        FelsinaError: if there is no database, a process has it open, or runs' files are not here
            but still at the old place.
    """
    database = home / "mlflow.db"
    if not database.is_file():
        raise FelsinaError(f"{database} is missing; set FELSINA_HOME to the folder that was moved")
    if users := _users(database):
        raise FelsinaError(
            f"{database} is open in process {', '.join(map(str, users))}; end it, and run again"
        )
    connected = closing(sqlite3.connect(database, timeout=1, isolation_level=None))
    with held(home / ".mlflow.lock"), connected as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
            old = _old(connection, database)
            rows = {} if old == home else _rewritten(connection, old, home)
        except sqlite3.OperationalError as error:
            raise FelsinaError(f"{database}: {error}; end what uses it, and run again") from error
        connection.execute("COMMIT" if apply else "ROLLBACK")
    return Relocation(old, home, rows)


def _old(connection: sqlite3.Connection, database: Path) -> Path:
    """The home folder that the experiment's files were in."""
    query = "SELECT artifact_location FROM experiments WHERE name = ?"
    found = connection.execute(query, (EXPERIMENT,)).fetchone()
    if found is None or not found[0].startswith("file:///"):
        raise FelsinaError(
            f"{database} holds no runs of Felsina with files in a folder; nothing can be relocated"
        )
    return Path(unquote(found[0].removeprefix("file://"))).parent


def _rewritten(connection: sqlite3.Connection, old: Path, new: Path) -> dict[str, int]:
    """Rewrite each table's paths, in both spellings; the number of rows by table."""
    rows = {}
    for table, column in _PATHS.items():
        rows[table] = 0
        for before, after in ((old.as_uri(), new.as_uri()), (str(old), str(new))):
            _refuse_left_behind(connection, table, column, before, old, new)
            changed = connection.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE substr({column}, 1, ?) = ?",
                (after, len(before) + 1, len(before) + 1, f"{before}/"),
            )
            rows[table] += changed.rowcount
    return rows


def _refuse_left_behind(
    connection: sqlite3.Connection, table: str, column: str, before: str, old: Path, new: Path
) -> None:
    query = f"SELECT {column} FROM {table} WHERE substr({column}, 1, ?) = ?"
    for (path,) in connection.execute(query, (len(before) + 1, f"{before}/")):
        part = unquote(path[len(before) + 1 :])
        if (old / part).exists() and not (new / part).exists():
            raise FelsinaError(
                f"{old / part} is not at {new / part}; bring the whole of {old / _ARTIFACTS} there"
            )


def _users(database: Path) -> list[int]:
    """Processes that have a file open, as far as Linux tells this user."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if link.samefile(database):
                found.add(int(link.parts[2]))
        except OSError:
            continue
    return sorted(found - {os.getpid()})
