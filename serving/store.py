"""Observations and forcings that the server holds, in sqlite (WAL mode) or PostgreSQL.

A row is one value of one column (a node or a forcing) at one time. Writes are idempotent upserts;
each that changes a value raises the dataset's revision, by which cached forecasts know that they
are out of date.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.event import listen
from sqlalchemy.exc import ArgumentError, DBAPIError

from models.contracts import FelsinaError, FloatArray
from serving import tables
from serving.revisions import Revisions, State

OBSERVED, FORCED = "observed", "forced"
_PIECE = 20_000
_COUNT = {"preserve_rowcount": True}
_REMEMBERED = 4096
"""Revisions of a dataset whose changes are remembered."""
_PATIENCE = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=60s",
}
"""How long PostgreSQL, its host and an answer of it are waited for, where the URL says no more."""


class Store:
    """Held observations and forcings, by dataset, and the forecasts that were issued, by release.

    Args:
        place: path of an sqlite file, or a URL such as ``postgresql://user@host/felsina``.

    Raises:
        FelsinaError: if the URL is of a database that Felsina does not keep to, or its driver is
            not installed.
    """

    def __init__(self, place: str | Path) -> None:
        self.engine = _engine(str(place))
        if self.engine.dialect.name == "sqlite":
            listen(self.engine, "connect", _write_ahead)
        try:
            tables.create(self.engine)
        except DBAPIError as error:
            reason = " ".join(str(error.orig).split())
            raise FelsinaError(f"the store {self.engine.url} cannot be opened: {reason}") from error
        self._states = Revisions(self.engine, tables.revisions)

    def write(
        self,
        dataset: str,
        kind: str,
        times: NDArray[np.datetime64],
        names: list[str],
        table: FloatArray,
        issued_at: np.datetime64 | None = None,
        replace: bool = True,
    ) -> int:
        """Upsert values.

        Args:
            dataset: name of the dataset.
            kind: ``OBSERVED`` or ``FORCED``.
            times: [S] UTC.
            names: columns: node ids, or forcings (``name`` or ``name@node``).
            table: [S, len(names)], NaN clears a value.
            issued_at: when the values were issued; an older issue never replaces a newer one.
            replace: whether a held value gives way; else only what is not held yet is written.

        Returns:
            How many values were given. They are on disk when this returns; where all of them were
            before, the revision stays.
        """
        seconds = times.astype("datetime64[s]").astype(np.int64).tolist()
        issued = 0 if issued_at is None else tables.seconds(issued_at)
        insert = self.insert(tables.values)
        given = insert.excluded
        upsert = insert.on_conflict_do_update(
            index_elements=["column_id", "time"],
            set_={"value": given.value, "issued_at": given.issued_at},
            where=(given.issued_at > tables.values.c.issued_at)
            | (given.issued_at == tables.values.c.issued_at)
            & given.value.is_distinct_from(tables.values.c.value),
        )
        if not replace:
            upsert = insert.on_conflict_do_nothing()
        some = ~np.isnan(table).all(axis=1)
        latest = max(np.array(seconds)[some].tolist(), default=None) if kind == OBSERVED else None
        changed = 0
        with self.changing(dataset, latest) as connection:
            ids = self.ids(connection, dataset, kind, names, create=True)
            for column, name in enumerate(names):
                cells = [None if np.isnan(v) else float(v) for v in table[:, column]]
                rows = [
                    {"column_id": ids[name], "time": t, "value": v, "issued_at": issued}
                    for t, v in zip(seconds, cells, strict=True)
                    if replace or v is not None
                ]
                for start in range(0, len(rows), _PIECE):
                    piece = rows[start : start + _PIECE]
                    changed += connection.execute(upsert, piece, execution_options=_COUNT).rowcount
            if changed:
                self.remember(connection, dataset, kind, min(seconds), max(seconds))
            else:
                connection.rollback()  # what is made of the values held stays good
        return table.size

    @contextmanager
    def changing(self, dataset: str, latest: int | None = None) -> Iterator[sa.Connection]:
        """A transaction that changes what is held of a dataset.

        It raises the revision first: there all who change a dataset queue, and what one of them
        reads after it is what the one before has left.
        """
        with self.engine.begin() as connection:
            self._revise(connection, dataset, latest)
            yield connection
        self.changed()

    def read(
        self, dataset: str, kind: str, names: list[str], start: np.datetime64, steps: int, step: int
    ) -> FloatArray:
        """Values [steps, len(names)] on a regular grid, NaN where none is held."""
        first = tables.seconds(start)
        table = np.full((steps, len(names)), np.nan)
        with self.engine.connect() as connection:
            ids = self.ids(connection, dataset, kind, names)
            position = {ids[name]: i for i, name in enumerate(names) if name in ids}
            query = sa.select(
                tables.values.c.column_id, tables.values.c.time, tables.values.c.value
            ).where(
                tables.values.c.column_id.in_(position),
                tables.values.c.time >= first,
                tables.values.c.time < first + steps * step,
                tables.values.c.value.is_not(None),
            )
            rows = connection.execute(query).fetchall() if position else []
        if rows:
            column, time, value = (np.array(part) for part in zip(*rows, strict=True))
            row, off = np.divmod(time - first, step)
            keep = off == 0
            where = np.array([position[c] for c in column.tolist()])
            table[row[keep], where[keep]] = value[keep]
        return table

    def held(self, dataset: str, kind: str) -> list[str]:
        """Names of the columns held."""
        query = sa.select(tables.columns.c.name).where(
            tables.columns.c.dataset == dataset, tables.columns.c.kind == kind
        )
        with self.engine.connect() as connection:
            return list(connection.execute(query).scalars())

    def state(self, dataset: str) -> tuple[int, np.datetime64 | None]:
        """Revision of a dataset (0: nothing held) and the time of its latest observation."""
        revision, latest = self.states().get(dataset, (0, None))
        return revision, None if latest is None else np.datetime64(latest, "s")

    def states(self) -> dict[str, State]:
        """Revision and time of the latest observation of every dataset, not to be changed."""
        return self._states.states()

    def known(self) -> dict[str, State]:
        """``states`` as they were read last, without waiting for a server."""
        return self._states.known()

    def slow(self) -> bool:
        """Whether ``states`` would wait for a server now."""
        return self._states.due()

    def changed(self) -> None:
        """This process has written: revisions are to be read again."""
        self._states.forget()

    def changes(self, dataset: str, after: int, to: int) -> list[tuple[str, int, int]] | None:
        """Kind, first and last second of what changed ``after`` a revision, up ``to`` another.

        None where that is not known of each of them.
        """
        query = sa.select(
            tables.changes.c.kind, tables.changes.c.first, tables.changes.c.last
        ).where(
            tables.changes.c.dataset == dataset,
            tables.changes.c.revision > after,
            tables.changes.c.revision <= to,
        )
        with self.engine.connect() as connection:
            rows = connection.execute(query).fetchall()
        return [(r.kind, r.first, r.last) for r in rows] if len(rows) == to - after else None

    def issues(
        self, release: str, time: np.datetime64 | None = None
    ) -> list[tuple[np.datetime64, bytes, bytes, bytes]]:
        """Time and parts of the issues of a release that are kept, the oldest first."""
        query = sa.select(*list(tables.issues.c)[1:]).where(tables.issues.c.release == release)
        if time is not None:
            query = query.where(tables.issues.c.issued == tables.seconds(time))
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(tables.issues.c.issued)).fetchall()
        return [(np.datetime64(r.issued, "s"), r.moved, r.quantiles, r.taught) for r in rows]

    def issue_times(self, release: str) -> list[np.datetime64]:
        """Times of the issues of a release that are kept, the oldest first."""
        query = sa.select(tables.issues.c.issued).where(tables.issues.c.release == release)
        with self.engine.connect() as connection:
            found = connection.execute(query.order_by(tables.issues.c.issued)).scalars()
            return [np.datetime64(second, "s") for second in found]

    def last_deletion(self, dataset: str) -> int:
        """Number of the latest deletion's record, 0 for none; what is read next lacks what went."""
        query = sa.select(sa.func.max(tables.deletions.c.id))
        with self.engine.connect() as connection:
            found = connection.execute(query.where(tables.deletions.c.dataset == dataset)).scalar()
        self.changed()
        return found or 0

    def keep_issues(
        self,
        release: str,
        new: dict[np.datetime64, tuple[bytes, bytes, bytes]],
        taught: dict[np.datetime64, bytes],
        drop_to: np.datetime64,
        deletion: int,
    ) -> None:
        """Keep ``new`` issues by time, and what those before have taught; drop up to ``drop_to``.

        Where another process was first with the latest one, its record stands and these change
        nothing. Nor do they where anything of the dataset was deleted after ``deletion``, since
        they were computed from it; and an issue that was deleted does not come back.
        """
        dataset = release.rpartition("-")[0]
        names = ("moved", "quantiles", "taught")
        rows = [
            {"release": release, "issued": tables.seconds(time)}
            | dict(zip(names, parts, strict=True))
            for time, parts in new.items()
        ]
        newest = max(rows, key=lambda row: row["issued"])
        insert, own = self.insert(tables.issues), tables.issues.c.release == release
        upsert = insert.on_conflict_do_update(
            index_elements=["release", "issued"], set_={"taught": insert.excluded.taught}
        )
        learned = sa.update(tables.issues).where(own, tables.issues.c.issued == sa.bindparam("at"))
        known = [{"at": tables.seconds(time), "taught": mask} for time, mask in taught.items()]
        old = own & (tables.issues.c.issued <= tables.seconds(drop_to))
        with self.engine.begin() as connection:
            self.queue(connection, dataset)
            if self.deleted(connection, dataset, deletion):
                return
            first = insert.on_conflict_do_nothing().returning(tables.issues.c.issued)
            if connection.execute(first, newest).first():
                if len(rows) > 1:
                    connection.execute(upsert, [row for row in rows if row is not newest])
                if known:
                    connection.execute(learned.values(taught=sa.bindparam("taught")), known)
            connection.execute(sa.delete(tables.issues).where(old))

    def deleted(self, connection: sa.Connection, dataset: str, after: int) -> bool:
        """Whether anything of a dataset was deleted after that deletion."""
        since = sa.select(tables.deletions.c.id).where(
            tables.deletions.c.dataset == dataset, tables.deletions.c.id > after
        )
        return connection.execute(since.limit(1)).first() is not None

    def queue(self, connection: sa.Connection, dataset: str) -> None:
        """Queue with those who change a dataset, without changing it."""
        mine = tables.revisions.c.dataset == dataset
        same = {"revision": tables.revisions.c.revision}
        connection.execute(sa.update(tables.revisions).where(mine).values(same))

    def insert(self, table: sa.Table) -> Any:
        """An INSERT of the database's own dialect, which can say what to do on conflict."""
        dialect = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        return dialect.insert(table)

    def ids(
        self,
        connection: sa.Connection,
        dataset: str,
        kind: str,
        names: Iterable[str],
        create: bool = False,
    ) -> dict[str, int]:
        """Numbers of a dataset's columns by name; with ``create`` those of ``names`` too."""
        query = sa.select(tables.columns.c.name, tables.columns.c.id).where(
            tables.columns.c.dataset == dataset, tables.columns.c.kind == kind
        )
        known = {name: number for name, number in connection.execute(query)}
        new = [name for name in names if name not in known] if create else []
        if not new:
            return known
        rows = [{"dataset": dataset, "kind": kind, "name": name} for name in new]
        connection.execute(self.insert(tables.columns).on_conflict_do_nothing(), rows)
        return {name: number for name, number in connection.execute(query)}

    def _revise(self, connection: sa.Connection, dataset: str, latest: int | None) -> None:
        insert = self.insert(tables.revisions).values(dataset=dataset, revision=1, latest=latest)
        held, given = tables.revisions.c.latest, insert.excluded.latest
        later = sa.case(
            (held.is_(None), given), (given.is_(None), held), (given > held, given), else_=held
        )
        upsert = insert.on_conflict_do_update(
            index_elements=["dataset"],
            set_={"revision": tables.revisions.c.revision + 1, "latest": later},
        )
        connection.execute(upsert)

    def remember(
        self, connection: sa.Connection, dataset: str, kind: str, first: int, last: int
    ) -> None:
        """What the revision just made has changed, by time."""
        revision = sa.select(tables.revisions.c.revision).where(
            tables.revisions.c.dataset == dataset
        )
        row = {"dataset": dataset, "kind": kind, "first": first, "last": last}
        row["revision"] = revision.scalar_subquery()
        connection.execute(sa.insert(tables.changes).values(row))
        old = tables.changes.c.revision <= revision.scalar_subquery() - _REMEMBERED
        connection.execute(
            sa.delete(tables.changes).where(tables.changes.c.dataset == dataset, old)
        )


def _engine(place: str) -> sa.Engine:
    if "://" not in place:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        place = f"sqlite:///{place}"
    try:
        url = sa.make_url(place)
        if url.get_backend_name() == "sqlite":
            return sa.create_engine(url, connect_args={"timeout": 30})
        if url.get_backend_name() == "postgresql":
            return sa.create_engine(
                url.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,  # a server that was restarted leaves dead connections behind
                connect_args={k: v for k, v in _PATIENCE.items() if k not in url.query},
            )
    except ArgumentError as error:
        raise FelsinaError(f"FELSINA_STORE is no database URL: {error}") from error
    except ImportError as error:
        raise FelsinaError(
            "the store is a PostgreSQL database and its driver is missing; "
            "pip install 'felsina[postgresql]'"
        ) from error
    raise FelsinaError(
        f"the store is a {url.get_backend_name()} database; name a PostgreSQL one, or a path of an "
        "sqlite file"
    )


def _write_ahead(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA secure_delete=ON")  # what is deleted is overwritten
    cursor.close()
