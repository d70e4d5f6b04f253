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
    ``POLL_SECONDS``, and at once after a write of this process; who cannot wait for them reads what
    was ``known`` last.

    Args:
        engine: of the database.
        table: has the columns dataset, revision and latest.
    """

    def __init__(self, engine: sa.Engine, table: sa.Table) -> None:
        self._engine = engine
        self._query = sa.select(table.c.dataset, table.c.revision, table.c.latest)
        self._asking, self._lock = threading.Lock(), threading.Lock()
        self._states: dict[str, State] = {}
        self._read = -POLL_SECONDS
        self._written = 0
        self._version: int | None = None
        self._watch = None
        if engine.dialect.name == "sqlite":
            self._watch = engine.raw_connection()
            self._watch.detach()  # out of the pool: nobody else may commit on it, or use it up
            self._text = str(self._query.compile(engine))

    def states(self) -> dict[str, State]:
        """Dataset to its state; not to be changed."""
        if self._watch is not None:
            return self._watched()
        if self.due():
            with self._asking:
                if self.due():
                    self._ask()
        return self._states

    def known(self) -> dict[str, State]:
        """``states``, but never waiting for a server: as they were read last."""
        return self._states if self._watch is None else self._watched()

    def due(self) -> bool:
        """Whether ``states`` would have to ask a server, or wait for its answer."""
        return self._watch is None and time.monotonic() - self._read >= POLL_SECONDS

    def forget(self) -> None:
        """This process has written."""
        with self._lock:
            self._version, self._read = None, -POLL_SECONDS
            self._written += 1

    def _ask(self) -> None:
        began, written = time.monotonic(), self._written
        with self._engine.connect() as connection:
            rows = connection.execute(self._query).fetchall()
        with self._lock:
            self._states = {name: (revision, latest) for name, revision, latest in rows}
            if written == self._written:  # else the answer may be of before that write
                self._read = began

    def _watched(self) -> dict[str, State]:
        assert self._watch is not None
        with self._lock:
            cursor = self._watch.cursor()
            try:
                version = cursor.execute("PRAGMA data_version").fetchone()[0]
                if version != self._version:
                    rows = cursor.execute(self._text).fetchall()
                    self._states = {name: (revision, latest) for name, revision, latest in rows}
                    self._version = version
            finally:
                cursor.close()
            return self._states
