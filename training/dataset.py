"""The dataset folder: open it, refuse what is wrong with it, write a new one whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.calendar import check_country, country_of, zone
from models.contracts import (
    CityGraph,
    FelsinaError,
    FloatArray,
    Forcing,
    ForecastSpec,
    IntArray,
    step_seconds,
)
from models.record import sha256_file
from models.toml_file import read_toml
from models.windows import WindowBuilder
from training.protocols import PROTOCOLS
from training.splits import Splits
from training.tables import finite, read_columns, read_graph

FILES = ("dataset.toml", "nodes.csv", "edges.csv", "series.parquet", "forcings.parquet")
_REQUIRED = {
    "name": str,
    "domain": str,
    "target": str,
    "unit": str,
    "step": str,
    "timezone": str,
    "lookback": int,
    "horizon": int,
    "nonnegative": bool,
    "splits": dict,
}
_OPTIONAL = {
    "source": dict,
    "evaluation": dict,
    "forcings": list,
    "country": str,
    "synthetic": bool,
}


@dataclass(frozen=True)
class CityDataset:
    """A dataset folder in memory.

    Attributes:
        folder: where it lies.
        spec: what is forecast, without lags.
        graph: nodes and edges.
        splits: spans as row numbers.
        start: stamp of row 0, UTC.
        values: [S, N] target, NaN where missing.
        forcings: [S', M, F] aligned with ``values``, or None.
        header: ``dataset.toml`` as read.
        digests: file name to sha256.
    """

    folder: Path
    spec: ForecastSpec
    graph: CityGraph
    splits: Splits
    start: np.datetime64
    values: FloatArray
    forcings: FloatArray | None
    header: dict[str, Any]
    digests: dict[str, str]

    def builder(self, spec: ForecastSpec | None = None) -> WindowBuilder:
        """Windows of these series; ``spec`` may add lags."""
        return WindowBuilder(spec or self.spec, self.start, self.values, self.forcings)

    def part(self, nodes: IntArray) -> CityDataset:
        """The dataset of some ``nodes`` alone, in that order."""
        forcings = self.forcings
        if forcings is not None and forcings.shape[1] > 1:
            forcings = forcings[:, nodes]
        graph, values = self.graph.subset(nodes), self.values[:, nodes]
        return replace(self, graph=graph, values=values, forcings=forcings)

    @property
    def synthetic(self) -> bool:
        """Whether these are no observations."""
        return bool(self.header.get("synthetic", False))

    @property
    def protocol(self) -> str:
        """The published protocol (``training.protocols``) that scores it too; empty for none."""
        return str(self.header.get("evaluation", {}).get("protocol", ""))

    @property
    def attribution(self) -> str:
        """Whom to name when the forecasts are shown."""
        source = self.header.get("source", {})
        return str(source.get("attribution") or source.get("publisher") or "")


def open_dataset(folder: Path | str, domains: Iterable[str] | None = None) -> CityDataset:
    """Read and validate a dataset folder.

    Args:
        folder: path of the folder (DATASET.md).
        domains: names that ``domain`` may have; any, when None.

    Raises:
        FelsinaError: naming the file, the column, the first offending rows and the remedy.
    """
    folder = Path(folder)
    header = _read_header(folder)
    if domains is not None and header["domain"] not in (known := sorted(domains)):
        raise FelsinaError(
            f"{folder / 'dataset.toml'}: domain {header['domain']!r} is not registered; "
            f"use one of {', '.join(known)}"
        )
    spec = _spec(header, folder / "dataset.toml")
    graph = read_graph(folder)
    path = folder / "series.parquet"
    series = read_columns(path, spec.step)
    _match_nodes(path, list(series.columns), graph)
    series = series.loc[:, list(graph.ids)]
    index = pd.DatetimeIndex(series.index)
    finite(path, series)
    if spec.nonnegative and (below := (series < 0).to_numpy()).any():
        row, column = np.argwhere(below)[0]
        raise FelsinaError(
            f"{path}: column {series.columns[column]}: negative value {series.iat[row, column]} at "
            f"{series.index[row]} ({int(below.sum())} in all), but dataset.toml says nonnegative; "
            "write gaps as NaN, or set nonnegative = false"
        )
    forcings = None
    if spec.forcings:
        forcings = _read_forcings(folder / "forcings.parquet", spec, graph, index)
    splits = _splits(header, spec, index, folder / "dataset.toml")
    return CityDataset(
        folder=folder,
        spec=spec,
        graph=graph,
        splits=splits,
        start=naive(index)[0],
        values=series.to_numpy(np.float32),
        forcings=forcings,
        header=header,
        digests={n: sha256_file(folder / n) for n in FILES if (folder / n).exists()},
    )


def _read_header(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.toml"
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; --dataset takes a folder that holds one")
    header = read_toml(path)
    types = _REQUIRED | _OPTIONAL
    for key, kind in types.items():
        if key not in header and key in _REQUIRED:
            raise FelsinaError(f"{path}: {key} is missing; add it, as DATASET.md shows")
        wrong = key in header and (
            not isinstance(header[key], kind) or (kind is int and isinstance(header[key], bool))
        )
        if wrong:
            raise FelsinaError(f"{path}: {key} = {header[key]!r} must be a {kind.__name__}")
    if unknown := sorted(set(header) - set(types)):
        raise FelsinaError(f"{path}: unknown key {', '.join(unknown)}; use {', '.join(types)}")
    return header


def _spec(header: dict[str, Any], path: Path) -> ForecastSpec:
    try:
        zone(header["timezone"])
        check_country(header.get("country", ""))
        forcings: dict[str, Forcing] = {}
        for entry in header.get("forcings", []):
            forcing = Forcing(**(entry | {"name": str(entry["name"]).partition("@")[0]}))
            if not isinstance(forcing.known_future, bool):
                raise FelsinaError(
                    f"forcing {forcing.name}: known_future = {forcing.known_future!r}; write true "
                    "or false"
                )
            forcings.setdefault(forcing.name, forcing)
        return ForecastSpec(
            dataset=header["name"],
            **{k: header[k] for k in _REQUIRED if k not in ("name", "splits")},
            forcings=tuple(sorted(forcings.values(), key=lambda f: not f.known_future)),
            country=header.get("country", country_of(header["timezone"])),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FelsinaError(
            f"{path}: a [[forcings]] entry needs name, unit and known_future only ({error})"
        ) from error
    except FelsinaError as error:
        raise FelsinaError(f"{path}: {error}") from error


def _match_nodes(path: Path, columns: list[str], graph: CityGraph) -> None:
    unknown = [c for c in columns if c not in set(graph.ids)]
    if unknown:
        raise FelsinaError(
            f"{path}: column {', '.join(unknown[:5])}: no such node in nodes.csv; add a row there "
            "or drop the column"
        )
    absent = [node for node in graph.ids if node not in set(columns)]
    if absent:
        raise FelsinaError(
            f"{path}: no column for node {', '.join(absent[:5])} of nodes.csv; add one (NaN where "
            "nothing was observed) or drop the node"
        )


def _read_forcings(
    path: Path, spec: ForecastSpec, graph: CityGraph, index: pd.DatetimeIndex
) -> FloatArray:
    """[S', M, F] aligned with ``index``, running on where known-future values are given."""
    if not path.is_file():
        names = ", ".join(forcing.name for forcing in spec.forcings)
        raise FelsinaError(f"{path} is missing, but dataset.toml declares {names}; add the file")
    table = read_columns(path, spec.step)
    finite(path, table)
    shift = (table.index[0] - index[0]).total_seconds() / spec.seconds
    if shift != int(shift):
        raise FelsinaError(
            f"{path}: column time: {table.index[0]} is not on the grid of series.parquet, which "
            f"starts at {index[0]}; use the same stamps"
        )
    end = max(index[-1], table.index[-1])
    table = table.reindex(pd.date_range(index[0], end, freq=pd.Timedelta(seconds=spec.seconds)))
    wanted = {forcing.name for forcing in spec.forcings}
    by_node = {c: c.partition("@") for c in table.columns if "@" in c}
    for column, (name, _, node) in by_node.items():
        if name in wanted:
            graph.index([node], f"{path}: column {column}")
    wide = any(name in wanted for name, _, _ in by_node.values())
    parts = []
    for forcing in spec.forcings:
        columns = [f"{forcing.name}@{node}" for node in graph.ids]
        if forcing.name in table.columns:
            part = table[[forcing.name]].to_numpy(np.float32)
            parts.append(np.repeat(part, graph.nodes, axis=1) if wide else part)
        elif any(column in table.columns for column in columns):
            parts.append(table.reindex(columns=columns).to_numpy(np.float32))
        else:
            raise FelsinaError(
                f"{path}: forcing {forcing.name} is declared in dataset.toml but has no column; "
                f"add {forcing.name} or {forcing.name}@NODE, or drop the entry"
            )
    return np.stack(parts, axis=-1)


def _splits(
    header: dict[str, Any], spec: ForecastSpec, index: pd.DatetimeIndex, path: Path
) -> Splits:
    ends: list[int] = []
    for key in ("train_end", "validation_end"):
        stamp = header["splits"].get(key)
        if not isinstance(stamp, datetime) or stamp.tzinfo is None:
            raise FelsinaError(
                f"{path}: splits.{key} = {stamp!r} must be a stamp with a zone, like "
                "2024-07-16T00:00:00Z"
            )
        end = np.datetime64(stamp.astimezone(UTC).replace(tzinfo=None), "s")
        ends.append(int(np.searchsorted(naive(index), end)))
    evaluation = dict(header.get("evaluation", {}))
    issue = evaluation.pop("issue_every", None)
    protocol = evaluation.pop("protocol", None)
    if evaluation:
        raise FelsinaError(
            f"{path}: unknown key evaluation.{min(evaluation)}; use issue_every or protocol"
        )
    if protocol is not None and protocol not in list(PROTOCOLS):
        known = ", ".join(PROTOCOLS)
        raise FelsinaError(f"{path}: evaluation.protocol {protocol!r} is unknown; use {known}")
    try:
        every = None if issue is None else step_seconds(issue, whole_day=False)
    except (FelsinaError, TypeError) as error:
        raise FelsinaError(f"{path}: evaluation.issue_every {issue!r}: write like 24h") from error
    if every is not None and every % spec.seconds:
        raise FelsinaError(
            f"{path}: evaluation.issue_every {issue!r} is no multiple of step {spec.step!r}"
        )
    splits = Splits(ends[0], ends[1], len(index), every)
    start = naive(index)[0]
    stopping, calibration = splits.validation(spec) if ends[1] > ends[0] else ([], [])
    spans = {
        "train": splits.train(spec),
        "validation": stopping if len(stopping) < len(calibration) else calibration,
        "test": splits.test(spec, start),
    }
    for name, origins in spans.items():
        if not len(origins):
            raise FelsinaError(
                f"{path}: the {name} split is empty: no window of lookback {spec.lookback} and "
                f"horizon {spec.horizon} fits between {index[0]} and {index[-1]} with train_end "
                f"{index[min(ends[0], len(index) - 1)]} and validation_end "
                f"{index[min(ends[1], len(index) - 1)]}; move the ends or bring more data"
            )
    return splits


def naive(index: pd.DatetimeIndex) -> NDArray[np.datetime64]:
    """A UTC index as numpy stamps in seconds."""
    return index.tz_convert(None).to_numpy().astype("datetime64[s]")


def write_dataset(
    folder: Path,
    header: dict[str, Any],
    nodes: pd.DataFrame,
    series: pd.DataFrame,
    edges: pd.DataFrame | None = None,
    forcings: pd.DataFrame | None = None,
) -> None:
    """Write a dataset folder whole: a reader sees all of it, or none.

    Args:
        folder: must not exist yet, or is replaced.
        header: ``dataset.toml`` as a dict, stamps as aware datetimes.
        nodes: rows of ``nodes.csv``, with an ``id`` column.
        series: one column a node id, on a UTC index.
        edges: rows of ``edges.csv``.
        forcings: one column a forcing, on a UTC index.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / "dataset.toml").write_text(_toml(header))
    nodes.to_csv(part / "nodes.csv", index=False)
    if edges is not None:
        edges.to_csv(part / "edges.csv", index=False)
    for name, table in (("series", series), ("forcings", forcings)):
        if table is not None:
            table.rename_axis("time").reset_index().to_parquet(
                part / f"{name}.parquet", index=False
            )
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _toml(header: dict[str, Any]) -> str:
    def value(v: Any) -> str:
        if isinstance(v, bool):
            return str(v).lower()
        if isinstance(v, datetime):
            return v.isoformat().replace("+00:00", "Z")
        if isinstance(v, str):
            return json.dumps(v, ensure_ascii=False).replace("\x7f", "\\u007f")
        return str(v)

    def lines(table: dict[str, Any]) -> list[str]:
        return [f"{k} = {value(v)}" for k, v in table.items() if not isinstance(v, dict | list)]

    out = lines(header)
    for key, entry in header.items():
        if isinstance(entry, dict):
            out += ["", f"[{key}]", *lines(entry)]
        elif isinstance(entry, list):
            for row in entry:
                out += ["", f"[[{key}]]", *lines(row)]
    return "\n".join(out) + "\n"
