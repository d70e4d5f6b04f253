"""Public road benchmarks as dataset folders: METR-LA, PEMS-BAY, and PEMS03, 04, 07 and 08.

The published windows are kept: 12 steps in, 12 out, and by *samples*, as Li et al. 2018 (DCRNN,
arXiv 1707.01926) cut them: of S - 23 windows the first 70 % train and the last 20 % test (60 and 20
% for PEMS03 to 08, after Song et al. 2020, STSGCN, AAAI). Train and test windows are those of the
papers; the validation span loses the few whose targets lie in the train span too. STSGCN itself cut
rows, not windows, which moves each end by a dozen windows.

Zero is the published null value of all these files: it becomes NaN, and is neither shown nor
scored.

The stamps are a wall clock without a zone, or there are none. Those that fit the civil clock of
California (PEMS-BAY leaves out the hour that March skips) are read on it. Those that do not
(METR-LA holds that hour; PEMS03 runs evenly through the hour that November repeats) cannot be: they
are read at standard time, Etc/GMT+8, all year. So no row is lost or doubled, and the time of day is
the one that the file says.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import cast
from zipfile import BadZipFile, is_zipfile

import numpy as np
import pandas as pd

from models.contracts import FelsinaError, FloatArray
from pipelines.domains.published import Published, unreadable
from training.dataset import write_dataset

STEPS_IN, STEPS_OUT = 12, 12
TEST_SHARE = 0.2
CIVIL, STANDARD = "America/Los_Angeles", "Etc/GMT+8"
KERNEL_FLOOR = 0.1
"""Weights of DCRNN's kernel below this are no edge."""

_FIRST_DAY = {
    "pems03": "2018-09-01",
    "pems04": "2018-01-01",
    "pems07": "2017-05-01",
    "pems08": "2016-07-01",
}
"""Their files hold no stamps; these are the papers' first days, at midnight."""
_FRAME = ("axis0", "axis1", "block0_values")


def ingest(name: str, files: Published, folder: Path) -> None:
    """Write a road benchmark as a dataset folder.

    Args:
        name: one of ``metr-la``, ``pems-bay``, ``pems03``, ``pems04``, ``pems07``, ``pems08``.
        files: the ``.h5`` or ``.npz``, and where given the distances and node ids.
        folder: to write.

    Raises:
        FelsinaError: for a file of another format, naming what was found and what was expected.
    """
    counts = name in _FIRST_DAY
    table = read_npz(files, _FIRST_DAY[name]) if counts else read_frame(files.path)
    edges = None
    if files.graph is not None:
        read = connections if counts else kernel_edges
        edges = read(files.graph, list(table.columns))
    if table.empty:
        raise FelsinaError(f"{files.path}: holds no values")
    stamps, timezone = on_a_clock(files.path, pd.DatetimeIndex(table.index))
    horizon = files.horizon or STEPS_OUT
    grid = pd.date_range(stamps[0], stamps[-1], freq="5min", name="time")
    if not stamps.isin(grid).all():
        odd = stamps[~stamps.isin(grid)][0]
        raise FelsinaError(f"{files.path}: stamp {odd} is not 5 minutes times n after the first")
    series = table.set_axis(stamps, axis=0).replace(0.0, np.nan).reindex(grid)
    ends = split_rows(len(grid), horizon, 0.6 if counts else 0.7)
    if not 0 < ends[0] < ends[1] < len(grid):
        raise FelsinaError(f"{files.path}: {len(grid)} steps are too few to split")
    header = {
        "name": name,
        "domain": "traffic",
        "target": "flow" if counts else "speed",
        "unit": "veh" if counts else "mph",
        "step": "5min",
        "timezone": timezone,
        "country": "US-CA",
        "lookback": STEPS_IN,
        "horizon": horizon,
        "nonnegative": True,
        "splits": {
            "train_end": grid[ends[0]].to_pydatetime(),
            "validation_end": grid[ends[1]].to_pydatetime(),
        },
        "evaluation": {"protocol": "masked"},
        "source": {
            "publisher": "Los Angeles County loop detectors"
            if name == "metr-la"
            else "Caltrans Performance Measurement System",
            "licence": "not stated in the file",
            "attribution": f"{name.upper()} benchmark",
            "note": "0 is the published null value and was read as missing",
        },
    }
    write_dataset(folder, header, pd.DataFrame({"id": series.columns}), series, edges)


def split_rows(steps: int, horizon: int, train_share: float) -> tuple[int, int]:
    """First rows of the validation and test spans, so that the papers' windows train and test."""
    windows = steps - STEPS_IN - horizon + 1
    train = round(train_share * windows) + STEPS_IN + horizon - 1
    return train, steps - round(TEST_SHARE * windows) - horizon + 1


def on_a_clock(path: Path, stamps: pd.DatetimeIndex) -> tuple[pd.DatetimeIndex, str]:
    """Naive stamps in UTC, and the zone whose clock they show (this module's docstring)."""
    if stamps.has_duplicates:
        raise FelsinaError(f"{path}: stamp {stamps[stamps.duplicated()][0]} stands twice")
    with suppress(ValueError):
        return stamps.tz_localize(CIVIL).tz_convert("UTC"), CIVIL
    return stamps.tz_localize(STANDARD).tz_convert("UTC"), STANDARD


def read_frame(path: Path) -> pd.DataFrame:
    """The one frame in pandas' fixed format that an HDF5 file holds: naive stamps x sensor ids."""
    try:
        import h5py
    except ImportError as error:
        raise FelsinaError(
            f"{path}: reading HDF5 needs h5py; pip install 'felsina[readers]'"
        ) from error
    wanted = f"one pandas frame in fixed format ({', '.join(_FRAME)})"

    def parts_of(group: object) -> list[h5py.Dataset]:
        parts = [group.get(name) for name in _FRAME] if isinstance(group, h5py.Group) else []
        return [part for part in parts if isinstance(part, h5py.Dataset)]

    try:
        with h5py.File(path) as file:
            frames = [parts for group in file.values() if len(parts := parts_of(group)) == 3]
            if len(frames) != 1:
                found = {k: sorted(g) if isinstance(g, h5py.Group) else "" for k, g in file.items()}
                raise FelsinaError(f"{path}: found {found or 'nothing'}; expected {wanted}")
            items, stamps, values = frames[0]
            kind = stamps.attrs.get("kind", b"datetime64")
            kind = kind.decode() if isinstance(kind, bytes) else str(kind)
            unit = re.fullmatch(r"datetime64(?:\[(\w+)\])?", kind)
            if unit is None or values.shape != (*stamps.shape, *items.shape):
                raise FelsinaError(
                    f"{path}: found values {values.shape} for stamps {stamps.shape} of kind {kind} "
                    f"and sensors {items.shape}; expected {wanted} with a row a stamp"
                )
            ids = [i.decode() if isinstance(i, bytes) else str(i) for i in items[:].tolist()]
            index = pd.DatetimeIndex(stamps[:].astype(f"datetime64[{unit[1] or 'ns'}]"))
            return pd.DataFrame(values[:].astype(float), index=index, columns=pd.Index(ids))
    except (OSError, ValueError, TypeError) as error:
        raise unreadable(path, error, wanted) from error


def read_npz(files: Published, first_day: str) -> pd.DataFrame:
    """Feature 0, the flow, of ``data`` [S, N, F]: stamps from ``first_day`` on x node ids."""
    path = files.path
    wanted = "a .npz with key data of shape [steps, nodes, features]"
    if not is_zipfile(path):
        raise FelsinaError(f"{path}: no .npz file; expected {wanted}")
    try:
        with np.load(path) as file:
            if "data" not in file:
                raise FelsinaError(
                    f"{path}: found keys {', '.join(file) or 'none'}; expected {wanted}"
                )
            data = file["data"]
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise unreadable(path, error, wanted) from error
    if data.ndim != 3 or not np.issubdtype(data.dtype, np.number):
        raise FelsinaError(f"{path}: found data {data.dtype} {data.shape}; expected {wanted}")
    flow: FloatArray = data[..., 0].astype(float)
    ids = [str(n) for n in range(flow.shape[1])]
    if files.nodes is not None:
        try:
            ids = files.nodes.read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise unreadable(f"--nodes {files.nodes}", error, "one id a line") from error
        if len(ids) != flow.shape[1]:
            raise FelsinaError(
                f"--nodes {files.nodes}: {len(ids)} ids, but {path} holds {flow.shape[1]} nodes"
            )
    index = pd.date_range(first_day, periods=len(flow), freq="5min")
    return pd.DataFrame(flow, index=index, columns=ids)


def kernel_edges(path: Path, ids: list[str]) -> pd.DataFrame:
    """DCRNN's graph: a Gaussian kernel of road distance, directed, without weights below 0.1.

    Its width is the standard deviation of all distances listed between the sensors, the zeros from
    each to itself among them. Pairs that name other sensors are left out, as there.
    """
    table = distances(path)
    table = table.loc[table["source"].isin(ids) & table["target"].isin(ids)]
    if table.empty:
        raise FelsinaError(f"--graph {path}: names none of the sensors, {', '.join(ids[:3])}, ...")
    table = table.drop_duplicates(subset=["source", "target"], keep="last")
    width = table["distance"].std(ddof=0) or 1.0
    table = table.assign(weight=np.exp(-((table["distance"] / width) ** 2)))
    kept = (table["weight"] >= KERNEL_FLOOR) & (table["source"] != table["target"])
    return table.loc[kept, ["source", "target", "weight"]]


def connections(path: Path, ids: list[str]) -> pd.DataFrame:
    """STSGCN's graph: each listed pair is joined, both ways, whatever its distance."""
    table = distances(path)
    unknown = sorted((set(table["source"]) | set(table["target"])) - set(ids))
    if unknown:
        raise FelsinaError(
            f"--graph {path}: node {', '.join(unknown[:3])} is none of {', '.join(ids[:3])}, ... "
            f"{ids[-1]}; where it names sensors by id, pass those ids in the file's order with "
            "--nodes (PEMS03.txt)"
        )
    pairs = table.loc[table["source"] != table["target"], ["source", "target"]]
    back = pairs.rename(columns={"source": "target", "target": "source"})
    return pd.concat([pairs, back]).drop_duplicates().reset_index(drop=True)


def distances(path: Path) -> pd.DataFrame:
    """Columns source, target (texts) and distance of a CSV with or without a line of names."""
    try:
        table = pd.read_csv(path, header=None, dtype=str, skip_blank_lines=True)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise unreadable(f"--graph {path}", error, "a CSV of from, to, cost") from error
    if table.shape[1] != 3:
        raise FelsinaError(f"--graph {path}: {table.shape[1]} columns; write from, to, cost")
    table.columns = pd.Index(["source", "target", "distance"])
    numbers = cast(pd.Series, pd.to_numeric(table["distance"], errors="coerce"))
    if pd.isna(numbers.iloc[0]):
        table, numbers = table.iloc[1:], numbers.iloc[1:]
    if (wrong := numbers.isna() | (numbers < 0)).any():
        row = int(np.flatnonzero(wrong)[0])
        raise FelsinaError(
            f"--graph {path}: cost {table['distance'].iloc[row]!r} of pair {row + 1} is no distance"
        )
    return table.assign(distance=numbers)
