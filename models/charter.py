"""The ethics board's charter: who votes, how many must agree, who promotes. The root of trust.

Whoever verifies decisions is given the charter by another way than the decisions themselves; its
SHA-256 names their stream, so that a stream decided under another charter is never believed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import FelsinaError
from models.record import canonical_json, sha256_bytes
from models.signing import PublicKey, key_id, load_public_key, public_hex

MEMBER, OPERATOR = "member", "operator"
_NAMES = {"name", "threshold", "members", "operator", "demo"}


@dataclass(frozen=True)
class Person:
    """One who signs.

    Attributes:
        name: what others call them.
        key: their public key.
    """

    name: str
    key: PublicKey

    def to_dict(self) -> dict[str, str]:
        """As the charter has it."""
        return {"name": self.name, "public_key": public_hex(self.key)}


@dataclass(frozen=True)
class Charter:
    """Who decides on releases.

    Attributes:
        name: of the board.
        threshold: how many different members must agree.
        members: who vote.
        operator: who promotes what was approved, and never votes.
        demo: whether it is a throw-away board, which no city stands behind.
    """

    name: str
    threshold: int
    members: tuple[Person, ...]
    operator: Person
    demo: bool = False

    def __post_init__(self) -> None:
        """Refuse a board that one person could be twice."""
        if not self.name.strip():
            raise FelsinaError("the board has no name; give it one")
        most = len(self.members)
        if type(self.threshold) is not int or not 1 <= self.threshold <= most:
            raise FelsinaError(
                f"threshold {self.threshold!r} of {most} members; let 1 to {most} of them agree"
            )
        everyone = (*self.members, self.operator)
        for what, values in (
            ("name", [person.name for person in everyone]),
            ("key", [key_id(person.key) for person in everyone]),
        ):
            for value in values:
                if not value.strip() or values.count(value) > 1:
                    raise FelsinaError(
                        f"{what} {value!r} stands for nobody, or for two of the members and the "
                        "operator; give each their own"
                    )

    @property
    def sha256(self) -> str:
        """Of its canonical JSON."""
        return sha256_bytes(canonical_json(self.to_dict()))

    @property
    def stream(self) -> str:
        """Name of the stream of its decisions."""
        return f"board {self.sha256}"

    @property
    def keys(self) -> list[PublicKey]:
        """Of all who may sign."""
        return [person.key for person in (*self.members, self.operator)]

    def who(self, key: str) -> tuple[str, str]:
        """Role and name of the person with a key's id; empty for a stranger."""
        if key == key_id(self.operator.key):
            return OPERATOR, self.operator.name
        found = (person.name for person in self.members if key_id(person.key) == key)
        return next(((MEMBER, name) for name in found), ("", ""))

    def to_dict(self) -> dict[str, Any]:
        """As ``board.json`` has it."""
        return {
            "name": self.name,
            "threshold": self.threshold,
            "members": [person.to_dict() for person in self.members],
            "operator": self.operator.to_dict(),
            "demo": self.demo,
        }


def read_charter(path: Path) -> Charter:
    """Read a charter.

    Raises:
        FelsinaError: naming the file and what is wrong with it.
    """
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; name the board's charter, a board.json")
    try:
        record = json.loads(path.read_bytes())
        if set(record) != _NAMES or type(record["demo"]) is not bool:
            raise ValueError(f"it must hold {', '.join(sorted(_NAMES))}")
        return Charter(
            name=str(record["name"]),
            threshold=record["threshold"],
            members=_people(record["members"]),
            operator=_people([record["operator"]])[0],
            demo=record["demo"],
        )
    except (ValueError, KeyError, TypeError, FelsinaError) as error:
        raise FelsinaError(f"{path}: no charter of a board: {error}") from error


def _people(records: Sequence[dict[str, str]]) -> tuple[Person, ...]:
    """The people of a charter, each with a key of 64 hexadecimal digits."""
    people = []
    for record in records:
        if set(record) != {"name", "public_key"} or len(record["public_key"]) != 64:
            raise ValueError(f"{record!r} is not a name and a public_key of 64 hex digits")
        people.append(Person(str(record["name"]), load_public_key(record["public_key"])))
    return tuple(people)
