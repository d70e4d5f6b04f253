"""Soil to test with."""

from __future__ import annotations

import torch
from torch import Tensor

from models.physics.soil import Soil

COUNT = 24


def between(low: float, high: float, seed: int, count: int = COUNT) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(count, generator=chance, dtype=torch.float64)


def make_soil(seed: int = 0, count: int = COUNT) -> Soil:
    return Soil(
        cohesion_pa=between(500, 12000, seed, count),
        friction_rad=between(0.3, 0.75, seed + 10, count),
        unit_weight_n_m3=between(15000, 22000, seed + 20, count),
        depth_m=between(0.5, 4, seed + 30, count),
        conductivity_m_s=between(1e-7, 3e-5, seed + 40, count),
        diffusivity_m2_s=between(1e-6, 1e-4, seed + 50, count),
    )
