"""Tables of a dataset folder: read them with every refusal that DATASET.md lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from models.contracts import CityGraph, FelsinaError, FloatArray, IntArray, step_seconds

_THRESHOLDS = ("threshold_1", "threshold_2", "threshold_3")


def read_columns(path: Path, step: str) -> pd.DataFrame:
    """Read a parquet of one ``time`` column and float columns as a frame on a regular UTC index.

    Raises:
        FelsinaError: for a missing file or column, a naive, duplicate or irregular stamp, or a
            column that holds no numbers.
    """
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; DATASET.md says what it holds")
    try:
        names = pq.read_schema(path).names
        if repeated := [name for name in names if names.count(name) > 1]:
            raise FelsinaError(f"{path}: column {repeated[0]} stands twice; keep one")
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise FelsinaError(f"{path}: not a parquet file: {reason}") from error
    if "time" not in table.columns and table.index.name == "time":
        table = table.reset_index()
    if "time" not in table.columns:
        raise FelsinaError(f"{path}: column time is missing; it has {list(table.columns)[:5]}")
    stamps = table["time"]
    if not isinstance(stamps.dtype, pd.DatetimeTZDtype):
        first = stamps.iloc[0] if len(stamps) else "none"
        raise FelsinaError(
            f"{path}: column time is {stamps.dtype}, first value {first}; store stamps with a "
            "zone, as in frame['time'].dt.tz_localize('UTC')"
        )
    index = pd.DatetimeIndex(stamps).tz_convert("UTC")
    _regular(path, index, step)
    table = table.drop(columns="time").set_axis(index, axis=0)
    table.columns = table.columns.astype(str)
    for column, dtype in table.dtypes.items():
        if not pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
            raise FelsinaError(
                f"{path}: column {column} is {dtype}, first value {table[column].iloc[0]!r}; "
                "store numbers, NaN where missing"
            )
    return table.astype("float64")


def _regular(path: Path, index: pd.DatetimeIndex, step: str) -> None:
    if not len(index) or index.isna().any():
        raise FelsinaError(f"{path}: column time is empty or has an empty stamp; drop those rows")
    if (doubled := index.duplicated()).any():
        rows = np.flatnonzero(doubled)[:3]
        raise FelsinaError(
            f"{path}: column time: duplicate stamp {', '.join(str(index[r]) for r in rows)} (rows "
            f"{', '.join(map(str, rows))}); keep one row a stamp"
        )
    gaps = np.diff(index.tz_convert(None).to_numpy()) / np.timedelta64(1, "s")
    seconds = step_seconds(step)
    if (wrong := gaps != seconds).any():
        rows = np.flatnonzero(wrong)[:3] + 1
        raise FelsinaError(
            f"{path}: column time: irregular at {', '.join(str(index[r]) for r in rows)} (rows "
            f"{', '.join(map(str, rows))}), {gaps[rows[0] - 1]:g} s after the row before where "
            f"step is {step}; reindex to the grid, with NaN for what is missing"
        )


def finite(path: Path, table: pd.DataFrame) -> None:
    """Refuse infinite values."""
    infinite = np.isinf(table.to_numpy())
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        raise FelsinaError(
            f"{path}: column {table.columns[column]}: infinite value at {table.index[row]} "
            f"({int(infinite.sum())} in all); write NaN where nothing was observed"
        )


def read_graph(folder: Path) -> CityGraph:
    """Read ``nodes.csv`` and, where there is one, ``edges.csv``.

    Edge weights are ``weight``, or a Gaussian kernel of ``distance_m``, or 1.
    """
    path = folder / "nodes.csv"
    nodes = _read_csv(path, ("id",))
    ids = nodes["id"]
    if len(set(ids)) < len(ids):
        repeated = next(node for node in ids if ids.count(node) > 1)
        raise FelsinaError(f"{path}: column id: {repeated!r} stands twice; keep one row a node")
    source, target = np.zeros(0, np.int64), np.zeros(0, np.int64)
    weight = np.zeros(0, np.float32)
    if (folder / "edges.csv").exists():
        source, target, weight = _read_edges(folder / "edges.csv", ids)
    own = {"id", "lon", "lat", "name", "area", *_THRESHOLDS}
    names = nodes.get("name", ids)
    return CityGraph(
        ids=tuple(ids),
        lon=_numbers(path, nodes, "lon"),
        lat=_numbers(path, nodes, "lat"),
        names=tuple(name or node for name, node in zip(names, ids, strict=True)),
        areas=tuple(nodes.get("area", [""] * len(ids))),
        thresholds=np.stack([_numbers(path, nodes, c) for c in _THRESHOLDS], axis=1),
        attributes={name: tuple(column) for name, column in nodes.items() if name not in own},
        source=source,
        target=target,
        weight=weight,
    )


def _read_csv(path: Path, needed: tuple[str, ...]) -> dict[str, list[str]]:
    """Columns of a CSV as texts, empty where nothing is written."""
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; DATASET.md says what it holds")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise FelsinaError(f"{path}: not a CSV file: {error}") from error
    if table.empty:
        raise FelsinaError(f"{path} has no rows; it needs one or more")
    columns = {str(name): table[name].astype(str).tolist() for name in table.columns}
    for name in needed:
        if name not in columns:
            raise FelsinaError(f"{path}: column {name} is missing; it has {', '.join(columns)}")
    return columns


def _numbers(path: Path, columns: dict[str, list[str]], name: str) -> FloatArray:
    """A text column as floats, NaN where empty or absent."""
    if name not in columns:
        return np.full(len(next(iter(columns.values()))), np.nan)
    numbers = []
    for row, text in enumerate(columns[name], 1):
        try:
            number = float(text) if text.strip() else np.nan
            wrong = np.isinf(number)
        except ValueError:
            number, wrong = np.nan, True
        if wrong:
            raise FelsinaError(
                f"{path}: column {name}: {text!r} in row {row} is no finite number; write one, or "
                "leave it empty"
            )
        numbers.append(number)
    return np.array(numbers, float)


def _read_edges(path: Path, ids: list[str]) -> tuple[IntArray, IntArray, FloatArray]:
    edges = _read_csv(path, ("source", "target"))
    position = {node: i for i, node in enumerate(ids)}
    for end in ("source", "target"):
        unknown = [f"{n} (row {r})" for r, n in enumerate(edges[end], 1) if n not in position]
        if unknown:
            raise FelsinaError(
                f"{path}: column {end}: unknown node {', '.join(unknown[:3])}; add it to nodes.csv "
                "or drop the edge"
            )
    source, target = (np.array([position[n] for n in edges[e]]) for e in ("source", "target"))
    name = "weight" if "weight" in edges else "distance_m"
    if name not in edges:
        return source, target, np.ones(len(source), np.float32)
    weight = _numbers(path, edges, name)
    wrong = ~(weight >= 0) if name == "distance_m" else ~(weight > 0)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        remedy = "a distance of 0 or more" if name == "distance_m" else "a positive weight"
        raise FelsinaError(
            f"{path}: column {name}: {edges[name][row]!r} in row {row + 1}; write {remedy}"
        )
    if name == "distance_m":
        weight = np.maximum(np.exp(-np.square(weight / (weight.mean() or 1.0))), 1e-6)
    return source, target, weight.astype(np.float32)
