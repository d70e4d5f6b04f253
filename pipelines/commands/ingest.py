"""``felsina data ingest``: open data into a dataset folder, and public benchmarks."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from pipelines.commands.terminal import Stages, answer, err, out
from pipelines.domains.published import Published
from pipelines.domains.registry import published, source_of
from pipelines.ingest.run import Ingested, ingest, plan
from pipelines.prepare import open_registered


def ingest_source(
    name: str,
    path: Path | None,
    dataset: Path,
    since: str | None,
    until: str | None,
    assignments: list[str] | None,
    dry_run: bool,
    json: bool,
    misplaced: dict[str, Any],
) -> None:
    """Fetch what is new of a source, and write the folder; or say what would be asked."""
    source = source_of(name)
    _refuse(name, misplaced, "is for public benchmarks")
    changes: dict[str, Any] = {}
    if path is not None:
        if "path" not in source.settings.model_fields:
            raise FelsinaError(f"{name} comes from the network; leave {path} out")
        changes["path"] = str(path.resolve())
    if dry_run:
        planned = plan(source, dataset, since, until, changes, assignments)
        if json:
            answer([asdict(one) for one in planned])
        for one in () if json else planned:
            out.print(f"{one.key}  {one.how:<10}  {one.place}", markup=False)
        return
    with Stages() as stages:
        stages.begin(str(dataset), f"{name}, {source.licence or 'licence as its mapping says'}")
        done = ingest(source, dataset, since, until, changes, assignments, stages.progress)
    if json:
        answer(asdict(done))
    else:
        _tell(name, dataset, done)


def _tell(name: str, dataset: Path, done: Ingested) -> None:
    changes = done.changes
    out.print(
        f"{dataset}: {name}, {done.fetched} documents new or revised, {done.unchanged} unchanged"
        + (f", not there: {', '.join(done.absent)}" if done.absent else "")
    )
    out.print(
        f"  {changes.nodes} nodes x {changes.steps} steps of {changes.step}; values: "
        f"{changes.added} new, {changes.revised} revised, {changes.withdrawn} withdrawn"
    )
    for note in done.notes:
        out.print(f"  {note}", markup=False)


def _refuse(name: str, misplaced: dict[str, Any], why: str) -> None:
    if wrong := [option for option, value in misplaced.items() if value]:
        raise FelsinaError(f"{name}: {wrong[0]} {why}; leave it out")


def ingest_benchmark(
    source: str,
    path: Path | None,
    graph: Path | None,
    nodes: Path | None,
    horizon: int | None,
    dataset: Path,
    misplaced: dict[str, Any],
) -> None:
    """Read a public benchmark, given its options on the command line."""
    _refuse(source, misplaced, "is for sources that go on")
    if path is None:
        what = published()[source].published[source]
        raise FelsinaError(f"{source} needs its file: felsina data ingest {source} PATH ({what})")
    ingest_one(source, Published(path, graph, nodes, horizon), dataset)


def ingest_one(source: str, files: Published, dataset: Path) -> None:
    """Read a public benchmark into a dataset folder, which must hold nothing wrong to stay."""
    known = published()
    ingest = known[source].ingest if source in known else None
    if ingest is None:
        raise FelsinaError(f"source {source!r} is unknown; use one of {', '.join(known)}")
    if dataset.exists():
        raise FelsinaError(f"{dataset} exists; name a folder that does not")
    if not files.path.exists():
        raise FelsinaError(f"{files.path} is missing; name {known[source].published[source]}")
    with err.status(f"Reading {files.path}"):
        ingest(source, files, dataset)
        try:
            opened = open_registered(dataset)
        except FelsinaError:
            shutil.rmtree(dataset, ignore_errors=True)
            raise
    graph = f"{opened.graph.nodes} nodes, {len(opened.graph.source)} edges"
    out.print(f"{dataset}: {source}, {graph} x {len(opened.values)} steps of {opened.spec.step}")
