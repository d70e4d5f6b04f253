"""The shallow-water equations by finite volumes: HLLC fluxes, MUSCL, SSP-RK2.

Depth and momentum per cell, with shocks, fronts and fast flow. Faces are reconstructed as in Chen
and Noelle (2017, doi 10.1137/15M1053074), which keeps a lake at rest and lets thin water run down
steps of the bed; the monotonised central limiter (van Leer 1977) bounds the slopes of level, depth
and velocity. Fluxes are HLLC (Toro 2001) with wave speeds of two rarefactions, or of a front where
one side is dry. A cell never gives more than it holds: outgoing fluxes are scaled together, and no
volume is made or lost. Manning's friction is implicit in each stage: it never turns a flow. Where
thin water meets steps of the bed that no slope bridges it runs too fast, as with all hydrostatic
reconstructions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.basin import DISCHARGE, LEVEL, OPEN, WALL, Basin, Edge

GRAVITY_M_S2 = 9.81
DRY_M = 1e-6
"""Water less deep than this does not move."""

_TINY = 1e-30
_Y, _X = -2, -1


class ShallowWater:
    """Water on a basin, moved by a Godunov scheme.

    Args:
        basin: where.
        depth_m: [B, Y, X] at the start; it is changed.
        discharge_m2_s: [2, B, Y, X] depth times velocity, to the east and to the south.
        courant: share of the time in which the fastest wave crosses a cell.
    """

    def __init__(
        self,
        basin: Basin,
        depth_m: Tensor,
        discharge_m2_s: Tensor | None = None,
        courant: float = 0.3,
    ) -> None:
        if not 0 < courant <= 1:
            raise FelsinaError(f"courant {courant}: it lies above 0, to 1")
        self.datum = basin.bed_m.amin((1, 2), keepdim=True)  # near zero, numbers are finest
        self.bed_m = (basin.bed_m - self.datum).expand(basin.shape)
        self.depth_m = depth_m
        self.discharge = depth_m.new_zeros(2, *basin.shape)
        if discharge_m2_s is not None:
            self.discharge += discharge_m2_s
        self.cell_m, self.courant = basin.cell_m, courant
        self.roughness = GRAVITY_M_S2 * basin.manning**2
        self.rough = bool(basin.manning.any())
        edges = basin.edges
        self.sides = {_X: (edges.west, edges.east), _Y: (edges.north, edges.south)}
        self.open = any(side.kind != WALL for pair in self.sides.values() for side in pair)
        # A profile, one cell wide between walls, has no flow across.
        wide = [basin.shape[d] > 1 or any(e.kind != WALL for e in self.sides[d]) for d in (_X, _Y)]
        self.ways = [(dim, along) for dim, along in ((_X, 0), (_Y, 1)) if wide[along]]

    def velocity(self) -> Tensor:
        """[2, B, Y, X], to the east and to the south."""
        wet = self.depth_m > DRY_M
        return torch.where(wet, self.discharge / self.depth_m.clamp_min(DRY_M), 0)

    def speed_m_s(self) -> Tensor:
        """[B, Y, X] depth-averaged speed."""
        return torch.hypot(*self.velocity())

    def stable_s(self) -> Tensor:
        """[B, 1, 1] longest stable step."""
        wave = self.velocity().abs().amax(0) + (GRAVITY_M_S2 * self.depth_m).sqrt()
        fastest = wave.amax((1, 2), keepdim=True)
        return self.courant * self.cell_m / fastest.double()

    def advance(self, step_s: Tensor) -> Tensor:
        """Move the water by steps [B, 1, 1]; volume [B] that left through edges, m3."""
        depth, discharge = self.depth_m, self.discharge
        left = self._stage(step_s) + self._stage(step_s)
        self.depth_m = depth.add_(self.depth_m).div_(2)
        self.discharge = discharge.add_(self.discharge).div_(2)
        return left / 2

    def _stage(self, step_s: Tensor) -> Tensor:
        """An Euler step of the whole equations; volume [B] that left."""
        velocity, level, pace = self.velocity(), self.bed_m + self.depth_m, step_s / self.cell_m
        faces, out = {}, torch.zeros_like(self.depth_m)
        for dim, along in self.ways:
            # Along the other direction the two velocities change places.
            state = torch.stack((level, self.depth_m, velocity[along], velocity[1 - along]))
            faces[dim] = self._faces(state, dim)
            mass = faces[dim].mass
            out += _inner(mass, dim, 1, 0).clamp_min(0) - _inner(mass, dim, 0, 1).clamp_max(0)
        kept = (self.depth_m / (out * pace).clamp_min(_TINY)).clamp_max(1)
        depth, change = self.depth_m, torch.zeros_like(self.discharge)
        left = step_s.new_zeros(len(step_s), dtype=torch.float64)
        for dim, along in self.ways:
            mass = _limited(faces[dim].mass, kept, dim)
            depth = depth - pace * mass.diff(dim=dim)
            change[along] += faces[dim].push(dim)
            change[1 - along] += (mass * faces[dim].across).diff(dim=dim)
            if self.open:
                net = mass.select(dim, -1) - mass.select(dim, 0)
                left += net.sum(1, dtype=torch.float64) * step_s.flatten() * self.cell_m
        self.depth_m = depth.clamp_min(0)
        self.discharge = self._slowed(self.discharge - pace * change, step_s)
        return left

    def _slowed(self, discharge: Tensor, step_s: Tensor) -> Tensor:
        """Discharge after friction; still where it is dry."""
        depth = self.depth_m.clamp_min(DRY_M)
        if self.rough:
            drag = step_s * self.roughness * depth.pow(-7 / 3)
            discharge = slowed(discharge, drag, torch.hypot(discharge[0], discharge[1]))
        return discharge * (self.depth_m > DRY_M)

    def _faces(self, state: Tensor, dim: int) -> _Faces:
        """Fluxes along a dimension, of [4, B, Y, X]: level, depth, velocity along and across."""
        low, high = self.sides[dim]
        state = torch.cat(
            (
                self._ghosts(state, low, dim, -1),
                state,
                self._ghosts(state.flip(dim), high, dim, 1).flip(dim),
            ),
            dim,
        )
        change = state.diff(dim=dim)
        a, b = _inner(change, dim, 0, 1), _inner(change, dim, 1, 0)
        least = torch.minimum(a.abs(), b.abs())
        least = torch.minimum(least, (a + b).abs() / 4)
        half = torch.copysign(least, a) * (a * b > 0)
        before = _inner(state, dim, 1, 2) + _inner(half, dim, 0, 1)
        after = _inner(state, dim, 2, 1) - _inner(half, dim, 1, 0)
        slope = _inner(state[1], dim, 2, 2) * _inner(half[0], dim, 1, 1)
        mass, to_before, to_after = _hllc(before, after)
        return _Faces(mass, to_before, to_after, _carried(mass, before[3], after[3]), slope)

    def _ghosts(self, state: Tensor, edge: Edge, dim: int, outward: int) -> Tensor:
        """Two cells beyond the first along a dimension, the outer one first."""
        if edge.kind == WALL:
            count = min(2, state.shape[dim])
            level, depth, along, across = state.narrow(dim, 0, count)
            ghosts = torch.stack((level, depth, -along, across)).flip(dim)
        else:
            level, depth, along, across = state.narrow(dim, 0, 1)
            bed = level - depth
            wave, away = (GRAVITY_M_S2 * depth).sqrt(), outward * along
            # The wave that leaves keeps its invariant, speed plus twice the wave's own.
            if edge.kind == OPEN:  # as over a fall, at the speed of waves or faster
                beyond = torch.minimum(wave, (away + 2 * wave) / 3).clamp_min(0)
                depth, along = beyond**2 / GRAVITY_M_S2, outward * (away + 2 * (wave - beyond))
            elif edge.kind == LEVEL:
                depth = (edge.value - self.datum - bed).clamp_min(0)
                along = outward * (away + 2 * (wave - (GRAVITY_M_S2 * depth).sqrt()))
            elif edge.kind == DISCHARGE:
                depth = _entering_depth(edge.value, -away - 2 * wave)
                along = -outward * edge.value / depth
            ghosts = torch.stack((bed + depth, depth, along, across))
        if ghosts.shape[dim] == 2:
            return ghosts
        return torch.cat((ghosts, ghosts), dim)


@dataclass(frozen=True)
class _Faces:
    """Fluxes through faces along a dimension, one more than cells.

    ``to_before`` and ``to_after`` are of momentum along, less the pressure of the cell that the
    face bounds; ``across`` is the other velocity, that of the side where the mass comes from;
    ``slope`` is depth times half the change of the level in a cell.
    """

    mass: Tensor
    to_before: Tensor
    to_after: Tensor
    across: Tensor
    slope: Tensor

    def push(self, dim: int) -> Tensor:
        """Momentum along that leaves each cell, with the bed's and the level's push."""
        net = _inner(self.to_before, dim, 1, 0) - _inner(self.to_after, dim, 0, 1)
        return net + 2 * GRAVITY_M_S2 * self.slope


def _entering_depth(flow_m2_s: float, invariant: Tensor) -> Tensor:
    """Depth at which a flow enters: ``q / h - 2 sqrt(g h)`` is the invariant that leaves.

    That falls with h and is convex, so that Newton's steps find it.
    """
    depth = torch.full_like(invariant, (flow_m2_s**2 / GRAVITY_M_S2) ** (1 / 3)).clamp_min(DRY_M)
    for _ in range(12):
        wave = (GRAVITY_M_S2 * depth).sqrt()
        gap = flow_m2_s / depth - 2 * wave - invariant
        depth = torch.maximum(depth + gap / (flow_m2_s / depth**2 + wave / depth), depth / 10)
    return depth


def slowed(flow: Tensor, drag: Tensor, size: Tensor | None = None) -> Tensor:
    """Flow after quadratic friction, implicit: f that solves ``f (1 + drag |f|) = flow``.

    ``size`` is the flow's length where it is a component of one.
    """
    size = flow.abs() if size is None else size
    return 2 * flow / (1 + (1 + 4 * drag * size).sqrt())


def _inner(values: Tensor, dim: int, first: int, last: int) -> Tensor:
    """All but some at both ends of a dimension."""
    return values.narrow(dim, first, values.shape[dim] - first - last)


def _carried(mass: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Of two values at a face, the one of the side where the mass comes from."""
    return torch.lerp(after, before, (mass > 0).to(mass.dtype))


def _limited(mass: Tensor, kept: Tensor, dim: int) -> Tensor:
    """Mass fluxes, those that leave a cell scaled by its share [B, Y, X]."""
    beyond = torch.ones_like(kept.narrow(dim, 0, 1))
    kept = torch.cat((beyond, kept, beyond), dim)
    return mass * _carried(mass, _inner(kept, dim, 0, 1), _inner(kept, dim, 1, 0))


def _hllc(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fluxes between states [4, ...] of level, depth, velocity along and across.

    Returns:
        Mass; momentum less the pressure of the state before, and of the state after.
    """
    level_l, depth_l, speed_l = before[0], before[1], before[2]
    level_r, depth_r, speed_r = after[0], after[1], after[2]
    bed_l, bed_r = level_l - depth_l, level_r - depth_r
    bed = torch.minimum(torch.maximum(bed_l, bed_r), torch.minimum(level_l, level_r))
    low = torch.minimum(level_l - bed, depth_l).clamp_min(0)
    high = torch.minimum(level_r - bed, depth_r).clamp_min(0)
    wave_l, wave_r = (GRAVITY_M_S2 * low).sqrt(), (GRAVITY_M_S2 * high).sqrt()
    # Two rarefactions between the states; where one is dry, its front.
    middle = (speed_l + speed_r) / 2 + wave_l - wave_r
    wave = (wave_l + wave_r) / 2 + (speed_l - speed_r) / 4
    slow = torch.minimum(speed_l - wave_l, middle - wave)
    fast = torch.maximum(speed_r + wave_r, middle + wave)
    slow = torch.where(low > 0, slow, speed_r - 2 * wave_r).clamp_max(0)
    fast = torch.where(high > 0, fast, speed_l + 2 * wave_l).clamp_min(0)
    flow_l, flow_r = low * speed_l, high * speed_r
    width = (fast - slow).clamp_min(_TINY)
    both = fast * slow
    mass = (fast * flow_l - slow * flow_r + both * (high - low)) / width
    jump = (GRAVITY_M_S2 / 2) * (high - low) * (high + low)
    momentum = fast * flow_l * speed_l - slow * (flow_r * speed_r + jump) + both * (flow_r - flow_l)
    momentum = momentum / width
    # A bed that falls from here on pulls the water that stands on it.
    to_before = momentum + GRAVITY_M_S2 * depth_l * (bed - bed_l).clamp_max(0)
    to_after = momentum - jump + GRAVITY_M_S2 * depth_r * (bed - bed_r).clamp_max(0)
    return mass, to_before, to_after
