"""Keys of the apps that call: who may do what, how fast and how often; only digests are held."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from models.contracts import FelsinaError
from serving import tables

PREFIX = "fel_"
ROLES = ("read", "write", "operate")
"""Each may do what those before it may."""
RATE = 100.0
"""Requests a second of a key that is given no rate of its own."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")

_keys = sa.Table(
    "keys",
    tables.metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False, unique=True),
    sa.Column("role", sa.String, nullable=False),
    sa.Column("rate", sa.Float(53), nullable=False),
    sa.Column("quota", sa.BigInteger),
    sa.Column("datasets", sa.String),
    sa.Column("created", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger),
    sa.Column("revoked", sa.BigInteger),
)
_spent = sa.Table(
    "quotas",
    tables.metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("day", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("used", sa.BigInteger, nullable=False),
)


@dataclass(frozen=True)
class Key:
    """What a key may do.

    Attributes:
        name: of the app that holds it; stands in logs.
        digest: sha256 of the secret, in hex.
        role: one of ``ROLES``.
        rate: requests a second.
        quota: requests a day (UTC), None for no limit.
        datasets: the only ones it may read and write, None for all, () for none.
        created: seconds since 1970, as the two that follow.
        expires: from when on it opens nothing, None for never.
        revoked: since when it opens nothing, None where it does.
    """

    name: str
    digest: str
    role: str = "read"
    rate: float = RATE
    quota: int | None = None
    datasets: tuple[str, ...] | None = None
    created: int = 0
    expires: int | None = None
    revoked: int | None = None

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if not _NAME.fullmatch(self.name):
            raise FelsinaError(
                f"key name {self.name!r}: give 1-40 of a-z, 0-9, '.', '_', '-', as in route-planner"
            )
        if self.role not in ROLES:
            raise FelsinaError(f"role {self.role!r} is unknown; give one of {', '.join(ROLES)}")
        if not 0 < self.rate <= 1e6:
            raise FelsinaError(f"rate {self.rate:g}/s: give more than 0 and at most 1e6")
        if self.quota is not None and self.quota < 1:
            raise FelsinaError(f"quota {self.quota}/day: give at least 1, or leave it out")
        if not all(name.strip() for name in self.datasets or ()):
            raise FelsinaError("--datasets holds an empty name; leave it out for a key of all")
        if self.datasets is not None and self.role == "operate":
            raise FelsinaError("operating concerns all datasets; give no --datasets, or role write")

    def stopped(self, at: float) -> str | None:
        """Why it opens nothing at a time, None where it does."""
        if self.revoked is not None:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= at else None

    def may(self, role: str) -> bool:
        """Whether its role includes another."""
        return ROLES.index(self.role) >= ROLES.index(role)


class Keys:
    """The table of keys, and of what was spent of their daily quotas.

    Args:
        engine: of the database that holds the observations.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        tables.create(engine)

    def create(
        self,
        name: str,
        role: str,
        rate: float = RATE,
        quota: int | None = None,
        expires: datetime | None = None,
        datasets: tuple[str, ...] | None = None,
    ) -> str:
        """Make a key and give its secret, which is held nowhere.

        Raises:
            FelsinaError: if the name is taken, or a limit makes no sense.
        """
        secret = PREFIX + secrets.token_urlsafe(32)
        now = int(time.time())
        until = None if expires is None else int(expires.timestamp())
        if until is not None and until <= now:
            raise FelsinaError(f"expiry {expires:%Y-%m-%d} is past; give a day to come")
        key = Key(name, digest(secret), role, rate, quota, datasets, now, until)
        row = asdict(key) | {"datasets": None if datasets is None else ",".join(datasets)}
        try:
            with self.engine.begin() as connection:
                connection.execute(sa.insert(_keys), row)
        except IntegrityError as error:
            raise FelsinaError(
                f"a key {name!r} exists, revoked or not; choose another name"
            ) from error
        return secret

    def revoke(self, name: str) -> None:
        """End a key for good; running workers see it within a second.

        Raises:
            FelsinaError: if there is no such key, or it was revoked before.
        """
        query = (
            sa.update(_keys)
            .where(_keys.c.name == name, _keys.c.revoked.is_(None))
            .values(revoked=int(time.time()))
        )
        with self.engine.begin() as connection:
            if not connection.execute(query).rowcount:
                known = ", ".join(key.name for key in self.all() if key.revoked is None)
                raise FelsinaError(f"no key {name!r} to revoke; there are: {known or 'none'}")

    def all(self) -> list[Key]:
        """Every key that was ever made, by name."""
        with self.engine.connect() as connection:
            rows = connection.execute(sa.select(_keys).order_by(_keys.c.name)).mappings().all()
        return [Key(**{**row, "datasets": _names(row["datasets"])}) for row in rows]

    def spent(self, name: str, day: int) -> int:
        """Requests of a day's quota that were handed out to workers."""
        query = sa.select(_spent.c.used).where(_spent.c.name == name, _spent.c.day == day)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar() or 0

    def take(self, name: str, day: int, quota: int, most: int) -> int:
        """Take up to ``most`` requests out of a day's quota: how many, 0 when it is used up."""
        here = (_spent.c.name == name) & (_spent.c.day == day)
        while True:
            used = self.spent(name, day)
            part = min(most, quota - used)
            if part <= 0:
                return 0
            query = sa.update(_spent).where(here, _spent.c.used == used).values(used=used + part)
            try:
                with self.engine.begin() as connection:
                    if connection.execute(query).rowcount:
                        return part
                    if not used:
                        row = {"name": name, "day": day, "used": part}
                        connection.execute(sa.insert(_spent), row)
                        connection.execute(sa.delete(_spent).where(_spent.c.day < day - 7))
                        return part
            except IntegrityError:
                continue  # another worker was first

    def give_back(self, name: str, day: int, part: int) -> None:
        """Give back requests that were taken and not spent."""
        here = (_spent.c.name == name) & (_spent.c.day == day)
        with self.engine.begin() as connection:
            connection.execute(sa.update(_spent).where(here).values(used=_spent.c.used - part))


def _names(held: str | None) -> tuple[str, ...] | None:
    """The datasets of a key as its row has them; what is empty opens nothing, rather than all."""
    return None if held is None else tuple(name for name in held.split(",") if name.strip())


def digest(secret: str) -> str:
    """How a secret is held: it has 256 random bits, so that a plain hash cannot be reversed."""
    return sha256(secret.encode()).hexdigest()


def expiry(text: str) -> datetime:
    """The end of a day such as ``2027-12-31``, UTC."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise FelsinaError(f"expiry {text!r}: give a day such as 2027-12-31") from error
    return day.replace(hour=23, minute=59, second=59)
