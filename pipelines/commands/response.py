"""``felsina response verify``: an answer of the service held to the board's decisions, offline."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from fairness.board import CHARTER, STREAM
from models.board import SHOWN, Board, moment, open_board
from models.charter import read_charter
from models.errors import FelsinaError
from pipelines.commands.terminal import out
from pipelines.settings import home


def verify_one(file: Path, charter: Path | None, stream: Path | None) -> None:
    """Verify an answer; exit 1 with one line where it does not hold."""
    path = charter or home() / "board" / CHARTER
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
        release = str(model.get("version") or told["release"])
        manifest, decision = str(model["manifest_sha256"]), model["decision"]
        said, at = str(told["approval"]), moment(told["issued_at"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"no answer of the service that names its release and decision ({error!r})", ""
    end = at + timedelta(seconds=1)  # it is told to the second
    early = board.as_of(end)
    ruling = early.ruling(manifest, at)
    if ruling.state != "approved" or ruling.decision is None:
        return f"at {told['issued_at']} its release {release} {ruling.why}", ""
    if decision != ruling.decision:
        return f"it names decision {str(decision)[:SHOWN]}, and its release {ruling.why}", ""
    if said != ("demo" if board.charter.demo else "approved"):
        return f"it says approval {said!r}, and {board.charter.name} has decided otherwise", ""
    dataset = release.rpartition("-")[0]
    if not any(
        (one.manifest_sha256, one.release) == (manifest, release) for one in early.promoted(dataset)
    ):
        return f"at {told['issued_at']} its release {release} was not promoted", ""
    demo = "a DEMONSTRATION board, " if board.charter.demo else ""
    return "", f"by {release}, which {ruling.why} of {demo}{board.charter.name}"
