"""Decisions replayed: what makes a ruling, and each entry that does not fit."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fairness.board import CHARTER, STREAM, Register, begin_board
from models.board import Board, open_board
from models.charter import Charter, Person, read_charter
from models.errors import FelsinaError
from models.record import canonical_json, sha256_bytes
from models.signing import PrivateKey, sign_record
from models.stream import Stream
from pipelines.commands.board_text import status_record
from tests.fixtures.boards import FAR, Seats, seats, terms, ticking

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def board(tmp_path) -> Seats:
    return seats(tmp_path / "board", clock=ticking())


def state(board: Seats, of=None, now=NOW) -> str:
    return board.board().ruling((of or terms()).manifest_sha256, now).state


def opened(board: Seats) -> Board:
    return open_board(board.charter, board.folder / STREAM)


def slip(board: Seats, name: str, kind: str, body: dict, key: PrivateKey | None = None) -> None:
    """Write an entry that nobody holds to what the board allows, with its head."""
    signer = key or board.keys[name]
    stream = Stream(
        board.folder / STREAM, signer, board.clock, [*board.charter.keys, signer.public_key()]
    )
    stream.append(kind, body)


def refused(board: Seats, *words: str) -> None:
    with pytest.raises(FelsinaError) as error:
        opened(board)
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def vote_of(said, member: str) -> dict:
    return said.to_dict() | {"member": member}


def promotion_of(said, decision: str, reason: str = "") -> dict:
    of = {key: getattr(said, key) for key in ("dataset", "release", "manifest_sha256")}
    return of | {"decision": decision, "reason": reason}


def test_a_ruling_stands_when_enough_members_agree_on_all_of_it(board) -> None:
    board.vote(terms(), "a")
    assert state(board) == "none"
    board.vote(terms(conditions=("Only by day.",)), "b")
    assert state(board) == "none"
    board.vote(terms(conditions=("Only by day.",)), "c")
    ruling = board.board().ruling(terms().manifest_sha256, NOW)
    assert (ruling.state, ruling.conditions, ruling.expires) == ("approved", ("Only by day.",), FAR)
    lines = (board.folder / STREAM).read_bytes().splitlines()
    assert ruling.decision == sha256_bytes(lines[-1])
    assert opened(board).decided[0].members == ("b", "c")


def test_a_later_ruling_replaces_an_earlier_one_and_a_lone_change_of_mind_does_not(board) -> None:
    first = board.approve(terms())
    against = terms(decision="reject", expires=None)
    board.vote(against, "a")
    assert board.board().ruling(terms().manifest_sha256, NOW).decision == first
    board.vote(against, "c")
    assert state(board) == "rejected"
    assert [one.terms.decision for one in board.board().decided] == ["approve", "reject"]


def test_members_reject_each_in_words_of_their_own(board) -> None:
    said = terms()
    first = board.approve(said)
    words = {"a": ("By night.",), "b": ("The Reno.", "By night."), "c": ()}
    for at, (name, conditions) in enumerate(words.items(), 1):
        report = sha256_bytes(name.encode())
        board.vote(
            replace(
                said, decision="reject", expires=None, conditions=conditions, report_sha256=report
            ),
            name,
        )
        assert state(board) == ("approved" if at == 1 else "rejected")
    ruling, read = opened(board).ruling(said.manifest_sha256, NOW), opened(board)
    assert ruling.conditions == ("By night.", "The Reno.")
    assert [one.members for one in read.decided] == [("a", "b"), ("a", "b")]
    assert (read.decided[0].id, read.decided[1].id) == (first, ruling.decision)
    kept = read.votes(said.manifest_sha256)
    assert {name: one.conditions for name, one in kept.items()} == words
    assert len({one.report_sha256 for one in kept.values()}) == 3
    assert status_record(read, NOW)["pending"] == {}
    board.vote(said, "c")
    assert status_record(opened(board), NOW)["pending"].keys() == {said.release}


def test_votes_that_differ_approve_nothing_and_reject_no_other_release(board) -> None:
    board.vote(terms(decision="reject", expires=None), "a")
    board.vote(terms("two", decision="reject", expires=None), "b")
    board.vote(terms(report_sha256="1" * 64), "b")
    board.vote(terms(report_sha256="2" * 64), "c")
    assert (state(board), state(board, terms("two"))) == ("none", "none")


@pytest.mark.parametrize(
    "time",
    [
        "2026-06-01T23:30:00.000-12:00",
        "2026-06-01T10:00:00.000+00:00",
        "2026-06-01T10:00:00Z",
        "2026-06-01T10:00:00.000000Z",
        "2026-06-01 10:00:00.000Z",
        "20260601T100000.000Z",
        "9999-12-31T23:59:59.999-12:00",
        "2026-06-01",
        "yesterday",
    ],
)
def test_a_time_is_written_in_one_way(board, monkeypatch, time) -> None:
    content = {p.name: p.read_bytes() for p in board.folder.iterdir()}
    for told, fits in (("2026-06-01T10:00:00.000Z", True), (time, False)):
        for file, held in content.items():
            (board.folder / file).write_bytes(held)
        with monkeypatch.context() as patch:
            patch.setattr("models.stream.iso", lambda _, told=told: told)
            slip(board, "a", "vote", vote_of(terms(), "a"))
        if fits:
            assert opened(board).votes(terms().manifest_sha256).keys() == {"a"}
        else:
            refused(board, "entry 1 (vote)", repr(time), "which is no time")


def test_an_approval_holds_through_its_last_day(board) -> None:
    board.approve(terms(expires="2026-06-01"))
    assert state(board, now=datetime(2026, 6, 1, 23, 59, 59, tzinfo=UTC)) == "approved"
    assert state(board, now=datetime(2026, 6, 2, tzinfo=UTC)) == "expired"


@pytest.mark.parametrize("by", ["c", "op"])
def test_an_alarm_suspends_until_the_board_votes_anew(board, by) -> None:
    said = terms()
    board.approve(said)
    board.register(by).alarm(said.dataset, said.release, said.manifest_sha256, "floods missed")
    ruling = board.board().ruling(said.manifest_sha256, NOW)
    assert (ruling.state, "floods missed" in ruling.why) == ("suspended", True)
    board.vote(said, "a")
    assert state(board) == "suspended"
    board.vote(said, "b")
    assert state(board) == "approved"


def test_promotions_stack_and_a_rollback_forgets_those_since(board) -> None:
    some = [terms(note) for note in ("one", "two", "three")]
    ids = [board.approve(one) for one in some]
    for one, decision in zip(some, ids, strict=True):
        board.promote(one, decision)
    names = [one.release for one in some]
    assert [p.release for p in board.board().promoted("tiny")] == names[::-1]
    board.promote(some[0], ids[0], "back")
    assert [p.release for p in board.board().promoted("tiny")] == names[:1]
    board.promote(some[2], ids[2])
    assert [p.release for p in board.board().promoted("tiny")] == [names[2], names[0]]


def test_decisions_as_of_a_moment(board) -> None:
    board.promote(terms(), board.approve(terms()))
    whole = board.board()
    times = [datetime.fromisoformat(entry.time) for entry in whole.entries]
    states = [whole.as_of(t).ruling(terms().manifest_sha256, t).state for t in times]
    assert states == ["none", "none", "approved", "approved"]
    assert [len(whole.as_of(t).promoted("tiny")) for t in times] == [0, 0, 0, 1]


def test_one_member_twice_is_one_member(board) -> None:
    board.vote(terms(), "a")
    with pytest.raises(FelsinaError, match="the vote that a gave before, once more"):
        board.vote(terms(), "a")
    board.vote(terms(expires="2998-01-01"), "a")
    board.vote(terms(), "a")
    assert state(board) == "none"
    slip(board, "a", "vote", vote_of(terms(), "a"))
    refused(board, "entry 4 (vote)", "once more")


def test_a_strangers_entry_is_refused(board) -> None:
    board.vote(terms(), "a")
    assert opened(board).votes(terms().manifest_sha256).keys() == {"a"}
    slip(board, "", "vote", vote_of(terms(), "b"), PrivateKey.generate())
    refused(board, "entry 2", "is signed by key")


BAD_VOTES = {
    "signed by op, the operator": ("op", {}),
    "said to be by b, and a signed": ("a", {"member": "b"}),
    "approves until 2020-01-01, which was over": ("a", {"expires": "2020-01-01"}),
    "expires '20990101', which is no day": ("a", {"expires": "20990101"}),
    "expires None, which is no day": ("a", {"expires": None}),
    "rejects, and yet expires": ("a", {"decision": "reject"}),
    "decides 'maybe'": ("a", {"decision": "maybe"}),
    "has conditions that are no texts": ("a", {"conditions": "None"}),
    "names no digest of a report": ("a", {"report_sha256": "0" * 63}),
    "which has another dataset or manifest": ("a", {"release": "tiny-000000000000"}),
    "names no dataset": ("a", {"dataset": "../tiny"}),
    "does not hold": ("a", {"more": "x"}),
    "holds something else than texts": ("a", {"report_sha256": 7}),
}


@pytest.mark.parametrize("words", BAD_VOTES)
def test_a_vote_that_does_not_fit_refuses_the_stream(board, words) -> None:
    name, changes = BAD_VOTES[words]
    body = vote_of(terms(), name) | changes
    board.vote(terms(), "b")
    opened(board)
    slip(board, name, "vote", body)
    refused(board, "entry 2 (vote)", words)


def test_a_promotion_that_does_not_fit_refuses_the_stream(board) -> None:
    said, other = terms(), terms("two", decision="reject", expires=None)
    decision = board.approve(said)
    rejected = board.vote(other, "a", "b").decided[-1].id
    content = {p.name: p.read_bytes() for p in board.folder.iterdir()}
    for name, body, words in (
        ("op", promotion_of(other, rejected), "was rejected by decision"),
        ("op", promotion_of(terms("three"), decision), "was not decided on by the board"),
        ("op", promotion_of(said, rejected), f"names decision {rejected[:12]}"),
        (
            "op",
            promotion_of(
                replace(said, dataset="other", release=f"other-{said.release[5:]}"), decision
            ),
            "and the decision is on tiny-",
        ),
        ("a", promotion_of(said, decision), "signed by a, the member; only the operator may"),
    ):
        slip(board, name, "promote", body)
        refused(board, "entry 5 (promote)", words)
        for file, held in content.items():
            (board.folder / file).write_bytes(held)
    assert board.promote(said, decision).promoted("tiny")[0].decision == decision
    with pytest.raises(FelsinaError, match=r"nothing was signed: .* promoted already"):
        board.promote(said, decision)


def test_an_unknown_kind_and_a_time_that_runs_backwards_are_refused(board) -> None:
    content = {p.name: p.read_bytes() for p in board.folder.iterdir()}
    slip(board, "a", "note", {})
    refused(board, "entry 1 (note)", "unknown kind")
    for file, held in content.items():
        (board.folder / file).write_bytes(held)
    early = replace(board, clock=ticking("2020-01-01T00:00:00+00:00"))
    slip(early, "a", "vote", vote_of(terms(), "a"))
    refused(board, "entry 1 (vote)", "before the entry before it")


def test_whoever_signs_has_a_clock_that_is_not_far_behind(board) -> None:
    board.vote(terms(), "a")
    slow = ticking("2026-02-28T23:58:00+00:00")
    Register(board.folder, board.keys["b"], slow).vote(terms())
    assert state(board) == "approved"
    wrong = ticking("2026-02-01T00:00:00+00:00")
    with pytest.raises(FelsinaError, match="set this machine's clock"):
        Register(board.folder, board.keys["c"], wrong).vote(terms())


def test_an_alarm_is_raised_by_whatever_clock(board) -> None:
    """One entry from the future stops votes and promotions, and never an alarm."""
    said = terms()
    of = (said.dataset, said.release, said.manifest_sha256)
    decision = board.approve(said)
    ahead = replace(board, clock=ticking("2999-01-01T00:00:00+00:00"))
    written = (board.folder / STREAM).read_bytes()
    for write in (
        lambda: ahead.vote(terms("two"), "a"),
        lambda: ahead.promote(said, decision),
    ):
        with pytest.raises(
            FelsinaError, match=r"the clock says 2999-01-01.*, and the disk of"
        ) as e:
            write()
        assert "\n" not in str(e.value)
    assert (board.folder / STREAM).read_bytes() == written
    ahead.register("b").alarm(*of, "by a clock ahead")
    assert opened(board).entries[-1].time < "2998"
    assert state(board) == "suspended"

    slip(ahead, "a", "vote", vote_of(terms("two"), "a"))
    for write in (lambda: board.vote(said, "b"), lambda: board.promote(said, decision)):
        with pytest.raises(FelsinaError, match=r"the clock says 2026-03-01.* is of 2999-01-01"):
            write()
    for name in ("c", "op"):
        board.register(name).alarm(*of, f"by {name}")
    assert [one.by for one in opened(board).alarms] == ["b", "c", "op"]


def test_another_charter_opens_nothing(board) -> None:
    board.approve(terms())
    lower = replace(board.charter, threshold=1)
    with pytest.raises(FelsinaError, match=r"opens 'board .*, and the charter's is 'board "):
        open_board(lower, board.folder / STREAM)
    (board.folder / CHARTER).write_bytes(canonical_json(lower.to_dict()))
    with pytest.raises(FelsinaError, match="the charter's is"):
        board.register("a")


def test_a_stream_is_not_opened_by_a_member(tmp_path, board) -> None:
    body = {"stream": board.charter.stream, "format": 1}
    record = {"n": 0, "time": "2026-01-01T00:00:00.000Z", "kind": "open", "body": body}
    line = canonical_json(sign_record(record | {"previous": "0" * 64}, board.keys["a"]))
    (tmp_path / "s.jsonl").write_bytes(line + b"\n")
    with pytest.raises(FelsinaError):
        open_board(board.charter, tmp_path / "s.jsonl")


def test_a_charter_reads_back_and_refuses_a_board_of_one_person_twice(board, tmp_path) -> None:
    assert read_charter(board.folder / CHARTER) == board.charter
    first, second = board.charter.members[:2]
    for changes, words in (
        ({"threshold": 4}, "threshold 4 of 3"),
        ({"threshold": 0}, "threshold 0 of 3"),
        ({"members": (first, Person("z", first.key))}, "key"),
        ({"members": (first, Person("a", second.key))}, "name 'a'"),
        ({"operator": Person("z", first.key)}, "key"),
        ({"name": " "}, "no name"),
    ):
        with pytest.raises(FelsinaError, match=words):
            replace(board.charter, **changes)
    record = board.charter.to_dict()
    path = tmp_path / "board.json"
    for broken in (b"{", b"[]", canonical_json(record | {"demo": 1}), canonical_json({})):
        path.write_bytes(broken)
        with pytest.raises(FelsinaError, match="no charter of a board"):
            read_charter(path)
    record["members"][0]["public_key"] = str(path)
    path.write_text(json.dumps(record))
    with pytest.raises(FelsinaError, match="no charter of a board"):
        read_charter(path)


def test_a_board_begins_once_and_by_its_operator(board, tmp_path) -> None:
    with pytest.raises(FelsinaError, match="begins once"):
        begin_board(board.folder, board.charter, board.keys["op"])
    with pytest.raises(FelsinaError, match="who is the operator"):
        begin_board(tmp_path / "other", board.charter, board.keys["a"])
    with pytest.raises(FelsinaError, match="that of no member"):
        Register(board.folder, PrivateKey.generate())


def test_a_founding_that_was_cut_off_is_gone_on_with(board, tmp_path, monkeypatch) -> None:
    folder, key = tmp_path / "new", board.keys["op"]

    def cut(*_) -> None:
        raise KeyboardInterrupt

    for where in ("models.stream._head", "fairness.board.write_atomic"):
        with monkeypatch.context() as patch:
            patch.setattr(where, cut)
            with pytest.raises(KeyboardInterrupt):
                begin_board(folder, board.charter, key, board.clock)
        assert (folder / STREAM).is_file()
    assert not (folder / CHARTER).exists()
    with pytest.raises(FelsinaError, match="is of another board"):
        begin_board(folder, replace(board.charter, threshold=1), key)
    begin_board(folder, board.charter, key, board.clock)
    assert replace(board, folder=folder).approve(terms())
    (folder / CHARTER).unlink()
    with pytest.raises(FelsinaError, match=r"is of another board; restore .*board\.json"):
        begin_board(folder, board.charter, key)


def test_charters_are_frozen_records() -> None:
    key = PrivateKey.generate().public_key()
    other = PrivateKey.generate().public_key()
    one = Charter("B", 1, (Person("a", key),), Person("o", other))
    assert one.sha256 != replace(one, demo=True).sha256
    assert one.stream == f"board {one.sha256}"
