"""``felsina response verify``: an answer of the service held to the board's decisions, offline."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from models.board import BOARD, CHARTER, SHOWN, STREAM, Board, open_board
from models.charter import read_charter
from models.errors import FelsinaError
from pipelines.commands.terminal import out
from pipelines.settings import home


@dataclass(frozen=True)
class Told:
    """What an answer says of where it comes from."""

    release: str
    manifest_sha256: str
    decision: str
    approval: str
    issued_at: str


def verify_one(file: Path, charter: Path | None, stream: Path | None) -> None:
    """Verify an answer; exit 1 with one line where it does not hold."""
    path = charter or home() / BOARD / CHARTER
    board = open_board(read_charter(path), stream or path.with_name(STREAM))
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise FelsinaError(f"{file}: no JSON ({error}); name an answer of the service") from error
    fault, good = held(told, board)
    if fault:
        sys.stderr.write(f"felsina: {file}: {fault}\n")
        raise SystemExit(1)
    out.print(f"{file}: {good}")


def held(told: Any, board: Board) -> tuple[str, str]:
    """What speaks against an answer, and what speaks for it; one of the two is empty."""
    try:
        model = told.get("model") or told
        answer = Told(
            str(model.get("version") or told["release"]),
            str(model["manifest_sha256"]),
            str(model["decision"]),
            str(told["approval"]),
            str(told["issued_at"]),
        )
        begin = datetime.fromisoformat(answer.issued_at)
        if begin.tzinfo is None:
            raise ValueError(f"{answer.issued_at} has no time zone")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"no answer of the service that names its release and decision ({error!r})", ""
    # It is told to the second: it holds if it held when that second began, or when it ended.
    for at in (begin, begin + timedelta(seconds=1)):
        fault = _fault(answer, board.as_of(at), at)
        if not fault:
            break
    if fault:
        return fault, ""
    demo = "a DEMONSTRATION board, " if board.charter.demo else ""
    why = board.as_of(at).ruling(answer.manifest_sha256, at).why
    return "", f"by {answer.release}, which {why} of {demo}{board.charter.name}"


def _fault(answer: Told, board: Board, at: datetime) -> str:
    """What speaks against an answer, by the decisions as of its moment; empty if nothing does."""
    ruling = board.ruling(answer.manifest_sha256, at)
    if ruling.state != "approved" or ruling.decision is None:
        return f"at {answer.issued_at} its release {answer.release} {ruling.why}"
    if answer.decision != ruling.decision:
        return f"it names decision {answer.decision[:SHOWN]}, and its release {ruling.why}"
    if answer.approval != ("demo" if board.charter.demo else "approved"):
        return f"it says approval {answer.approval!r}, which {board.charter.name} does not give"
    promoted = board.promoted(answer.release.rpartition("-")[0])
    of = (answer.release, answer.manifest_sha256)
    if of not in [(one.release, one.manifest_sha256) for one in promoted]:
        return f"at {answer.issued_at} its release {answer.release} was not promoted"
    return ""
