"""The tables of the store, the same in sqlite and PostgreSQL; times are seconds since 1970."""

from __future__ import annotations

import time

import numpy as np
import sqlalchemy as sa
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

_ATTEMPTS = 50

metadata = sa.MetaData()
columns = sa.Table(
    "columns",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("name", sa.String, nullable=False),
    sa.UniqueConstraint("dataset", "kind", "name"),
)
values = sa.Table(
    "values",
    metadata,
    sa.Column("column_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("time", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("value", sa.Float(53)),
    sa.Column("issued_at", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
listen(
    values,
    "after_create",
    # statistics are a sample of values, which would outlive deletion
    sa.DDL('ALTER TABLE "values" ALTER value SET STATISTICS 0').execute_if(dialect="postgresql"),
)
revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("latest", sa.BigInteger),
)
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("first", sa.BigInteger, nullable=False),
    sa.Column("last", sa.BigInteger, nullable=False),
)
"""The span of time that a revision changed; one that has no row may have changed anything."""
issues = sa.Table(
    "issues",
    metadata,
    sa.Column("release", sa.String, primary_key=True),
    sa.Column("issued", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("moved", sa.LargeBinary, nullable=False),
    sa.Column("quantiles", sa.LargeBinary, nullable=False),
    sa.Column("taught", sa.LargeBinary, nullable=False),
)
"""Forecasts as issued; what the parts are is said by ``serving.bands``."""
deletions = sa.Table(
    "deletions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("what", sa.String, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("by", sa.String, nullable=False),
)
"""What was deleted, of whom, why and by whom; never the values."""
heads = sa.Table(
    "heads",
    metadata,
    sa.Column("stream", sa.String, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.String, nullable=False),
)
"""The furthest entry of each signed stream that a process verified: what is older was put back."""
chores = sa.Table(
    "chores",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("at", sa.BigInteger, nullable=False),
)
"""When one of the processes last did what only one of them does."""

cases = sa.Table(
    "cases",
    metadata,
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("area", sa.String, nullable=False),
    sa.Column("subject", sa.String, nullable=False),
    sa.Column("opened", sa.BigInteger, nullable=False),
    sa.Column("code", sa.String, nullable=False),
    sa.Column("answered", sa.BigInteger),
    sa.Column("closed", sa.BigInteger),
    sa.Column("answer_it", sa.String),
    sa.Column("answer_en", sa.String),
)
"""What people contest; their words lie apart, so that they can go and the case stay."""
case_lines = sa.Table(
    "case_lines",
    metadata,
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("text", sa.String, nullable=False),
)
case_years = sa.Table(
    "case_years",
    metadata,
    sa.Column("year", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last", sa.Integer, nullable=False),
)
"""The last number given in a year; who opens a case queues there."""


def create(engine: sa.Engine) -> None:
    """Create the tables that are missing; another process may be doing the same at this moment."""
    for attempt in range(_ATTEMPTS):
        try:
            metadata.create_all(engine)
            return
        except (OperationalError, ProgrammingError, IntegrityError):
            if attempt == _ATTEMPTS - 1:
                raise
            time.sleep(0.1)


def seconds(stamp: np.datetime64) -> int:
    """A time as the tables hold it."""
    return int(stamp.astype("datetime64[s]").astype(np.int64))
