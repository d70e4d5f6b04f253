"""A mantle of soil on a slope: what holds it, what it weighs and how water moves in it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from models.contracts import FelsinaError

WATER_N_M3 = 9810.0
"""Unit weight of water."""

_RANGES = {
    "cohesion_pa": (0.0, math.inf, True),
    "friction_rad": (0.0, math.pi / 2, False),
    "unit_weight_n_m3": (WATER_N_M3, math.inf, False),
    "depth_m": (0.0, math.inf, False),
    "conductivity_m_s": (0.0, math.inf, False),
    "diffusivity_m2_s": (0.0, math.inf, False),
}
"""Field to the least, the limit above, and whether the least itself is allowed."""


@dataclass(frozen=True)
class Soil:
    """Soil of the cells: each a tensor that broadcasts to them, so that one value may serve all.

    Attributes:
        cohesion_pa: effective cohesion, that of roots with it.
        friction_rad: effective angle of internal friction.
        unit_weight_n_m3: of the wet soil, taken as one over the depth (Iverson 2000).
        depth_m: vertical depth of the mantle, to the deepest surface that may slip.
        conductivity_m_s: saturated hydraulic conductivity; no more than this infiltrates.
        diffusivity_m2_s: hydraulic diffusivity when nearly saturated, D0.
    """

    cohesion_pa: Tensor
    friction_rad: Tensor
    unit_weight_n_m3: Tensor
    depth_m: Tensor
    conductivity_m_s: Tensor
    diffusivity_m2_s: Tensor

    def __post_init__(self) -> None:
        """Refuse values out of range and shapes that do not go together."""
        for name, (least, limit, closed) in _RANGES.items():
            value = getattr(self, name)
            fits = (value >= least if closed else value > least) & (value < limit)
            if not fits.all():
                rest = f" and below {limit:.4g}" if limit < math.inf else ", finite"
                raise FelsinaError(
                    f"soil {name} is {value[~fits].flatten()[0].item():.6g} in"
                    f" {int((~fits).sum())} of {value.numel()} cells; give"
                    f" {'at least' if closed else 'more than'} {least:.6g}{rest}"
                )
        try:
            _ = self.shape
        except RuntimeError:
            shapes = {name: tuple(getattr(self, name).shape) for name in _RANGES}
            raise FelsinaError(
                f"soil of unlike shapes {shapes}; give each one value or one a cell"
            ) from None

    @property
    def shape(self) -> torch.Size:
        """Shape to which the fields broadcast together."""
        return torch.broadcast_shapes(*(getattr(self, f.name).shape for f in fields(self)))

    def flat(self, shape: torch.Size) -> Soil:
        """The soil of cells of ``shape``, each field [N] in their order."""
        try:
            spread = [getattr(self, f.name).expand(shape).reshape(-1) for f in fields(self)]
        except RuntimeError:
            raise FelsinaError(
                f"soil of {tuple(self.shape)} cells on a terrain of {tuple(shape)};"
                " give each field one value or one a cell"
            ) from None
        return Soil(*spread)

    def part(self, cells: slice) -> Soil:
        """Some of the cells of a flat soil, in order."""
        return Soil(*(getattr(self, f.name)[cells] for f in fields(self)))


@dataclass(frozen=True)
class Scatter:
    """How uncertain a soil's strength is: standard deviations of normal distributions.

    Attributes:
        cohesion_pa: of the cohesion.
        friction_tan: of the tangent of the angle of friction.
        correlation: between the two; measured ones are mostly negative.
    """

    cohesion_pa: float
    friction_tan: float
    correlation: float = 0.0

    def __post_init__(self) -> None:
        """Refuse negative or infinite deviations and correlations beyond one."""
        for name in ("cohesion_pa", "friction_tan"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise FelsinaError(
                    f"scatter {name} is {value}; give a standard deviation from 0 up"
                )
        if not -1 <= self.correlation <= 1:
            raise FelsinaError(f"scatter correlation is {self.correlation}; give -1 to 1")
