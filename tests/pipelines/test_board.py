"""The commands of the board: what they refuse, what they show, what an answer is held to."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fairness.board import CHARTER, STREAM, Register
from models.board import open_board
from models.charter import read_charter
from models.errors import FelsinaError
from models.record import canonical_json
from models.signing import load_key
from pipelines import cli
from pipelines.board import demo_board, demo_decide, read_board
from pipelines.commands.response import held
from serving.release import MANIFEST, MODEL
from tests.fixtures.boards import Seats, report, seats, terms, terms_of, ticking
from tests.fixtures.tiny import ROOT, Tiny, environment, reseal

Run = Callable[..., tuple[int, str, str]]
WORD = "correct horse"


@pytest.fixture
def place(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a release, its report, and keys of a, b, c and op."""
    home = tmp_path / "home"
    shutil.copytree(tiny.release, home / "releases" / tiny.release.name)
    report(home, tiny.release)
    monkeypatch.setenv("FELSINA_HOME", str(home))
    monkeypatch.setenv("FELSINA_BOARD_PASSPHRASE", WORD)
    monkeypatch.chdir(tmp_path)
    return home


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["felsina", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def board(place: Path, run: Run) -> Path:
    for name in "abc":
        assert run("board", "keygen", name)[0] == 0
    assert run("board", "keygen", "op")[0] == 0
    keys = ["--members", "a.pub,b.pub,c.pub", "--operator", "op"]
    code, out, err = run("board", "init", *keys, "--threshold", "2", "--name", "Bologna")
    assert code == 0, err
    assert read_charter(place / "board" / CHARTER).sha256 in out
    return place / "board"


def test_people_are_called_as_their_key_files_are(place: Path, run: Run) -> None:
    for name in ("anna.key", "bruno", "op.key"):
        assert run("board", "keygen", name, "--unprotected")[0] == 0
    keys = ["--members", "anna.key.pub,bruno.pub", "--operator", "op.key"]
    code, _, err = run("board", "init", *keys, "--threshold", "1", "--name", "Bologna")
    assert code == 0, err
    charter = read_charter(place / "board" / CHARTER)
    assert [one.name for one in (*charter.members, charter.operator)] == ["anna", "bruno", "op"]


def refused(answer: tuple[int, str, str], *words: str) -> None:
    code, _, err = answer
    assert code == 2
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def approve(run: Run, release: str, *names: str, more: tuple[str, ...] = ()) -> None:
    for name in names:
        given = ("--approve", "--yes", *more)
        assert run("board", "sign", release, "--key", name, *given)[0] == 0


UNTIL = ("--expires", "2999-12-31")


def test_from_keys_to_a_promoted_release(board: Path, run: Run, tiny: Tiny) -> None:
    release = tiny.release.name
    assert b"ENCRYPTED" in Path("a").read_bytes()
    refused(run("promote", release, "--key", "op"), "was not decided on by the board")
    conditions = (*UNTIL, "--conditions", "Only by day.")
    approve(run, release, "a", more=conditions)
    refused(run("promote", release, "--key", "op"), "was not decided on by the board")
    shown = run("board", "show", release)[1]
    for words in ("intact", "a: approve until 2999-12-31, conditions: Only by day.", "b, c"):
        assert words in shown
    waiting = json.loads(run("board", "status", "--json")[1])["pending"]
    assert waiting == {release: {"a": read_board(board).voted().popitem()[1].to_dict()}}
    approve(run, release, "b")
    refused(run("promote", release, "--key", "a"), "signed by a, the member; only the operator may")
    assert run("promote", release, "--key", "op")[0] == 0
    status = json.loads(run("board", "status", "--json")[1])
    assert status["datasets"]["tiny"]["served"] == release
    assert status["datasets"]["tiny"]["conditions"] == ["Only by day."]
    assert status["pending"] == {}
    assert "served    " + release in run("board", "status")[1]
    listed = json.loads(run("release", "list", "--json")[1])
    assert [one["served"] for one in listed] == [True]
    assert run("board", "alarm", release, "--key", "c", "--reason", "misses floods")[0] == 0
    assert f"STOPPED   tiny: {release} suspended" in run("board", "status")[1]
    listed = json.loads(run("release", "list", "--json")[1])
    assert [one["served"] for one in listed] == [False]


def test_a_report_that_changed_or_lacks_parts_stops_a_promotion(
    board: Path, place: Path, run: Run, tiny: Tiny
) -> None:
    release = tiny.release.name
    approve(run, release, "a", "b", more=UNTIL)
    path = place / "reports" / release / "report.json"
    held_back = path.read_bytes()
    report(place, tiny.release, extra="edited after signing")
    refused(run("promote", release, "--key", "op"), "was changed since", "let the board decide")
    other = ("sign", release, "--key", "c", "--approve", "--yes")
    refused(run("board", *other), "are on another report")
    path.unlink()
    refused(run("promote", release, "--key", "op"), "is missing")
    refused(run("board", *other, *UNTIL), "felsina report build")
    report(place, tiny.release, manifest_sha256="0" * 64)
    refused(run("promote", release, "--key", "op"), "is of manifest 000000000000")
    path.write_bytes(b"{}")
    refused(run("board", "show", release), "no report")
    report(place, tiny.release, missing=["purpose", "owner"])
    approve(run, release, "a", "b", more=UNTIL)
    refused(run("promote", release, "--key", "op"), "purpose, owner")
    path.write_bytes(held_back)
    refused(run("promote", release, "--key", "op"), "was changed since")
    approve(run, release, "a", "b", more=("--expires", "2998-12-31"))
    assert run("promote", release, "--key", "op")[0] == 0


def test_a_page_that_the_report_does_not_say_is_neither_shown_nor_signed(
    board: Path, place: Path, run: Run, tiny: Tiny
) -> None:
    release = tiny.release.name
    approve(run, release, "a", "b", more=UNTIL)
    page = place / "reports" / release / "report.it.html"
    page.write_text("<p>No group is served worse.</p>")
    key = ("--key", "c", "--reject", "--yes")
    for asked in (("board", "show", release), ("board", "sign", release, *key)):
        refused(run(*asked), str(page), "does not say what report.json")
    refused(run("promote", release, "--key", "op"), str(page))
    assert [entry.kind for entry in read_board(board).entries] == ["open", "vote", "vote"]
    page.unlink()
    assert run("board", "show", release)[0] == 0
    assert run("promote", release, "--key", "op")[0] == 0
    page.write_text("<p>No group is served worse.</p>")
    assert run("board", "alarm", release, "--key", "c", "--reason", "the page")[0] == 0


def test_a_release_that_changed_is_neither_signed_nor_promoted(
    board: Path, place: Path, run: Run, tiny: Tiny
) -> None:
    release = tiny.release.name
    approve(run, release, "a", "b", more=UNTIL)
    model = place / "releases" / release / MODEL
    content = model.read_bytes()
    model.write_bytes(content + b" ")
    refused(run("promote", release, "--key", "op"), MODEL, "was changed")
    refused(run("board", "sign", release, "--key", "c", "--reject", "--yes"), MODEL)
    assert run("board", "alarm", release, "--key", "c", "--reason", "it was changed")[0] == 0
    model.write_bytes(content)
    refused(run("promote", release, "--key", "op"), "was suspended by c")


def test_what_a_vote_needs_is_said(board: Path, run: Run, tiny: Tiny, monkeypatch) -> None:
    release = tiny.release.name
    sign = ("board", "sign", release, "--key")
    refused(run(*sign, "a", "--yes"), "--approve or --reject")
    refused(run(*sign, "a", "--approve", "--yes"), "say --expires")
    refused(run(*sign, "a", "--approve", *UNTIL), "say --yes")
    refused(run(*sign, "a", "--approve", "--expires", "2020-01-01", "--yes"), "which was over")
    refused(run("board", "show", "tiny-0123456789ab"), "is missing")
    monkeypatch.setenv("FELSINA_BOARD_PASSPHRASE", "wrong")
    refused(run(*sign, "a", "--approve", *UNTIL, "--yes"), "not readable with this passphrase")
    monkeypatch.delenv("FELSINA_BOARD_PASSPHRASE")
    refused(run(*sign, "a", "--approve", *UNTIL, "--yes"), "--passphrase-fd")
    reading, writing = os.pipe()
    os.write(writing, WORD.encode() + b"\n")
    os.close(writing)
    given = ("--passphrase-fd", str(reading), "--yes")
    assert run(*sign, "a", "--approve", *UNTIL, *given)[0] == 0
    assert run("board", "keygen", "s", "--unprotected")[0] == 0
    assert load_key(Path("s"))
    refused(run(*sign, "s", "--reject", "--yes"), "that of no member of Bologna")
    refused(run("board", "keygen", "a"), "never overwritten")
    refused(run("board", "keygen", "new"), "no terminal to ask")


def test_a_rollback_goes_to_the_last_that_is_approved(place: Path, run: Run, tiny: Tiny) -> None:
    board = seats(place / "board", "a", 1)
    Path("op").write_bytes(pem(board, "op"))
    Path("op").chmod(0o600)
    folders = [place / "releases" / tiny.release.name]
    folders += [reseal(tiny.release, place, lambda m, n=n: m.update(note=n)) for n in "23"]
    for folder in folders:
        of = terms_of(place, folder)
        board.promote(of, board.approve(of))
    back = ("rollback", "tiny", "--key", "op", "--reason")
    refused(run(*back, " "), "say why")
    of = terms_of(place, folders[1])
    board.register("a").alarm(of.dataset, of.release, of.manifest_sha256, "misses floods")
    code, out, err = run(*back, "worse by night")
    assert (code, folders[0].name in out) == (0, True), err
    assert [one.reason for one in board.board().promoted("tiny")] == ["worse by night"]
    refused(run(*back, "again"), "has nothing to go back to")


def pem(board: Seats, name: str) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    key, plain = board.keys[name], s.NoEncryption()
    return key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, plain)


def answer(said, decision: str, at: datetime, **changes) -> dict:
    model = {"version": said.release, "manifest_sha256": said.manifest_sha256, "decision": decision}
    return {
        "model": model,
        "issued_at": f"{at:%Y-%m-%dT%H:%M:%SZ}",
        "approval": "approved",
    } | changes


def test_an_answer_is_held_to_what_was_decided_when_it_was_computed(tmp_path: Path) -> None:
    board = seats(tmp_path / "board", clock=ticking(step=60))
    said, other = terms(expires="2026-03-05"), terms("two")
    first = board.approve(said)
    board.promote(said, first)
    promoted = datetime.fromisoformat(board.board().entries[-1].time)
    second = board.approve(other)
    board.register("c").alarm(said.dataset, said.release, said.manifest_sha256, "misses floods")
    alarmed = datetime.fromisoformat(board.board().entries[-1].time)
    whole, soon = board.board(), promoted + timedelta(seconds=5)
    fault, good = held(answer(said, first, soon), whole)
    assert (fault, said.release in good) == ("", True)
    just = answer(said, first, alarmed.replace(microsecond=0))
    assert held(just, whole.as_of(alarmed - timedelta(milliseconds=1)))[0] == ""
    assert "was suspended" in held(just, whole)[0]  # the clock of this test ticks whole seconds
    flat = {"release": said.release, "manifest_sha256": said.manifest_sha256, "decision": first}
    flat |= {"issued_at": f"{soon:%Y-%m-%dT%H:%M:%SZ}", "approval": "approved"}
    assert held(flat, whole)[0] == ""
    for told, words in (
        (answer(said, first, promoted - timedelta(seconds=30)), "was not promoted"),
        (answer(said, first, promoted - timedelta(days=1)), "was not decided on"),
        (answer(said, first, alarmed + timedelta(seconds=5)), "was suspended by c"),
        (answer(said, second, soon), "it names decision"),
        (answer(other, second, alarmed), "was not promoted"),
        (answer(said, first, soon, approval="demo"), "it says approval 'demo'"),
        (answer(terms("three"), first, soon), "was not decided on"),
        ([], "no answer of the service"),
        ({"model": {}}, "no answer of the service"),
        (answer(said, first, soon, issued_at="2026-03-01"), "no answer of the service"),
    ):
        fault, good = held(told, whole)
        assert (good, words in fault) == ("", True), (words, fault)


def test_response_verify_says_one_line_and_exits_1(board: Path, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    file.write_bytes(canonical_json(answer(terms(), "0" * 64, datetime.now(UTC))))
    code, out, err = run("response", "verify", str(file))
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "was not decided on by the board" in err
    file.write_bytes(b"<html>")
    refused(run("response", "verify", str(file)), "no JSON")


def test_the_demo_board_decides_once_on_each_release(place: Path, tiny: Tiny, run: Run) -> None:
    name = tiny.release.name
    shutil.rmtree(place / "reports")
    charter = demo_board(place)
    assert read_charter(charter).demo
    for _ in range(2):
        demo_decide(place, [name])
    entries = read_board(charter.parent).entries
    assert [entry.kind for entry in entries] == ["open", "vote", "promote"]
    assert entries[1].body["report_sha256"] == "0" * 64
    refused(run("serve", "--board", str(charter)), "is of a demo board")
    refused(run("serve"), "say whose decisions count: --board FILE")


def test_a_home_with_a_real_board_is_not_for_up(board: Path, run: Run) -> None:
    refused(run("up"), "up trusts none but its own demo")


def test_no_board_but_a_demo_signs_what_has_no_report(tmp_path: Path) -> None:
    without = terms(report_sha256="0" * 64)
    with pytest.raises(FelsinaError, match="without a report, which only a demo board's may be"):
        seats(tmp_path / "real").vote(without, "a")
    assert seats(tmp_path / "demo", "a", 1, demo=True).approve(without)


KILLED = """
import os, sys
from pathlib import Path
from fairness.board import Register
from models import stream
from models.signing import load_key
from tests.fixtures.boards import terms

def pause(self):
    print("written", flush=True)
    os.read(0, 1)

stream.Stream._write_head = pause
Register(Path(sys.argv[1]), load_key(Path(sys.argv[2]))).vote(terms())
"""


def test_a_signer_killed_between_entry_and_head_has_voted(tmp_path: Path) -> None:
    """What is whole on disk counts and is vouched for by the next head; nothing else is lost."""
    board = seats(tmp_path / "board")
    key = tmp_path / "a"
    key.write_bytes(pem(board, "a"))
    key.chmod(0o600)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(board.folder), str(key)],
        cwd=ROOT,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    read = open_board(board.charter, board.folder / STREAM)
    assert read.votes(terms().manifest_sha256).keys() == {"a"}
    assert json.loads((board.folder / f"{STREAM}.head").read_bytes())["n"] == 0
    Register(board.folder, board.keys["b"]).vote(terms())
    assert board.board().decided[0].members == ("a", "b")


def test_manifests_are_what_is_signed(place: Path, tiny: Tiny, board: Path, run: Run) -> None:
    record = json.loads(run("board", "show", tiny.release.name, "--json")[1])
    lines = subprocess.run(
        ["sha256sum", place / "releases" / tiny.release.name / MANIFEST],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert lines.startswith(record["manifest_sha256"])
