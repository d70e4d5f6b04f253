"""Joint members: from each lead's and node's own quantiles to whole trajectories of the city.

A forecast's quantiles say how likely a value is at one node and lead; the sum of a district, or a
crossing *within* the night, also needs how errors hang together. A template of ranks [M, H, N]
carries that: member m takes, at each lead and node, the value of that quantile function at
``(rank + 0.5) / M`` (Schaake shuffle, Clark et al. 2004, doi
10.1175/1525-7541(2004)005<0243:TSSAMF>2.0.CO;2; empirical copula as in Schefzik, Thorarinsdottir
and Gneiting 2013, doi 10.1214/13-STS443). Each rank stands once at each lead and node, so the
members have the quantiles they came from.

Between the outer levels the quantile function is linear. Beyond them it is a *fitted* tail, an
exponential through the two outermost quantiles: ``P(Y >= x) = .05 exp(-(x - q95) / b)`` with
``b = (q95 - q90) / ln 2``; what is read off it was never trained and must be shown as such.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import FelsinaError, FloatArray

Ranks = NDArray[np.unsignedinteger[Any]]
"""A template [M, H, N] of ranks 0 ... M - 1; M is 0 where there is none."""

THRESHOLDS = ("threshold_1", "threshold_2", "threshold_3")
"""Names of the columns of ``CityGraph.thresholds``."""

TAIL = "exponential through the two outermost quantiles; cut at 0 where the target never is below"
"""How the distribution goes on beyond the outer levels."""

ADDITIVE_UNITS = frozenset(("veh/h", "veh", "persons", "kW", "MW", "GW", "Wh", "kWh", "MWh", "EUR"))
"""Units whose sum over nodes means something. Not discharge: one gauge's water passes the next."""

_CHUNK = 256


def check_additive(unit: str, target: str) -> None:
    """Raise unless the sum of such a target over nodes means something."""
    if unit not in ADDITIVE_UNITS:
        raise FelsinaError(
            f"{target} in {unit} does not add up over nodes; sums are given for "
            f"{', '.join(sorted(ADDITIVE_UNITS))}"
        )


def load_template(path: Path, horizon: int, nodes: int, content: bytes | None = None) -> Ranks:
    """Read a template of ranks.

    Args:
        path: its file.
        horizon: H.
        nodes: N.
        content: its bytes, where they were read and verified already.

    Raises:
        FelsinaError: if the file is no array of ranks for this horizon and these nodes.
    """
    try:
        template = np.load(path if content is None else BytesIO(content), allow_pickle=False)
    except (OSError, ValueError) as error:
        raise FelsinaError(f"{path}: not an array of ranks: {error}; train anew") from error
    if template.ndim != 3 or template.shape[1:] != (horizon, nodes) or template.dtype.kind != "u":
        raise FelsinaError(
            f"{path}: {template.dtype} of shape {template.shape} is no template for horizon "
            f"{horizon} and {nodes} nodes; train anew"
        )
    rank = np.arange(len(template))[:, None, None]
    if any(
        (np.sort(template[..., n : n + _CHUNK], axis=0) != rank).any()
        for n in range(0, nodes, _CHUNK)
    ):
        raise FelsinaError(f"{path}: a lead and node lacks a rank; train anew")
    return template


def ladder(
    quantiles: FloatArray, levels: tuple[float, ...], count: int, nonnegative: bool
) -> FloatArray:
    """Values of every lead's and node's quantile function at ``(k + 0.5) / count``, rising.

    Linear in the quantiles, tails too, so that it is one matrix product.

    Args:
        quantiles: [H, N, Q].
        levels: Q levels, two or more.
        count: M.
        nonnegative: whether values below 0 become 0.

    Returns:
        [M, H, N]; as members they are comonotone: all nodes and leads low, or all high.
    """
    level, u = np.array(levels), (np.arange(count) + 0.5) / count
    weight = np.stack([np.interp(u, level, hat) for hat in np.eye(len(level))])
    stretch = np.log(np.maximum(level[0] / u, 1)) / np.log(level[1] / level[0])
    weight[0], weight[1] = weight[0] + stretch, weight[1] - stretch
    above, over = 1 - level, 1 - u
    stretch = np.log(np.maximum(above[-1] / over, 1)) / np.log(above[-2] / above[-1])
    weight[-1], weight[-2] = weight[-1] + stretch, weight[-2] - stretch
    values = np.moveaxis(quantiles @ weight.astype(quantiles.dtype), -1, 0)
    return np.maximum(values, 0) if nonnegative else values


def members(
    quantiles: FloatArray, levels: tuple[float, ...], template: Ranks, nonnegative: bool
) -> FloatArray:
    """Joint members [M, H, N] in the target's unit.

    Args:
        quantiles: [H, N, Q].
        levels: Q levels.
        template: [M, H, N] ranks.
        nonnegative: whether values below 0 become 0.
    """
    values = ladder(quantiles, levels, len(template), nonnegative)
    return np.take_along_axis(values, template.astype(np.intp), axis=0)


def cumulative(
    quantiles: FloatArray, levels: tuple[float, ...], values: FloatArray, nonnegative: bool
) -> FloatArray:
    """Probability that the target lies below a value, from its quantiles and their tails.

    Args:
        quantiles: [..., Q].
        levels: Q levels.
        values: [...], NaN where unknown.
        nonnegative: whether the target never is below 0.

    Returns:
        [...], NaN where the value is unknown.
    """
    quantiles, values = np.asarray(quantiles, float), np.asarray(values, float)
    level, last = np.array(levels), len(levels) - 2
    below = (quantiles < values[..., None]).sum(-1)
    left = np.clip(below - 1, 0, last)
    shape = below.shape
    quantiles = np.broadcast_to(quantiles, (*shape, len(levels)))
    low, high = (
        np.take_along_axis(quantiles, (left + side)[..., None], -1)[..., 0] for side in (0, 1)
    )
    p, q = level[left], level[left + 1]
    gap, values = high - low, np.broadcast_to(values, shape)
    flat = np.where(np.isnan(values), np.nan, np.inf)  # no width: all mass in one place

    def steps(distance: FloatArray) -> FloatArray:
        return np.divide(distance, gap, out=flat.copy(), where=gap > 0)

    inside = p + (q - p) * np.where(gap > 0, steps(values - low), 0)
    lower = p * (p / q) ** np.maximum(steps(low - values), 0)
    upper = 1 - (1 - q) * ((1 - q) / (1 - p)) ** np.maximum(steps(values - high), 0)
    share = np.where(below == 0, lower, np.where(below > last + 1, upper, inside))
    return np.where(values <= 0, 0.0, share) if nonnegative else share


def exceedance(
    quantiles: FloatArray, levels: tuple[float, ...], thresholds: FloatArray, nonnegative: bool
) -> FloatArray:
    """Probability that the target reaches each threshold, at each lead.

    Args:
        quantiles: [..., H, N, Q].
        levels: Q levels.
        thresholds: [N, K] in the target's unit, NaN where none.
        nonnegative: whether the target never is below 0.

    Returns:
        [..., H, N, K], NaN where there is no threshold. Below ``1 - levels[-1]`` and above
        ``1 - levels[0]`` it is read off a fitted tail.
    """
    return 1 - cumulative(quantiles[..., None, :], levels, thresholds, nonnegative)


def within(probability: FloatArray, template: Ranks) -> FloatArray:
    """Probability of a crossing at any lead up to and with each one.

    Each member stands for the whole cell of probability ``rank / M`` to ``(rank + 1) / M`` that its
    value was taken from, not for that value alone. So the result is never below the largest
    probability of a single lead, never above their sum, and not a multiple of 1 / M.

    Args:
        probability: [H, N, K] of a crossing at each lead, such as ``exceedance`` gives.
        template: [M, H, N] ranks of the same leads and nodes.

    Returns:
        [H, N, K]; the last lead's is that of the whole period. NaN where M is 0.
    """
    if not len(template):
        return np.full(probability.shape, np.nan)
    edge = len(template) * (1 - probability)
    above = np.full((len(template), *probability.shape[1:]), -np.inf)
    found = np.empty(probability.shape)
    for h in range(len(probability)):
        np.maximum(above, template[:, h, :, None] + 1 - edge[h], out=above)
        found[h] = np.clip(above, 0, 1).mean(axis=0)
    return found


def sum_quantiles(
    joint: FloatArray, groups: NDArray[np.bool_], levels: tuple[float, ...]
) -> FloatArray:
    """Quantiles of the sums over groups of nodes.

    Args:
        joint: [M, H, N] members.
        groups: [G, N], which nodes are in each group.
        levels: Q levels.

    Returns:
        [H, G, Q].
    """
    sums = joint @ groups.T.astype(joint.dtype)
    return np.moveaxis(np.quantile(sums, levels, axis=0, method="hazen"), 0, -1)
