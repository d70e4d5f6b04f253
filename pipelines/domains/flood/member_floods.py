"""A flood for each member that spills: by the solver, or by a surrogate with its own band.

Of the solver each member is one draw. A surrogate answers each member by a band, which is drawn
too: at ``DRAWN`` levels, each for a tenth of it, all cells low or all high together (comonotone),
and early where it is high. So draws are a mixture over what the river does and what the surrogate
does not know (the law of total probability).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.contracts import FelsinaError, FloatArray, IntArray
from models.physics.basin import Inflow
from models.physics.inundation import SCHEMES, WET_M, simulate
from models.scenario import ScenarioSpec
from pipelines.domains.flood.forcing import Setting, tensor
from pipelines.domains.flood.inundation_question import described
from pipelines.domains.flood.inundation_surrogate import HOURS, SCALARS, SNAPSHOTS_H
from pipelines.domains.flood.overtopping import Spills
from pipelines.domains.flood.storms import HOUR_S
from serving.surrogate import SurrogateRelease

DRAWN = tuple((k + 0.5) / 10 for k in range(10))
"""Levels of a surrogate's band."""
MOST_ELSEWHEN = 0.4
"""Share of a wave's volume that the surrogate may be asked at another time."""
TRIFLE = 0.01
"""Waves of less than this share of the largest one's volume may be asked at any time."""
MOST_OUTSIDE = 0.1
"""Share of members that the surrogate may hand to the solver."""
_WAVE = ("inflow_m3_s", "rise_h", "fall_h")
_TOGETHER = 65_536
"""Cells that are simulated side by side: more no longer stay near the processor."""


@dataclass(frozen=True)
class Floods:
    """Equally likely draws; those in which no water comes are counted, not held.

    Attributes:
        draws: D, in all.
        depth_m: [S, P] largest depth of each cell until the outlook's end, S of them.
        arrival_h: [S, P] after the outlook's beginning; inf where no water comes.
    """

    draws: int
    depth_m: FloatArray
    arrival_h: FloatArray

    def probability(self, least_m: float) -> FloatArray:
        """[P] of water so deep or deeper."""
        return (self.depth_m >= least_m).sum(axis=0) / self.draws

    def expected_depth_m(self) -> FloatArray:
        """[P] mean over all draws."""
        return self.depth_m.sum(axis=0, dtype=float) / self.draws

    def arrived(self, level: float) -> FloatArray:
        """[P] hour by which water is there with a probability; inf where it is less likely."""
        return earliest(self.arrival_h, self.draws, level)


def earliest(hours: FloatArray, draws: int, level: float) -> FloatArray:
    """[P] hour by which ``level`` of all draws have come, of those [S, P] that can; else inf."""
    rank = max(0, int(np.ceil(level * draws - 1e-9)) - 1)
    if rank >= len(hours):
        return np.full(hours.shape[1:], np.inf)
    return np.partition(hours, rank, axis=0)[rank]


def by_solver(
    setting: Setting,
    cells: IntArray,
    spills: Spills,
    members: IntArray,
    progress: Callable[[float], None],
) -> tuple[FloatArray, FloatArray]:
    """Largest depth and hour of arrival [K, P] of some members."""
    size = setting.terrain.bed_m.size
    together = max(1, _TOGETHER // size)
    depth, arrival = (np.zeros((len(members), size), np.float32) for _ in range(2))
    for begin in range(0, len(members), together):
        some = members[begin : begin + together]
        rows = slice(begin, begin + len(some))
        flow = spills.flow_m3_s[some].T[:, :, None] / len(cells) * np.ones(len(cells))
        with torch.no_grad():
            flood = simulate(
                replace(setting.basin(), batch=len(some)),
                SCHEMES[setting.asked.scheme],
                setting.asked.hours * HOUR_S,
                inflow=Inflow(torch.as_tensor(cells), tensor(spills.hours * HOUR_S), tensor(flow)),
            )
        depth[rows] = flood.max_depth_m.flatten(1).numpy()
        arrival[rows] = flood.arrival_s.flatten(1).numpy() / HOUR_S
        progress(rows.stop / len(members))
    return depth, arrival


def simulated_floods(
    setting: Setting, cells: IntArray, spills: Spills, progress: Callable[[float], None]
) -> Floods:
    """Every member that spills, by the solver."""
    return Floods(len(spills.flow_m3_s), *by_solver(setting, cells, spills, spills.wet, progress))


@dataclass(frozen=True)
class Asked:
    """A member in a surrogate's terms.

    Attributes:
        begin_h: when it begins to spill, from which on the surrogate counts.
        wave: ``inflow_m3_s``, ``rise_h`` and ``fall_h``, of the same volume until the end.
        elsewhen: share of that volume that it brings at another time.
    """

    begin_h: float
    wave: dict[str, float]
    elsewhen: float


def asked_wave(hours: FloatArray, flow_m3_s: FloatArray, spec: ScenarioSpec) -> Asked:
    """The surrogate's wave that brings a member's volume with least of it at another time.

    Rise and fall are of the range that it learned, and so is the peak where that can be.

    Args:
        hours: [K] even steps from 0 to the outlook's end.
        flow_m3_s: [K], above 0 somewhere.
        spec: of the surrogate.
    """
    first = max(0, int(np.argmax(flow_m3_s > 0)) - 1)
    after, flow = hours[first:] - hours[first], flow_m3_s[first:]
    volume = float(np.trapezoid(flow, after))
    known = {one.name: one for one in spec.scalars}
    axes = [np.geomspace(known[name].low, known[name].high, 25) for name in _WAVE[1:]]
    rise, fall = (axis.ravel()[:, None] for axis in np.meshgrid(*axes, indexing="ij"))
    shape = np.minimum(after / rise, np.exp(-np.maximum(after - rise, 0) / fall))
    peak = volume / np.trapezoid(shape, after, axis=1)
    off = np.trapezoid(np.abs(peak[:, None] * shape - flow), after, axis=1) / 2 / volume
    best = int(np.argmin(off + (peak > known[_WAVE[0]].high)))
    found = peak[best], rise[best, 0], fall[best, 0]
    wave = {name: float(value) for name, value in zip(_WAVE, found, strict=True)}
    return Asked(float(hours[first]), wave, float(off[best]))


def answered_floods(
    setting: Setting,
    cells: IntArray,
    spills: Spills,
    surrogate: SurrogateRelease,
    progress: Callable[[float], None],
) -> tuple[Floods, dict[str, object]]:
    """Every member that spills, by a surrogate; a few that it does not know, by the solver.

    Returns:
        The draws, and how many members were asked otherwise than they are.

    Raises:
        FelsinaError: if terrain or surface are unknown to it, or too many members.
    """
    spec, total = surrogate.spec, len(spills.flow_m3_s)
    plain, fields, _ = described(setting, spec)
    fields[cells, 2] = 1 / len(cells)
    if outside := spec.outside(plain[None], fields[None]):
        raise FelsinaError(f"surrogate {surrogate.id}: {outside[0]}; use --engine physics")
    wet = spills.wet
    asked = [asked_wave(spills.hours, spills.flow_m3_s[member], spec) for member in wet]
    scalars = np.tile(plain, (len(wet), 1))
    for name in _WAVE:
        scalars[:, SCALARS.index(name)] = [one.wave[name] for one in asked]
    ranges = spec.outside(scalars, np.broadcast_to(fields, (len(wet), *fields.shape)))
    elsewhen = np.array([one.elsewhen for one in asked])
    matters = spills.volume_m3[wet] > TRIFLE * spills.volume_m3.max()
    odd = np.flatnonzero((elsewhen > MOST_ELSEWHEN) & matters)
    unknown = {one.scenario for one in ranges} | set(odd.tolist())
    if len(unknown) > MOST_OUTSIDE * total:
        why = str(ranges[0]) if ranges else f"{elsewhen[odd].max():.0%} of a wave at another time"
        raise FelsinaError(
            f"surrogate {surrogate.id}: {len(unknown)} of {total} members are not what it learned"
            f" ({why}); use --engine physics"
        )
    known = np.array([k for k in range(len(wet)) if k not in unknown], int)
    others = np.array(sorted(unknown), int)
    depths, arrivals = [], []
    if len(known):
        batch = np.broadcast_to(fields, (len(known), *fields.shape))
        quantiles = surrogate.answer(scalars[known], batch)
        for k, one in zip(known, quantiles, strict=True):
            depth, arrival = drawn(one, surrogate, asked[k].begin_h, setting.asked.hours)
            depths.append(depth)
            arrivals.append(arrival)
    progress(0.5)
    if len(others):
        found = by_solver(setting, cells, spills, wet[others], lambda s: progress(0.5 + s / 2))
        depths.append(found[0].repeat(len(DRAWN), axis=0))
        arrivals.append(found[1].repeat(len(DRAWN), axis=0))
    none, volume = np.zeros((0, len(fields)), np.float32), spills.volume_m3.sum()
    floods = Floods(
        total * len(DRAWN), np.concatenate([none, *depths]), np.concatenate([none, *arrivals])
    )
    return floods, {
        "members_simulated": len(others),
        "volume_at_another_time": float(elsewhen @ spills.volume_m3[wet] / max(volume, 1e-9)),
    }


def drawn(
    quantiles: FloatArray, surrogate: SurrogateRelease, begin_h: float, hours: float
) -> tuple[FloatArray, FloatArray]:
    """Draws [J, P] of largest depth and hour of arrival until the outlook's end.

    The surrogate counts from the first water on, and knows ``HOURS`` from then. Of its largest
    depth that share counts which its snapshots have reached by the outlook's end.

    Args:
        quantiles: [P, O, Q] of one member.
        surrogate: that gave them.
        begin_h: when its water begins.
        hours: the outlook's end.
    """
    spec = surrogate.spec
    names = [output.name for output in spec.outputs]
    weight = np.stack(
        [np.interp(DRAWN, spec.quantiles, hat) for hat in np.eye(len(spec.quantiles))]
    )

    def at(name: str) -> FloatArray:
        return (quantiles[:, names.index(name)] @ weight).T

    left = min(hours - begin_h, HOURS)
    times = np.array([0.0, *SNAPSHOTS_H])
    seen = np.stack([at(f"depth_{hour:g}h_m") for hour in SNAPSHOTS_H])
    risen = np.maximum.accumulate(np.concatenate([np.zeros_like(seen[:1]), seen]), axis=0)
    k = min(int(np.searchsorted(times, left, side="right")), len(times) - 1)
    share = (left - times[k - 1]) / (times[k] - times[k - 1])
    until = risen[k - 1] + share * (risen[k] - risen[k - 1])
    most = risen[-1]
    reached = np.divide(until, most, out=np.ones_like(most), where=most > 1e-6)
    arrival = at("arrival_h")[::-1]
    depth = at("max_depth_m") * np.where((most > 1e-6) | (arrival <= left), reached, 0)
    came = np.where(depth >= WET_M, begin_h + np.clip(arrival, 0, left), np.inf)
    return depth.astype(np.float32), came.astype(np.float32)
