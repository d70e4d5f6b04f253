"""Deletion that is one: by age, of replaced releases, and of nodes that must be forgotten.

Every deletion leaves a record of what went, why and by whom, in the same transaction, and no value.
Each queues first with the writers of its dataset, so that it misses nothing that they were writing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from models.contracts import FelsinaError
from serving import tables
from serving.alerts.held import PERSONAL, Held
from serving.cases import words_of
from serving.events.lease import Lease
from serving.events.log import EVENTS, EventLog
from serving.store import OBSERVED, Store

_PIECE = 20_000
"""Values deleted in one transaction, so that a writer waits for a moment only."""
_EVER = -(2**62)
"""Second before every time."""


@dataclass(frozen=True)
class Deletion:
    """The record of a deletion.

    Attributes:
        at: when.
        dataset: of which.
        what: kind of the rows, and of which nodes or up to when.
        rows: how many went.
        reason: a rule, or what was given.
        by: who ran it.
    """

    at: np.datetime64
    dataset: str
    what: str
    rows: int
    reason: str
    by: str


@dataclass(frozen=True)
class Eraser:
    """Deletes from a store.

    Args:
        store: held observations.
        by: who deletes, for the record.
    """

    store: Store
    by: str

    def older(self, dataset: str, kind: str, before: np.datetime64) -> int:
        """How many values of a kind are older than ``before``."""
        query = sa.select(sa.func.count()).select_from(tables.values).where(self._older(before))
        with self.store.engine.connect() as connection:
            _take_time(connection)
            numbers = self._numbers(connection, dataset, kind)
            return connection.execute(
                query.where(tables.values.c.column_id.in_(numbers))
            ).scalar_one()

    def drop_older(self, dataset: str, kind: str, before: np.datetime64, reason: str) -> int:
        """Delete the values that are older, in pieces; each is on record as soon as it is gone."""
        older = tables.values.c.column_id == tables.columns.c.id, self._older(before)
        with self.store.engine.connect() as connection:
            numbers = self._numbers(connection, dataset, kind)
            some = sa.select(tables.columns.c.id).where(
                tables.columns.c.id.in_(numbers), sa.exists().where(*older)
            )
            left = list(connection.execute(some).scalars())
        gone, record = 0, None
        while left:
            with self.store.changing(dataset) as connection:
                dropped = 0
                while left and dropped < _PIECE:
                    dropped += self._drop(connection, left[-1], before, _PIECE - dropped)
                    if dropped < _PIECE:
                        left.pop()
                if dropped:
                    what = f"{kind} values before {before}Z"
                    record = self._record(connection, dataset, what, dropped, reason, record)
                    self.store.remember(
                        connection, dataset, kind, _EVER, tables.seconds(before) - 1
                    )
                if kind == OBSERVED:
                    self._look_again(connection, dataset, before)
            gone += dropped
        return gone

    def _drop(
        self, connection: sa.Connection, number: int, before: np.datetime64, most: int
    ) -> int:
        """Delete the oldest values of a column, ``most`` at most."""
        own = tables.values.c.column_id == number
        oldest = sa.select(tables.values.c.time).where(own, self._older(before))
        oldest = oldest.order_by(tables.values.c.time).limit(most)
        statement = sa.delete(tables.values).where(own, tables.values.c.time.in_(oldest))
        return connection.execute(statement).rowcount

    def issues(
        self, dataset: str, serving: str | None = None, before: np.datetime64 | None = None
    ) -> sa.ColumnElement[bool]:
        """Which kept forecasts are meant: all of a dataset, or those issued ``before``.

        Where a release is ``serving``, all of the others, and its own issued ``before``.
        """
        with self.store.engine.connect() as connection:
            held = connection.execute(sa.select(tables.issues.c.release).distinct()).scalars()
            names = [name for name in held if name.rpartition("-")[0] == dataset]
        meant = tables.issues.c.release.in_(names)
        if serving is None and before is None:
            return meant
        old = tables.issues.c.issued < (_EVER if before is None else tables.seconds(before))
        return sa.and_(
            meant, old if serving is None else old | (tables.issues.c.release != serving)
        )

    def count_issues(self, meant: sa.ColumnElement[bool]) -> int:
        """How many kept forecasts are meant."""
        with self.store.engine.connect() as connection:
            query = sa.select(sa.func.count()).select_from(tables.issues).where(meant)
            return connection.execute(query).scalar_one()

    def drop_issues(self, dataset: str, meant: sa.ColumnElement[bool], reason: str) -> int:
        """Delete kept forecasts."""
        with self.store.engine.begin() as connection:
            self.store.queue(connection, dataset)
            gone = connection.execute(sa.delete(tables.issues).where(meant)).rowcount
            if gone:
                self._record(connection, dataset, "kept forecasts", gone, reason)
        return gone

    def alerts(self, dataset: str, before: np.datetime64) -> int:
        """How many alerts of a dataset ended ``before``."""
        held = Held(self.store.engine)
        with self.store.engine.connect() as connection:
            return held.count(connection, held.ended(dataset, tables.seconds(before)))

    def drop_alerts(self, dataset: str, before: np.datetime64, reason: str) -> int:
        """Delete alerts that ended ``before``, what was told of them and who acknowledged it."""
        held = Held(self.store.engine)
        with self.store.engine.begin() as connection:
            gone = held.delete(connection, held.ended(dataset, tables.seconds(before)))
            if gone:
                self._record(connection, dataset, f"alerts ended before {before}Z", gone, reason)
        return gone

    def words(self, dataset: str, before: np.datetime64) -> int:
        """How many texts of a dataset's cases are there that were answered ``before``."""
        query = sa.select(sa.func.count()).where(self._words(dataset, before))
        with self.store.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    def drop_words(self, dataset: str, before: np.datetime64, reason: str) -> int:
        """Delete what people wrote in cases that were answered ``before``; the cases stay."""
        with self.store.engine.begin() as connection:
            meant = sa.delete(tables.case_lines).where(self._words(dataset, before))
            gone = connection.execute(meant).rowcount
            if gone:
                what = f"words of cases answered before {before}Z"
                self._record(connection, dataset, what, gone, reason)
        return gone

    def _words(self, dataset: str, before: np.datetime64) -> sa.ColumnElement[bool]:
        answered = tables.cases.c.answered < tables.seconds(before)
        return words_of((tables.cases.c.dataset == dataset) & answered)

    def forget(self, dataset: str, nodes: list[str], reason: str) -> int:
        """Delete all that is held of nodes, and every kept forecast of the dataset.

        A kept forecast is one block of all nodes; bands learn again from what is still held. The
        database is then rewritten, so that nothing of it stays in its files; where that did not
        work out, the same again does only that.

        Returns:
            How many values, forecasts, alerts and events went.

        Raises:
            FelsinaError: if nothing of a node is held, or the database cannot be rewritten.
        """
        engine = self.store.engine
        held, events, lease = Held(engine), EventLog(engine), Lease(engine, "alerts")
        what = f"all of nodes {', '.join(sorted(set(nodes)))}, and the dataset's kept forecasts"
        gone = 0
        with self.store.changing(dataset) as connection:
            _take_time(connection)
            of = self._nodes(connection, dataset)
            unknown = set(nodes) - set(of.values()) - held.nodes(connection, dataset)
            again = unknown == set(nodes) and self._recorded(connection, dataset, what)
            if unknown and not again:
                raise FelsinaError(
                    f"nothing of node {', '.join(sorted(unknown))} is held for {dataset}; nothing "
                    "was deleted"
                )
            if not again:
                lease.queue(connection)  # with the engine of alerts, which may be writing of them
                gone = held.delete(connection, held.of_nodes(dataset, nodes))
                gone += events.delete_alerts(connection, dataset, nodes)
                gone += self._drop_columns(connection, [n for n in of if of[n] in nodes])
                meant = self.issues(dataset)
                gone += connection.execute(sa.delete(tables.issues).where(meant)).rowcount
                self._look_again(connection, dataset)
                self._record(connection, dataset, what, gone, reason)
        self.rewrite()
        return gone

    def _drop_columns(self, connection: sa.Connection, numbers: list[int]) -> int:
        """Delete columns; how many values went with them."""
        values = sa.delete(tables.values).where(tables.values.c.column_id.in_(numbers))
        gone = connection.execute(values).rowcount
        connection.execute(sa.delete(tables.columns).where(tables.columns.c.id.in_(numbers)))
        return gone

    def rewrite(self) -> None:
        """Write the database anew, without what was deleted; writers wait meanwhile.

        Raises:
            FelsinaError: if somebody who reads or writes is in the way for too long.
        """
        engine = self.store.engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                if engine.dialect.name == "sqlite":
                    connection.exec_driver_sql("VACUUM")
                    done = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                    reason = "a reader" if done.scalar() else ""
                else:
                    reason = ""
                    _rewrite_tables(connection)
        except OperationalError as error:
            reason = " ".join(str(error.orig).split())
        if reason:
            raise FelsinaError(
                "the rows are deleted, but the database's files still hold them: something is in "
                f"the way ({reason}); give the same command again when it has ended"
            )

    def deletions(self) -> list[Deletion]:
        """Every record, the newest first."""
        query = sa.select(*list(tables.deletions.c)[1:]).order_by(tables.deletions.c.id.desc())
        with self.store.engine.connect() as connection:
            rows = connection.execute(query).mappings().fetchall()
        return [Deletion(**{**row, "at": np.datetime64(row["at"], "s")}) for row in rows]

    def claim(self, chore: str, every: int) -> bool:
        """Whether this process shall do a chore that is due each ``every`` seconds."""
        moment = _now()
        insert = self.store.insert(tables.chores).values(name=chore, at=moment)
        upsert = insert.on_conflict_do_update(
            index_elements=["name"], set_={"at": moment}, where=tables.chores.c.at <= moment - every
        )
        with self.store.engine.begin() as connection:
            return connection.execute(upsert.returning(tables.chores.c.name)).first() is not None

    def _numbers(self, connection: sa.Connection, dataset: str, kind: str) -> list[int]:
        return list(self.store.ids(connection, dataset, kind, ()).values())

    def _nodes(self, connection: sa.Connection, dataset: str) -> dict[int, str]:
        """Number of each column to its node: of a forcing what follows the first ``@``."""
        query = sa.select(tables.columns).where(tables.columns.c.dataset == dataset)
        rows = connection.execute(query).fetchall()
        return {
            row.id: row.name if row.kind == OBSERVED else row.name.partition("@")[2]
            for row in rows
            if row.kind == OBSERVED or "@" in row.name
        }

    def _older(self, before: np.datetime64) -> sa.ColumnElement[bool]:
        return tables.values.c.time < tables.seconds(before)

    def _look_again(
        self, connection: sa.Connection, dataset: str, before: np.datetime64 | None = None
    ) -> None:
        """Find the latest observation anew; with ``before`` only where it was one of those."""
        mine = tables.revisions.c.dataset == dataset
        if before is not None:
            held = connection.execute(sa.select(tables.revisions.c.latest).where(mine)).scalar()
            if held is None or held >= tables.seconds(before):
                return
        ids = self._numbers(connection, dataset, OBSERVED)
        last = sa.select(sa.func.max(tables.values.c.time)).where(
            tables.values.c.column_id.in_(ids), tables.values.c.value.is_not(None)
        )
        latest = connection.execute(last).scalar()
        connection.execute(sa.update(tables.revisions).where(mine).values(latest=latest))

    def _recorded(self, connection: sa.Connection, dataset: str, what: str) -> bool:
        """Whether the same was deleted before."""
        same = (tables.deletions.c.dataset == dataset) & (tables.deletions.c.what == what)
        return connection.execute(sa.select(tables.deletions.c.id).where(same)).first() is not None

    def _record(
        self,
        connection: sa.Connection,
        dataset: str,
        what: str,
        rows: int,
        reason: str,
        number: int | None = None,
    ) -> int:
        """Keep a record, or add to the one with a ``number``; its number."""
        if number is None:
            record: dict[str, Any] = {"at": _now(), "dataset": dataset, "what": what, "rows": rows}
            insert = sa.insert(tables.deletions).returning(tables.deletions.c.id)
            return connection.execute(
                insert, record | {"reason": reason, "by": self.by}
            ).scalar_one()
        counted = sa.update(tables.deletions).where(tables.deletions.c.id == number)
        connection.execute(counted.values(rows=tables.deletions.c.rows + rows))
        return number


def _take_time(connection: sa.Connection) -> None:
    """Let statements of a transaction take as long as they need, on PostgreSQL."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _rewrite_tables(connection: sa.Connection) -> None:
    """Write the tables of PostgreSQL anew, however long it takes."""
    connection.exec_driver_sql("SET statement_timeout = 0")
    try:
        held = (tables.values, tables.columns, tables.issues)
        for name in (*(table.name for table in held), *PERSONAL, EVENTS):
            connection.execute(sa.text(f'VACUUM FULL "{name}"'))
    finally:
        connection.exec_driver_sql("RESET statement_timeout")


def _now() -> int:
    return tables.seconds(np.datetime64("now", "s"))
