"""Deletion that is one: by age, of replaced releases, and of nodes that must be forgotten.

Every deletion leaves a record of what went, why and by whom, in the same transaction, and no value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from models.contracts import FelsinaError
from serving import tables
from serving.store import OBSERVED, Store

_PIECE = 20_000
"""Values deleted in one transaction, so that a writer waits for a moment only."""


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
            numbers = self._numbers(connection, dataset, kind)
            return connection.execute(
                query.where(tables.values.c.column_id.in_(numbers))
            ).scalar_one()

    def drop_older(self, dataset: str, kind: str, before: np.datetime64, reason: str) -> int:
        """Delete the values that are older, in pieces."""
        with self.store.engine.connect() as connection:
            numbers = self._numbers(connection, dataset, kind)
        gone = 0
        for number in numbers:
            old = sa.and_(tables.values.c.column_id == number, self._older(before))
            piece = (
                sa.select(tables.values.c.time)
                .where(old)
                .order_by(tables.values.c.time)
                .limit(_PIECE)
            )
            statement = sa.delete(tables.values).where(
                tables.values.c.column_id == number, tables.values.c.time.in_(piece)
            )
            dropped = _PIECE
            while dropped == _PIECE:
                with self.store.engine.begin() as connection:
                    dropped = connection.execute(statement).rowcount
                gone += dropped
        if gone:
            with self.store.engine.begin() as connection:
                self._look_again(connection, dataset)
                self._record(connection, dataset, f"{kind} values before {before}Z", gone, reason)
            self.store.changed()
        return gone

    def issues(
        self, dataset: str, serving: str | None = None, before: np.datetime64 | None = None
    ) -> sa.ColumnElement[bool]:
        """Which kept forecasts are meant: all of a dataset.

        Where a release is ``serving``, but for those that it has issued since ``before``.
        """
        with self.store.engine.connect() as connection:
            held = connection.execute(sa.select(tables.issues.c.release).distinct()).scalars()
            names = [name for name in held if name.rpartition("-")[0] == dataset]
        meant = tables.issues.c.release.in_(names)
        if serving is None:
            return meant
        since = 0 if before is None else int(before.astype("datetime64[s]").astype(np.int64))
        return sa.and_(
            meant, (tables.issues.c.release != serving) | (tables.issues.c.issued < since)
        )

    def count_issues(self, meant: sa.ColumnElement[bool]) -> int:
        """How many kept forecasts are meant."""
        with self.store.engine.connect() as connection:
            query = sa.select(sa.func.count()).select_from(tables.issues).where(meant)
            return connection.execute(query).scalar_one()

    def drop_issues(self, dataset: str, meant: sa.ColumnElement[bool], reason: str) -> int:
        """Delete kept forecasts."""
        with self.store.engine.begin() as connection:
            gone = connection.execute(sa.delete(tables.issues).where(meant)).rowcount
            if gone:
                self._record(connection, dataset, "kept forecasts", gone, reason)
        return gone

    def forget(self, dataset: str, nodes: list[str], reason: str) -> int:
        """Delete all that is held of nodes, and every kept forecast of the dataset.

        A kept forecast is one block of all nodes; bands learn again from what is still held. The
        database is then rewritten, so that nothing of it stays in its files.

        Returns:
            How many values and forecasts went.

        Raises:
            FelsinaError: if nothing of a node is held.
        """
        meant = self.issues(dataset)
        with self.store.engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # a large deletion may take its time
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            held = connection.execute(
                sa.select(tables.columns.c.id, tables.columns.c.name).where(
                    tables.columns.c.dataset == dataset
                )
            ).fetchall()
            of = {row.id: row.name.rpartition("@")[2] for row in held}
            if unknown := sorted(set(nodes) - set(of.values())):
                raise FelsinaError(
                    f"nothing of node {', '.join(unknown)} is held for {dataset}; nothing was "
                    "deleted"
                )
            numbers = [number for number, node in of.items() if node in nodes]
            values = sa.delete(tables.values).where(tables.values.c.column_id.in_(numbers))
            gone = connection.execute(values).rowcount
            connection.execute(sa.delete(tables.columns).where(tables.columns.c.id.in_(numbers)))
            gone += connection.execute(sa.delete(tables.issues).where(meant)).rowcount
            self._look_again(connection, dataset)
            what = f"all of nodes {', '.join(sorted(nodes))}, and the dataset's kept forecasts"
            self._record(connection, dataset, what, gone, reason)
        self.store.changed()
        self.rewrite()
        return gone

    def rewrite(self) -> None:
        """Write the database anew, without what was deleted; writers wait meanwhile."""
        engine = self.store.engine.execution_options(isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("VACUUM")
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
            else:
                connection.detach()  # so that no other work inherits its patience
                connection.exec_driver_sql("SET statement_timeout = 0")
                for table in (tables.values, tables.columns, tables.issues):
                    connection.execute(sa.text(f'VACUUM FULL "{table.name}"'))

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

    def _older(self, before: np.datetime64) -> sa.ColumnElement[bool]:
        return tables.values.c.time < int(before.astype("datetime64[s]").astype(np.int64))

    def _look_again(self, connection: sa.Connection, dataset: str) -> None:
        """Find the latest observation anew, and raise the revision."""
        ids = self._numbers(connection, dataset, OBSERVED)
        last = sa.select(sa.func.max(tables.values.c.time)).where(
            tables.values.c.column_id.in_(ids), tables.values.c.value.is_not(None)
        )
        latest = connection.execute(last).scalar()
        connection.execute(
            sa.update(tables.revisions)
            .where(tables.revisions.c.dataset == dataset)
            .values(revision=tables.revisions.c.revision + 1, latest=latest)
        )

    def _record(
        self, connection: sa.Connection, dataset: str, what: str, rows: int, reason: str
    ) -> None:
        record: dict[str, Any] = {"at": _now(), "dataset": dataset, "what": what, "rows": rows}
        connection.execute(sa.insert(tables.deletions), record | {"reason": reason, "by": self.by})


def _now() -> int:
    return int(np.datetime64("now", "s").astype(np.int64))
