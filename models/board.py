"""The ethics board's decisions, read from its stream: what was voted, ruled, alarmed and promoted.

Nothing here writes. A stream is replayed entry by entry under a charter, and one entry that does
not fit (a vote by a stranger, a promotion of what was not approved) refuses the whole: whoever
could slip one in could slip in others.

- ``vote``, by a member: terms for a release. A **ruling** stands when as many different members as
  the charter wants agree in their latest votes: on every term of an approval, on no more than the
  release of a rejection. Its id is the SHA-256 of the entry that completed it. A later ruling
  replaces an earlier one.
- ``alarm``, by a member or the operator: suspends a release and voids the votes on it.
- ``promote``, by the operator: names the release to be served and the ruling that allows it. One
  that was promoted before is promoted again by a rollback, which forgets those promoted since.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from models.chain import Entry, verify
from models.charter import MEMBER, OPERATOR, Charter
from models.decisions import Alarm, Decided, Promotion, Ruling, Terms
from models.errors import FelsinaError
from models.stream import iso

BOARD, CHARTER, STREAM = "board", "board.json", "decisions.jsonl"
"""A home's folder of decisions, and its files."""
VOTE, ALARM, PROMOTE = "vote", "alarm", "promote"
APPROVE, REJECT = "approve", "reject"
UNREPORTED = "0" * 64
"""The report's digest in the votes of a demo board, which may sign what has no report."""
SHOWN = 12
"""Digits of a decision's id that people are shown."""
_OF = ("dataset", "release", "manifest_sha256")
_BODIES = {
    VOTE: {*_OF, "report_sha256", "decision", "conditions", "expires", "member"},
    ALARM: {*_OF, "reason"},
    PROMOTE: {*_OF, "decision", "reason"},
}
_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Board:
    """The decisions under a charter.

    Args:
        charter: who decides.
        name: what errors call the stream.

    Attributes:
        decided: every ruling there ever was, oldest first.
        alarms: every alarm, oldest first.
    """

    def __init__(self, charter: Charter, name: str = "the stream of decisions") -> None:
        self.charter, self.name = charter, name
        self.entries: list[Entry] = []
        self.decided: list[Decided] = []
        self.alarms: list[Alarm] = []
        self._votes: dict[str, dict[str, Terms]] = {}
        self._standing: dict[str, Decided | Alarm] = {}
        self._promoted: dict[str, list[Promotion]] = {}

    def ruling(self, manifest_sha256: str, now: datetime) -> Ruling:
        """How a release stands."""
        found = self._standing.get(manifest_sha256)
        if found is None:
            return Ruling("none")
        if isinstance(found, Alarm):
            why = f"was suspended by {found.by} at {found.time}: {found.reason}"
            return Ruling("suspended", why=why)
        terms, short = found.terms, found.id[:SHOWN]
        told = (found.id, terms.conditions, terms.expires, terms.report_sha256)
        if terms.expires is None:
            return Ruling("rejected", *told, why=f"was rejected by decision {short}")
        if now.date() > date.fromisoformat(terms.expires):
            why = f"was approved by decision {short} until {terms.expires}, which is over"
            return Ruling("expired", *told, why=why)
        why = f"is approved by decision {short} until {terms.expires}"
        return Ruling("approved", *told, why=why)

    def promoted(self, dataset: str) -> list[Promotion]:
        """What was made the one to serve, newest first, without what a rollback left behind."""
        return self._promoted.get(dataset, [])[::-1]

    def datasets(self) -> list[str]:
        """Of which a release was ever promoted."""
        return sorted(self._promoted)

    def votes(self, manifest_sha256: str) -> dict[str, Terms]:
        """Member to the terms of their latest vote on a release since the last alarm."""
        return dict(self._votes.get(manifest_sha256, {}))

    def voted(self) -> dict[str, Terms]:
        """Manifest digest to the latest vote on each release that votes are held of."""
        return {sha: [*votes.values()][-1] for sha, votes in self._votes.items() if votes}

    def as_of(self, now: datetime) -> Board:
        """The decisions as they stood at a moment."""
        early = Board(self.charter, self.name)
        for entry in self.entries:
            if moment(entry.time) > now:
                break
            early.add(entry)
        return early

    def add(self, entry: Entry) -> None:
        """Replay the next entry, whose signature and place were verified.

        Raises:
            FelsinaError: naming the entry that does not fit, and why.
        """
        if fault := self.take(entry):
            raise FelsinaError(
                f"{self.name}: entry {entry.n} ({entry.kind}) {fault}; the stream is refused, ask "
                "for the original"
            )

    def take(self, entry: Entry) -> str | None:
        """``add`` an entry that fits; else, with nothing changed, why it does not."""
        fault = self._fault(entry)
        if fault is None and self.entries:
            adding = {VOTE: self._vote, ALARM: self._alarm, PROMOTE: self._promote}
            fault = adding[entry.kind](entry, entry.body["manifest_sha256"])
        if fault is None:
            self.entries.append(entry)
        return fault

    def _fault(self, entry: Entry) -> str | None:
        """Why no entry may look like this one, whatever was before it."""
        body = entry.body
        try:
            time = moment(entry.time)
        except ValueError:
            return f"is of {entry.time!r}, which is no time such as 2026-06-01T10:00:00.000Z"
        if self.entries and time < moment(self.entries[-1].time):
            return f"is of {entry.time}, before the entry before it"
        role, name = self.charter.who(entry.key)
        if not self.entries:
            if body["stream"] != self.charter.stream:
                return f"opens {body['stream']!r}, and the charter's is {self.charter.stream!r}"
            return None if role == OPERATOR else f"is signed by {name}, who is not the operator"
        if entry.kind not in _BODIES:
            return "is of an unknown kind"
        if set(body) != _BODIES[entry.kind]:
            return f"does not hold {', '.join(sorted(_BODIES[entry.kind]))}"
        texts = [value for key, value in body.items() if key not in ("conditions", "expires")]
        if not all(isinstance(text, str) for text in texts):
            return "holds something else than texts"
        if not _NAME.fullmatch(body["dataset"]) or not _DIGEST.fullmatch(body["manifest_sha256"]):
            return "names no dataset or no digest of a manifest"
        if body["release"] != f"{body['dataset']}-{body['manifest_sha256'][:12]}":
            return f"names release {body['release']!r}, which has another dataset or manifest"
        allowed = {VOTE: (MEMBER,), ALARM: (MEMBER, OPERATOR), PROMOTE: (OPERATOR,)}[entry.kind]
        if role not in allowed:
            return f"is signed by {name}, the {role}; only the {' or the '.join(allowed)} may"
        return None

    def _vote(self, entry: Entry, sha: str) -> str | None:
        body = entry.body
        _, name = self.charter.who(entry.key)
        if body["member"] != name:
            return f"is said to be by {body['member']}, and {name} signed it"
        if not _DIGEST.fullmatch(body["report_sha256"]):
            return "names no digest of a report"
        if body["report_sha256"] == UNREPORTED and not self.charter.demo:
            return "is on a release without a report, which only a demo board's may be"
        conditions, expires = body["conditions"], body["expires"]
        if not isinstance(conditions, list) or not all(isinstance(c, str) for c in conditions):
            return "has conditions that are no texts"
        if fault := _ends_wrongly(body["decision"], expires, moment(entry.time).date()):
            return fault
        terms = Terms.from_dict(body)
        votes = self._votes.setdefault(sha, {})
        if votes.get(name) == terms:
            return f"is the vote that {name} gave before, once more"
        votes.pop(name, None)
        votes[name] = terms
        agreed = {member: other for member, other in votes.items() if other.agrees(terms)}
        standing = self._standing.get(sha)
        stands = isinstance(standing, Decided) and standing.terms.agrees(terms)
        if len(agreed) >= self.charter.threshold and not stands:
            if terms.decision == REJECT:
                words = dict.fromkeys(word for one in agreed.values() for word in one.conditions)
                terms = replace(terms, conditions=tuple(words))
            found = Decided(entry.sha256, entry.time, terms, tuple(agreed))
            self.decided.append(found)
            self._standing[sha] = found
        return None

    def _alarm(self, entry: Entry, sha: str) -> str | None:
        if not entry.body["reason"].strip():
            return "gives no reason"
        _, name = self.charter.who(entry.key)
        alarm = Alarm(entry.body["release"], entry.time, name, entry.body["reason"])
        self.alarms.append(alarm)
        self._votes.pop(sha, None)
        self._standing[sha] = alarm
        return None

    def _promote(self, entry: Entry, sha: str) -> str | None:
        promotion = Promotion(**entry.body, time=entry.time)
        ruling = self.ruling(sha, moment(entry.time))
        if ruling.state != "approved":
            return f"promotes {promotion.release}, which {ruling.why}"
        if promotion.decision != ruling.decision:
            return f"names decision {promotion.decision[:SHOWN]}; the release {ruling.why}"
        standing = self._standing[sha]
        if isinstance(standing, Decided) and standing.terms.release != promotion.release:
            return f"promotes {promotion.release}, and the decision is on {standing.terms.release}"
        stack = self._promoted.setdefault(promotion.dataset, [])
        before = [place for place, one in enumerate(stack) if one.release == promotion.release]
        if before:
            latest = before[0] == len(stack) - 1
            if latest and stack[-1].decision == promotion.decision:
                return f"promotes {promotion.release}, which is promoted already"
            del stack[before[0] :]
        stack.append(promotion)
        return None


def open_board(charter: Charter, stream: Path, receipts: Iterable[dict[str, Any]] = ()) -> Board:
    """Verify a stream of decisions and replay it.

    Args:
        charter: who decides; from elsewhere than the stream.
        stream: the file; its head lies beside it.
        receipts: heads that were kept elsewhere.

    Raises:
        FelsinaError: in one line, the entry that was edited, cut, forged or does not fit.
    """
    return replayed(charter, verify(stream, charter.keys, receipts), str(stream))


def replayed(charter: Charter, entries: Iterable[Entry], name: str) -> Board:
    """The decisions of verified entries."""
    board = Board(charter, name)
    for entry in entries:
        board.add(entry)
    return board


def moment(time: str) -> datetime:
    """The time of an entry, which may be written in one way only: an offset would move its day.

    Raises:
        ValueError: if it is none, or not in UTC to the millisecond with a ``Z``.
    """
    found = datetime.fromisoformat(time)
    if not time.endswith("Z") or iso(found) != time:
        raise ValueError(f"{time} is not in UTC to the millisecond")
    return found


def _ends_wrongly(decision: str, expires: Any, today: date) -> str | None:
    """Why a vote's last day is not one, given its decision."""
    if decision == REJECT:
        return None if expires is None else "rejects, and yet expires"
    if decision != APPROVE:
        return f"decides {decision!r}, and not to approve or to reject"
    try:
        day = date.fromisoformat(expires)
    except (ValueError, TypeError):
        day = None
    if day is None or day.isoformat() != expires:
        return f"expires {expires!r}, which is no day such as 2027-12-31"
    return None if day >= today else f"approves until {expires}, which was over when it was signed"
