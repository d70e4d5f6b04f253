"""Shallow landslides: the infinite slope, cell by cell.

A mantle of soil slips on a plane parallel to the surface, without help from its sides. Everything
is elementwise: cells may be [N], [Y, X] or [B, Y, X] alike. Depths are vertical.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.soil import WATER_N_M3, Scatter, Soil


def _stresses(
    slope_rad: Tensor, soil: Soil, head_m: Tensor, depth_m: Tensor
) -> tuple[Tensor, Tensor]:
    """Effective normal stress and driving shear stress at a depth, Pa."""
    weight = soil.unit_weight_n_m3 * depth_m
    normal = weight * slope_rad.cos() ** 2 - WATER_N_M3 * head_m.clamp_min(0)
    return normal, weight * slope_rad.sin() * slope_rad.cos()


def factor_of_safety(
    slope_rad: Tensor, soil: Soil, head_m: Tensor, depth_m: Tensor | None = None
) -> Tensor:
    """Strength by driving stress on a plane parallel to the surface; inf on level ground.

    ``tan(phi) / tan(slope) + (c - head gamma_w tan(phi)) / (gamma depth sin(slope) cos(slope))``
    (Iverson 2000, doi:10.1029/2000WR900090, equation 28). Suction, a negative head, adds nothing.

    Args:
        slope_rad: angle of the slope.
        soil: strength and weight are used.
        head_m: pressure head on the plane.
        depth_m: vertical depth of the plane, the soil's when left out.
    """
    depth_m = soil.depth_m if depth_m is None else depth_m
    normal, driving = _stresses(slope_rad, soil, head_m, depth_m)
    return (soil.cohesion_pa + normal * soil.friction_rad.tan()) / driving


def critical_head(slope_rad: Tensor, soil: Soil, depth_m: Tensor | None = None) -> Tensor:
    """Head in m that brings the factor of safety to one; negative where the dry slope fails."""
    depth_m = soil.depth_m if depth_m is None else depth_m
    dry, driving = _stresses(slope_rad, soil, torch.zeros_like(slope_rad), depth_m)
    return (dry + (soil.cohesion_pa - driving) / soil.friction_rad.tan()) / WATER_N_M3


def critical_rain_m_s(slope_rad: Tensor, soil: Soil, area_per_contour_m: Tensor) -> Tensor:
    """Lasting net rain that brings failure at the soil's depth: SHALSTAB with cohesion.

    The wetness of a factor of one, times ``T sin(slope) b / a`` (Montgomery and Dietrich 1994,
    doi:10.1029/93WR02979). Zero where the dry slope fails, inf where even a full one stands.
    """
    full = soil.depth_m * slope_rad.cos() ** 2
    wetness = critical_head(slope_rad, soil) / full
    carried = soil.conductivity_m_s * soil.depth_m * slope_rad.cos() * slope_rad.sin()
    rain = wetness.clamp_min(0) * carried / area_per_contour_m
    return torch.where(wetness >= 1, math.inf, rain)


def failure_probability(
    slope_rad: Tensor, soil: Soil, scatter: Scatter, head_m: Tensor, depth_m: Tensor | None = None
) -> Tensor:
    """Probability that the factor is below one, with strength about that of ``soil``.

    Cohesion and tangent of friction are normal, and the strength is linear in both, so that it is
    normal too and the answer exact; ``sampled_probability`` asks for no such thing.
    """
    depth_m = soil.depth_m if depth_m is None else depth_m
    normal, driving = _stresses(slope_rad, soil, head_m, depth_m)
    short = driving - soil.cohesion_pa - normal * soil.friction_rad.tan()
    of_cohesion, of_friction = scatter.cohesion_pa, normal * scatter.friction_tan
    variance = of_cohesion**2 + of_friction**2
    variance = variance + 2 * scatter.correlation * of_cohesion * of_friction
    deviation = variance.clamp_min(0).sqrt()
    certain = (short > 0).to(short)
    return torch.where(deviation > 0, torch.special.ndtr(short / deviation), certain)


def sampled_probability(
    draw: Callable[[torch.Generator], Soil],
    factor: Callable[[Soil], Tensor],
    samples: int = 1000,
    seed: int = 0,
) -> Tensor:
    """Probability that the factor is below one, for soils drawn from any distribution.

    Args:
        draw: a soil from a source of chance.
        factor: its factor of safety; all that follows from the soil may change with it.
        samples: soils drawn; the error is at most ``0.5 / sqrt(samples)``, one deviation.
        seed: of the source of chance.
    """
    if samples < 1:
        raise FelsinaError(f"samples is {samples}; draw at least one")
    chance = torch.Generator().manual_seed(seed)
    failed = [factor(draw(chance)) < 1 for _ in range(samples)]
    return torch.stack([f.double() for f in failed]).mean(dim=0)
