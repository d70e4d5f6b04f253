"""Tables of a dataset folder: read them with every refusal that DATASET.md lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from models.contracts import CityGraph, FelsinaError, step_seconds

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
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise FelsinaError(f"{path}: not a parquet file: {error}") from error
    if "time" not in table.columns and table.index.name == "time":
        table = table.reset_index()
    if "time" not in table.columns:
        raise FelsinaError(f"{path}: column time is missing; it has {list(table.columns)[:5]}")
    stamps = table["time"]
    if not isinstance(stamps.dtype, pd.DatetimeTZDtype):
        raise FelsinaError(
            f"{path}: column time is {stamps.dtype}, first value {stamps.iloc[0]}; store stamps "
            "with a zone, as in frame['time'].dt.tz_localize('UTC')"
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
    if repeated := sorted(table.columns[table.columns.duplicated()]):
        raise FelsinaError(f"{path}: column {repeated[0]} stands twice; keep one")
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
            f"{', '.join(map(str, rows))}), {gaps[rows[0] - 1]:g} s after the row before where step "
            f"is {step}; reindex to the grid, with NaN for what is missing"
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
    nodes = _read_csv(path)
    if "id" not in nodes.columns:
        raise FelsinaError(f"{path}: column id is missing; it has {list(nodes.columns)[:5]}")
    if (repeated := nodes["id"].duplicated()).any():
        raise FelsinaError(f"{path}: column id: {nodes['id'][repeated].iloc[0]} stands twice")
    known = {"id", "lon", "lat", "name", "area", *_THRESHOLDS}
    n = len(nodes)
    source, target = np.zeros(0, np.int64), np.zeros(0, np.int64)
    weight = np.zeros(0, np.float32)
    if (folder / "edges.csv").exists():
        source, target, weight = _read_edges(folder / "edges.csv", nodes["id"])
    empty = pd.Series([""] * n)
    return CityGraph(
        ids=tuple(nodes["id"]),
        lon=_numbers(path, nodes, "lon"),
        lat=_numbers(path, nodes, "lat"),
        names=tuple(nodes.get("name", nodes["id"]).replace("", pd.NA).fillna(nodes["id"])),
        areas=tuple(nodes.get("area", empty)),
        thresholds=np.stack([_numbers(path, nodes, c) for c in _THRESHOLDS], axis=1),
        attributes={str(c): tuple(nodes[c]) for c in nodes.columns if c not in known},
        source=source,
        target=target,
        weight=weight,
    )


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise FelsinaError(f"{path} is missing; DATASET.md says what it holds")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise FelsinaError(f"{path}: not a CSV file: {error}") from error
    if table.empty:
        raise FelsinaError(f"{path} has no rows; it needs one or more")
    return table


def _numbers(path: Path, table: pd.DataFrame, column: str) -> np.ndarray:
    """A text column as floats, NaN where empty or absent."""
    if column not in table.columns:
        return np.full(len(table), np.nan)
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    text = table[column].str.strip().str.lower()
    wrong = (~np.isfinite(numbers)) & ~text.isin(["", "nan"]).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise FelsinaError(
            f"{path}: column {column}: {table[column].iloc[row]!r} in row {row + 1} is no finite "
            "number; write one, or leave it empty"
        )
    return numbers


def _read_edges(path: Path, ids: pd.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    edges = _read_csv(path)
    position = {node: i for i, node in enumerate(ids)}
    for column in ("source", "target"):
        if column not in edges.columns:
            raise FelsinaError(f"{path}: column {column} is missing; it has {list(edges.columns)}")
        unknown = ~edges[column].isin(position)
        if unknown.any():
            rows = [f"{edges[column][r]} (row {r + 1})" for r in np.flatnonzero(unknown)[:3]]
            raise FelsinaError(
                f"{path}: column {column}: unknown node {', '.join(rows)}; add it to nodes.csv or "
                "drop the edge"
            )
    column = "weight" if "weight" in edges.columns else "distance_m"
    if column not in edges.columns:
        weight = np.ones(len(edges))
    else:
        weight = _numbers(path, edges, column)
        least = 0.0 if column == "distance_m" else np.nextafter(0, 1)
        if (wrong := ~(weight >= least)).any():
            row = int(np.flatnonzero(wrong)[0])
            raise FelsinaError(
                f"{path}: column {column}: {edges[column].iloc[row]!r} in row {row + 1}; write a "
                f"{'distance of 0 or more' if column == 'distance_m' else 'positive weight'}"
            )
        if column == "distance_m":
            spread = weight.mean() or 1.0
            weight = np.exp(-np.square(weight / spread))
    return (
        edges["source"].map(position).to_numpy(np.int64),
        edges["target"].map(position).to_numpy(np.int64),
        np.maximum(weight, 1e-6).astype(np.float32),
    )
