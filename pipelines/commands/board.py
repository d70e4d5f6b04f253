"""``felsina board``, ``promote`` and ``rollback``: people's side of the board's decisions."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path

from fairness.board import Register, begin_board
from models.board import APPROVE, BOARD, REJECT, SHOWN, Board
from models.charter import Charter, Person
from models.decisions import Terms
from models.errors import FelsinaError
from models.signing import PrivateKey, create_key, is_protected, key_id, load_key, load_public_key
from models.stream import utc_now
from pipelines import board as stage
from pipelines.commands.board_text import case_lines, case_record, status_lines, status_record
from pipelines.commands.terminal import answer, out
from pipelines.settings import home

_PASSPHRASE = "FELSINA_BOARD_PASSPHRASE"


def make_key(file: Path, unprotected: bool, descriptor: int | None) -> None:
    """Make a key pair."""
    if file.exists():
        raise FelsinaError(f"{file} exists; a key is never overwritten, name another")
    secret = None if unprotected else _passphrase(file, descriptor, twice=True)
    key = create_key(file, secret)
    out.print(f"{file}: private, yours alone; {file}.pub: public, key {key_id(key.public_key())}")


def found(
    members: str,
    threshold: int,
    operator: Path,
    name: str,
    folder: Path | None,
    descriptor: int | None,
) -> None:
    """Found a board."""
    key = board_key(operator, descriptor)
    people = [
        Person(Path(file).stem.removesuffix(".key"), load_public_key(Path(file)))
        for file in members.split(",")
    ]
    leader = Person(operator.stem, key.public_key())
    charter = Charter(name, threshold, tuple(people), leader)
    path = begin_board(_folder(folder), charter, key)
    out.print(f"{path}: {name}, {threshold} of {len(people)} members decide")
    out.print(f"sha256 of the charter, for members to compare: {charter.sha256}")
    out.print(f"serve with: felsina serve --board {path} (a copy that only you can change)")


def show_one(release: str, folder: Path | None, json: bool) -> None:
    """Show what is to be signed."""
    case, board = stage.docket(home(), release), stage.read_board(_folder(folder))
    if json:
        answer(case_record(case, board, utc_now()))
        return
    for line in case_lines(case, board, utc_now()):
        out.print(line, markup=False)


def sign_one(
    release: str,
    file: Path,
    approve: bool,
    reject: bool,
    said: tuple[tuple[str, ...], str | None],
    yes: bool,
    folder: Path | None,
    descriptor: int | None,
) -> None:
    """Vote on a release."""
    if approve == reject:
        raise FelsinaError("say --approve or --reject, one of them")
    key = board_key(file, descriptor)
    case, board = stage.docket(home(), release), stage.read_board(_folder(folder))
    decision = APPROVE if approve else REJECT
    terms = _terms(case, board, decision, *said)
    for line in case_lines(case, board, utc_now()):
        out.print(line, markup=False)
    ends = f" until {terms.expires}" if terms.expires else ""
    conditions = "; ".join(terms.conditions) or "none"
    out.print(f"you sign: {decision} {case.release}{ends}, conditions: {conditions}", markup=False)
    _asked(decision, yes)
    after = stage.sign(_folder(folder), key, case, terms)
    _told(after, case)


def alarm_one(
    release: str, file: Path, reason: str, folder: Path | None, descriptor: int | None
) -> None:
    """Raise an alarm; the release may be broken, so only what was decided on it is asked."""
    name = Path(release).name
    register = Register(_folder(folder), board_key(file, descriptor))
    known = {terms.release: terms for terms in register.read().voted().values()}
    known |= {one.terms.release: one.terms for one in register.read().decided}
    of = known[name] if name in known else stage.sealed(home(), name)
    register.alarm(of.dataset, of.release, of.manifest_sha256, reason)
    out.print(f"{name} is suspended; running servers stop it within seconds")


def show_status(folder: Path | None, json: bool) -> None:
    """Show where every release stands."""
    board = stage.read_board(_folder(folder))
    record = status_record(board, utc_now()) | {"proposed": stage.proposed(home(), board)}
    if json:
        answer(record)
        return
    for line in status_lines(record):
        out.print(line, markup=False)


def promote_one(release: str, file: Path, folder: Path | None, descriptor: int | None) -> None:
    """Promote a release."""
    key, case = board_key(file, descriptor), stage.docket(home(), release)
    board = stage.promote(_folder(folder), key, case)
    ruling = board.ruling(case.manifest_sha256, utc_now())
    out.print(f"{case.release} is promoted: it {ruling.why}; running servers see it in a second")


def roll_back(
    dataset: str, file: Path, reason: str, folder: Path | None, descriptor: int | None
) -> None:
    """Go back to an earlier release."""
    key, place = board_key(file, descriptor), _folder(folder)
    board = stage.rollback(home(), place, key, dataset, reason)
    out.print(f"{dataset} goes back to {board.promoted(dataset)[0].release}")


def _terms(
    case: stage.Docket,
    board: Board,
    decision: str,
    conditions: tuple[str, ...],
    expires: str | None,
) -> Terms:
    """The terms given, else those of the latest vote that waits; a rejection needs no other's."""
    if conditions or expires or decision == REJECT:
        return case.terms(decision, conditions, expires)
    waiting = [t for t in board.votes(case.manifest_sha256).values() if t.decision == APPROVE]
    found = waiting[-1] if waiting else case.terms(decision)
    if found.report_sha256 != case.report_sha256:
        raise FelsinaError(
            f"the votes that wait are on another report, {found.report_sha256[:SHOWN]}; this one "
            f"is {case.report_sha256[:SHOWN]}; say --expires and --conditions anew"
        )
    if found.expires is None:
        raise FelsinaError("no vote waits whose terms yours could have; say --expires YYYY-MM-DD")
    return found


def _asked(decision: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise FelsinaError("read the above and say --yes, or answer at a terminal; not signed")
    if input(f"Type {decision} to sign: ").strip() != decision:
        raise FelsinaError("not signed")


def _told(board: Board, case: stage.Docket) -> None:
    """What a vote has led to."""
    ruling = board.ruling(case.manifest_sha256, utc_now())
    latest = board.decided[-1].id if board.decided else None
    if latest == board.entries[-1].sha256:
        out.print(f"the vote decides: {case.release} {ruling.why}")
        if ruling.state == "approved":
            out.print(f"next: felsina promote {case.release} --key OPERATOR")
        return
    cast, needed = len(board.votes(case.manifest_sha256)), board.charter.threshold
    out.print(f"the vote is signed; {cast} cast, {needed} must agree")


def _folder(folder: Path | None) -> Path:
    return folder or home() / BOARD


def board_key(file: Path, descriptor: int | None) -> PrivateKey:
    """A private key, with its passphrase where it has one."""
    secret = _passphrase(file, descriptor) if is_protected(file) else None
    return load_key(file, secret)


def _passphrase(file: Path, descriptor: int | None, twice: bool = False) -> str:
    """From a file descriptor, the environment or the terminal; never from an argument."""
    if descriptor is not None:
        with os.fdopen(descriptor) as stream:
            return stream.readline().rstrip("\n")
    if given := os.environ.get(_PASSPHRASE):
        return given
    if not sys.stdin.isatty():
        raise FelsinaError(
            f"{file}: no terminal to ask for the passphrase; set {_PASSPHRASE} or --passphrase-fd"
        )
    secret = getpass.getpass(f"Passphrase of {file}: ")
    if twice and getpass.getpass("Once more: ") != secret:
        raise FelsinaError("the two passphrases differ; no key was made")
    return secret
