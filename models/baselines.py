"""Forecasts anyone can make by looking back: each fills its own gaps, so no target drops out."""

from __future__ import annotations

import numpy as np

from models.contracts import FloatArray, IntArray
from models.windows import WindowBuilder


class LookBack:
    """Persistence and seasonal naive over one set of series.

    A gap takes the last valid value (persistence) or the same phase of an earlier season; a node
    that was never seen takes ``fallback``.

    Args:
        builder: the series.
        fallback: [N] value where nothing was ever observed, such as the train mean.
    """

    def __init__(self, builder: WindowBuilder, fallback: FloatArray) -> None:
        self.values = builder.values
        self.horizon = builder.spec.horizon
        self.fallback = fallback.astype(np.float32)
        self._last = _fill(self.values, 1)
        self._seasons: dict[int, FloatArray] = {}

    def persistence(self, origins: IntArray) -> FloatArray:
        """Last valid value at each origin [B], for all leads: [B, H, N]."""
        last = self._last[origins]
        last = np.where(np.isnan(last), self.fallback, last)
        return np.repeat(last[:, None], self.horizon, axis=1)

    def seasonal_naive(self, origins: IntArray, season: int) -> FloatArray:
        """Value a whole number of seasons (in steps) before each target: [B, H, N]."""
        if season not in self._seasons:
            self._seasons[season] = _fill(self.values, season)
        lead = np.arange(1, self.horizon + 1)
        back = season * -(-lead // season)
        index = np.asarray(origins)[:, None] + lead - back
        found = self._seasons[season][np.maximum(index, 0)]
        found = np.where((index < 0)[..., None], np.nan, found)
        return np.where(np.isnan(found), self.persistence(origins), found)


def _fill(values: FloatArray, season: int) -> FloatArray:
    """Replace gaps [S, N] by the value ``season`` rows earlier, itself filled."""
    steps, nodes = values.shape
    rows = -(-steps // season)
    padded = np.full((rows * season, nodes), np.nan, np.float32)
    padded[:steps] = values
    phases = padded.reshape(rows, season, nodes)
    known = np.where(np.isnan(phases), 0, np.arange(rows)[:, None, None])
    latest = np.maximum.accumulate(known, axis=0)
    return np.take_along_axis(phases, latest, axis=0).reshape(-1, nodes)[:steps]
