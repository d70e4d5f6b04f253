"""``felsina cases``: contested cases in the store's database."""

from __future__ import annotations

import getpass

from rich.text import Text

from models.contracts import FelsinaError
from pipelines.commands.terminal import answer, out, say
from pipelines.settings import store_place
from serving.cases import STATES, Cases, day, worded
from serving.store import Store


def list_all(state: str, dataset: str | None, json: bool) -> None:
    """List cases with their words."""
    if state not in (*STATES, "all"):
        raise FelsinaError(f"state {state!r} is unknown; give {', '.join(STATES)} or all")
    found = _cases().all(dataset, None if state == "all" else state)
    if json:
        answer([worded(case) for case in found])
        return
    for case in found:
        place = case.area or "the whole city"
        head = f"{case.number}  {case.state}  {day(case.opened)}  {case.dataset}, {place}"
        out.print(Text(f"{head}: {case.subject.replace('_', ' ')}", style="bold"))
        for at, words in case.lines:  # as text: what people write is no markup
            out.print(Text(f"  {day(at)}  {words}"))
        if case.answer_en:
            out.print(Text(f"  answered: {case.answer_en}"))
    if not found:
        say("No such case")


def answer_one(number: str, italian: str, english: str) -> None:
    """Answer a case."""
    _cases().answer(number, italian, english)
    say(f"Case {number} is answered; the answer is public in both languages")


def close_one(number: str) -> None:
    """Close a case."""
    _cases().close(number)
    say(f"Case {number} is closed")


def erase_one(number: str) -> None:
    """Delete the words of a case."""
    gone = _cases().erase(number, getpass.getuser())
    say(f"Case {number}: {gone} texts are deleted")


def _cases() -> Cases:
    return Cases(Store(store_place()))
