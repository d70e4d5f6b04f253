"""Webhooks: who wants to be posted to, and how far each has got in the log of events.

The log is the outbox: an event is in it with what it tells of, or not at all, and a webhook is a
place in it that moves on only when the receiver has said 2xx. So each event is delivered at least
once, in order, across restarts; a receiver knows a repetition by its ``webhook-id``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import orjson
import sqlalchemy as sa

from models.contracts import FelsinaError
from serving import tables
from serving.events.delivery import checked, new_secret, post
from serving.events.log import Event, EventLog
from serving.schemas import iso

log = logging.getLogger(__name__)
MOST_WEBHOOKS = 100
FIRST_WAIT, LONGEST_WAIT = 5.0, 3600.0
"""Seconds to the second attempt, and at most between two; doubled each time, with jitter."""
GIVEN_UP_AFTER = 86400.0
"""A webhook that has failed for so long is disabled."""
_AT_ONCE, _EACH = 16, 20

_webhooks = sa.Table(
    "webhooks",
    tables.metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("url", sa.String, nullable=False),
    sa.Column("wanted", sa.LargeBinary, nullable=False),
    sa.Column("secret", sa.String, nullable=False),
    sa.Column("made_at", sa.BigInteger, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("delivered_at", sa.BigInteger),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("due", sa.Float(53), nullable=False),
    sa.Column("failing_since", sa.Float(53)),
    sa.Column("failure", sa.String),
    sa.Column("disabled", sa.Boolean, nullable=False),
)


@dataclass(frozen=True)
class Webhook:
    """One who wants to be posted to.

    Attributes:
        id: its name.
        url: where to.
        wanted: ``datasets`` (None for all) and ``events``.
        secret: what messages are signed with.
        made_at: seconds since 1970.
        position: number of the last event that it has, or did not want.
        delivered_at: when it last answered 2xx.
        attempts: failures in a row.
        due: when to try again.
        failing_since: when the first of them was.
        failure: what the last one was.
        disabled: whether it is tried no more.
    """

    id: str
    url: str
    wanted: dict[str, Any]
    secret: str
    made_at: int
    position: int
    delivered_at: int | None
    attempts: int
    due: float
    failing_since: float | None
    failure: str | None
    disabled: bool

    def shown(self) -> dict[str, Any]:
        """As the API answers whoever may read: no secret, nor the path, which may hold one."""
        parts = urlsplit(self.url)

        def stamp(seconds: float | None) -> str | None:
            return None if seconds is None else iso(np.datetime64(int(seconds), "s"))

        return {
            "id": self.id,
            "url": f"{parts.scheme}://{parts.netloc}/" + ("..." if parts.path.strip("/") else ""),
            **self.wanted,
            "made_at": stamp(self.made_at),
            "delivered_at": stamp(self.delivered_at),
            "failures": self.attempts,
            "failing_since": stamp(self.failing_since),
            "failure": self.failure,
            "disabled": self.disabled,
        }


class Webhooks:
    """The webhooks of a store.

    Args:
        events: the log that they follow.
    """

    def __init__(self, events: EventLog) -> None:
        self.events, self.engine = events, events.engine
        tables.create(self.engine)

    def add(self, url: str, datasets: list[str] | None, kinds: list[str]) -> Webhook:
        """Post what happens from now on to ``url``."""
        checked(url)
        if len(self.all()) >= MOST_WEBHOOKS:
            raise FelsinaError(f"{MOST_WEBHOOKS} webhooks are held; delete one first")
        made = Webhook(
            id=secrets.token_hex(6),
            url=url,
            wanted={"datasets": datasets, "events": kinds},
            secret=new_secret(),
            made_at=int(time.time()),
            position=self.events.last(),
            delivered_at=None,
            attempts=0,
            due=0.0,
            failing_since=None,
            failure=None,
            disabled=False,
        )
        row = vars(made) | {"wanted": orjson.dumps(made.wanted)}
        with self.engine.begin() as connection:
            connection.execute(_webhooks.insert().values(**row))
        return made

    def all(self) -> list[Webhook]:
        """Every webhook, the oldest first."""
        query = sa.select(_webhooks).order_by(_webhooks.c.made_at, _webhooks.c.id)
        with self.engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [Webhook(**{**row, "wanted": orjson.loads(row["wanted"])}) for row in rows]

    def remove(self, name: str) -> bool:
        """Forget a webhook; whether there was one."""
        with self.engine.begin() as connection:
            return bool(
                connection.execute(sa.delete(_webhooks).where(_webhooks.c.id == name)).rowcount
            )

    def deliver(self) -> None:
        """Try every webhook that is due and behind, several at once, each in order."""
        now, last = time.time(), self.events.last()
        due = [h for h in self.all() if not h.disabled and h.due <= now and h.position < last]
        if due:
            asyncio.run(self._deliver(due, last))

    async def _deliver(self, due: list[Webhook], last: int) -> None:
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(webhook: Webhook) -> None:
            async with places:
                await self._catch_up(webhook, last)

        await asyncio.gather(*(one(webhook) for webhook in due))

    async def _catch_up(self, webhook: Webhook, last: int) -> None:
        """Post some of what a webhook lacks; stop at the first failure."""
        kinds, datasets = webhook.wanted["events"], webhook.wanted["datasets"]
        events = self.events.after(webhook.position, _EACH, kinds, datasets)
        for event in events:
            failure, gone = await self._post(webhook, event)
            if failure:
                self._note_failure(webhook, failure, gone)
                return
            fine = {"attempts": 0, "due": 0.0, "failing_since": None, "failure": None}
            self._set(webhook, position=event.id, delivered_at=int(time.time()), **fine)
            webhook = replace(webhook, **fine)
        if len(events) < _EACH:  # what it does not want lies behind it too
            self._set(webhook, position=max([last, *(event.id for event in events)]))

    async def _post(self, webhook: Webhook, event: Event) -> tuple[str, bool]:
        """What went wrong, empty where nothing did; and whether the receiver is gone for good."""
        name, seconds = f"evt_{event.id}", int(time.time())
        try:
            status = await post(webhook.url, webhook.secret, name, seconds, message(event))
        except (OSError, TimeoutError, FelsinaError, UnicodeError) as error:
            return str(error) or type(error).__name__, False
        return ("" if 200 <= status < 300 else f"HTTP {status}"), status == 410

    def _note_failure(self, webhook: Webhook, failure: str, gone: bool) -> None:
        now = time.time()
        since = webhook.failing_since or now
        attempts = webhook.attempts + 1
        wait = min(FIRST_WAIT * 2 ** min(attempts - 1, 20), LONGEST_WAIT)
        disabled = gone or now - since >= GIVEN_UP_AFTER
        log.warning("webhook %s failed %d times: %s", webhook.id, attempts, failure)
        self._set(
            webhook,
            attempts=attempts,
            due=now + wait * random.uniform(0.5, 1.5),
            failing_since=since,
            failure=failure[:300] + ("; disabled" if disabled else ""),
            disabled=disabled,
        )

    def _set(self, webhook: Webhook, **values: Any) -> None:
        update = sa.update(_webhooks).where(_webhooks.c.id == webhook.id).values(**values)
        with self.engine.begin() as connection:
            connection.execute(update)


def message(event: Event) -> bytes:
    """The body of a message: ``type``, ``timestamp`` and ``data``, as Standard Webhooks has it."""
    data = orjson.loads(event.data)
    kind = f"alert.{data['change']}" if event.kind == "alert" else "forecast.issued"
    stamp = iso(np.datetime64(event.at, "s"))
    return orjson.dumps({"type": kind, "timestamp": stamp, "data": data})
