"""One process of several at a time has the right to do something."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from models.contracts import FelsinaError
from serving import tables

LEASE_SECONDS = 15
"""For so long nobody goes on after the one who had the lease was killed."""

_leases = sa.Table(
    "leases",
    tables.metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("holder", sa.String, nullable=False),
    sa.Column("until", sa.Float(53), nullable=False),
)


class LeaseLost(FelsinaError):
    """Another process has taken over."""


class Lease:
    """The right to evaluate: one process has it, the others wait until it lets it run out.

    It is kept in the database, so clocks of machines that share one may differ by a few seconds
    and no more.

    Args:
        engine: of the store.
        name: what of.
        seconds: how long it lasts without renewal.
    """

    def __init__(self, engine: sa.Engine, name: str, seconds: float = LEASE_SECONDS) -> None:
        self.engine, self.name, self.seconds = engine, name, seconds
        tables.create(engine)
        self.holder = secrets.token_hex(8)
        self._until = 0.0

    def acquire(self) -> bool:
        """Take or renew it; whether this process has it now."""
        if self._until - time.time() > self.seconds / 2:
            return True
        if self._taken():
            self._until = 0.0
            return False
        with self.engine.begin() as connection:
            taken = self._renew(connection, others=True)
        if not taken:
            row = {"name": self.name, "holder": self.holder, "until": time.time() + self.seconds}
            try:
                with self.engine.begin() as connection:
                    connection.execute(_leases.insert().values(**row))
                taken = True
            except IntegrityError:
                taken = False  # somebody has it
        self._until = time.time() + self.seconds if taken else 0.0
        return taken

    @property
    def held(self) -> bool:
        """Whether this process has it, as far as it knows."""
        return self._until > time.time()

    def release(self) -> None:
        """Give it back, so that another need not wait."""
        self._until = 0.0
        with self.engine.begin() as connection:
            connection.execute(sa.delete(_leases).where(self._mine))

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A transaction that commits only while this process has the lease.

        Renewing it is the first statement: it locks the row, and on sqlite the file, so that what
        is read after it is what is written over.

        Raises:
            LeaseLost: if another process has it.
        """
        with self.engine.begin() as connection:
            if not self._renew(connection, others=False):
                self._until = 0.0
                raise LeaseLost(f"another process has taken over {self.name}")
            yield connection

    def queue(self, connection: sa.Connection) -> None:
        """Wait for the transaction of whoever has it, and hold up the next until this one ends."""
        mine = sa.update(_leases).where(_leases.c.name == self.name)
        connection.execute(mine.values(until=_leases.c.until))

    def _taken(self) -> bool:
        """Whether another has it; asked first, since to read is cheaper than to try to write."""
        query = sa.select(_leases.c.holder, _leases.c.until).where(_leases.c.name == self.name)
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
        return row is not None and row.holder != self.holder and row.until >= time.time()

    @property
    def _mine(self) -> sa.ColumnElement[bool]:
        return (_leases.c.name == self.name) & (_leases.c.holder == self.holder)

    def _renew(self, connection: sa.Connection, others: bool) -> bool:
        now = time.time()
        may = _leases.c.holder == self.holder
        if others:
            may |= _leases.c.until < now
        update = sa.update(_leases).where(_leases.c.name == self.name, may)
        values = {"holder": self.holder, "until": now + self.seconds}
        return bool(connection.execute(update.values(**values)).rowcount)
