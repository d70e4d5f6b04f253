"""How deep water stands on a terrain, and when it comes, from the terrain and what brings water.

The backbone is physical (``coarse_inundation``): long steps on cells of twice the size. A U-Net
(Ronneberger et al. 2015, arXiv 1505.04597) learns the residual to it from the terrain's detail;
storm and inflow modulate its features (Perez et al. 2018, arXiv 1709.07871).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.contracts import FelsinaError, FloatArray
from models.surrogates.coarse_inundation import (
    CoarseInundation,
    coarse_inundation,
    doubled,
    quarters,
)
from models.surrogates.terrain_features import filled, mean_around

BED, MANNING, SOURCE = range(3)
"""Columns of the fields."""
RAIN_MM, RAIN_H, RAIN_PEAK, INFLOW_M3_S, RISE_H, FALL_H, INFILTRATION_MM_H = range(7)
"""Columns of the scalars."""
_ROUNDS = 64
"""Cells that levels of ponds are handed on."""
_STEP_S = 180.0
"""Of the backbone."""
_REACHES = (1, 3, 9, 24)
"""Cells over which the terrain's mean is taken."""
_ASINH = 5.0
"""Per metre: depths well under a fifth of a metre count in full, greater ones ever less."""
_DRY_M = 0.1
"""How far a level under the ground is told."""
_LEAK = 0.01
"""What is left of answers below zero in training, so that they can be learned from."""
_STEP, _NARROW = 0.3, 2.0
"""Steps between quantiles, by the outputs' spread, and by how many powers of e less at first."""


@dataclass(frozen=True)
class Scales:
    """Means and standard deviations over training runs.

    Attributes:
        scalar_mean: [F] of the scalars.
        scalar_std: [F].
        output_std: [O].
        hours: of the outputs that are depths at a time; one is the largest depth, before them, and
            one the arrival, after them.
        storm_n: of the storms' depth over duration, ``h = a d^n``.
    """

    scalar_mean: FloatArray
    scalar_std: FloatArray
    output_std: FloatArray
    hours: tuple[float, ...] = (1.0, 2.0, 4.0, 6.0, 8.0)
    storm_n: float = 0.4


class Block(nn.Module):
    """Two convolutions beside an identity, modulated by the scenario."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.modulate = nn.Linear(condition, 2 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        nn.init.normal_(self.second.weight, std=0.2 / math.sqrt(9 * width))
        assert self.second.bias is not None
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map [B, W, Y, X] under [B, C] to the same shape."""
        scale, shift = self.modulate(condition)[..., None, None].chunk(2, 1)
        y = functional.silu(self.first(functional.silu(x)) * (1 + scale) + shift)
        return x + self.second(y)


class ConditionalUNet(nn.Module):
    """Surrogate of a simulator of inundations on square grids.

    Args:
        rows: Y, a multiple of 16.
        columns: X, the same.
        cell_m: side of a cell.
        scales: of what is learned from.
        levels: Q rising quantiles with the median in the middle.
        width: of the features at half of the grid's resolution.
        fine: of those at the grid's own.
        blocks: at each of four coarser resolutions, on the way down and again on the way up.
    """

    def __init__(
        self,
        rows: int,
        columns: int,
        cell_m: float,
        scales: Scales,
        levels: tuple[float, ...],
        width: int = 32,
        fine: int = 16,
        blocks: tuple[int, ...] = (1, 1, 2, 2),
        growth: tuple[float, ...] = (1, 2, 3, 3),
        condition: int = 64,
    ) -> None:
        super().__init__()
        if rows % 16 or columns % 16:
            raise FelsinaError(f"a grid of {rows} x {columns}: both must be multiples of 16")
        self.rows, self.columns, self.cell_m = rows, columns, cell_m
        self.hours, self.storm_n = scales.hours, scales.storm_n
        self.middle, self.levels = levels.index(0.5), len(levels)
        self.outputs = len(scales.output_std)
        for name in ("scalar_mean", "scalar_std", "output_std"):
            values = torch.as_tensor(getattr(scales, name), dtype=torch.float32)
            self.register_buffer(name, values)
        self.register_buffer("mixed", self._mixed(), persistent=False)
        self.mixed: Tensor
        self.memory: dict[int, tuple[Tensor, ...]] = {}
        self.scalar_mean: Tensor
        self.scalar_std: Tensor
        self.output_std: Tensor
        known = len(scales.scalar_mean) + 3 * len(scales.hours)
        self.condition = nn.Sequential(
            nn.Linear(known, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU()
        )
        widths = [round(width * g) for g in growth]
        self.fine_in = nn.Conv2d(self.seen, fine, 1)
        self.coarse_in = nn.Conv2d(4 * self.seen, width, 1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        self.narrow, self.widen, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, (w, n) in enumerate(zip(widths, blocks, strict=True)):
            self.down.append(nn.ModuleList(Block(w, condition) for _ in range(n)))
            if i + 1 < len(widths):
                self.narrow.append(nn.Conv2d(w, widths[i + 1], 2, stride=2))
                self.widen.append(nn.Conv2d(widths[i + 1], 4 * w, 1))
                self.join.append(nn.Conv2d(2 * w, w, 1))
                self.up.append(nn.ModuleList(Block(w, condition) for _ in range(n)))
        self.fine_up = nn.Conv2d(width, 4 * fine, 1)
        self.fine_join = nn.Conv2d(2 * fine, fine, 1)
        self.fine_block = Block(fine, condition)
        self.head = nn.Conv2d(2 * fine, self.outputs * self.levels, 1)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            assert self.head.bias is not None
            self.head.bias.fill_(0.0)

    parity = 1e-2
    """Water at a sill goes over or stays as the last digit is rounded: a millimetre in one cell."""

    seen = 19 + len(_REACHES)
    """Features of a cell that are given to the network."""

    def forward(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Answer a batch of scenarios.

        Args:
            scalars: [B, 7] as the columns above.
            fields: [B, P, 3] height of the bed (m), roughness, share of the inflow.

        Returns:
            [B, P, O, Q] quantiles; rising with the level, never below zero.
        """
        grid = fields.transpose(1, 2).unflatten(2, (self.rows, self.columns))
        with torch.no_grad():
            given = self._remembered(scalars, grid) if self.training else self._given(scalars, grid)
        turn = int(torch.randint(self.turns, ())) if self.training else 0
        grid, guess, ponds = (turned(one, turn) for one in (grid, *given))
        prior = self._prior(grid, guess)
        raw = self._answered(scalars, self._seen(scalars, grid, prior, guess, ponds))
        raw = unturned(torch.cat([raw, prior], 1), turn).flatten(2)
        raw, prior = raw.split([self.levels * self.outputs, self.outputs], 1)
        return self._quantiles(raw, prior).unflatten(2, (self.outputs, self.levels))

    @property
    def turns(self) -> int:
        """Symmetries of the grid."""
        return 8 if self.rows == self.columns else 4

    def _given(self, scalars: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        """The backbone's guess [B, O, Y / 2, X / 2] and levels of full ponds [B, 1, Y, X]."""
        bed, manning, source = (part.contiguous() for part in grid.split(1, 1))
        looks = tuple(round(hour * 3600 / _STEP_S) for hour in self.hours)
        hour = torch.arange(looks[-1] + 1, device=bed.device).double() * _STEP_S / 3600
        fallen, entered = self._brought(scalars.double(), hour)
        guess = coarse_inundation(
            CoarseInundation(bed, manning, self.cell_m, _STEP_S),
            (fallen.diff(dim=1) / 1000).float(),
            (entered.diff(dim=1) * 3600).float() / (2 * self.cell_m) ** 2,
            quarters(source.double()).sum(1).float(),
            scalars[:, INFILTRATION_MM_H, None, None, None] * (_STEP_S / 3.6e6),
            looks,
        )
        return guess, filled(bed, _ROUNDS)

    def _remembered(self, scalars: Tensor, grid: Tensor) -> tuple[Tensor, ...]:
        """``_given``, which is costly and owns no weights, once for each scenario."""
        marks = [
            hash(one.cpu().numpy().tobytes() + two.cpu().numpy().tobytes())
            for one, two in zip(scalars, grid, strict=True)
        ]
        new = [i for i, mark in enumerate(marks) if mark not in self.memory]
        if new:
            found = self._given(scalars[new], grid[new])
            for row, i in enumerate(new):
                self.memory[marks[i]] = tuple(one[row] for one in found)
        pairs = zip(*(self.memory[mark] for mark in marks), strict=True)
        return tuple(torch.stack(one) for one in pairs)

    def _prior(self, grid: Tensor, guess: Tensor) -> Tensor:
        """The guess on the fine grid [B, O, Y, X]: still levels within each coarse cell."""
        bed, manning = grid[:, :1], grid[:, 1:2]
        water = CoarseInundation(bed, manning, self.cell_m, _STEP_S)
        level = water.low + water.depth(guess[:, :-1])
        depth = (doubled(level) - bed).clamp_min(-_DRY_M)
        return torch.cat([depth, doubled(guess[:, -1:])], 1)

    def _answered(self, scalars: Tensor, seen: Tensor) -> Tensor:
        """Raw residual quantiles [B, Q * O, Y, X]."""
        fallen, entered = self._brought(scalars, scalars.new_tensor(self.hours))
        soaked = torch.minimum(fallen, scalars[:, INFILTRATION_MM_H, None] * self.hours[-1])
        known = [(scalars - self.scalar_mean) / self.scalar_std]
        known += [fallen / 100, (fallen - soaked) / 100, entered / 200]
        condition = self.condition(torch.cat(known, 1))
        fine = self.fine_in(seen)
        x = self.coarse_in(functional.pixel_unshuffle(seen, 2))
        kept = []
        for i, blocks in enumerate(self.down):
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = block(x, condition)
            if i < len(self.narrow):
                kept.append(x)
                x = self.narrow[i](functional.silu(x))
        for i in reversed(range(len(kept))):
            y = functional.pixel_shuffle(self.widen[i](functional.silu(x)), 2)
            x = self.join[i](torch.cat([kept[i], y], 1))
            for block in self.up[i]:  # pyright: ignore[reportGeneralTypeIssues]
                x = block(x, condition)
        y = functional.pixel_shuffle(self.fine_up(functional.silu(x)), 2)
        x = self.fine_block(self.fine_join(torch.cat([fine, y], 1)), condition)
        return self.head(torch.cat([functional.silu(x), x], 1))

    def _quantiles(self, raw: Tensor, prior: Tensor) -> Tensor:
        """Rising quantiles [B, P, O * Q] from medians' residuals and steps, [B, O * Q, P]."""
        residual, steps = raw.split([self.outputs, (self.levels - 1) * self.outputs], 1)
        centre = residual * self.output_std[:, None] + prior
        most, depths, late = centre.split([1, self.outputs - 2, 1], 1)
        most = torch.maximum(most, depths.amax(1, keepdim=True))
        parts = torch.cat([most, depths, late, torch.exp(steps - _NARROW)], 1)
        found = parts.transpose(1, 2) @ self.mixed
        return functional.leaky_relu(found, _LEAK) if self.training else functional.relu(found)

    def _mixed(self) -> Tensor:
        """[O * Q, O * Q] from medians and steps, output by output, to quantiles: one product."""
        mixed = torch.zeros(self.levels, self.outputs, self.outputs, self.levels)
        others = [q for q in range(self.levels) if q != self.middle]
        for o in range(self.outputs):
            mixed[0, o, o] = 1.0
            for row, q in enumerate(others, start=1):
                beyond = slice(q, None) if q > self.middle else slice(q + 1)
                mixed[row, o, o, beyond] = (_STEP if q > self.middle else -_STEP) * self.output_std[
                    o
                ]
        return mixed.flatten(2).flatten(0, 1)

    def _brought(self, scalars: Tensor, hour: Tensor) -> tuple[Tensor, Tensor]:
        """Rain (mm) and inflow (m3/s h) until each hour, [B, H]."""
        rain, hours, peak = (scalars[:, c, None] for c in (RAIN_MM, RAIN_H, RAIN_PEAK))
        after = torch.minimum(hour, hours) - peak * hours
        share = torch.where(after < 0, peak, 1 - peak)
        bent = share * (after.abs() / (share * hours)).pow(hour.new_tensor(self.storm_n))
        fallen = rain * (peak + torch.where(after < 0, -bent, bent))
        flow, rise, fall = (scalars[:, c, None] for c in (INFLOW_M3_S, RISE_H, FALL_H))
        rising = torch.minimum(hour, rise)
        falling = fall * (1 - torch.exp(-(hour - rise).clamp_min(0) / fall))
        return fallen, flow * (rising * rising / (2 * rise) + falling)

    def _seen(
        self, scalars: Tensor, grid: Tensor, prior: Tensor, guess: Tensor, ponds: Tensor
    ) -> Tensor:
        """What is told of each cell, [B, S, Y, X]."""
        bed, manning, source = grid.split(1, 1)
        inflow = (source * scalars[:, INFLOW_M3_S, None, None, None] / 20).sqrt()
        found = [
            torch.asinh(_ASINH * prior[:, :-1]),
            prior[:, -1:] / self.hours[-1],
            torch.asinh(_ASINH * doubled(guess[:, :-1])),
            *(torch.asinh(2 * (bed - mean_around(bed, reach))) for reach in _REACHES),
            torch.log(manning / 0.05),
            torch.asinh(_ASINH * (ponds - bed)),
            inflow,
            mean_around(inflow, 4),
            torch.ones_like(bed),
            torch.asinh(_ASINH * (prior[:, :1] + bed - ponds)).clamp(-3, 3),
        ]
        return torch.cat(found, 1)


def turned(grid: Tensor, turn: int) -> Tensor:
    """The grids [..., Y, X] through one of the square's eight symmetries; 4 to 7 swap the axes."""
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if turn & bit]
    grid = grid.flip(axes) if axes else grid
    return grid.transpose(-1, -2) if turn & 4 else grid


def unturned(grid: Tensor, turn: int) -> Tensor:
    """Undo ``turned``."""
    grid = grid.transpose(-1, -2) if turn & 4 else grid
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if turn & bit]
    return grid.flip(axes) if axes else grid
