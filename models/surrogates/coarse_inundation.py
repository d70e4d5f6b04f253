"""A first guess of an inundation: the local inertial equations on cells of twice the size.

Each half of a side keeps its own sill, so that levees hold and culverts let pass (a subgrid model,
as Sanders and Schubert 2019, doi 10.1016/j.advwatres.2019.02.007). Steps are long and alike. So
that they are stable, gravity is a fraction of itself where it makes waves: steady flow, which
friction balances, keeps its depth (Manning's formula), and waves come late by little.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from models.surrogates.terrain_features import HIGH_M, repeated

GRAVITY_M_S2 = 9.81
_TINY = 1e-12
_WET_M = 0.05
# What follows was fitted: with it mean depths on 96 training runs of drawn plains are nearest to
# those of the local inertial solver on cells of half the size.
_GRAVITY_SHARE = 0.0247
_ROUGHER = 1.06
"""Manning's n of a cell, by that of the cells in it."""
_COURANT2 = 0.25
"""Square of the Courant number that waves keep to: deeper water has yet less gravity."""
_CONVEYED = 0.2475, 0.8425
"""The cube root of a depth, as a line: ``h^(7/3)`` without a root."""
_LEAVING = 0.1166, 0.876
"""The square root of a depth at an edge, as a line."""
_MOST_RELIEF_M = 0.99
"""Of ground that holds water within a cell; what stands out more is a levee."""
_RELIEF = 1.15
"""Height from a cell's lowest ground to where water covers it, by twice its mean relief."""
_RELIEF_M = 0.01
"""Beside that."""
_STEEP, _STEEP_M = 0.366, 0.0245
"""Mean depth at which half of the relief is filled: by the relief, and beside that."""
_SOAKING = 1.178
"""Infiltration of a cell, by that of the cells in it."""
_SOAKED_DRY = 0.61
"""Share of a cell that takes water in whatever its level."""


class CoarseInundation:
    """Water on B terrains with open edges.

    A step has few operations, and none but sums, products, quotients and comparisons of two single
    numbers: those are the same in all libraries, and ONNX Runtime's overhead outweighs their work.

    Args:
        bed_m: [B, 1, Y, X] of the fine grid.
        manning: [B, 1, Y, X].
        cell_m: side of a fine cell.
        step_s: of time.
    """

    def __init__(self, bed_m: Tensor, manning: Tensor, cell_m: float, step_s: float) -> None:
        # What is reckoned in double precision and rounded to single is the same in all libraries
        # too. The exporter rounds constants to single, so that they may meet single numbers alone.
        bed, rough = bed_m.double(), quarters(manning.double()).mean(1) * _ROUGHER
        self.step_s, size_m = step_s, 2 * cell_m
        pace, gravity = step_s / size_m, _GRAVITY_SHARE * GRAVITY_M_S2 * step_s
        low = quarters(bed).amin(1)
        over = (bed - doubled(low)).clamp_max(_MOST_RELIEF_M)
        self.low = low.float()
        self.relief = (2 * quarters(over).mean(1)).float() * _RELIEF + _RELIEF_M
        self.half = self.relief / 2
        self.steep = self.relief * _STEEP + _STEEP_M
        high = functional.pad(bed_m, (0, 1, 0, 1), value=HIGH_M)
        across = torch.maximum(high[..., :-1, 1:-1:2], high[..., :-1, 2::2])
        along = torch.maximum(high[..., 1:-1:2, :-1], high[..., 2::2, :-1])
        halves = [[across[..., i::2, :], along[..., i::2]] for i in (0, 1)]
        self.sills = torch.stack([torch.cat(half, 1) for half in halves])
        ones = [self.low.new_ones(cells) for cells in self.low.shape[-2:]]
        (self.down, self.up), (self.left, self.right) = (_moves(one) for one in ones)
        self.net_down, self.net_right = self.down - ones[0].diag(), self.right - ones[1].diag()
        east, south = functional.pad(rough, (0, 1)), functional.pad(rough, (0, 0, 0, 1))
        rough = (rough + torch.cat([east[..., 1:], south[..., 1:, :]], 1)) / 2
        self.push = gravity * pace / 2 / size_m
        self.slow_m = _COURANT2 / (gravity * pace / size_m)
        self.drag = (rough * rough).float() * (gravity * 2 / pace)
        self.leaving = _edges(ones) * (pace * GRAVITY_M_S2**0.5 * (2 / 3) ** 1.5)

    def depth(self, held: Tensor) -> Tensor:
        """Depth over the lowest ground of cells [B, 1, Y, X] from the mean depth in them."""
        return held + self.half * held / (held + self.steep)

    def advance(self, held: Tensor, depth: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
        """Move water; no cell gives more than it holds.

        Args:
            held: [B, 1, Y, X] mean depths.
            depth: the same over the lowest ground.
            flow: [2, B, 2, Y, X] through both halves of a side to the east and to the south, in m
                that a step moves.

        Returns:
            Mean depths, less than 0 by rounding alone, and flows after a step.
        """
        level = self.low + depth
        there = self._following(level)
        deep = (torch.maximum(level, there) - self.sills).clamp_min(0)
        slow = deep.clamp_max(self.slow_m)
        conveyed = deep * deep * deep * (deep * _CONVEYED[1] + _CONVEYED[0])
        pushed = flow + slow * ((level - there) * self.push)
        rubbed = conveyed + self.drag * flow.abs() * slow
        flow = pushed * conveyed / rubbed.clamp_min(_TINY)
        net = flow.sum(0)
        on = net.clamp_min(0)
        back = on - net
        lost = self.leaving * held * (held * _LEAVING[1] + _LEAVING[0])
        east, south = back.split(1, 1)
        given = on.sum(1, keepdim=True) + east @ self.right + self.down @ south + lost
        share = (held / given.clamp_min(_TINY)).clamp_max(1)
        east, south = (on * share - back * self._following(share)).split(1, 1)
        return held - lost * share + east @ self.net_right + self.net_down @ south, flow

    def _following(self, x: Tensor) -> Tensor:
        """The cells to the east and to the south, [B, 2, Y, X] of [B, 1, Y, X]; 0 beyond.

        Products with matrices of zeros and ones are the fastest shifts in ONNX Runtime.
        """
        return torch.cat([x @ self.left, self.up @ x], 1)


def _edges(ones: list[Tensor]) -> Tensor:
    """Sides of each cell [1, 1, Y, X] that are the grid's edge."""
    rows, columns = (functional.pad(0 * one[2:], (1, 1), value=1.0) for one in ones)
    return (rows[:, None] + columns)[None, None]


def _moves(ones: Tensor) -> tuple[Tensor, Tensor]:
    """Matrices [cells, cells] that move a column of values down and up; a row left and right."""
    return ones[1:].diag(-1), ones[1:].diag(1)


def quarters(x: Tensor) -> Tensor:
    """The four cells [B, 4, C, Y / 2, X / 2] in each of twice the size, of [B, C, Y, X]."""
    rows = x[..., ::2, :], x[..., 1::2, :]
    return torch.stack([part for row in rows for part in (row[..., ::2], row[..., 1::2])], 1)


def doubled(x: Tensor) -> Tensor:
    """Each cell of [B, C, Y, X] as two by two."""
    pairs = torch.stack([x, x], -1).flatten(-2)
    return torch.stack([pairs, pairs], -2).flatten(-3, -2)


def coarse_inundation(
    water: CoarseInundation,
    rain_m: Tensor,
    inflow_m: Tensor,
    where: Tensor,
    soaked_m: Tensor,
    looks: tuple[int, ...],
) -> Tensor:
    """Run water over terrains that were dry.

    Args:
        water: on them.
        rain_m: [B, K] that falls in each of K steps.
        inflow_m: [B, K] that enters in them, as a depth on one cell.
        where: [B, 1, Y, X] share of it that a cell gets.
        soaked_m: [B, 1, 1, 1] that wet ground takes in a step, at most.
        looks: rising numbers of steps after which depths are kept.

    Returns:
        [B, 2 + looks, Y, X] of coarse cells: largest mean depth, those at the looks, and the hours
        until it was .05 m, all hours where it never was.
    """
    hours = water.step_s / 3600
    sources = torch.cat([torch.ones_like(where), where], 1)
    brought = torch.stack([rain_m, inflow_m], -1).transpose(0, 1)[..., None, None].contiguous()

    soaked_m, late = soaked_m * _SOAKING, 4 * hours
    soaking, dry_soaking = soaked_m / water.relief, soaked_m * _SOAKED_DRY

    def step(
        turn: Tensor, held: Tensor, flow: Tensor, most: Tensor, dry: Tensor
    ) -> tuple[Tensor, ...]:
        now = brought.index_select(0, turn.reshape(1))[0]
        held = held + (sources * now).sum(1, keepdim=True)
        depth = water.depth(held)
        held, flow = water.advance(held, depth, flow)
        held = (held - torch.minimum(depth * soaking + dry_soaking, soaked_m)).clamp_min(0)
        most = torch.maximum(most, held)
        return held, flow, most, dry + (late - most * (4 * hours / _WET_M)).clamp(0.0, hours)

    shapes = water.low, water.sills, water.low, water.low
    state = tuple(torch.zeros_like(shape).contiguous() for shape in shapes)
    kept, done = [], 0
    for look in looks:
        state = repeated(look - done, step, *state, begin=done)
        kept.append(state[0])
        done = look
    return torch.cat([state[2], *kept, state[3]], 1)
