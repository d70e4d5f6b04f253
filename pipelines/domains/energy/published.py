"""The ETT benchmark (electricity transformers, two years) as dataset folders.

Zhou et al. 2021 (Informer, arXiv 2012.07436): 12 months of 30 days train, 4 validate, 4 test, and
the rest of the file is left out. All seven variables are forecast, as nodes, and scored in units of
their train deviation. The usual horizons are 96, 192, 336 and 720 steps; a lookback of 336 is that
of DLinear (Zeng et al. 2023, arXiv 2205.13504) and PatchTST. Test windows are all those whose
targets lie in the test months; tables made with loaders that drop the last, incomplete batch miss
some of them. The stamps carry no zone and are read on the clock of China, which has no summer time.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from models.contracts import FelsinaError
from pipelines.domains.published import Published, unreadable
from training.dataset import write_dataset

COLUMNS = ("date", "HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
LOOKBACK, HORIZON = 336, 96
TRAIN_DAYS, VALIDATION_DAYS, TEST_DAYS = 360, 120, 120
TIMEZONE = "Asia/Shanghai"
_STEP = {"etth1": "1h", "etth2": "1h", "ettm1": "15min", "ettm2": "15min"}


def ingest(name: str, files: Published, folder: Path) -> None:
    """Write an ETT file as a dataset folder.

    Args:
        name: one of ``etth1``, ``etth2``, ``ettm1``, ``ettm2``.
        files: the ``.csv``, and where given the horizon.
        folder: to write.

    Raises:
        FelsinaError: for a file of another format, naming what was found and what was expected.
    """
    files.refuse_graph(name)
    path, step = files.path, _STEP[name]
    try:
        table = pd.read_csv(path)
        if tuple(table.columns) != COLUMNS:
            found = ", ".join(map(str, table.columns[:10]))
            raise FelsinaError(f"{path}: found columns {found}; expected {', '.join(COLUMNS)}")
        index = pd.DatetimeIndex(pd.to_datetime(table.pop("date"))).tz_localize(TIMEZONE)
        series = table.astype(float).set_axis(index.tz_convert("UTC"), axis=0)
    except (OSError, ValueError) as error:
        raise unreadable(path, error, f"a CSV with columns {', '.join(COLUMNS)}") from error
    start = series.index[0]
    train_end = start + pd.Timedelta(days=TRAIN_DAYS)
    validation_end = train_end + pd.Timedelta(days=VALIDATION_DAYS)
    end = validation_end + pd.Timedelta(days=TEST_DAYS)
    grid = pd.date_range(start, end, freq=step, inclusive="left")
    if not series.index[: len(grid)].equals(grid):
        raise FelsinaError(
            f"{path}: found {len(series)} rows from {start} to {series.index[-1]}; expected one "
            f"every {step} for {(end - start).days} days without a gap, as {name} has"
        )
    header = {
        "name": name,
        "domain": "energy",
        "target": "load-and-oil-temperature",
        "unit": "1",
        "step": step,
        "timezone": TIMEZONE,
        "lookback": LOOKBACK,
        "horizon": files.horizon or HORIZON,
        "nonnegative": False,
        "splits": {
            "train_end": train_end.to_pydatetime(),
            "validation_end": validation_end.to_pydatetime(),
        },
        "evaluation": {"protocol": "standardised"},
        "source": {
            "publisher": "Electricity Transformer Dataset, Zhou et al. 2021",
            "licence": "CC BY-ND 4.0, as its repository says",
            "attribution": f"{name} of the Electricity Transformer Dataset",
            "note": "six loads and the oil temperature (OT), each in its own unit",
        },
    }
    nodes = pd.DataFrame({"id": COLUMNS[1:]})
    write_dataset(folder, header, nodes, series.iloc[: len(grid)].rename_axis("time"))
