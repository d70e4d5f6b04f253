"""Fetch what a source has, keep it, and bring the dataset folder up to it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from models.contracts import FelsinaError
from models.record import canonical_json, write_atomic
from models.toml_file import assigned, first_fault
from pipelines.domains.registry import source_of
from pipelines.ingest.assemble import Changes, Credit, write_folder
from pipelines.ingest.fetching import Absent, Fetched, Fetcher, Unchanged
from pipelines.ingest.raw import Raw
from pipelines.ingest.source import Ask, Settings, Source, Span, Tables, span_of
from pipelines.settings import held as lock

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Ingested:
    """What an ingest did."""

    fetched: int
    unchanged: int
    absent: tuple[str, ...]
    notes: tuple[str, ...]
    changes: Changes


@dataclass(frozen=True)
class Planned:
    """A document that would be asked for, and how."""

    key: str
    place: str
    how: str


def plan(
    source: Source,
    folder: Path,
    since: str | None = None,
    until: str | None = None,
    changes: dict[str, Any] | None = None,
    assignments: list[str] | None = None,
) -> list[Planned]:
    """What ``ingest`` would ask for; nothing is fetched or written."""
    raw = Raw(folder)
    settings = settings_of(source, folder, changes, assignments)
    held = raw.held(source.name)
    found = []
    for ask in source.asks(settings, _span(source, since, until, list(held))):
        last = held.get(ask.key)
        how = "new"
        if last is not None:
            how = "if changed" if last.etag or last.last_modified else "again"
        found.append(Planned(ask.key, str(ask.place), how))
    return found


def ingest(
    source: Source,
    folder: Path,
    since: str | None = None,
    until: str | None = None,
    changes: dict[str, Any] | None = None,
    assignments: list[str] | None = None,
    progress: Progress = lambda stage, share: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Ingested:
    """Fetch what is new or revised of a source, and write the folder from all that is held.

    Args:
        source: whose data.
        folder: dataset folder; made if need be.
        since: ISO day to begin with; by default what is held goes on.
        until: ISO day after the last; by default today is the last.
        changes: settings of the source to change.
        assignments: the same as ``key=value`` texts.
        progress: told of stage and share done.
        sleep: how to wait between requests.
    """
    existed = folder.exists()
    settings = settings_of(source, folder, changes, assignments)
    span = _span(source, since, until, list(Raw(folder).held(source.name)))
    asks = source.asks(settings, span)
    for ask in asks:
        if isinstance(ask.place, Path) and not ask.place.is_file():
            raise FelsinaError(f"{ask.place} is missing; name a file that is there")
    if not existed:
        folder.mkdir(parents=True)
    with lock(folder / "raw" / ".lock"):
        raw = Raw(folder)
        raw.sweep()
        counts = _fetch_all(source, settings, asks, raw, progress, sleep)
        write_atomic(_settings_path(folder, source.name), canonical_json(_plain(settings)))
        given, notes = _read_all(folder, raw, progress)
        made = write_folder(folder, given, _credits(raw))
    progress("Read and write the folder", 1.0)
    return Ingested(*counts, tuple(notes), made)


def settings_of(
    source: Source,
    folder: Path,
    changes: dict[str, Any] | None = None,
    assignments: list[str] | None = None,
) -> Settings:
    """The settings of the last run, with changes."""
    path = _settings_path(folder, source.name)
    before = json.loads(path.read_bytes()) if path.exists() else {}
    given = assigned(assignments or (), "pause_s=2") | (changes or {})
    try:
        settings = source.settings.model_validate(before | given)
    except ValidationError as error:
        known = ", ".join(source.settings.model_fields)
        raise FelsinaError(
            f"{source.name}: setting {first_fault(error)}; settings are {known}"
        ) from error
    return source.settle(settings, folder) if source.settle else settings


def _settings_path(folder: Path, name: str) -> Path:
    return folder / "raw" / f"{name}.settings.json"


def _plain(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude_defaults=True)


def _span(source: Source, since: str | None, until: str | None, held: list[str]) -> Span:
    if source.dated:
        return span_of(since, until, held)
    if since or until:
        raise FelsinaError(f"{source.name} is taken whole; leave --since and --until out")
    return span_of("1970-01-01", None, held)


def _fetch_all(
    source: Source,
    settings: Settings,
    asks: list[Ask],
    raw: Raw,
    progress: Progress,
    sleep: Callable[[float], None],
) -> tuple[int, int, tuple[str, ...]]:
    """Counts of what is new and what is not, and the keys that the source does not have."""
    new, absent = 0, []
    headers = source.headers(settings) if source.headers else None
    credit = _credit(source, {a.key: a.place for a in asks if isinstance(a.place, Path)})
    with Fetcher(settings.pause_s, sleep, headers) as fetcher:
        for done, ask in enumerate(asks):
            progress(f"Fetch {source.name}", done / len(asks))
            last = raw.held(source.name).get(ask.key)
            part = raw.part(source.name, ask.key)
            try:
                fetched = _one(fetcher, ask, part, last and last.etag, last and last.last_modified)
            except Unchanged:
                continue
            except Absent as error:
                if not ask.optional:
                    raise FelsinaError(f"{error}: not there (404); check the host") from error
                absent.append(ask.key)
                continue
            said = credit.licence, credit.attribution
            new += raw.keep(source.name, ask.key, str(ask.place), fetched, *said)
    progress(f"Fetch {source.name}", 1.0)
    return new, len(asks) - new - len(absent), tuple(absent)


def _one(
    fetcher: Fetcher, ask: Ask, part: Path, etag: str | None, last_modified: str | None
) -> Fetched:
    if isinstance(ask.place, Path):
        shutil.copyfile(ask.place, part)
        return Fetched(part, "", "")
    return fetcher.get(ask.place, part, etag or "", last_modified or "", ask.broken_by)


def _read_all(folder: Path, raw: Raw, progress: Progress) -> tuple[dict[str, Tables], list[str]]:
    """Tables of every source that is held, those with a target first: others need its nodes."""
    progress("Read and write the folder", 0.0)
    given: dict[str, Tables] = {}
    nodes = None
    sources = [source_of(name) for name in raw.sources()]
    for number, source in enumerate(sorted(sources, key=lambda s: (not s.targets, s.name))):
        if not source.targets and nodes is None and (folder / "nodes.csv").exists():
            nodes = pd.read_csv(folder / "nodes.csv", dtype={"id": str})
        paths = {key: raw.path(held) for key, held in raw.held(source.name).items()}
        settings = settings_of(source, folder)
        given[source.name] = source.read(settings, paths, nodes)
        if given[source.name].nodes is not None:
            nodes = given[source.name].nodes
        progress("Read and write the folder", (number + 1) / (len(sources) + 1))
    return given, [note for tables in given.values() for note in tables.notes]


def _credits(raw: Raw) -> list[Credit]:
    found = []
    for name in raw.sources():
        documents = {key: raw.path(held) for key, held in raw.held(name).items()}
        found.append(_credit(source_of(name), documents))
    return found


def _credit(source: Source, documents: dict[str, Path]) -> Credit:
    if source.credit:
        return Credit(**source.credit(documents))
    return Credit(source.publisher, source.licence, source.attribution)
