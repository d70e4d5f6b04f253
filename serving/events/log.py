"""What happened, in order, in the store's database: read by streams and webhooks of every worker.

A writer takes the next number under a lock that it holds until it commits, so that numbers become
visible in their order: a reader that has seen number n will never find a smaller one new.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from serving import tables

KINDS = ("forecast", "alert")
EVENTS = "events"
"""Name of their table."""
KEPT_SECONDS = 2 * 86400
"""Events are kept longer than a webhook is tried for, so that none is lost to one that is late."""

_events = sa.Table(
    EVENTS,
    tables.metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
_last = sa.Table(
    "events_last",
    tables.metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        id: its number; later ones are larger.
        at: seconds since 1970.
        kind: one of ``KINDS``.
        dataset: whose.
        data: JSON bytes on one line.
    """

    id: int
    at: int
    kind: str
    dataset: str
    data: bytes


class EventLog:
    """Events in a database.

    Args:
        engine: of the store.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        tables.create(engine)
        try:
            with engine.begin() as connection:
                if not connection.execute(sa.select(_last)).first():
                    connection.execute(_last.insert().values(id=0, number=0))
        except IntegrityError:
            pass  # another process was first

    def append(
        self, connection: sa.Connection, kind: str, dataset: str, data: dict[str, Any]
    ) -> None:
        """Write an event in a transaction that holds what it tells of as well."""
        counted = sa.update(_last).values(number=_last.c.number + 1).returning(_last.c.number)
        number = connection.execute(counted).scalar_one()
        row = {"id": number, "at": int(time.time()), "kind": kind, "dataset": dataset}
        connection.execute(_events.insert().values(**row, data=orjson.dumps(data)))

    def last(self) -> int:
        """Number of the latest event, 0 where there was none."""
        with self.engine.connect() as connection:
            return connection.execute(sa.select(_last.c.number)).scalar_one()

    def kept(self) -> tuple[int, int]:
        """Numbers of the first event that is kept, the next one where none is, and the latest."""
        with self.engine.connect() as connection:
            last = connection.execute(sa.select(_last.c.number)).scalar_one()
            first = connection.execute(sa.select(sa.func.min(_events.c.id))).scalar_one()
        return (last + 1 if first is None else first), last

    def after(
        self,
        number: int,
        most: int,
        kinds: Collection[str] = KINDS,
        datasets: Collection[str] | None = None,
    ) -> list[Event]:
        """Up to ``most`` kept events after a number, the oldest first."""
        query = sa.select(_events).where(_events.c.id > number, _events.c.kind.in_(kinds))
        if datasets is not None:
            query = query.where(_events.c.dataset.in_(datasets))
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(_events.c.id).limit(most)).fetchall()
        return [Event(*row) for row in rows]

    def prune(self) -> None:
        """Drop what is older than is kept; the numbers go on."""
        old = _events.c.at < int(time.time()) - KEPT_SECONDS
        with self.engine.begin() as connection:
            connection.execute(sa.delete(_events).where(old))

    def delete_alerts(
        self, connection: sa.Connection, dataset: str, names: Collection[str], key: str = "node"
    ) -> int:
        """Delete what tells of alerts at nodes, or of those of an ``id``; how many went."""
        query = sa.select(_events.c.id, _events.c.data).where(
            _events.c.kind == "alert", _events.c.dataset == dataset
        )
        rows = connection.execute(query).fetchall()
        meant = [row.id for row in rows if orjson.loads(row.data)[key] in names]
        return connection.execute(sa.delete(_events).where(_events.c.id.in_(meant))).rowcount
