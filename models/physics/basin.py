"""What water runs over and what brings it: terrain, edges, rain, hydrographs, breaches.

Grids are [B, Y, X], row 0 north. Where B stands, 1 means alike for all scenarios of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.contracts import FelsinaError

WALL, OPEN, LEVEL, DISCHARGE = KINDS = ("wall", "open", "level", "discharge")


@dataclass(frozen=True)
class Edge:
    """What lies beyond a side of the grid.

    Attributes:
        kind: ``wall``; ``open``, where water falls away and never comes; ``level``, a still water
            surface; ``discharge``, a flow that enters.
        value: m of a level above the terrain's zero, m2/s of a discharge (per metre of side).
    """

    kind: str = WALL
    value: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a kind that is none."""
        if self.kind not in KINDS:
            raise FelsinaError(f"edge {self.kind!r} is unknown; use one of {', '.join(KINDS)}")


@dataclass(frozen=True)
class Edges:
    """The four sides of a grid."""

    west: Edge = Edge()
    east: Edge = Edge()
    north: Edge = Edge()
    south: Edge = Edge()

    @staticmethod
    def alike(kind: str) -> Edges:
        """All four of a kind."""
        return Edges(*[Edge(kind)] * 4)


@dataclass(frozen=True)
class Basin:
    """B terrains of square cells.

    Attributes:
        bed_m: [B|1, Y, X] elevation of the ground.
        cell_m: side of a cell.
        manning: [B|1, Y|1, X|1] roughness, s/m^(1/3).
        infiltration_m_s: [B|1, Y|1, X|1] what the ground takes at most.
        edges: the grid's sides.
        batch: number of scenarios.
    """

    bed_m: Tensor
    cell_m: float
    manning: Tensor
    infiltration_m_s: Tensor
    edges: Edges = Edges()
    batch: int = 1

    def __post_init__(self) -> None:
        """Refuse shapes that do not fit the bed, and values out of range."""
        if self.bed_m.ndim != 3 or min(self.bed_m.shape) < 1 or not self.cell_m > 0:
            shape = tuple(self.bed_m.shape)
            raise FelsinaError(f"bed_m is {shape} of {self.cell_m} m cells, not [B, Y, X] of some")
        if not bool(torch.isfinite(self.bed_m).all()):
            b, y, x = (~torch.isfinite(self.bed_m)).nonzero()[0].tolist()
            raise FelsinaError(f"bed_m has no height in row {y}, column {x} (terrain {b}); fill it")
        for name in ("manning", "infiltration_m_s"):
            value = getattr(self, name)
            fitting_shape(name, value, (self.batch, *self.bed_m.shape[1:]))
            if not bool((value >= 0).all()) or not bool(torch.isfinite(value).all()):
                raise FelsinaError(f"{name} is {float(value.min()):g} somewhere; it is 0 or more")
        fitting_shape("bed_m", self.bed_m, (self.batch, *self.bed_m.shape[1:]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """B, Y and X."""
        return self.batch, self.bed_m.shape[1], self.bed_m.shape[2]


@dataclass(frozen=True)
class Rain:
    """Rain that holds from each of K times on, the last for good.

    Attributes:
        time_s: [K] rising from 0.
        intensity_m_s: [K, B|1, Y|1, X|1].
    """

    time_s: Tensor
    intensity_m_s: Tensor

    def __post_init__(self) -> None:
        """Refuse times that do not rise from 0, and negative rain."""
        _rising("rain", self.time_s, len(self.intensity_m_s))
        if not bool((self.intensity_m_s >= 0).all()):
            k = int((~(self.intensity_m_s >= 0)).flatten(1).any(1).nonzero()[0])
            worst = float(self.intensity_m_s[k].min()) * 3.6e6
            raise FelsinaError(f"rain at {float(self.time_s[k]):g} s is {worst:g} mm/h; 0 or more")

    def during(self, time_s: float) -> Tensor:
        """[B|1, Y|1, X|1] intensity that holds from ``time_s`` on."""
        return self.intensity_m_s[int((self.time_s <= time_s).sum()) - 1]


@dataclass(frozen=True)
class Inflow:
    """Hydrographs that enter at S cells, linear between K times, the last value for good.

    Attributes:
        cells: [S] row times X plus column.
        time_s: [K] rising from 0.
        flow_m3_s: [K, B|1, S].
    """

    cells: Tensor
    time_s: Tensor
    flow_m3_s: Tensor

    def __post_init__(self) -> None:
        """Refuse times that do not rise from 0, and negative or missing flows."""
        _rising("inflow", self.time_s, len(self.flow_m3_s))
        if not bool((self.flow_m3_s >= 0).all()):
            k = int((~(self.flow_m3_s >= 0)).flatten(1).any(1).nonzero()[0])
            raise FelsinaError(f"inflow at {float(self.time_s[k]):g} s is below 0 or missing")

    def at(self, time_s: Tensor) -> Tensor:
        """Flow [B, S] at times [B, 1, 1]."""
        time = time_s.flatten().to(self.time_s.dtype)
        if len(self.time_s) == 1:
            return self.flow_m3_s[0].expand(len(time), -1)
        after = torch.searchsorted(self.time_s, time, right=True).clamp(1, len(self.time_s) - 1)
        first, last = self.time_s[after - 1], self.time_s[after]
        share = ((time - first) / (last - first)).clamp(0, 1)[:, None]
        flow = self.flow_m3_s.expand(-1, len(time), -1)
        rows = torch.arange(len(time), device=time.device)
        return torch.lerp(flow[after - 1, rows], flow[after, rows], share.to(flow.dtype))


@dataclass(frozen=True)
class Breach:
    """S cells of a levee that sink, in a straight line of time, to a sill.

    Attributes:
        cells: [S] row times X plus column.
        sill_m: [B|1, S] what their bed sinks to; one that lies lower stays.
        begin_s: [B|1] when it begins, or [B|1, S] when each cell does.
        duration_s: [B|1] or [B|1, S] how long it takes.
    """

    cells: Tensor
    sill_m: Tensor
    begin_s: Tensor
    duration_s: Tensor

    def bed(self, original_m: Tensor, time_s: Tensor) -> Tensor:
        """The bed [B, Y, X] at times [B, 1, 1]."""
        begin, takes = (each.reshape(len(each), -1) for each in (self.begin_s, self.duration_s))
        share = (time_s.flatten()[:, None] - begin) / takes.clamp_min(1e-3)
        share = share.clamp(0, 1).to(original_m.dtype)
        bed = original_m.expand(len(time_s), -1, -1).flatten(1).clone()
        crest = bed[:, self.cells]
        bed[:, self.cells] = torch.lerp(crest, torch.minimum(self.sill_m, crest), share)
        return bed.view(len(bed), *original_m.shape[1:])


def fitting_shape(name: str, value: Tensor, shape: tuple[int, ...]) -> None:
    """Refuse a tensor whose sizes are neither 1 nor those of ``shape``."""
    given = tuple(value.shape)
    fits = len(given) == len(shape)
    if not fits or any(g not in (1, s) for g, s in zip(given, shape, strict=True)):
        raise FelsinaError(f"{name} is {given}, which does not fit {shape}")


def _rising(what: str, time_s: Tensor, values: int) -> None:
    if len(time_s) != values or not values or float(time_s[0]) != 0:
        raise FelsinaError(f"{what}: {len(time_s)} times for {values} values; the first is at 0")
    if bool((time_s.diff() <= 0).any()) or not bool(torch.isfinite(time_s).all()):
        k = int((~(time_s.diff() > 0)).nonzero()[0])
        raise FelsinaError(f"{what}: time {float(time_s[k + 1]):g} s is not after the one before")
