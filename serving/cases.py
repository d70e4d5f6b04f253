"""Contested cases: what people say a forecast got wrong, numbered, answered, and published.

Nobody gives a name. A case has a number, which is public, and a secret code, of which only the
digest is held: who has it may read the case, add to it and take the words back. The words are for
those who operate the service; ``published`` gives all of a case but them.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from models.contracts import FelsinaError
from serving import tables
from serving.store import Store

SUBJECTS = ("wrong_here", "missed_warning", "served_worse", "other")
OPEN, ANSWERED, CLOSED = STATES = ("open", "answered", "closed")
MOST_CHARACTERS = 2000
MOST_LINES = 20
"""Texts of one case, the first included."""
MOST_AN_HOUR = 60
"""Cases that all people together may open."""
_CODE_BYTES = 10
"""80 random bits are 16 letters: few enough to copy by hand, too many to guess."""
_NUMBER = re.compile(r"([0-9]{4})-([0-9]{4,9})")
_ALIKE = str.maketrans("018", "OIB")
"""Digits that the alphabet of codes lacks, read as the letter they look like."""


class Full(FelsinaError):
    """So many cases were opened, or lines written, that no more are taken now."""


@dataclass(frozen=True)
class Case:
    """A contested case.

    Attributes:
        number: such as ``2026-0007``; without gaps within a year.
        dataset: whose forecasts are meant.
        area: the neighbourhood; empty for the whole city.
        subject: one of ``SUBJECTS``.
        opened: second since 1970.
        answered: second of the latest answer, None while one is due.
        closed: second from which nothing more is added, None before.
        answer_it: the latest answer, in Italian.
        answer_en: the same in English.
        lines: second and text of what the writer wrote; none once they were deleted.
    """

    number: str
    dataset: str
    area: str
    subject: str
    opened: int
    answered: int | None = None
    closed: int | None = None
    answer_it: str | None = None
    answer_en: str | None = None
    lines: tuple[tuple[int, str], ...] = ()

    @property
    def state(self) -> str:
        """One of ``STATES``."""
        if self.closed is not None:
            return CLOSED
        return OPEN if self.answered is None else ANSWERED


class Cases:
    """The cases that a store holds.

    Args:
        store: held observations, in whose database they lie.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    def open(self, dataset: str, area: str, subject: str, text: str) -> tuple[str, str]:
        """Open a case; its number and its secret code. It is on disk when this returns.

        Raises:
            Full: if too many were opened in the last hour.
            FelsinaError: if there is no such subject, or nothing is written.
        """
        if subject not in SUBJECTS:
            raise FelsinaError(f"subject {subject!r} is unknown; give one of {', '.join(SUBJECTS)}")
        words, code, now = clean(text), _new_code(), int(time.time())
        year = datetime.fromtimestamp(now, UTC).year
        insert = self.store.insert(tables.case_years).values(year=year, last=1)
        following = insert.on_conflict_do_update(
            index_elements=["year"], set_={"last": tables.case_years.c.last + 1}
        ).returning(tables.case_years.c.last)
        with self.store.engine.begin() as connection:
            place = connection.execute(following).scalar_one()  # who comes next waits for this one
            recent = sa.select(sa.func.count()).where(tables.cases.c.opened > now - 3600)
            if connection.execute(recent).scalar_one() >= MOST_AN_HOUR:
                raise Full(f"{MOST_AN_HOUR} cases were opened in the last hour; come back later")
            row = {"dataset": dataset, "area": area, "subject": subject, "opened": now}
            here = {"year": year, "place": place}
            connection.execute(sa.insert(tables.cases), row | here | {"code": _digest(code)})
            line = {"line": 0, "at": now, "text": words}
            connection.execute(sa.insert(tables.case_lines), line | here)
        return _numbered(year, place), code

    def follow(self, number: str, code: str) -> Case | None:
        """The case of a number, for who has its code; None where they do not fit."""
        if (key := _key(number)) is None:
            return None
        query = sa.select(tables.cases.c.code).where(_is(tables.cases, key))
        with self.store.engine.connect() as connection:
            held = connection.execute(query).scalar()
        given = _digest(code)
        return self.case(number) if hmac.compare_digest(held or "", given) else None

    def add(self, number: str, text: str) -> None:
        """Add a line to a case that is not closed; an answered one is open again.

        Raises:
            Full: if it has ``MOST_LINES``.
            FelsinaError: if there is no such case, or it is closed, or nothing is written.
        """
        words, key = clean(text), _known(number)
        with self.store.engine.begin() as connection:
            again = sa.update(tables.cases).where(
                _is(tables.cases, key), tables.cases.c.closed.is_(None)
            )
            if not connection.execute(again.values(answered=None)).rowcount:
                raise FelsinaError(f"case {number} is closed, or there is none; open a new one")
            mine = _is(tables.case_lines, key)
            last = sa.select(sa.func.max(tables.case_lines.c.line)).where(mine)
            line = (connection.execute(last).scalar() or 0) + 1  # 0 was the first
            if line >= MOST_LINES:
                raise Full(f"case {number} has {MOST_LINES} texts; open a new one")
            row = {"year": key[0], "place": key[1], "line": line, "at": int(time.time())}
            connection.execute(sa.insert(tables.case_lines), row | {"text": words})

    def answer(self, number: str, italian: str, english: str) -> None:
        """Answer a case, in place of an answer before.

        Raises:
            FelsinaError: if there is no such case, or it is closed, or a language is empty.
        """
        said = {"answer_it": clean(italian), "answer_en": clean(english)}
        self._change(number, tables.cases.c.closed.is_(None), answered=int(time.time()), **said)

    def close(self, number: str) -> None:
        """Close an answered case: nothing more can be added.

        Raises:
            FelsinaError: if there is no such case, or it waits for an answer, or is closed.
        """
        answered = tables.cases.c.answered.is_not(None) & tables.cases.c.closed.is_(None)
        self._change(number, answered, closed=int(time.time()))

    def erase(self, number: str, by: str) -> int:
        """Delete the words of a case, for good; how many texts went."""
        key = _known(number)
        with self.store.engine.begin() as connection:
            gone = connection.execute(
                sa.delete(tables.case_lines).where(_is(tables.case_lines, key))
            ).rowcount
            if gone:
                dataset = sa.select(tables.cases.c.dataset).where(_is(tables.cases, key))
                record = {"at": int(time.time()), "what": f"words of case {number}", "rows": gone}
                record |= {"dataset": connection.execute(dataset).scalar_one(), "by": by}
                connection.execute(sa.insert(tables.deletions), record | {"reason": "on request"})
        return gone

    def datasets(self) -> set[str]:
        """Datasets about which somebody wrote what is still held."""
        same = (tables.cases.c.year == tables.case_lines.c.year) & (
            tables.cases.c.place == tables.case_lines.c.place
        )
        query = sa.select(tables.cases.c.dataset).join(tables.case_lines, same).distinct()
        with self.store.engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def case(self, number: str) -> Case | None:
        """One case with its words, None where there is none."""
        key = _key(number)
        found = [] if key is None else self._read(_is(tables.cases, key))
        return found[0] if found else None

    def all(
        self, dataset: str | None = None, state: str | None = None, words: bool = True
    ) -> list[Case]:
        """Cases of a dataset and a state, or of all, with their words or not; the oldest first."""
        meant = sa.true() if dataset is None else tables.cases.c.dataset == dataset
        return [case for case in self._read(meant, words) if state in (None, case.state)]

    def _read(self, meant: sa.ColumnElement[bool], worded: bool = True) -> list[Case]:
        order = (tables.cases.c.year, tables.cases.c.place)
        lines = sa.select(tables.case_lines).order_by(tables.case_lines.c.line)
        with self.store.engine.connect() as connection:
            rows = connection.execute(sa.select(tables.cases).where(meant).order_by(*order)).all()
            said = connection.execute(lines.where(words_of(meant))).all() if worded else []
        words: dict[tuple[int, int], list[tuple[int, str]]] = {}
        for line in said:
            words.setdefault((line.year, line.place), []).append((line.at, line.text))
        return [_case(row._mapping, words.get((row.year, row.place), [])) for row in rows]

    def _change(self, number: str, allowed: sa.ColumnElement[bool], **values: Any) -> None:
        changed = sa.update(tables.cases).where(_is(tables.cases, _known(number)), allowed)
        with self.store.engine.begin() as connection:
            if connection.execute(changed.values(**values)).rowcount:
                return
        case = self.case(number)
        state = "not there" if case is None else case.state
        raise FelsinaError(f"case {number} is {state}; felsina cases list shows what there is")


def published(store: Store, dataset: str | None = None) -> list[dict[str, Any]]:
    """Every case of a dataset, or of all, without its words, the oldest first."""
    return [public(case) for case in Cases(store).all(dataset, words=False)]


def public(case: Case) -> dict[str, Any]:
    """What everyone may know of a case, and a report embeds."""
    keys = ("number", "dataset", "area", "subject", "opened", "state", "answer_it", "answer_en")
    return {key: getattr(case, key) for key in keys} | {"opened": day(case.opened)}


def worded(case: Case) -> dict[str, Any]:
    """A case as its writer reads it, and those who operate the service."""
    return public(case) | {"lines": [{"day": day(at), "text": text} for at, text in case.lines]}


def words_of(meant: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """The lines of the cases that are meant."""
    theirs = sa.select(tables.cases.c.year, tables.cases.c.place).where(meant)
    return sa.tuple_(tables.case_lines.c.year, tables.case_lines.c.place).in_(theirs)


def day(second: int) -> str:
    """A second since 1970 as a day, UTC."""
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d}"


def clean(text: str) -> str:
    """A text without what cannot be seen: control characters, those that turn text around.

    Raises:
        FelsinaError: if nothing is left, or too much.
    """
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    seen = "".join(c for c in unified if c == "\n" or unicodedata.category(c)[0] != "C").strip()
    if not 0 < len(seen) <= MOST_CHARACTERS:
        raise FelsinaError(f"the text has {len(seen)} characters; write 1 to {MOST_CHARACTERS}")
    return seen


def shown_code(code: str) -> str:
    """A code in groups of four, to be copied by hand."""
    return "-".join(code[i : i + 4] for i in range(0, len(code), 4))


def _new_code() -> str:
    return base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode()


def _digest(code: str) -> str:
    """How a code is held; one that was copied with blanks or in small letters is the same."""
    plain = re.sub(r"[\s-]", "", code).upper().translate(_ALIKE)
    return sha256(plain.encode("utf-8", "replace")).hexdigest()


def _numbered(year: int, place: int) -> str:
    return f"{year}-{place:04d}"


def _key(number: str) -> tuple[int, int] | None:
    found = _NUMBER.fullmatch(number.strip())
    return None if found is None else (int(found[1]), int(found[2]))


def _known(number: str) -> tuple[int, int]:
    if (key := _key(number)) is None:
        raise FelsinaError(f"case {number!r}: give a number such as 2026-0007")
    return key


def _is(table: sa.Table, key: tuple[int, int]) -> sa.ColumnElement[bool]:
    return (table.c.year == key[0]) & (table.c.place == key[1])


def _case(row: Any, lines: list[tuple[int, str]]) -> Case:
    values = {key: row[key] for key in Case.__dataclass_fields__ if key in row}
    return Case(number=_numbered(row["year"], row["place"]), lines=tuple(lines), **values)
