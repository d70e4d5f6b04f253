"""Figures of groups of nodes, from sums a day, node and band of leads.

Everything that a group is told is a smooth figure of such sums, so that one kind of interval
(``intervals``) serves all. A group's figure is the mean over its areas of each area's own figure:
every area counts the same, or by its residents; a node that stands in no area is one of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fairness.groups import Areas, Grouping
from models.contracts import FelsinaError, FloatArray

SUMS = (
    "count",
    "absolute",
    "naive",
    "error",
    "size",
    "pinball",
    "covered",
    "width",
    "peak_short",
    "peak_size",
)
"""Components of the sums; ``daily_sums`` says what each is."""
FIGURES = ("skill", "bias", "wape", "crps", "coverage_90", "width_90", "peak_shortfall", "mae")
"""``skill`` is 1 less the error over the seasonal naive's; CRPS and MAE, which people are told, are
in the target's unit; the others but coverage are shares of the observed sum, ``peak_shortfall`` of
that in peak hours alone."""
PEAK = 0.9
"""A node's peak hours lie above this quantile of what was observed there."""


def lead_bands(horizon: int) -> tuple[tuple[int, int], ...]:
    """First and last lead of each band: the first, and up to a quarter, half and all."""
    ends = sorted({1, -(-horizon // 4), -(-horizon // 2), horizon})
    return tuple((before + 1, end) for before, end in zip([0, *ends[:-1]], ends, strict=True))


def daily_sums(
    quantiles: FloatArray,
    levels: tuple[float, ...],
    target: FloatArray,
    naive: FloatArray,
    days: np.ndarray,
    peak: FloatArray,
) -> FloatArray:
    """Sums over each day's issues and each band's leads.

    Args:
        quantiles: [B, H, N, Q] forecasts.
        levels: Q, with .05, .95 and the deciles among them.
        target: [B, H, N], NaN where nothing came true.
        naive: [B, H, N] the seasonal naive forecast.
        days: [B] day of each issue, rising.
        peak: [N] of ``peaks``.

    Returns:
        [D, N, L, S] with ``SUMS`` last. ``error`` is forecast less observed, ``covered`` and
        ``width`` are of the 90 % band, ``peak_short`` what the median lacks in peak hours.
    """
    missing = [q for q in (0.05, 0.95, *(d / 10 for d in range(1, 10))) if q not in levels]
    if missing:
        raise FelsinaError(f"quantiles {missing} are not among {levels}; the audit needs them")
    nodes, bands = target.shape[2], lead_bands(target.shape[1])
    starts = np.flatnonzero(np.r_[True, days[1:] != days[:-1]])
    at = [levels.index(d / 10) for d in range(1, 10)]
    decile = np.array([levels[i] for i in at])
    low, high, median = (levels.index(q) for q in (0.05, 0.95, 0.5))
    out = np.zeros((len(starts), nodes, len(bands), len(SUMS)))
    for band, (first, last) in enumerate(bands):
        found, true = quantiles[:, first - 1 : last], target[:, first - 1 : last]
        seen = np.isfinite(true) & np.isfinite(naive[:, first - 1 : last])
        point = found[..., median].astype(float)
        gap = true[..., None] - found[..., at]
        above = seen & (true >= peak)
        parts = (
            seen,
            abs(point - true),
            abs(naive[:, first - 1 : last] - true),
            point - true,
            abs(true),
            np.maximum(decile * gap, (decile - 1) * gap).mean(axis=-1),
            (true >= found[..., low]) & (true <= found[..., high]),
            found[..., high] - found[..., low],
            np.where(above, np.maximum(true - point, 0), 0),
            np.where(above, abs(true), 0),
        )
        for s, part in enumerate(parts):
            issue = np.where(seen, part, 0).sum(axis=1)
            out[:, :, band, s] = np.add.reduceat(issue, starts, axis=0)
    return out


def peaks(values: FloatArray, rows: np.ndarray) -> FloatArray:
    """[N] the level from which a node's hours are peaks; infinite where nothing was observed.

    Args:
        values: [S, N] what came true, NaN where nothing did.
        rows: [B, H] of the targets that are forecast; an hour counts as often as it is.
    """
    found = np.full(values.shape[1], np.inf)
    for node in range(values.shape[1]):
        target = values[rows, node]
        known = target[np.isfinite(target)]
        if len(known):
            found[node] = np.quantile(known, PEAK)
    return found


def figures(sums: FloatArray) -> FloatArray:
    """[..., F] ``FIGURES`` of sums [..., S]; NaN where nothing came true."""
    part = dict(zip(SUMS, np.moveaxis(sums, -1, 0), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (
            1 - part["absolute"] / part["naive"],
            part["error"] / part["size"],
            part["absolute"] / part["size"],
            2 * part["pinball"] / part["count"],
            part["covered"] / part["count"],
            part["width"] / part["size"],
            part["peak_short"] / part["peak_size"],
            part["absolute"] / part["count"],
        )
    return np.stack(found, axis=-1)


def rounded(value: float, digits: int = 6) -> float | None:
    """A figure as a record holds it; None where it is not known."""
    return float(round(value, digits)) if np.isfinite(value) else None


@dataclass(frozen=True)
class Units:
    """A grouping's parts in one area each, whose figures are averaged.

    Attributes:
        of_node: [U, N] ones where a node belongs to a unit.
        equal: [G, U] weights of a group's units, each the same.
        residents: [G, U] weights by residents; None where an area's residents are not known.
        vulnerable: [G, U] weights by those who need a warning most; None where they are not known.
    """

    of_node: FloatArray
    equal: FloatArray
    residents: FloatArray | None
    vulnerable: FloatArray | None = None

    @classmethod
    def of(cls, grouping: Grouping, areas: Areas, observed: FloatArray) -> Units:
        """The units of a grouping; [N] nodes that were never ``observed`` count in none."""
        members, owners, nodes_of = [], [], []
        for g, group in enumerate(grouping.groups):
            nodes = group.nodes[observed[group.nodes] > 0]
            at = areas.of_node[nodes]
            own = [nodes[at == a] for a in np.unique(at[at >= 0])]
            for unit in [*own, *nodes[at < 0][:, None]]:
                members.append(np.isin(np.arange(len(areas.of_node)), unit).astype(float))
                owners.append(g)
                nodes_of.append(unit)
        owner = np.array(owners) == np.arange(len(grouping.groups))[:, None]
        people = [
            np.array([count(unit) for unit in nodes_of])
            for count in (areas.living, areas.living_vulnerable)
        ]
        by_people = (
            owner * p if len(p) and np.isfinite(p).all() and (p > 0).all() else None for p in people
        )
        return cls(np.array(members), owner * 1.0, *by_people)


def mean_of_groups(unit_figures: FloatArray, weights: FloatArray) -> FloatArray:
    """[..., G, F] weighted means of [..., U, F] over the units of which a figure is known."""
    known = np.isfinite(unit_figures)
    total = np.einsum("gu,...uf->...gf", weights, np.where(known, unit_figures, 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        return total / np.einsum("gu,...uf->...gf", weights, known.astype(float))


def mean_of_others(unit_figures: FloatArray, weights: FloatArray) -> FloatArray:
    """[..., G, F] weighted means over the units of all other groups."""
    others = weights.sum(axis=0) * (weights == 0)
    return mean_of_groups(unit_figures, others)
