"""What the ethics board's entries say once they were verified; models.board replays them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

_REJECTED = ("dataset", "release", "manifest_sha256", "decision")


@dataclass(frozen=True)
class Terms:
    """What a vote says of a release.

    Attributes:
        dataset: of the release, or the surrogate's name.
        release: its id.
        manifest_sha256: of the sealed release.
        report_sha256: of the board's report that was read.
        decision: approve or reject.
        conditions: in the board's own words.
        expires: last day of an approval, UTC; None of a rejection.
    """

    dataset: str
    release: str
    manifest_sha256: str
    report_sha256: str
    decision: str
    conditions: tuple[str, ...]
    expires: str | None

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Terms:
        """From a vote's body, which was checked."""
        own: dict[str, Any] = {key: value for key, value in body.items() if key != "member"}
        own["conditions"] = tuple(body["conditions"])
        return cls(**own)

    def agrees(self, other: Terms) -> bool:
        """Whether two votes make one ruling: an approval in all it says, a rejection in any words.

        Whoever is against need not be against for the same reason, nor have read the same report.
        """
        if self.expires is not None or other.expires is not None:
            return self == other
        return all(getattr(self, of) == getattr(other, of) for of in _REJECTED)

    def to_dict(self) -> dict[str, Any]:
        """As an entry has it, but for the member."""
        return asdict(self) | {"conditions": list(self.conditions)}


@dataclass(frozen=True)
class Decided:
    """A ruling when it was made.

    Attributes:
        id: SHA-256 of the entry that completed it.
        time: of that entry.
        terms: what was ruled; of a rejection the report of the vote that completed it, and the
            words of all who agree.
        members: who agreed.
    """

    id: str
    time: str
    terms: Terms
    members: tuple[str, ...]


@dataclass(frozen=True)
class Alarm:
    """A release suspended.

    Attributes:
        release: its id.
        time: when.
        by: who raised it.
        reason: in their words.
    """

    release: str
    time: str
    by: str
    reason: str


@dataclass(frozen=True)
class Promotion:
    """A release that was made the one to serve.

    Attributes:
        dataset: of the release.
        release: its id.
        manifest_sha256: of the sealed release.
        decision: id of the ruling that allowed it.
        reason: why, of a rollback.
        time: when.
    """

    dataset: str
    release: str
    manifest_sha256: str
    decision: str
    reason: str
    time: str


@dataclass(frozen=True)
class Ruling:
    """How a release stands at a moment.

    Attributes:
        state: only what is ``approved`` may be served.
        decision: id of the ruling, None where there is none.
        conditions: of the ruling.
        expires: last day of an approval.
        report_sha256: of the report that was signed.
        why: the state for people, as the end of a sentence about the release.
    """

    state: Literal["approved", "rejected", "expired", "suspended", "none"]
    decision: str | None = None
    conditions: tuple[str, ...] = ()
    expires: str | None = None
    report_sha256: str | None = None
    why: str = "was not decided on by the board"
