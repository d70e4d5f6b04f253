"""The local inertial approximation of shallow water: fast, for gentle flood plains.

Bates, Horritt and Fewtrell (2010, doi 10.1016/j.jhydrol.2010.03.027) leave out the advection of
momentum; de Almeida et al. (2012, doi 10.1029/2011WR011570) smooth the flow along its direction,
so that it stays stable where friction is small. Water levels lie in cells, flows at faces. Dam
breaks and fast flow are wrong by a tenth; slow water over a plain is not, at a tenth of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.basin import DISCHARGE, LEVEL, OPEN, Basin, Edge
from models.physics.shallow_water import GRAVITY_M_S2, slowed

_FLOWING_M = 1e-5
"""Faces with less water do not let it through."""
_TINY = 1e-30
_Y, _X = -2, -1


class LocalInertial:
    """Water on a basin, moved by the local inertial equations.

    Args:
        basin: where; all sides but ``level`` and ``discharge`` let nothing in.
        depth_m: [B, Y, X] at the start; it is changed.
        courant: share of the time in which a long wave crosses a cell, de Almeida's alpha.
        smooth: de Almeida's theta, 1 for none.
    """

    def __init__(
        self, basin: Basin, depth_m: Tensor, courant: float = 0.7, smooth: float = 0.9
    ) -> None:
        if not (0 < courant <= 1 and 0 < smooth <= 1):
            raise FelsinaError(f"courant {courant}, smooth {smooth}: both lie above 0, to 1")
        self.datum = basin.bed_m.amin((1, 2), keepdim=True)
        self.bed_m = (basin.bed_m - self.datum).expand(basin.shape)
        self.depth_m, self.cell_m = depth_m, basin.cell_m
        self.courant, self.smooth = courant, smooth
        batch, rows, columns = basin.shape
        self.flow_x = depth_m.new_zeros(batch, rows, columns + 1)
        self.flow_y = depth_m.new_zeros(batch, rows + 1, columns)
        roughness = (GRAVITY_M_S2 * basin.manning**2).expand(basin.shape)
        self.roughness = {dim: _between(roughness, dim) for dim in (_X, _Y)}
        self.sides = {
            _X: (basin.edges.west, basin.edges.east),
            _Y: (basin.edges.north, basin.edges.south),
        }

    def stable_s(self) -> Tensor:
        """[B, 1, 1] longest stable step."""
        deepest = self.depth_m.amax((1, 2), keepdim=True).double()
        return self.courant * self.cell_m / (GRAVITY_M_S2 * deepest).sqrt()

    def speed_m_s(self) -> Tensor:
        """[B, Y, X] depth-averaged speed."""
        x = (self.flow_x[..., 1:] + self.flow_x[..., :-1]) / 2
        y = (self.flow_y[:, 1:] + self.flow_y[:, :-1]) / 2
        flow = torch.hypot(x, y)
        # A cell that has just given all it held still has the flow that left: at most critical.
        critical = (flow**2 / GRAVITY_M_S2).pow(1 / 3)
        return flow / torch.maximum(self.depth_m, critical).clamp_min(1e-3)

    def advance(self, step_s: Tensor) -> Tensor:
        """Move the water by steps [B, 1, 1]; volume [B] that left through edges, m3."""
        level = self.bed_m + self.depth_m
        self._flow(self.flow_x, level, step_s, _X)
        self._flow(self.flow_y, level, step_s, _Y)
        x, y, pace = self.flow_x, self.flow_y, step_s / self.cell_m
        out = x[..., 1:].clamp_min(0) - x[..., :-1].clamp_max(0)
        out += y[:, 1:].clamp_min(0)
        out -= y[:, :-1].clamp_max(0)
        # A cell never gives more than it holds.
        lost = out * pace
        lacking = (lost - self.depth_m).clamp_min_(0)
        if lacking.is_cuda or bool(lacking.any()):  # a GPU would wait for the answer
            kept = 1 - lacking / lost.clamp_min(_TINY)
            _limit(x, kept, _X)
            _limit(y, kept, _Y)
        self.depth_m -= pace * (x.diff(dim=_X) + y.diff(dim=_Y))
        self.depth_m.clamp_min_(0)
        net = (x[..., -1] - x[..., 0]).sum(1, dtype=torch.float64)
        net += (y[:, -1] - y[:, 0]).sum(1, dtype=torch.float64)
        return net * step_s.flatten() * self.cell_m

    def _flow(self, flow: Tensor, level: Tensor, step_s: Tensor, dim: int) -> None:
        """Flows through faces after a step, in place."""
        cells = level.shape[dim]
        if cells > 1:
            # In place where it can be: on a small grid most of the time goes to new memory.
            depth = (_higher(level, dim) - _higher(self.bed_m, dim)).clamp_min_(_FLOWING_M)
            inner = flow.narrow(dim, 1, cells - 1)
            around = flow.narrow(dim, 0, cells - 1) + flow.narrow(dim, 2, cells - 1)
            moved = around.mul_((1 - self.smooth) / 2).add_(inner, alpha=self.smooth)
            push = level.diff(dim=dim).mul_(depth).mul_(step_s * (GRAVITY_M_S2 / self.cell_m))
            drag = depth.log().mul_(-7 / 3).exp_().mul_(self.roughness[dim]).mul_(step_s)
            moved = slowed(moved.sub_(push), drag)
            # The equations know no fast flow: at most what is critical.
            most = (GRAVITY_M_S2 * depth).sqrt_().mul_(depth).mul_(depth > _FLOWING_M)
            moved = torch.clamp(moved, -most, most)
            inner.copy_(self._kept_where_waiting(moved, inner, step_s))
        for edge, end, cell, outward in zip(
            self.sides[dim], (0, cells), (0, cells - 1), (-1, 1), strict=True
        ):
            at = level.select(dim, cell)
            depth = self.depth_m.select(dim, cell)
            side = flow.select(dim, end)
            leaving = outward * self._leaving(edge, at, depth)
            side.copy_(self._kept_where_waiting(leaving, side, step_s[:, 0]))

    def _kept_where_waiting(self, moved: Tensor, flow: Tensor, step_s: Tensor) -> Tensor:
        """Flows after a step; a scenario that waits for others takes steps of 0, and stays.

        So does one on a GPU, where steps are taken before it is known whether any is left.
        """
        alone = len(step_s) == 1 and not flow.is_cuda
        return moved if alone else torch.where(step_s > 0, moved, flow)

    def _leaving(self, edge: Edge, level: Tensor, depth: Tensor) -> Tensor:
        """Flow out of the cells at a side: over a free fall, or driven by the level beyond."""
        if edge.kind == DISCHARGE:
            return torch.full_like(depth, -edge.value)
        if edge.kind == OPEN:
            # Critical depth is two thirds of the head.
            return GRAVITY_M_S2**0.5 * (2 / 3 * depth).pow(1.5)
        if edge.kind == LEVEL:
            beyond = edge.value - self.datum[:, 0]
            head = (torch.maximum(level, beyond) - (level - depth)).clamp_min(0)
            drop = level - beyond
            # Of a weir that is drowned from below.
            return (
                drop.sign()
                * head
                * (2 * GRAVITY_M_S2 * drop.abs()).sqrt().clamp_max((GRAVITY_M_S2 * head).sqrt())
            )
        return torch.zeros_like(depth)


def _between(values: Tensor, dim: int) -> Tensor:
    """Means of neighbours along a dimension."""
    cells = values.shape[dim]
    return (values.narrow(dim, 0, cells - 1) + values.narrow(dim, 1, cells - 1)) / 2


def _higher(values: Tensor, dim: int) -> Tensor:
    """The larger of neighbours along a dimension."""
    cells = values.shape[dim]
    return torch.maximum(values.narrow(dim, 0, cells - 1), values.narrow(dim, 1, cells - 1))


def _limit(flow: Tensor, kept: Tensor, dim: int) -> None:
    """Scale flows that leave a cell by its share, in place."""
    beyond = torch.ones_like(kept.narrow(dim, 0, 1))
    padded = torch.cat((beyond, kept, beyond), dim)
    cells = kept.shape[dim]
    leaving = flow > 0
    share = torch.where(leaving, padded.narrow(dim, 0, cells + 1), padded.narrow(dim, 1, cells + 1))
    flow.mul_(share)
