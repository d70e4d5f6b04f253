"""What the board decides on, and the stage from its approval to the release that is served."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from fairness.board import Register, begin_board
from fairness.gate import despite, failed
from models.board import (
    APPROVE,
    BOARD,
    CHARTER,
    SHOWN,
    UNREPORTED,
    Board,
)
from models.charter import Charter, Person, read_charter
from models.decisions import Terms
from models.errors import FelsinaError
from models.record import sha256_bytes, sha256_file
from models.signing import PrivateKey, create_key, load_key
from models.stream import utc_now
from pipelines.present import RECORD, reports
from pipelines.present import read_board as read_board
from pipelines.report_pages import changed_pages
from pipelines.settings import held
from serving.release import INPUTS, MANIFEST, load_release, releases
from serving.surrogate import load_surrogate

_DEMO_DAYS = 3650


@dataclass(frozen=True)
class Docket:
    """A release as the board has it before it.

    Attributes:
        dataset: of the release, or the surrogate's name.
        release: its id.
        manifest_sha256: of the sealed folder, which was verified.
        path: of the board's report.
        report: its content; None where nobody has built one.
        report_sha256: of its bytes; 64 zeros where there is none.
    """

    dataset: str
    release: str
    manifest_sha256: str
    path: Path
    report: dict[str, Any] | None
    report_sha256: str

    @property
    def missing(self) -> list[str]:
        """Parts of the report that people have not written yet."""
        return [] if self.report is None else list(self.report["missing"])

    @property
    def held_back(self) -> list[str]:
        """Rules of the promotion gate that the report says are not met."""
        return [] if self.report is None else failed(self.report.get("gate"))

    def terms(
        self, decision: str, conditions: tuple[str, ...] = (), expires: str | None = None
    ) -> Terms:
        """What a vote on it says."""
        of = (self.dataset, self.release, self.manifest_sha256, self.report_sha256)
        return Terms(*of, decision, conditions, expires)


def sealed(home: Path, release: str) -> Docket:
    """Verify a release, whatever became of its report.

    Args:
        home: the ``mlruns`` folder.
        release: its id, or its folder.

    Raises:
        FelsinaError: if the release was changed.
    """
    name = Path(release).name
    folder = home / "releases" / name
    if not folder.is_dir():
        raise FelsinaError(f"{folder} is missing; name a release, felsina release list shows them")
    found = load_surrogate(folder) if (folder / INPUTS).is_file() else load_release(folder)
    path = reports(home, name) / RECORD
    return Docket(name.rpartition("-")[0], name, found.sha256, path, None, UNREPORTED)


def docket(home: Path, release: str) -> Docket:
    """Verify a release and its report, whose pages must say what its record says.

    Members read the pages and sign the record.

    Args:
        home: the ``mlruns`` folder.
        release: its id, or its folder.

    Raises:
        FelsinaError: if the release or a page was changed, or the report is of another release.
    """
    found = sealed(home, release)
    path, name = found.path, found.release
    if not path.is_file():
        return found
    content = path.read_bytes()
    try:
        report = json.loads(content)
        of, _ = report["manifest_sha256"], list(report["missing"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FelsinaError(f"{path}: no report ({error!r}); felsina report build {name}") from error
    if of != found.manifest_sha256:
        raise FelsinaError(
            f"{path} is of manifest {str(of)[:12]}, and {name} has {found.manifest_sha256[:12]}; "
            f"felsina report build {name}"
        )
    if changed := changed_pages(path.parent, report):
        raise FelsinaError(
            f"{path.with_name(changed[0])} does not say what {path.name} beside it says; it was "
            f"changed, or is of another version: felsina report build --release {name}"
        )
    return replace(found, report=report, report_sha256=sha256_bytes(content))


def proposed(home: Path, board: Board) -> list[str]:
    """Releases whose report lies ready and on which no vote stands."""
    found = []
    for folder in releases(home):
        sha = sha256_file(folder / MANIFEST)
        decided = board.votes(sha) or board.ruling(sha, utc_now()).state != "none"
        if not decided and (reports(home, folder.name) / RECORD).is_file():
            found.append(folder.name)
    return found


def sign(folder: Path, key: PrivateKey, found: Docket, terms: Terms) -> Board:
    """Vote on a release whose report was read.

    Raises:
        FelsinaError: if there is none, or an approval is silent on a rule that the gate found
            not met.
    """
    register = Register(folder, key)
    if found.report is None and not register.charter.demo:
        raise FelsinaError(f"{found.path} is missing; felsina report build {found.release}")
    if terms.decision == APPROVE:
        _check_named(found, terms.conditions)
    return register.vote(terms)


def promote(folder: Path, key: PrivateKey, found: Docket) -> Board:
    """Make an approved release the one that is served.

    Raises:
        FelsinaError: if it is not approved now, its report is not the one that was signed, or the
            gate holds it back and the decision does not say why it is served all the same.
    """
    register = Register(folder, key)
    ruling = register.read().ruling(found.manifest_sha256, utc_now())
    if ruling.state != "approved" or ruling.decision is None:
        raise FelsinaError(f"{found.release} {ruling.why}; felsina board show {found.release}")
    if ruling.report_sha256 != found.report_sha256:
        what = "was changed since" if found.report else "is missing"
        raise FelsinaError(
            f"{found.path} {what}: the board signed sha256 {str(ruling.report_sha256)[:SHOWN]}, "
            f"this is {found.report_sha256[:SHOWN]}; restore it, or let the board decide anew"
        )
    if found.missing:
        raise FelsinaError(
            f"{found.path} lacks what people must write: {', '.join(found.missing)}; write it, "
            f"felsina report build {found.release}, and let the board decide on that"
        )
    _check_named(found, ruling.conditions)
    of = (found.dataset, found.release, found.manifest_sha256)
    return register.promote(*of, ruling.decision)


def _check_named(found: Docket, conditions: tuple[str, ...]) -> None:
    """Refuse to pass over a rule of the gate in silence."""
    if silent := despite(found.held_back, conditions):
        raise FelsinaError(
            f"the promotion gate does not let {found.release} pass: {', '.join(silent)}; reject "
            f'it, or approve it with --conditions "despite {silent[0]}: WHY" for each of them'
        )


def rollback(home: Path, folder: Path, key: PrivateKey, dataset: str, reason: str) -> Board:
    """Serve the release promoted before again, or the one before that: the last still approved.

    Raises:
        FelsinaError: if there is none that is approved and intact.
    """
    register = Register(folder, key)
    board, now = register.read(), utc_now()
    if not reason.strip():
        raise FelsinaError("a rollback without a reason teaches nobody; say why with --reason")
    why = f"no release of {dataset} was promoted before"
    for one in board.promoted(dataset)[1:]:
        ruling = board.ruling(one.manifest_sha256, now)
        if ruling.state == "approved" and ruling.decision is not None:
            sealed(home, one.release)
            of = (dataset, one.release, one.manifest_sha256)
            return register.promote(*of, ruling.decision, reason)
        why = f"{one.release} {ruling.why}"
    raise FelsinaError(f"{dataset} has nothing to go back to: {why}; promote another release")


def demo_board(home: Path) -> Path:
    """The charter of a home's own throw-away board, which is founded where there is none.

    Its keys lie beside it without a passphrase: whoever reads them decides. Only ``felsina up``
    trusts it, and every answer then says so.

    Raises:
        FelsinaError: if the home has a board that is no demo.
    """
    folder = home / BOARD
    with held(home / "work" / "board.lock"):
        if not (folder / CHARTER).is_file():
            keys = {name: _kept(folder / f"demo-{name}.key") for name in ("member", "operator")}
            member, operator = (Person(name, key.public_key()) for name, key in keys.items())
            charter = Charter("Demonstration", 1, (member,), operator, demo=True)
            begin_board(folder, charter, keys["operator"])
        if not read_charter(folder / CHARTER).demo:
            raise FelsinaError(
                f"{folder / CHARTER} is a board's, and up trusts none but its own demo; serve with "
                f"felsina serve --board {folder / CHARTER}"
            )
    return folder / CHARTER


def demo_decide(home: Path, releases: list[str]) -> None:
    """Let a home's demo board approve and promote releases that it has not promoted yet."""
    folder = demo_board(home).parent
    member, operator = (load_key(folder / f"demo-{name}.key") for name in ("member", "operator"))
    until = (utc_now() + timedelta(days=_DEMO_DAYS)).date().isoformat()
    for name in releases:
        found = docket(home, name)
        board, now = read_board(folder), utc_now()
        ruling = board.ruling(found.manifest_sha256, now)
        if ruling.state != "approved" or ruling.decision is None:
            said = tuple(f"despite {rule}: a demonstration" for rule in found.held_back)
            board = sign(folder, member, found, found.terms(APPROVE, said, until))
            ruling = board.ruling(found.manifest_sha256, utc_now())
        newest = board.promoted(found.dataset)[:1]
        if [one.release for one in newest] != [name]:
            of = (found.dataset, name, found.manifest_sha256)
            Register(folder, operator).promote(*of, str(ruling.decision))


def _kept(path: Path) -> PrivateKey:
    """The demo's own key, made where it is missing."""
    return load_key(path) if path.is_file() else create_key(path)
