"""From a terrain and a storm to where and when its shallow slopes may fail."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.drainage import drain, surface_slope_rad
from models.physics.pore_pressure import Storm, steady_wetness, transient_head
from models.physics.slope_stability import (
    critical_head,
    critical_rain_m_s,
    factor_of_safety,
    failure_probability,
)
from models.physics.soil import Scatter, Soil

FRACTIONS = (0.25, 0.5, 0.75, 1.0)
"""Depths looked at, by the soil's."""

_BLOCK = {"cpu": 1 << 14, "cuda": 1 << 20}
"""Cells worked on at once, by kind of device: responses stay in a cache, or fill an accelerator."""

_TAIL = 0.5
"""How long the answer is followed after the last change of rain, by the time before it."""


@dataclass(frozen=True)
class SlopeResponse:
    """What a storm does to a terrain's slopes, each [Y, X].

    Attributes:
        factor_of_safety: the least over depths and times; below one is failure.
        time_s: when it is reached first.
        depth_m: where.
        head_m: pressure head there and then.
        failure_s: when the factor falls below one first, at any depth; inf where never.
        probability: of failure at any one depth, the greatest; NaN where no scatter was given.
        critical_rain_m_s: lasting rain that brings failure at the soil's depth (SHALSTAB); inf
            where none does, zero where the dry slope fails.
        wetness: saturated share of the mantle before the storm.
        slope_rad: angle of the slope.
    """

    factor_of_safety: Tensor
    time_s: Tensor
    depth_m: Tensor
    head_m: Tensor
    failure_s: Tensor
    probability: Tensor
    critical_rain_m_s: Tensor
    wetness: Tensor
    slope_rad: Tensor


def followed_times(storm: Storm) -> Tensor:
    """When a storm's slopes are looked at: its changes, then on by its last step for half as long.

    Pressure at depth goes on to rise when rain has ended.
    """
    times = storm.time_s
    if len(times) == 1:
        raise FelsinaError("rain has one step that never ends; give the times to look at, times_s")
    step, length = times[-1] - times[-2], times[-1]
    count = math.ceil(float(_TAIL * length / step))
    after = length + step * torch.arange(1, count + 1, dtype=times.dtype, device=times.device)
    return torch.cat([times, after])


def slope_response(
    bed_m: Tensor,
    cell_m: float,
    soil: Soil,
    rain_time_s: Tensor,
    rain_m_s: Tensor,
    *,
    antecedent_m_s: float = 0.0,
    wetness: Tensor | None = None,
    scatter: Scatter | None = None,
    times_s: Tensor | None = None,
    fractions: tuple[float, ...] = FRACTIONS,
    sealed: bool = False,
) -> SlopeResponse:
    """From a terrain and a storm to where and when shallow slopes may fail.

    Lasting rain before the storm sets the water table by the drainage of the terrain (SHALSTAB),
    and the storm's own water soaks in from above (Iverson, TRIGRS).

    Args:
        bed_m: [Y, X] elevation, without gaps.
        cell_m: side of a cell.
        soil: soil of the cells.
        rain_time_s: [K] rising from 0: from when on an intensity holds; end with zero rain.
        rain_m_s: [K], [K, 1, 1] or [K, Y, X] intensity.
        antecedent_m_s: lasting net rain before the storm.
        wetness: share of the mantle that is saturated before the storm, one value or [Y, X], where
            it is known; instead of the rain before.
        scatter: how uncertain the strength is, for the probability.
        times_s: when to look; at each change of rain and for half as long after, if left out.
        fractions: depths to look at, by the soil's.
        sealed: whether water stops at the soil's depth.
    """
    if not 0 <= antecedent_m_s < math.inf:
        raise FelsinaError(f"antecedent_m_s is {antecedent_m_s}; give rain from 0 up")
    if wetness is not None and (antecedent_m_s or not ((wetness >= 0) & (wetness <= 1)).all()):
        raise FelsinaError(
            f"wetness is {wetness.flatten()[0].item():g} with antecedent_m_s = {antecedent_m_s:g};"
            " give one of the two, a wetness from 0 to 1"
        )
    if not fractions or not all(0 < fraction <= 1 for fraction in fractions):
        raise FelsinaError(f"fractions are {fractions}; give depths above 0, at most 1")
    alike = rain_m_s.ndim == 1 or rain_m_s.shape[1:].numel() == 1
    if not alike and rain_m_s.shape[1:] != bed_m.shape:
        raise FelsinaError(
            f"rain of {tuple(rain_m_s.shape)} on a terrain of {tuple(bed_m.shape)};"
            " give [K], or [K, Y, X] of the terrain"
        )
    storm = Storm(rain_time_s, rain_m_s.reshape(len(rain_m_s), -1))
    times = followed_times(storm) if times_s is None else times_s
    slope = surface_slope_rad(bed_m, cell_m).reshape(-1)
    reach = drain(bed_m, cell_m).per_contour_m.reshape(-1)
    soil = soil.flat(bed_m.shape)
    if wetness is None:
        wetness = steady_wetness(torch.full_like(reach, antecedent_m_s), reach, slope, soil)
    else:
        wetness = wetness.to(slope).expand(bed_m.shape).reshape(-1)
    parts = []
    block = _BLOCK.get(slope.device.type, _BLOCK["cpu"])
    for begin in range(0, len(slope), block):
        cells = slice(begin, begin + block)
        part, table = soil.part(cells), (1 - wetness[cells]) * soil.depth_m[cells]
        depths = [fraction * part.depth_m for fraction in fractions]
        some = [
            _at_depth(slope[cells], part, z, table, storm.part(cells), times, sealed, scatter)
            for z in depths
        ]
        parts.append(_worst(torch.stack(some)))
    found = torch.cat(parts, dim=1).reshape(6, *bed_m.shape)
    critical = critical_rain_m_s(slope, soil, reach)
    return SlopeResponse(*found, *(v.reshape(bed_m.shape) for v in (critical, wetness, slope)))


def _at_depth(
    slope: Tensor,
    soil: Soil,
    depth: Tensor,
    water_table: Tensor,
    storm: Storm,
    times: Tensor,
    sealed: bool,
    scatter: Scatter | None,
) -> Tensor:
    """The six first fields of ``SlopeResponse`` at one depth, [6, N]: the worst is the wettest."""
    heads = transient_head(slope, soil, depth, water_table, storm, times, sealed)
    peak, when = heads.max(dim=0).values, heads.argmax(dim=0)
    failing = heads.clamp_min(0) > critical_head(slope, soil, depth)
    first = times.to(slope)[failing.to(torch.uint8).argmax(dim=0)]
    failure = torch.where(failing.any(dim=0), first, math.inf)
    factor = factor_of_safety(slope, soil, peak, depth)
    chance = torch.full_like(slope, math.nan)
    if scatter is not None:
        chance = failure_probability(slope, soil, scatter, peak, depth)
    return torch.stack([factor, times.to(slope)[when], depth, peak, failure, chance])


def _worst(found: Tensor) -> Tensor:
    """Of D depths [D, 6, N] the one of the least factor; earliest failure, greatest probability."""
    least = found[:, 0].argmin(dim=0)
    chosen = found.gather(0, least.expand(1, found.shape[1], -1))[0]
    chosen[4] = found[:, 4].min(dim=0).values
    chosen[5] = found[:, 5].max(dim=0).values
    return chosen
