"""Rules, alerts and what was told of them, in the store's database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from serving import tables
from serving.alerts.rules import Rule

MOST_LISTED = 1000
"""Alerts that ended; one that is up is never left out."""
_AT_ONCE = 1000
"""Names in one query; databases take some ten thousand."""
RAISED, UPDATED, ENDED = "raised", "updated", "ended"
PERSONAL = ("alerts", "alert_messages", "alert_acknowledgements")
"""Tables that tell of nodes, and of people who have seen an alert."""

_rules = sa.Table(
    "alert_rules",
    tables.metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
_alerts = sa.Table(
    "alerts",
    tables.metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("rule", sa.String, nullable=False),
    sa.Column("dataset", sa.String, nullable=False),
    sa.Column("node", sa.String, nullable=False),
    sa.Column("raised_at", sa.BigInteger, nullable=False),
    sa.Column("ended_at", sa.BigInteger),
    sa.Column("below", sa.Integer, nullable=False),
    sa.Column("said", sa.LargeBinary, nullable=False),
)
_one_active = sa.Index(
    "one_active_alert",
    _alerts.c.rule,
    _alerts.c.node,
    unique=True,
    sqlite_where=_alerts.c.ended_at.is_(None),
    postgresql_where=_alerts.c.ended_at.is_(None),
)
"""Deduplication does not rest on the program alone."""
_LATEST_FIRST = (_alerts.c.raised_at.desc(), _alerts.c.id)
_messages = sa.Table(
    "alert_messages",
    tables.metadata,
    sa.Column("alert", sa.String, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("said", sa.LargeBinary, nullable=False),
)
_acknowledged = sa.Table(
    "alert_acknowledgements",
    tables.metadata,
    sa.Column("alert", sa.String, primary_key=True),
    sa.Column("record", sa.LargeBinary, nullable=False),
)
"""Apart from the alert, which an engine may be writing at the same moment."""
_marks = sa.Table(
    "alert_marks",
    tables.metadata,
    sa.Column("dataset", sa.String, primary_key=True),
    sa.Column("mark", sa.String, nullable=False),
)
_backtests = sa.Table(
    "alert_backtests",
    tables.metadata,
    sa.Column("rule", sa.String, primary_key=True),
    sa.Column("release", sa.String, primary_key=True),
    sa.Column("result", sa.LargeBinary, nullable=False),
)


@dataclass(frozen=True)
class Alert:
    """One alert, up or ended.

    Attributes:
        id: its name.
        rule: id of the rule that raised it.
        dataset: whose forecast it reads.
        node: where.
        raised_at: seconds since 1970.
        ended_at: the same; None while it is up.
        below: issues in a row that spoke for its end.
        said: what people are told (``schemas.Alert``), as of the latest issue.
        acknowledged: who has seen it, when, and their note; None where nobody has said so.
    """

    id: str
    rule: str
    dataset: str
    node: str
    raised_at: int
    ended_at: int | None
    below: int
    said: dict[str, Any]
    acknowledged: dict[str, Any] | None


@dataclass(frozen=True)
class Message:
    """What was told of an alert at one time; it never changes.

    Attributes:
        alert: id.
        number: 1 for the first.
        kind: raised, updated or ended.
        sent: seconds since 1970.
        said: as ``Alert.said``, then, with ``sender`` and ``status`` of the message (``cap``).
    """

    alert: str
    number: int
    kind: str
    sent: int
    said: dict[str, Any]


class Held:
    """What the alerts keep.

    Args:
        engine: of the store.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        tables.create(engine)

    def rules(self, dataset: str | None = None) -> list[Rule]:
        """The rules that were made, of all datasets or of one."""
        query = sa.select(_rules.c.body).order_by(_rules.c.id)
        if dataset is not None:
            query = query.where(_rules.c.dataset == dataset)
        with self.engine.connect() as connection:
            bodies = connection.execute(query).scalars().all()
        return [Rule.from_dict(orjson.loads(body)) for body in bodies]

    def add_rule(self, rule: Rule) -> None:
        """Keep a rule."""
        row = {"id": rule.id, "dataset": rule.dataset, "body": orjson.dumps(rule.to_dict())}
        with self.engine.begin() as connection:
            connection.execute(_rules.insert().values(**row))

    def remove_rule(self, name: str) -> bool:
        """Forget a rule and what its backtests found; whether there was one."""
        with self.engine.begin() as connection:
            connection.execute(sa.delete(_backtests).where(_backtests.c.rule == name))
            return bool(connection.execute(sa.delete(_rules).where(_rules.c.id == name)).rowcount)

    def alerts(
        self, dataset: str | None = None, active: bool | None = None, since: int | None = None
    ) -> list[Alert]:
        """Alerts, the latest first: all that are up, and the latest that ended.

        Args:
            dataset: whose; None for all.
            active: only those that are up, or only those that ended; None for both.
            since: seconds since 1970; all that ended from then on, however many.
        """
        of = [] if dataset is None else [_alerts.c.dataset == dataset]
        up, ended = _alerts.c.ended_at.is_(None), _alerts.c.ended_at.is_not(None)
        past = sa.select(_alerts.c.id).where(ended, *of).order_by(*_LATEST_FIRST)
        listed = _alerts.c.id.in_(past.limit(MOST_LISTED))
        gone = listed if since is None else _alerts.c.ended_at >= since
        chosen = {None: up | gone, True: up, False: gone}[active]
        with self.engine.connect() as connection:
            rows = connection.execute(_with_record().where(chosen, *of)).fetchall()
        return [_alert(row) for row in rows]

    def active(self, connection: sa.Connection, dataset: str) -> list[Alert]:
        """The alerts of a dataset that are up, as a transaction sees them."""
        up = _with_record().where(_alerts.c.ended_at.is_(None), _alerts.c.dataset == dataset)
        return [_alert(row) for row in connection.execute(up)]

    def alert(self, name: str) -> Alert | None:
        """One alert, up or ended."""
        with self.engine.connect() as connection:
            row = connection.execute(_with_record().where(_alerts.c.id == name)).first()
        return None if row is None else _alert(row)

    def messages(self, names: list[str], connection: sa.Connection | None = None) -> list[Message]:
        """What was told of some alerts, in order."""
        if connection is None:
            with self.engine.connect() as own:
                return self.messages(names, own)
        query = sa.select(_messages).order_by(_messages.c.alert, _messages.c.number)
        found: list[Message] = []
        for start in range(0, len(names), _AT_ONCE):
            part = _messages.c.alert.in_(names[start : start + _AT_ONCE])
            for row in connection.execute(query.where(part)):
                found.append(Message(*row[:-1], said=orjson.loads(row.said)))
        return found

    def raise_alert(self, connection: sa.Connection, alert: Alert) -> None:
        """Keep a new alert."""
        row = {key: value for key, value in vars(alert).items() if key != "acknowledged"}
        row["said"] = orjson.dumps(alert.said)
        connection.execute(_alerts.insert().values(**row))

    def change(self, connection: sa.Connection, alert: Alert) -> None:
        """Keep what an alert has become."""
        row = {"ended_at": alert.ended_at, "below": alert.below, "said": orjson.dumps(alert.said)}
        connection.execute(sa.update(_alerts).where(_alerts.c.id == alert.id).values(**row))

    def acknowledge(self, connection: sa.Connection, name: str, record: dict[str, Any]) -> None:
        """Keep who has seen an alert.

        Raises:
            IntegrityError: if somebody has said so before.
        """
        row = {"alert": name, "record": orjson.dumps(record)}
        connection.execute(_acknowledged.insert().values(**row))

    def tell(self, connection: sa.Connection, message: Message) -> None:
        """Keep a message."""
        row = vars(message) | {"said": orjson.dumps(message.said)}
        connection.execute(_messages.insert().values(**row))

    def mark(self, connection: sa.Connection, dataset: str) -> str:
        """What of a dataset was evaluated last, empty where nothing was."""
        query = sa.select(_marks.c.mark).where(_marks.c.dataset == dataset)
        return connection.execute(query).scalar_one_or_none() or ""

    def set_mark(self, connection: sa.Connection, dataset: str, mark: str) -> None:
        """Note what was evaluated."""
        at = _marks.c.dataset == dataset
        if not connection.execute(sa.update(_marks).where(at).values(mark=mark)).rowcount:
            connection.execute(_marks.insert().values(dataset=dataset, mark=mark))

    def of_nodes(self, dataset: str, nodes: Collection[str]) -> sa.ColumnElement[bool]:
        """The alerts at nodes of a dataset, for ``delete``."""
        return (_alerts.c.dataset == dataset) & _alerts.c.node.in_(nodes)

    def ended(self, dataset: str, before: int) -> sa.ColumnElement[bool]:
        """The alerts of a dataset that ended ``before`` a second, for ``count`` and ``delete``."""
        return (_alerts.c.dataset == dataset) & (_alerts.c.ended_at < before)

    def nodes(self, connection: sa.Connection, dataset: str) -> set[str]:
        """Nodes of a dataset that had an alert."""
        query = sa.select(_alerts.c.node).where(_alerts.c.dataset == dataset).distinct()
        return set(connection.execute(query).scalars())

    def count(self, connection: sa.Connection, meant: sa.ColumnElement[bool]) -> int:
        """How many alerts are meant."""
        query = sa.select(sa.func.count()).select_from(_alerts).where(meant)
        return connection.execute(query).scalar_one()

    def delete(self, connection: sa.Connection, meant: sa.ColumnElement[bool]) -> int:
        """Delete alerts, what was told of them and who acknowledged it; how many alerts went."""
        gone = connection.execute(sa.delete(_alerts).where(meant)).rowcount
        for table in (_messages, _acknowledged):  # also what was written while its alert went
            left = table.c.alert.not_in(sa.select(_alerts.c.id))
            connection.execute(sa.delete(table).where(left))
        return gone

    def backtests(self, release: str) -> dict[str, dict[str, Any]]:
        """Rule to what its backtest with a release found."""
        query = sa.select(_backtests.c.rule, _backtests.c.result)
        with self.engine.connect() as connection:
            rows = connection.execute(query.where(_backtests.c.release == release)).fetchall()
        return {row.rule: orjson.loads(row.result) for row in rows}

    def keep_backtest(self, rule: str, release: str, result: dict[str, Any]) -> None:
        """Keep what a backtest found, in the place of the one before."""
        row = {"rule": rule, "release": release, "result": orjson.dumps(result)}
        before = (_backtests.c.rule == rule) & (_backtests.c.release == release)
        with self.engine.begin() as connection:
            connection.execute(sa.delete(_backtests).where(before))
            connection.execute(_backtests.insert().values(**row))


def _with_record() -> sa.Select[Any]:
    joined = _alerts.outerjoin(_acknowledged, _acknowledged.c.alert == _alerts.c.id)
    found = sa.select(_alerts, _acknowledged.c.record).select_from(joined)
    return found.order_by(*_LATEST_FIRST)


def _alert(row: Any) -> Alert:
    values: dict[str, Any] = dict(row._mapping)
    record = values.pop("record")
    values["said"] = orjson.loads(values["said"])
    return Alert(**values, acknowledged=None if record is None else orjson.loads(record))
