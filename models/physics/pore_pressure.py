"""Water pressure in a slope: steady from above (SHALSTAB), transient from rain (Iverson, TRIGRS).

Depths are vertical, and heads are metres of water. Groundwater flows along the slope, so that a
head never exceeds ``depth cos2(slope)``, that of a water table at the surface.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.soil import Soil

_IMAGES = 3
"""Reflections at base and surface that count before ``_LONG``; what is left out is < 1e-15."""

_MODES = 3
"""Modes of the sealed mantle that count after ``_LONG``; what is left out is < 1e-20."""

_LONG = 0.3
"""Diffusive time ``D t / depth2`` from which the modes take over from the reflections."""


@dataclass(frozen=True)
class Storm:
    """Rain, or water at the surface, as steps in time.

    Attributes:
        time_s: [K] rising from 0: from when on an intensity holds; the last holds on.
        rain_m_s: [K] or [K, cells] intensity.
    """

    time_s: Tensor
    rain_m_s: Tensor

    def __post_init__(self) -> None:
        """Refuse times that do not rise from zero and rain that is negative or missing."""
        count = self.time_s.numel()
        if self.time_s.ndim != 1 or count == 0 or len(self.rain_m_s) != count:
            raise FelsinaError(
                f"rain of {tuple(self.rain_m_s.shape)} at times of {tuple(self.time_s.shape)};"
                " give one intensity for each time"
            )
        if self.time_s[0] != 0 or not (self.time_s.diff() > 0).all():
            raise FelsinaError(
                f"rain times begin {self.time_s[:3].tolist()} s; let them rise strictly from 0"
            )
        if not (good := (self.rain_m_s >= 0) & self.rain_m_s.isfinite()).all():
            row = int((~good).reshape(count, -1).any(dim=1).nonzero()[0])
            worst = self.rain_m_s[~good].flatten()[0].item()
            raise FelsinaError(f"rain is {worst} m/s in step {row}; give finite values from 0 up")

    def part(self, cells: slice) -> Storm:
        """Rain on some of the cells of a flat terrain, in order."""
        alike = self.rain_m_s.ndim == 1 or self.rain_m_s.shape[1] == 1
        return self if alike else Storm(self.time_s, self.rain_m_s[:, cells])


def steady_wetness(
    rain_m_s: Tensor, area_per_contour_m: Tensor, slope_rad: Tensor, soil: Soil
) -> Tensor:
    """Share of the mantle that is saturated under lasting rain, 0 to 1, for each cell.

    ``min(1, q a / (b T sin(slope)))`` with the transmissivity ``T = K depth cos(slope)``
    (Montgomery and Dietrich 1994, doi:10.1029/93WR02979).

    Args:
        rain_m_s: net rain q, that which lasts.
        area_per_contour_m: contributing area by contour length, a / b.
        slope_rad: angle of the slope.
        soil: depth and conductivity are used.
    """
    supply = rain_m_s * area_per_contour_m
    carried = soil.conductivity_m_s * soil.depth_m * slope_rad.cos() * slope_rad.sin()
    return torch.where(supply > 0, supply / carried, torch.zeros_like(supply)).clamp_max(1)


def ierfc(x: Tensor) -> Tensor:
    """Integral of the complementary error function from ``x`` up."""
    return ((-x * x).exp() / math.sqrt(math.pi) - x * torch.erfc(x)).clamp_min(0)


def iverson_response(time: Tensor) -> Tensor:
    """R(t*), head by depth for each unit of rain by conductivity, at the normalised time t*.

    ``sqrt(t* / pi) exp(-1 / t*) - erfc(1 / sqrt(t*))`` (Iverson 2000, doi:10.1029/2000WR900090),
    which is ``sqrt(t*) ierfc(1 / sqrt(t*))``; ``t* = 4 D0 cos2(slope) t / depth2``.
    """
    root = time.sqrt()
    return root * ierfc(1 / root)


def _sealed_response(time: Tensor, place: Tensor) -> Tensor:
    """Head by mantle depth d for each unit of rain by conductivity over an impermeable base.

    By reflections at first (Baum et al. 2008, USGS Open-File Report 2008-1159), by modes later
    (Carslaw and Jaeger 1959, section 3.8): both are exact, and each is short where it is used.

    Args:
        time: diffusive time ``D t / d2``.
        place: depth by that of the mantle, 0 to 1.
    """
    up = 1 - place
    spread = 2 * time.clamp_max(_LONG).sqrt()
    early = torch.zeros_like(time + place)
    for image in range(1, _IMAGES + 1):
        early = early + ierfc((2 * image - 1 - up) / spread) + ierfc((2 * image - 1 + up) / spread)
    late = time + (3 * up * up - 1) / 6
    for mode in range(1, _MODES + 1):
        weight = 2 * (-1) ** mode / (mode * math.pi) ** 2
        fade = (-((mode * math.pi) ** 2) * time).exp()
        late = late - weight * fade * (mode * math.pi * up).cos()
    return torch.where(time < _LONG, spread * early, late)


def transient_head(
    slope_rad: Tensor,
    soil: Soil,
    depth_m: Tensor,
    water_table_m: Tensor,
    storm: Storm,
    times_s: Tensor,
    sealed: bool = False,
) -> Tensor:
    """Pressure head at a depth while rain soaks in and after it.

    A change of intensity adds the linear response to a step, times the change of infiltration by
    conductivity (superposition: Baum et al. 2008). Rain beyond the conductivity runs off. The head
    starts with a water table at rest and is capped at that of a slope full of water; it is negative
    above the water table. Responses are computed once for each distinct lag.

    Args:
        slope_rad: [cells] angle of the slope.
        soil: conductivity and diffusivity are used; for a sealed base the depth too.
        depth_m: [cells] where the head is asked, at most the soil's depth.
        water_table_m: [cells] depth of the water table before the storm.
        storm: the rain.
        times_s: [J] when the head is asked.
        sealed: whether water stops at the soil's depth (TRIGRS' finite depth) or drains on
            into ground that is alike (Iverson 2000).

    Returns:
        [J, cells] head in m.
    """
    cells = torch.broadcast_shapes(slope_rad.shape, depth_m.shape, soil.shape)
    if sealed and (deep := depth_m > soil.depth_m).any():
        raise FelsinaError(
            f"{int(deep.sum())} cells are asked below the sealed base; give depths of at most the"
            " soil's"
        )
    rain = storm.rain_m_s
    if rain.ndim == 1:
        rain = rain.reshape(-1, *(1,) * len(cells))
    rain = rain.to(slope_rad)
    infiltration = (rain / soil.conductivity_m_s).clamp_max(1)
    change = infiltration.diff(dim=0, prepend=torch.zeros_like(infiltration[:1]))
    active = (change != 0).reshape(len(change), -1).any(dim=1)
    change, begins = change[active], storm.time_s[active]
    lags = (times_s.double()[:, None] - begins.double()[None]).clamp_min(0)
    distinct, place = torch.unique(lags, return_inverse=True)
    unit = _unit_heads(distinct, slope_rad, soil, depth_m.expand(cells), sealed)
    full = depth_m * slope_rad.cos() ** 2
    start = (depth_m - water_table_m) * slope_rad.cos() ** 2
    heads = slope_rad.new_empty(len(times_s), *cells)
    for j in range(len(times_s)):
        begun = int((lags[j] > 0).sum())
        risen = (change[:begun] * unit[place[j, :begun]]).sum(dim=0)
        heads[j] = torch.minimum(start + risen, full)
    return heads


def _unit_heads(
    lags_s: Tensor, slope_rad: Tensor, soil: Soil, depth_m: Tensor, sealed: bool
) -> Tensor:
    """Head after each lag of infiltration at the conductivity, [U, cells]; none at lag zero."""
    diffusivity = soil.diffusivity_m2_s * slope_rad.cos() ** 2
    heads = []
    for lag in lags_s.tolist():
        if lag <= 0:
            heads.append(torch.zeros_like(depth_m))
        elif sealed:
            base = soil.depth_m
            spread = diffusivity * lag / base**2
            heads.append(base * _sealed_response(spread, depth_m / base))
        else:
            heads.append(depth_m * iverson_response(4 * diffusivity * lag / depth_m**2))
    return torch.stack(heads) if heads else depth_m.new_empty(0, *depth_m.shape)
