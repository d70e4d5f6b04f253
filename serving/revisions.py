"""The revision of every dataset, so cheap to read that each request may ask."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa

State = tuple[int, int | None]
"""Revision of a dataset and the time of its latest observation, seconds since 1970."""
POLL_SECONDS = 1.0
"""How old the revisions may be that another process raised in a database other than sqlite."""


class Revisions:
    """Revisions as the database has them now.

    sqlite tells a connection in microseconds whether any other one has committed since
    (``PRAGMA data_version``, https://www.sqlite.org/pragma.html#pragma_data_version), so nothing
    that was acknowledged by any process is ever missed. Other databases are asked again after
    ``POLL_SECONDS``, and at once after a write of this process.

    Args:
        engine: of the database.
        table: has the columns dataset, revision and latest.
    """

    def __init__(self, engine: sa.Engine, table: sa.Table) -> None:
        self._engine = engine
        self._query = sa.select(table.c.dataset, table.c.revision, table.c.latest)
        self._lock = threading.Lock()
        self._states: dict[str, State] = {}
        self._version: int | None = None
        self._read = -POLL_SECONDS
        self._watch = None
        if engine.dialect.name == "sqlite":
            self._watch = engine.raw_connection()
            self._watch.detach()  # out of the pool: nobody else may commit on it

    def states(self) -> dict[str, State]:
        """Dataset to its state; not to be changed."""
        with self._lock:
            version = self._committed()
            if version is None or version != self._version:
                self._read = time.monotonic()
                with self._engine.connect() as connection:
                    rows = connection.execute(self._query)
                    self._states = {name: (revision, latest) for name, revision, latest in rows}
                self._version = version or 0
            return self._states

    def due(self) -> bool:
        """Whether ``states`` would have to ask a server, which may take milliseconds."""
        return self._watch is None and time.monotonic() - self._read >= POLL_SECONDS

    def forget(self) -> None:
        """This process has written."""
        with self._lock:
            self._version, self._read = None, -POLL_SECONDS

    def _committed(self) -> int | None:
        """A number that changes when anyone commits; None where it is time to look."""
        if self._watch is None:
            return None if self.due() else 0
        cursor = self._watch.cursor()
        try:
            return cursor.execute("PRAGMA data_version").fetchone()[0]
        finally:
            cursor.close()
