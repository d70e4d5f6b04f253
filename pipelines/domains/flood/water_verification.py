"""What the water solver must reproduce: published flows, a lake at rest, and every litre."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from models.contracts import FloatArray
from models.physics.basin import OPEN, Basin, Edge, Edges, Rain
from models.physics.inundation import Flood, simulate
from models.physics.local_inertial import LocalInertial
from models.physics.shallow_water import ShallowWater
from pipelines.domains.flood.analytic import (
    BUMP_LENGTH_M,
    CHANNEL_FLOW_M2_S,
    CHANNEL_LENGTH_M,
    CHANNEL_MANNING,
    Bowl,
    bump_bed_m,
    bump_depth_m,
    channel_bed_m,
    channel_depth_m,
    dam_break_m,
)
from pipelines.domains.registry import Check

DOMAIN = "flood"


def verify_water() -> list[Check]:
    """All checks of the solver; a minute or two."""
    return [*_dam_breaks(), *_at_rest(), *_bowls(), *_bumps(), _channel(), *_volumes(), _order()]


def _basin(
    bed_m: FloatArray,
    cell_m: float,
    manning: float = 0.0,
    infiltration_m_s: float = 0.0,
    edges: Edges | None = None,
) -> Basin:
    """One scenario in double precision; a profile [X] is a grid of one row."""
    zero = torch.zeros(1, 1, 1, dtype=torch.float64)
    return Basin(_grid(bed_m), cell_m, zero + manning, zero + infiltration_m_s, edges or Edges())


def _grid(depth_m: FloatArray) -> torch.Tensor:
    return torch.as_tensor(np.atleast_2d(depth_m), dtype=torch.float64)[None]


def _off(found: FloatArray, exact: FloatArray) -> float:
    """Mean absolute difference over the mean, as in SWASHES."""
    return float(np.abs(found - exact).sum() / exact.sum())


def _profile(flood: Flood) -> FloatArray:
    return flood.depth_m[0, 0].numpy()


def _dam_breaks() -> list[Check]:
    cell, time = 1.0, 10.0
    x = np.arange(-100, 100) * cell + cell / 2
    checks = []
    for case, before in (("ritter", 0.0), ("stoker", 0.1)):
        start = np.where(x < 0, 1.0, before)
        flood = simulate(
            _basin(np.zeros_like(x), cell), ShallowWater, time, depth_m=_grid(start), watch_s=time
        )
        off = _off(_profile(flood), dam_break_m(x, time, 1.0, before))
        checks.append(Check(DOMAIN, case, "depth_l1_over_mean", off, 0, 0.003))
    return checks


def _at_rest() -> list[Check]:
    """A lake with islands over a bed of noise, whose steps are as high as the water is deep."""
    bed = np.random.default_rng(0).uniform(0, 2, (40, 50))
    still = _grid(np.maximum(1 - bed, 0))
    checks = []
    for name, make in (("muscl", ShallowWater), ("local inertial", LocalInertial)):
        flood = simulate(_basin(bed, 1.0), make, 60.0, depth_m=still, watch_s=20.0)
        moved = float((flood.depth_m - still).abs().max())
        checks.append(Check(DOMAIN, "lake at rest", f"{name}_depth_change_m", moved, 0, 1e-12))
    return checks


def _bowls() -> list[Check]:
    bowl, cells, cell = Bowl(), 128, 0.025
    at = (np.arange(cells) + 0.5 - cells / 2) * cell
    x, y = np.meshgrid(at, at)
    checks = []
    for case, depth, velocity, period in (
        ("thacker curved", bowl.curved_m(x, y), (0.0, 0.0), bowl.curved_period_s),
        ("thacker planar", bowl.planar_m(x, y), bowl.planar_velocity_m_s(), bowl.planar_period_s),
    ):
        moving = torch.stack([_grid(depth * v) for v in velocity])
        make = partial(ShallowWater, discharge_m2_s=moving)
        basin = _basin(bowl.bed_m(x, y), cell)
        flood = simulate(basin, make, period, depth_m=_grid(depth), watch_s=period)
        off = _off(flood.depth_m[0].numpy(), depth)
        checks.append(Check(DOMAIN, case, "depth_l1_after_a_period", off, 0, 0.01))
    return checks


def _bumps() -> list[Check]:
    cells = 100
    cell = BUMP_LENGTH_M / cells
    x = (np.arange(cells) + 0.5) * cell
    bed = bump_bed_m(x)
    checks = []
    for case, flow, below, start, still_s in (
        ("subcritical", 4.42, 2.0, 2.0, 120.0),
        ("transcritical", 1.53, None, 0.66, 60.0),
        ("transcritical with a jump", 0.18, 0.33, 0.33, 120.0),
    ):
        east = Edge(OPEN) if below is None else Edge("level", below)
        edges = Edges(west=Edge("discharge", flow), east=east)
        depth = _grid(np.maximum(start - bed, 0))
        make = partial(ShallowWater, courant=0.45)
        basin = _basin(bed, cell, edges=edges)
        flood = simulate(basin, make, still_s, depth_m=depth, watch_s=20.0)
        off = _off(_profile(flood), bump_depth_m(x, flow, below))
        checks.append(Check(DOMAIN, f"bump {case}", "depth_l1_over_mean", off, 0, 0.01))
    return checks


def _channel() -> Check:
    cells = 100
    cell = CHANNEL_LENGTH_M / cells
    x = (np.arange(cells) + 0.5) * cell
    below = float(channel_depth_m(np.array(CHANNEL_LENGTH_M)))
    edges = Edges(west=Edge("discharge", CHANNEL_FLOW_M2_S), east=Edge("level", below))
    basin = _basin(channel_bed_m(x), cell, CHANNEL_MANNING, edges=edges)
    make = partial(ShallowWater, courant=0.45)
    # Still after a quarter of an hour, to four digits of the error.
    flood = simulate(basin, make, 1200.0, depth_m=_grid(np.full(cells, 0.8)), watch_s=300.0)
    off = _off(_profile(flood), channel_depth_m(x))
    return Check(DOMAIN, "macdonald", "depth_l1_over_mean", off, 0, 0.01)


def _volumes() -> list[Check]:
    """Rain on dry, rough, sloping ground that lets some seep in and some out."""
    rng = np.random.default_rng(1)
    bed = np.linspace(6, 0, 60) + rng.uniform(0, 0.5, (50, 60))
    basin = _basin(bed, 10.0, 0.05, 1e-6, Edges.alike(OPEN))
    rain = Rain(
        torch.tensor([0.0, 1800.0], dtype=torch.float64),
        torch.tensor([40 / 3.6e6, 0.0], dtype=torch.float64).view(2, 1, 1, 1),
    )
    checks = []
    for name, make in (("muscl", ShallowWater), ("local inertial", LocalInertial)):
        flood = simulate(basin, make, 3600.0, rain=rain)
        off = float(flood.volumes.error)
        checks.append(Check(DOMAIN, "mass", f"{name}_volume_error", off, 0, 1e-6))
    return checks


def _order() -> Check:
    """Observed order on a smooth wave before it breaks, against a grid sixteen times finer."""
    finest, length = 1600, 100.0

    def run(cells: int) -> FloatArray:
        cell = length / cells
        # Cell means, so that grids compare exactly.
        x = (np.arange(finest) + 0.5) * length / finest
        hump = 1 + 0.1 * np.exp(-(((x - 50) / 8) ** 2))
        start = hump.reshape(cells, -1).mean(1)
        return _profile(
            simulate(
                _basin(np.zeros(cells), cell), ShallowWater, 6.0, depth_m=_grid(start), watch_s=6.0
            )
        )

    exact = run(finest)
    offs = [np.abs(run(n) - exact.reshape(n, -1).mean(1)).mean() for n in (100, 200)]
    return Check(DOMAIN, "smooth wave", "order", float(np.log2(offs[0] / offs[1])), 1.7, 3.0)
