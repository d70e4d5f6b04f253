"""What a source of open data is: what to ask of it, and how to read what came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from models.contracts import FelsinaError


class Settings(BaseModel):
    """What can be set of every source; those of the last run hold until they are set anew."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = ""
    pause_s: float = Field(1.0, ge=0)


@dataclass(frozen=True)
class Span:
    """Days wanted: from ``since`` to before ``until``."""

    since: date
    until: date

    def months(self) -> list[tuple[str, date, date]]:
        """Each calendar month that it touches: ``2024-03``, its first day and its last."""
        found, first = [], self.since.replace(day=1)
        while first < self.until:
            after = (first + timedelta(days=32)).replace(day=1)
            found.append((f"{first:%Y-%m}", first, after - timedelta(days=1)))
            first = after
        return found


@dataclass(frozen=True)
class Ask:
    """One document of a source.

    Attributes:
        key: names it among the source's; begins with its month where it is one month's.
        place: URL, or path of a file on this machine.
        optional: whether the source may well not have it.
        broken_by: text near its end that says that it is no whole one.
    """

    key: str
    place: str | Path
    optional: bool = False
    broken_by: bytes = b""


@dataclass(frozen=True)
class Tables:
    """What a source gives to a dataset folder; each may be missing.

    Attributes:
        header: keys of ``dataset.toml`` from ``domain`` to ``nonnegative``, with the series.
        nodes: rows of ``nodes.csv``.
        series: one float column a node, on a UTC index of any regular step or less.
        edges: rows of ``edges.csv``.
        forcings: one column a forcing, on a UTC index.
        forcing_units: forcing to unit, and whether it is known ahead and adds up over time.
        files: path in the folder to content, for what the audit or a person reads.
        notes: what was counted in reading, in words.
    """

    header: dict[str, Any] = field(default_factory=dict)
    nodes: pd.DataFrame | None = None
    series: pd.DataFrame | None = None
    edges: pd.DataFrame | None = None
    forcings: pd.DataFrame | None = None
    forcing_units: dict[str, ForcingUnit] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ForcingUnit:
    """A forcing's unit and nature."""

    unit: str
    known_future: bool
    adds_up: bool = False


@dataclass(frozen=True)
class Source:
    """A source of open data.

    Attributes:
        name: on the command line.
        publisher: who publishes it.
        licence: as the publisher states it.
        attribution: whom to name.
        settings: its settings' class.
        asks: from settings and span to the documents wanted.
        read: from settings, the documents held (key to path, in order) and the nodes that the
            folder has so far to tables.
        targets: whether it gives a target, and so nodes, or only adds to those there are.
        dated: whether its documents are of months, so that ``--since`` means something.
        settle: completes the settings from the folder before anything is asked.
        headers: what to send with each request, such as a token.
        credit: publisher, licence and attribution, where a document says them.
    """

    name: str
    publisher: str
    licence: str
    attribution: str
    settings: type[Settings]
    asks: Callable[[Any, Span], list[Ask]]
    read: Callable[[Any, dict[str, Path], pd.DataFrame | None], Tables]
    targets: bool = False
    dated: bool = True
    settle: Callable[[Any, Path], Settings] | None = None
    headers: Callable[[Any], Callable[[httpx.Client], dict[str, str]]] | None = None
    credit: Callable[[dict[str, Path]], dict[str, str]] | None = None


def span_of(since: str | None, until: str | None, held: list[str]) -> Span:
    """The days to ask for: from ``since``, else from the month before the last one held.

    The month before it is asked again because its last days are often filled in later.

    Args:
        since: ISO day, or None.
        until: ISO day after the last, or None for today.
        held: keys of what is held.
    """
    days: dict[str, date] = {}
    for name, text in (("--since", since), ("--until", until)):
        try:
            if text is not None:
                days[name] = date.fromisoformat(text)
        except ValueError as error:
            raise FelsinaError(f"{name} {text!r} is no day; write it like 2024-03-01") from error
    end = days.get("--until", datetime.now(UTC).date() + timedelta(days=1))
    months = [key[:7] for key in held if key[:4].isdigit() and key[4:5] == "-"]
    if "--since" in days:
        begin = days["--since"]
    elif months:
        begin = (date.fromisoformat(f"{max(months)}-01") - timedelta(days=1)).replace(day=1)
    else:
        raise FelsinaError("nothing is held of this source yet; say from when: --since 2024-01-01")
    if begin >= end:
        raise FelsinaError(f"--since {begin} is not before {end}; give an earlier day")
    return Span(begin, end)
