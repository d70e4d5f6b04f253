"""From the tables of all sources held to a dataset folder that validates.

The folder is a function of the raw files and the settings: the same ones give the same bytes,
whatever was killed or fetched twice on the way. Only ``dataset.toml`` is its owner's once it is
there: splits, lookback and the like stay as they are, and forcings and sources are kept up.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FelsinaError, step_seconds
from models.toml_file import read_toml
from pipelines.ingest.forcings import forcings_of
from pipelines.ingest.source import Tables
from pipelines.prepare import open_registered
from training.dataset import write_dataset

TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.15
_FILES = ("nodes.csv", "edges.csv", "forcings.parquet", "series.parquet", "dataset.toml")
_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")


@dataclass(frozen=True)
class Credit:
    """Who published what a folder holds."""

    publisher: str
    licence: str
    attribution: str


@dataclass(frozen=True)
class Changes:
    """What an ingest did to the series: counts of values, and the folder's size."""

    added: int
    revised: int
    withdrawn: int
    nodes: int
    steps: int
    step: str
    written: tuple[str, ...]


def write_folder(folder: Path, given: dict[str, Tables], credits: list[Credit]) -> Changes:
    """Bring a dataset folder up to the tables that its sources give.

    It is built beside its place and opened there, so that what does not validate changes nothing;
    then each file that differs is put in place in one step. A kill between two of them leaves a
    mixture of old and new files, which the next run mends.

    Args:
        folder: the dataset folder, which may hold files of other kinds besides.
        given: name of each source held to its tables.
        credits: whom the folder's data come from.

    Raises:
        FelsinaError: where the tables make no valid dataset, naming the file and the remedy.
    """
    series, nodes, base = _series(folder, given)
    header = _header(folder, given, base, series, credits)
    series = _on_grid(series, header["step"])
    edges = _edges(given)
    forcings, entries = forcings_of(folder, given, header, pd.DatetimeIndex(series.index))
    header = {k: v for k, v in header.items() if k not in ("forcings", "source")} | {
        "forcings": entries,
        "source": header["source"],
    }
    part = folder / ".ingest"
    shutil.rmtree(part, ignore_errors=True)
    write_dataset(part, header, nodes, series.astype(np.float32), edges, forcings)
    _keep_what_is_the_owners(folder, part, header, edges)
    before = _old_series(folder)
    try:
        open_registered(part)
    except FelsinaError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise FelsinaError(str(error).replace(str(part), str(folder))) from error
    written = []
    for name, content in sorted(_files(given).items()):
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        (part / name).write_bytes(content)
    names = [p.relative_to(part).as_posix() for p in part.rglob("*") if p.is_file()]
    for name in sorted(names, key=lambda n: _FILES.index(n) if n in _FILES else -1):
        target = folder / name
        if target.exists() and target.read_bytes() == (part / name).read_bytes():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        (part / name).replace(target)
        written.append(name)
    shutil.rmtree(part, ignore_errors=True)
    return _changes(before, series, header["step"], tuple(written))


def _series(folder: Path, given: dict[str, Tables]) -> tuple[pd.DataFrame, pd.DataFrame, Tables]:
    """The target with its nodes: of the one source that gives it, else the folder's own."""
    targets = {name: tables for name, tables in given.items() if tables.series is not None}
    if len(targets) > 1:
        raise FelsinaError(
            f"{folder}: {' and '.join(targets)} both give a target; use a folder for each"
        )
    for name, tables in targets.items():
        assert tables.series is not None
        assert tables.nodes is not None
        seen = tables.series.notna().any(axis=1).to_numpy()
        if not seen.any():
            raise FelsinaError(f"{folder}: {name} gave no value; ask for an earlier --since")
        rows = np.flatnonzero(seen)
        return tables.series.iloc[rows[0] : rows[-1] + 1], tables.nodes, tables
    old = _old_series(folder)
    if old is None:
        raise FelsinaError(
            f"{folder} holds no series yet; ingest a source of a target first, such as csv"
        )
    nodes = pd.read_csv(folder / "nodes.csv", dtype=str, keep_default_na=False)
    return old, nodes, Tables()


def _header(
    folder: Path,
    given: dict[str, Tables],
    base: Tables,
    series: pd.DataFrame,
    credits: list[Credit],
) -> dict[str, Any]:
    path = folder / "dataset.toml"
    header: dict[str, Any] = {}
    if path.exists():
        header = read_header(path)
    else:
        name = folder.resolve().name
        header = {"name": name if _NAME.fullmatch(name) else base.header.get("name", "dataset")}
        header |= {key: value for key, value in base.header.items() if key != "name"}
        header["splits"] = _splits(series, header["step"])
    for key in ("domain", "target", "unit", "step"):
        if base.header and header.get(key) != base.header[key]:
            raise FelsinaError(
                f"{path}: {key} = {header.get(key)!r}, but what is ingested has "
                f"{base.header[key]!r}; use another folder"
            )
    said: dict[str, Any] = header.get("source") or {}
    own = said if not base.header else {}
    header["source"] = said | {
        key: "; ".join(
            dict.fromkeys(
                t for t in (*_split(own.get(key)), *(getattr(c, key) for c in credits)) if t
            )
        )
        for key in ("publisher", "licence", "attribution")
    }
    return header


def read_header(path: Path) -> dict[str, Any]:
    """``dataset.toml`` as it stands."""
    header = read_toml(path, "; mend it, or delete it to begin anew")
    if "step" not in header:
        raise FelsinaError(f"{path}: step is missing; add it, or delete the file to begin anew")
    return header


def _split(text: Any) -> list[str]:
    return str(text).split("; ") if text else []


def _splits(series: pd.DataFrame, step: str) -> dict[str, datetime]:
    """Ends at UTC midnights after 70 and 85 % of the days; for an owner to change."""
    start = series.index[0].to_pydatetime()
    days = ((series.index[-1] - start).total_seconds() + step_seconds(step)) / 86400
    midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
    ends = {"train_end": TRAIN_SHARE, "validation_end": TRAIN_SHARE + VALIDATION_SHARE}
    return {key: midnight + timedelta(days=round(share * days)) for key, share in ends.items()}


def _on_grid(series: pd.DataFrame, step: str) -> pd.DataFrame:
    every = pd.Timedelta(seconds=step_seconds(step))
    index = pd.DatetimeIndex(series.index)
    grid = pd.date_range(index[0], index[-1], freq=every, name="time")
    if len(grid) == len(index) and grid.equals(index):
        return series
    off = (index - index[0]) % every != pd.Timedelta(0)
    if off.any():
        raise FelsinaError(
            f"stamp {index[off][0]} is not {step} times n after {index[0]}; set step to what the "
            "source has"
        )
    return series.reindex(grid)


def _edges(given: dict[str, Tables]) -> pd.DataFrame | None:
    """Several sources may give edges: those of one that gives no series, if any."""
    found = [tables for tables in given.values() if tables.edges is not None]
    return max(found, key=lambda tables: tables.series is None).edges if found else None


def _keep_what_is_the_owners(
    folder: Path, part: Path, header: dict[str, Any], edges: pd.DataFrame | None
) -> None:
    """Leave ``dataset.toml`` with its comments where it says the same, and edges of their own."""
    path = folder / "dataset.toml"
    if path.exists():
        old = read_header(path)
        if {k: v for k, v in old.items() if v} == {k: v for k, v in header.items() if v}:
            shutil.copyfile(path, part / "dataset.toml")
    if edges is None and (folder / "edges.csv").exists():
        shutil.copyfile(folder / "edges.csv", part / "edges.csv")


def _files(given: dict[str, Tables]) -> dict[str, bytes]:
    return {name: content for tables in given.values() for name, content in tables.files.items()}


def _old_series(folder: Path) -> pd.DataFrame | None:
    path = folder / "series.parquet"
    if not path.exists():
        return None
    try:
        return pd.read_parquet(path).set_index("time")
    except (OSError, ValueError, KeyError) as error:
        said = " ".join(str(error).split())
        raise FelsinaError(f"{path}: cannot be read: {said}; delete it and ingest again") from error


def _changes(
    before: pd.DataFrame | None, after: pd.DataFrame, step: str, written: tuple[str, ...]
) -> Changes:
    nodes, steps = after.shape[1], len(after)
    if before is None:
        return Changes(int(after.notna().to_numpy().sum()), 0, 0, nodes, steps, step, written)
    old = before.reindex(index=after.index, columns=after.columns).to_numpy(np.float32)
    new = after.to_numpy(np.float32)
    was, now = ~np.isnan(old), ~np.isnan(new)
    gone = int(before.notna().to_numpy().sum()) - int(was.sum())
    return Changes(
        added=int((now & ~was).sum()),
        revised=int((was & now & (old != new)).sum()),
        withdrawn=int((was & ~now).sum()) + gone,
        nodes=nodes,
        steps=steps,
        step=step,
        written=written,
    )
