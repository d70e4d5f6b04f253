"""The mixture of several forecasts: one forecast that holds what they disagree about, numpy only.

Members of a weather ensemble give a forecast each. The mean of their quantiles would be no wider
than a single one; the mixture averages their *distributions*, so that its band is wide where they
differ (the linear pool: Stone 1961, doi 10.1214/aoms/1177704873; Gneiting and Ranjan 2013, doi
10.1214/13-EJS823). If each member is calibrated alone, the mixture is too wide, never too narrow.
"""

from __future__ import annotations

import numpy as np

from models.contracts import FloatArray
from models.joint import cumulative

_HALVINGS = 24
"""Of the span between members, after which float32 tells no more."""


def mix(quantiles: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Quantiles of the equal mixture of K forecast distributions.

    Each distribution is linear between its quantiles, with the tails of ``models.joint``. The mean
    of their cumulative probabilities is inverted by halving: the mixture's quantile of a level lies
    between the least and the largest one of the members.

    Args:
        quantiles: [K, ..., Q], rising along Q.
        levels: Q levels, two or more.

    Returns:
        [..., Q], rising.
    """
    level = np.array(levels)
    low, high = quantiles.min(axis=0).astype(float), quantiles.max(axis=0).astype(float)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        share = np.zeros(middle.shape)
        for member in quantiles:
            share += cumulative(member[..., None, :], levels, middle, False)
        short = share < level * len(quantiles)
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    mixed = np.maximum.accumulate((low + high) / 2, axis=-1)
    return mixed.astype(quantiles.dtype)
