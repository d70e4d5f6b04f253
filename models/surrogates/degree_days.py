"""Degree days of any base, looked up in what a climate's months are described by.

Buildings and climates come last, [.., 12, B]; one climate, [1, 12, C], may stand for all buildings.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

MONTHS = 12
_MOMENTS = 4


class Shortfall:
    """Mean shortfalls below temperatures, by kind.

    Args:
        names: of all fields; this table's follow each other, by kind and base.
        kinds: of temperatures.
    """

    def __init__(self, names: list[str], kinds: tuple[str, ...]) -> None:
        starts = tuple(f"{kind}_below_" for kind in kinds)
        self.columns = [i for i, name in enumerate(names) if name.startswith(starts)]
        found = {names[i].split("_below_")[1].removesuffix("_k") for i in self.columns}
        self.bases = sorted(map(float, found))
        self.kinds = len(kinds)

    def at(self, base: Tensor, fields: Tensor) -> Tensor:
        """Values at ``base`` [J, 12, B], linear between bases; beyond them the last slope goes on.

        They are monotone in ``base``, as the table is.

        Args:
            base: in degC.
            fields: [B, 12, C] or [1, 12, C].

        Returns:
            [kinds * J, 12, B].
        """
        count = len(self.bases)
        place = (base - self.bases[0]) / (self.bases[1] - self.bases[0])
        left = place.floor().clamp(0.0, count - 2.0)
        kinds = torch.arange(self.kinds, device=base.device) * count
        index = (left.long() + _starts(fields, self.columns[0])) + kinds[:, None, None, None]
        low, high = _taken(fields, index), _taken(fields, index + 1)
        return (low + (high - low) * (place - left)).clamp_min(0.0).flatten(0, 1)


class Excess:
    """Mean excesses above temperatures, by kind, of what the sun warms.

    They are a normal distribution's of the same mean and variance, and what the table adds: so
    little that it is as good as exact between its places.

    Args:
        names: of all fields; a kind's follow each other: moments, then the table, by sun and place.
        kinds: of temperatures.
    """

    def __init__(self, names: list[str], kinds: tuple[str, ...]) -> None:
        starts = tuple(f"{kind}_above_" for kind in kinds)
        ends = [name.split("_above_")[1] for name in names if name.startswith(starts)]
        found = [end.split("_sun_") for end in ends]
        self.places = sorted({float(place) for place, _ in found})
        self.suns = sorted({float(sun) for _, sun in found})
        self.first = names.index(f"{kinds[0]}_mean_c")
        self.kinds, self.size = len(kinds), _MOMENTS + len(found) // len(kinds)
        self.columns = list(range(self.first, self.first + self.kinds * self.size))

    def at(self, base: Tensor, fields: Tensor, sun_k: Tensor) -> Tensor:
        """Values at ``base`` [J, 12, B].

        Args:
            base: in degC.
            fields: [B, 12, C] or [1, 12, C].
            sun_k: [1, B] K for a W/m2 of sun.

        Returns:
            [kinds * J, 12, B].
        """
        count = len(self.places)
        last = self.first + self.kinds * self.size
        columns = fields[:, :, self.first : last].unflatten(2, (self.kinds, self.size))
        mean, variance, sunny, bright = columns[..., :_MOMENTS].permute(3, 2, 1, 0)[:, :, None]
        spread = (variance + sun_k * (2 * sunny + sun_k * bright)).clamp_min(1e-6).sqrt()
        away = (base - mean) / spread
        above = 0.5 - 0.5 * torch.erf(away * math.sqrt(0.5))
        normal = (away * away * -0.5).exp() * (2 * math.pi) ** -0.5 - away * above
        place = (away - self.places[0]) / (self.places[1] - self.places[0])
        place = place.clamp(0.0, count - 1.0)
        left = place.floor().clamp_max(count - 2.0)
        part = place - left
        row, share = torch.zeros_like(sun_k), sun_k / self.suns[1]
        for first, second in pairwise(self.suns[1:]):
            further = sun_k >= first
            row = row + further
            share = torch.where(further, (sun_k - first) / (second - first), share)
        share = share.clamp_max(1.0)
        kinds = torch.arange(self.kinds, device=base.device) * self.size
        start = _starts(fields, self.first + _MOMENTS) + kinds[:, None, None, None]
        index = left.long() + (start + row.long() * count)
        low, high = _taken(fields, index), _taken(fields, index + 1)
        low = low + (_taken(fields, index + count) - low) * share
        high = high + (_taken(fields, index + (count + 1)) - high) * share
        return (spread * (normal + low + (high - low) * part).clamp_min(0.0)).flatten(0, 1)


def _starts(fields: Tensor, first: int) -> Tensor:
    """Where each month's columns from ``first`` on begin in flat fields, [12, B] or [12, 1].

    Counted from the fields' values, not from the batch's size: in the exported graph one climate
    may stand for all buildings.
    """
    climates = (torch.zeros_like(fields[:, 0, 0]) + 1).cumsum(0).long() - 1
    months = torch.arange(MONTHS, device=fields.device)[:, None] + climates * MONTHS
    return months * fields.shape[2] + first


def _taken(fields: Tensor, index: Tensor) -> Tensor:
    """Of flat fields those at ``index``."""
    return fields.flatten().gather(0, index.flatten()).view_as(index)
