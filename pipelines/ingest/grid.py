"""Rows of (time, node, value) as a table of one column a node."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.contracts import FloatArray


def pivot(
    times: pd.DatetimeIndex, nodes: NDArray, values: FloatArray, adds_up: bool = False
) -> tuple[pd.DataFrame, int]:
    """Values by time and node, and how many rows gave a cell that another row gives too.

    Args:
        times: [R] UTC; rows without one are left out.
        nodes: [R] ids, as texts.
        values: [R]; a later row replaces an earlier one of the same time and node.
        adds_up: whether rows of a cell are parts of it, and are summed.
    """
    known = np.flatnonzero(times.notna())
    at, stamps = pd.factorize(times[known])
    column, ids = pd.factorize(pd.Series(nodes).take(known), sort=True)
    stamps = pd.DatetimeIndex(stamps)
    order = np.argsort(stamps.asi8)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    cell = rank[at] * len(ids) + column
    table = np.full(len(order) * len(ids), np.nan)
    if adds_up:
        seen = ~np.isnan(values[known])
        sums = np.bincount(cell[seen], values[known][seen], minlength=len(table))
        table = np.where(np.bincount(cell[seen], minlength=len(table)) > 0, sums, np.nan)
    else:
        table[cell] = values[known]
    doubled = 0 if adds_up else len(cell) - len(np.unique(cell))
    index = pd.DatetimeIndex(stamps[order], name="time")
    shape = len(order), len(ids)
    return pd.DataFrame(table.reshape(shape), index=index, columns=pd.Index(ids)), doubled
