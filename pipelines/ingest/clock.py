"""A civil clock's stamps in UTC: the hour that March skips and the one that October repeats."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def utc_of(stamps: pd.DatetimeIndex, zone: str, node: NDArray | None = None) -> pd.DatetimeIndex:
    """Naive stamps of a civil clock in UTC, NaT where that cannot be known.

    A stamp that the clock skips is NaT. One that it repeats is told apart where a node has it
    twice, the earlier first, as files list it; a node that has it once may mean either, or their
    sum: NaT.

    Args:
        stamps: naive, in the order of the file.
        zone: whose clock they show.
        node: [rows] which node each row is of; all of one when None.
    """
    codes, unique = pd.factorize(stamps)
    once = pd.DatetimeIndex(unique).tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    found = once.tz_convert("UTC").take(codes)
    unknown = np.flatnonzero(found.isna() & stamps.notna())
    if not len(unknown):
        return found
    few = pd.DataFrame(
        {"stamp": stamps[unknown], "node": 0 if node is None else np.asarray(node)[unknown]}
    )
    same = few.groupby(["stamp", "node"], sort=False)["stamp"]
    order, count = same.cumcount().to_numpy(), same.transform("size").to_numpy()
    twice = np.flatnonzero(count == 2)
    rows = pd.DatetimeIndex(few["stamp"].iloc[twice])
    told = rows.tz_localize(zone, ambiguous=order[twice] == 0, nonexistent="NaT")
    values = found.tz_localize(None).to_numpy().copy()
    values[unknown[twice]] = told.tz_convert("UTC").tz_localize(None).to_numpy()
    return pd.DatetimeIndex(values).tz_localize("UTC")
