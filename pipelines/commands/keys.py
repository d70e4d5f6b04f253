"""``felsina keys``: the table of keys in the store's database."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from rich.table import Table

from pipelines.commands.terminal import answer, err, out, say
from pipelines.settings import store_place
from serving.gate.keys import Key, Keys, expiry
from serving.store import Store


def create_one(
    name: str,
    role: str,
    rate: float,
    quota: int | None,
    expires: str | None,
    datasets: str | None,
    json: bool,
) -> None:
    """Make a key; the secret alone goes to stdout."""
    until = None if expires is None else expiry(expires)
    only = None if datasets is None else tuple(name.strip() for name in datasets.split(","))
    secret = _table().create(name, role, rate, quota, until, only)
    if json:
        answer({"name": name, "role": role, "secret": secret})
        return
    err.print(f"Key {name}, role {role}. This is its secret, shown this once; send it as")
    err.print("Authorization: Bearer SECRET")
    out.print(secret)


def list_all(json: bool) -> None:
    """List keys, without secrets, which are held nowhere."""
    rows = [_row(key) for key in _table().all()]
    if json:
        answer(rows)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "role", "rate/s", "quota/day", "datasets", "expires", "state"):
        table.add_column(column)
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row.values()))
    out.print(table)


def revoke_one(name: str) -> None:
    """End a key."""
    _table().revoke(name)
    say(f"Key {name} opens nothing any more; running servers see it within two seconds")


def _table() -> Keys:
    return Keys(Store(store_place()).engine)


def _row(key: Key) -> dict[str, str | float | int | None]:
    return {
        "name": key.name,
        "role": key.role,
        "rate": round(key.rate, 3),
        "quota": key.quota,
        "datasets": None if key.datasets is None else ",".join(key.datasets),
        "expires": None if key.expires is None else _day(key.expires),
        "state": key.stopped(time.time()) or "open",
    }


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
