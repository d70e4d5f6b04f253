"""Where water goes: rain, rivers and breaches over a terrain, by one of several schemes.

A scheme moves water that is there and keeps its volume; this module brings water and takes it,
opens breaches, and watches depths. Grids are [B, Y, X], row 0 north, B scenarios side by side;
each takes steps of its own length, so that none depends on its neighbours in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.basin import Basin, Breach, Inflow, Rain, fitting_shape
from models.physics.local_inertial import LocalInertial
from models.physics.march import March, Scheme, refuse_unstable
from models.physics.shallow_water import ShallowWater

WET_M = 0.05
"""Depth from which on a place counts as flooded."""

_FASTEST_M_S = 100.0
"""Nothing on land flows so fast: a scheme that says so has failed."""


SCHEMES: dict[str, Callable[[Basin, Tensor], Scheme]] = {
    "local_inertial": LocalInertial,
    "muscl": ShallowWater,
}
"""Name to scheme, the fastest first."""


@dataclass(frozen=True)
class Volumes:
    """Water by where it came from and went, m3, each [B] in double precision.

    Attributes:
        start: on the ground at the start.
        end: on the ground at the end.
        rain: fallen.
        inflow: brought by hydrographs.
        infiltrated: into the ground.
        left: through the grid's edges, net.
    """

    start: Tensor
    end: Tensor
    rain: Tensor
    inflow: Tensor
    infiltrated: Tensor
    left: Tensor

    @property
    def error(self) -> Tensor:
        """[B] volume made or lost by arithmetic, over all that was there."""
        there = self.start + self.rain + self.inflow
        return (self.end + self.infiltrated + self.left - there).abs() / there.clamp_min(1e-9)


@dataclass(frozen=True)
class Flood:
    """What the water did.

    Attributes:
        depth_m: [B, Y, X] at the end.
        max_depth_m: [B, Y, X].
        max_speed_m_s: [B, Y, X].
        max_hazard_m2_s: [B, Y, X] largest product of depth and speed.
        arrival_s: [B, Y, X] when a place became flooded, inf where it never did.
        duration_s: [B, Y, X] how long it was.
        depths_m: [B, S, Y, X] at the S times asked for.
        volumes: where the water came from and went.
        steps: taken by the scenario that took most.
    """

    depth_m: Tensor
    max_depth_m: Tensor
    max_speed_m_s: Tensor
    max_hazard_m2_s: Tensor
    arrival_s: Tensor
    duration_s: Tensor
    depths_m: Tensor
    volumes: Volumes
    steps: int


def simulate(
    basin: Basin,
    make: Callable[[Basin, Tensor], Scheme],
    end_s: float,
    *,
    rain: Rain | None = None,
    inflow: Inflow | None = None,
    breach: Breach | None = None,
    depth_m: Tensor | None = None,
    times_s: Sequence[float] = (),
    watch_s: float = 60.0,
    wet_m: float = WET_M,
    progress: Callable[[float], None] = lambda share: None,
) -> Flood:
    """Run water over a basin.

    Args:
        basin: terrain and its surface, on whose device and in whose precision all is computed.
        make: one of ``SCHEMES``, or ``partial`` of one.
        end_s: how long, from 0.
        rain: that falls.
        inflow: that enters at cells.
        breach: cells whose bed sinks.
        depth_m: [B|1, Y, X] water at the start; none when left out.
        times_s: when depths are to be kept.
        watch_s: how often depths, speeds and times are looked at; shorter is slower.
        wet_m: depth from which on a place counts as flooded.
        progress: told the share that is done.

    Raises:
        FelsinaError: where the scheme became unstable: when, and in which cell.
    """
    if not (end_s > 0 and watch_s > 0):
        raise FelsinaError(f"end_s = {end_s}, watch_s = {watch_s}: both must be above 0")
    if late := [time for time in times_s if not 0 <= time <= end_s]:
        raise FelsinaError(f"times_s {late[:3]} lie outside 0 to {end_s:g} s")
    scheme = make(basin, _start(basin, depth_m, rain, inflow))
    watched, march = _Watched(scheme, wet_m), March(scheme, basin, rain, inflow, breach)
    kept: dict[float, Tensor] = {0.0: scheme.depth_m.clone()} if 0 in times_s else {}
    began = _volume(scheme, basin)
    for begin, end in _intervals(end_s, watch_s, times_s, rain, inflow):
        march.onward(begin, end)
        watched.look(begin, end)
        if end in times_s:
            kept[end] = scheme.depth_m.clone()
        progress(end / end_s)
    depths = [kept[time] for time in times_s]
    brought = _brought(end_s, basin, rain, inflow)
    return Flood(
        scheme.depth_m.clone(),
        watched.depth,
        watched.speed,
        watched.hazard,
        watched.arrival,
        watched.duration,
        torch.stack(depths, 1) if depths else scheme.depth_m.new_zeros(basin.batch, 0, 0, 0),
        Volumes(began, _volume(scheme, basin), *brought, march.infiltrated, march.left),
        march.steps,
    )


class _Watched:
    """What has been seen of a scheme so far."""

    def __init__(self, scheme: Scheme, wet_m: float) -> None:
        self.scheme, self.wet_m = scheme, wet_m
        self.depth = scheme.depth_m.clone()
        self.speed, self.hazard, self.duration = (torch.zeros_like(self.depth) for _ in range(3))
        self.arrival = torch.where(self.depth >= wet_m, 0.0, torch.inf).to(self.depth.dtype)

    def look(self, begin_s: float, end_s: float) -> None:
        """Take in what stands at the end of an interval; refuse what cannot be."""
        depth, speed = self.scheme.depth_m, self.scheme.speed_m_s()
        if not bool((speed <= _FASTEST_M_S).all()):  # nor a number that is none
            refuse_unstable(self.scheme, end_s)
        wet = depth >= self.wet_m
        torch.maximum(self.depth, depth, out=self.depth)
        torch.maximum(self.speed, torch.where(wet, speed, 0), out=self.speed)
        torch.maximum(self.hazard, depth * speed, out=self.hazard)
        self.arrival[wet & self.arrival.isinf()] = end_s
        self.duration += wet * (end_s - begin_s)


def _start(
    basin: Basin, depth_m: Tensor | None, rain: Rain | None, inflow: Inflow | None
) -> Tensor:
    """Depths [B, Y, X] at the start; refuse what does not fit the grid."""
    _, rows, columns = shape = basin.shape
    if rain is not None:
        fitting_shape("rain's intensity_m_s", rain.intensity_m_s[0], shape)
    if inflow is not None:
        fitting_shape("inflow's flow_m3_s", inflow.flow_m3_s[0], (shape[0], len(inflow.cells)))
        if bool(((inflow.cells < 0) | (inflow.cells >= rows * columns)).any()):
            raise FelsinaError(f"an inflow's cell lies outside the grid of {rows} x {columns}")
    depth = basin.bed_m.new_zeros(shape)
    if depth_m is not None:
        fitting_shape("depth_m", depth_m, shape)
        if not bool((depth_m >= 0).all()):
            raise FelsinaError(f"depth_m at the start is {float(depth_m.min()):g} m somewhere")
        depth += depth_m
    return depth


def _intervals(
    end_s: float,
    watch_s: float,
    times_s: Sequence[float],
    rain: Rain | None,
    inflow: Inflow | None,
) -> Iterator[tuple[float, float]]:
    """From 0 to the end, cut where something is looked at or a source's law changes."""
    cuts = {watch_s * i for i in range(1, int(end_s / watch_s) + 1)} | {*times_s, end_s}
    for source in (rain, inflow):
        cuts |= set() if source is None else set(source.time_s.tolist())
    inside = [0.0, *sorted(cut for cut in cuts if 0 < cut <= end_s)]
    return pairwise(inside)


def _volume(scheme: Scheme, basin: Basin) -> Tensor:
    return scheme.depth_m.sum((1, 2), dtype=torch.float64) * basin.cell_m**2


def _brought(
    end_s: float, basin: Basin, rain: Rain | None, inflow: Inflow | None
) -> tuple[Tensor, Tensor]:
    """Volumes [B] of rain and of inflow, from what was asked."""
    fallen, entered = (basin.bed_m.new_zeros(basin.batch, dtype=torch.float64) for _ in range(2))
    if rain is not None:
        ends = [*rain.time_s[1:].tolist(), torch.inf]
        for begin, end, rate in zip(rain.time_s.tolist(), ends, rain.intensity_m_s, strict=True):
            over = rate.to(torch.float64).expand(basin.shape).sum((1, 2)) * basin.cell_m**2
            fallen += over * max(min(end, end_s) - begin, 0)
    if inflow is not None:
        times = [time for time in inflow.time_s.tolist() if time < end_s] + [end_s]
        at = [inflow.at(fallen.new_full((basin.batch, 1, 1), t)).double().sum(1) for t in times]
        for i in range(len(times) - 1):
            entered += (at[i] + at[i + 1]) / 2 * (times[i + 1] - times[i])
    return fallen, entered
