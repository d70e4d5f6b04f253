"""What the ethics board decided, for everyone: approvals, rejections, alarms, promotions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from models.board import PROMOTE, Board
from serving.catalogue import Catalogue
from serving.selection import Nothing
from serving.served import NotFound


class Decision(BaseModel):
    """A ruling, as it was made."""

    id: str = Field(description="SHA-256 of the entry that completed it; answers name it.")
    time: str
    dataset: str
    release: str
    manifest_sha256: str
    report_sha256: str
    decision: str = Field(description="approve or reject")
    conditions: list[str]
    expires: str | None = Field(description="Last day of an approval, UTC.")
    members: list[str] = Field(description="Who agreed.")
    state: str = Field(description="How its release stands now.")


class Alarm(BaseModel):
    """A release suspended by one person."""

    time: str
    release: str
    by: str
    reason: str


class Promotion(BaseModel):
    """A release made the one to serve."""

    time: str
    dataset: str
    release: str
    decision: str
    reason: str = Field(description="Of a rollback.")


class Decisions(BaseModel):
    """The board and all that it decided, oldest first."""

    board: str
    demo: bool
    threshold: int
    members: list[str]
    charter_sha256: str
    entries: int
    head: str = Field(description="SHA-256 of the last entry; keep it, and a cut will show.")
    decisions: list[Decision]
    alarms: list[Alarm]
    promoted: list[Promotion]


def add_decisions(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the public register of the board's decisions."""

    @app.get("/v1/decisions", response_model=Decisions, tags=["datasets"])
    def decisions(query: Annotated[Nothing, Query()]) -> Any:
        """What the ethics board decided, rejections too, as this server has verified it."""
        board = None if catalogue.approvals is None else catalogue.approvals.verified()
        if board is None:
            raise NotFound("no board's decisions are verified here")
        return JSONResponse(told(board, datetime.now(UTC)))


def told(board: Board, now: datetime) -> dict[str, Any]:
    """A board and all that it decided, as ``Decisions`` has it."""
    charter = board.charter
    return {
        "board": charter.name,
        "demo": charter.demo,
        "threshold": charter.threshold,
        "members": [person.name for person in charter.members],
        "charter_sha256": charter.sha256,
        "entries": len(board.entries),
        "head": board.entries[-1].sha256,
        "decisions": [
            one.terms.to_dict()
            | {"id": one.id, "time": one.time, "members": one.members}
            | {"state": board.ruling(one.terms.manifest_sha256, now).state}
            for one in board.decided
        ],
        "alarms": [vars(alarm) for alarm in board.alarms],
        "promoted": [
            {"time": entry.time}
            | {key: entry.body[key] for key in ("dataset", "release", "decision", "reason")}
            for entry in board.entries
            if entry.kind == PROMOTE
        ],
    }
