"""Contested cases: numbers, codes, states, words that go, on both databases."""

import threading
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from models.contracts import FelsinaError
from serving import cases as module
from serving import tables
from serving.cases import ANSWERED, CLOSED, OPEN, Cases, Full, clean, published, shown_code
from serving.erasure import Eraser
from serving.retention import CASES, tidy
from serving.store import Store
from tests.fixtures.tiny import felsina

DAY = 86_400
WORDS = "On Monday the ring was jammed, and nothing was forecast."


@pytest.fixture
def cases(store_place: str) -> Cases:
    return Cases(Store(store_place))


def opened(cases: Cases, dataset: str = "tiny", text: str = WORDS) -> tuple[str, str]:
    return cases.open(dataset, "Navile", "wrong_here", text)


def test_numbers_have_no_gap_however_many_write_at_once(cases: Cases) -> None:
    found: list[str] = []

    def write() -> None:
        for _ in range(4):
            found.append(opened(cases)[0])

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    year = time.gmtime().tm_year
    assert sorted(found) == [f"{year}-{place:04d}" for place in range(1, 25)]
    assert [case["number"] for case in published(cases.store)] == sorted(found)


def test_who_is_refused_leaves_no_gap(cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(cases)
    monkeypatch.setattr(module, "MOST_AN_HOUR", 1)
    with pytest.raises(Full, match="in the last hour"):
        opened(cases)
    monkeypatch.undo()
    assert opened(cases)[0].endswith("-0002")


def test_an_hour_later_there_is_room_again(cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_AN_HOUR", 2)
    for _ in range(2):
        opened(cases)
    with pytest.raises(Full):
        opened(cases)
    age(cases, 3601, "opened")
    opened(cases)


def age(cases: Cases, by: int, *columns: str) -> None:
    """Let every case have happened earlier."""
    earlier = {name: tables.cases.c[name] - by for name in columns}
    with cases.store.engine.begin() as connection:
        connection.execute(sa.update(tables.cases).values(earlier))


def test_the_code_alone_opens_a_case_and_is_held_nowhere(cases: Cases) -> None:
    (number, code), (other, second) = opened(cases), opened(cases)
    case = cases.follow(number, code)
    assert case is not None
    assert (case.number, case.state, case.lines[0][1]) == (number, OPEN, WORDS)
    assert cases.follow(number, f" {shown_code(code).lower()} ") == case
    for wrong in (second, code[:-1], "", "\ud800", "x" * 10_000):
        assert cases.follow(number, wrong) is None
    foreign = number.translate({ord(str(d)): chr(0x660 + d) for d in range(10)})
    for nowhere in ("2020-0001", "2026-9999", "", "1", foreign, f"{other} or 1=1"):
        assert cases.follow(nowhere, code) is None
    with cases.store.engine.connect() as connection:
        rows = [*connection.execute(sa.select(tables.cases)).all()]
        rows += connection.execute(sa.select(tables.case_lines)).all()
    assert WORDS in str(rows)
    assert code not in str(rows)


def test_a_case_goes_from_open_to_closed(cases: Cases) -> None:
    number, code = opened(cases)
    with pytest.raises(FelsinaError, match=f"case {number} is open"):
        cases.close(number)
    cases.answer(number, "Avete ragione.", "You are right.")
    assert cases.case(number).state == ANSWERED
    cases.add(number, "It happened again.")
    again = cases.follow(number, code)
    assert (again.state, again.answer_it) == (OPEN, "Avete ragione.")
    assert [text for _, text in again.lines] == [WORDS, "It happened again."]
    cases.answer(number, "Mettiamo un sensore.", "We put a sensor there.")
    cases.close(number)
    assert cases.case(number).state == CLOSED
    for change in (
        lambda: cases.add(number, "More."),
        lambda: cases.answer(number, "a", "b"),
        lambda: cases.close(number),
        lambda: cases.close("2020-0001"),
        lambda: cases.add("2020-0001", "More."),
        lambda: cases.answer(number, "Solo italiano.", " "),
    ):
        with pytest.raises(FelsinaError):
            change()
    assert [case.number for case in cases.all("tiny", CLOSED)] == [number]
    assert cases.all("other") == cases.all("tiny", OPEN) == []


def test_what_is_published_holds_no_word_of_the_writer(cases: Cases) -> None:
    number, code = opened(cases)
    cases.answer(number, "Grazie.", "Thank you.")
    (told,) = published(cases.store)
    assert told == {
        "number": number,
        "dataset": "tiny",
        "area": "Navile",
        "subject": "wrong_here",
        "opened": time.strftime("%Y-%m-%d", time.gmtime()),
        "state": ANSWERED,
        "answer_it": "Grazie.",
        "answer_en": "Thank you.",
    }
    assert WORDS not in str(told)
    assert code not in str(told)


def test_words_go_some_days_after_the_answer_and_the_case_stays(cases: Cases, tmp_path) -> None:
    (waiting, _), (told, code) = opened(cases), opened(cases)
    cases.answer(told, "Grazie.", "Thank you.")
    age(cases, (CASES - 1) * DAY, "answered", "opened")
    tidy(tmp_path, cases.store, {})
    assert len(cases.case(told).lines) == 1
    age(cases, 2 * DAY, "answered", "opened")
    tidy(tmp_path, cases.store, {})
    assert cases.case(told).lines == ()
    assert cases.follow(told, code).answer_en == "Thank you."
    assert len(cases.case(waiting).lines) == 1, "an answer is due: its words stay"
    (record,) = Eraser(cases.store, "test").deletions()
    assert (record.dataset, record.rows, record.by) == ("tiny", 1, "server")


def test_words_are_erased_at_once_on_request(cases: Cases) -> None:
    number, _ = opened(cases)
    assert cases.erase(number, "operator") == 1
    assert cases.erase(number, "operator") == 0
    assert cases.case(number) == replace(cases.case(number), lines=())
    (record,) = Eraser(cases.store, "test").deletions()
    assert (record.what, record.by) == (f"words of case {number}", "operator")
    cases.add(number, "Without a name.")
    assert [text for _, text in cases.case(number).lines] == ["Without a name."]


def test_a_case_has_so_many_lines_and_a_line_so_many_characters(cases: Cases) -> None:
    number, _ = opened(cases, text="é" * module.MOST_CHARACTERS)
    for _ in range(module.MOST_LINES - 1):
        cases.add(number, "More.")
    with pytest.raises(Full):
        cases.add(number, "More.")
    assert len(cases.case(number).lines) == module.MOST_LINES
    with pytest.raises(FelsinaError, match="2001 characters"):
        opened(cases, text="x" * 2001)
    with pytest.raises(FelsinaError, match="unknown"):
        cases.open("tiny", "", "spam", WORDS)


def test_what_cannot_be_seen_is_left_out(cases: Cases) -> None:
    number, _ = opened(cases, text="\x1b[31mred\x00 \u202eback\r\nnew line\ud800 <b>")
    assert cases.case(number).lines[0][1] == "[31mred back\nnew line <b>"
    with pytest.raises(FelsinaError, match="0 characters"):
        clean("\x00\u200b \n")


def test_the_command_lists_answers_and_closes_and_words_are_no_markup(home, tmp_path) -> None:
    place = tmp_path / "observations.db"
    cases = Cases(Store(place))
    number, _ = opened(cases, text="[bold red]\x1b[31mPlease[/] look")
    store = {"FELSINA_STORE": str(place)}
    listed = felsina(home, "cases", "list", **store)
    assert f"{number}  open" in listed.stdout
    assert "[bold red][31mPlease[/] look" in listed.stdout
    assert felsina(home, "cases", "close", number, **store).returncode == 2
    said = ("--it", "Grazie.", "--en", "Thank you.")
    assert felsina(home, "cases", "answer", number, *said, **store).returncode == 0
    assert felsina(home, "cases", "close", number, **store).returncode == 0
    assert cases.case(number).state == CLOSED
