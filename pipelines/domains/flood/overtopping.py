"""From a river's stage to what it spills over a levee: a weir, and a sill that may sink."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from models.contracts import BoolArray, FelsinaError, FloatArray, IntArray
from pipelines.domains.flood.embanked_plain import Plain
from pipelines.domains.flood.levee import crest_place, lies_left
from pipelines.domains.flood.outlook_file import BreakKeys, GaugeKeys
from pipelines.domains.flood.storms import HOUR_S
from pipelines.domains.flood.terrain import Terrain, connected

STEP_H = 1 / 6
"""Stage is followed in steps of this, linear between what is forecast."""
FOOT_M = 1.0
"""Water comes down on cells whose bed differs by no more than this from that of the named one."""


@dataclass(frozen=True)
class Spills:
    """What leaves the river, by M members.

    Attributes:
        hours: [K] after the outlook's beginning.
        stage_m: [M, K] held at what the river can reach.
        flow_m3_s: [M, K] over the levee.
        held: [M] whether a member's forecast passed that.
        broken: [M] whether the levee breaks.
        before_m3: [M] spilled before the outlook's beginning.
    """

    hours: FloatArray
    stage_m: FloatArray
    flow_m3_s: FloatArray
    held: BoolArray
    broken: BoolArray
    before_m3: FloatArray

    @property
    def wet(self) -> IntArray:
        """Members that spill at all."""
        return np.flatnonzero(self.flow_m3_s.max(axis=1) > 0)

    @property
    def volume_m3(self) -> FloatArray:
        """[M] what each spills."""
        return np.asarray(np.trapezoid(self.flow_m3_s, self.hours * HOUR_S, axis=1))


def weir_flow_m3_s(head_m: FloatArray, width_m: float, coefficient: float) -> FloatArray:
    """Free flow over a broad crest, ``c b h^1.5`` (Bos 1989, ILRI 20), 0 below it."""
    return coefficient * width_m * np.maximum(head_m, 0) ** 1.5


def spills(
    keys: GaugeKeys, known_h: FloatArray, stage_m: FloatArray, from_h: float, hours: float
) -> Spills:
    """What members spill between ``from_h`` and so many hours later.

    Args:
        keys: crest, width, and whether the levee may break.
        known_h: [H] hours at which stages are known, from 0 on; the last holds for good.
        stage_m: [M, H].
        from_h: when the outlook begins.
        hours: how long it is.
    """
    most = keys.crest_m + keys.most_over_m
    if keys.breach is not None:
        _check(keys.breach, keys.crest_m, most)
    ahead = np.linspace(0, hours, max(2, round(hours / STEP_H) + 1))
    before = np.arange(0, from_h, STEP_H)
    clock = np.concatenate([before, from_h + ahead])
    told = np.stack([np.interp(clock, known_h, own) for own in stage_m])
    stage = np.minimum(told, most)
    sill, broken = _sill(keys.crest_m, keys.breach, clock, stage)
    flow = weir_flow_m3_s(stage - sill, keys.width_m, keys.coefficient)
    early = slice(0, len(before) + 1)
    now = slice(len(before), None)
    return Spills(
        ahead,
        stage[:, now],
        flow[:, now],
        np.any(told[:, now] > most, axis=1, keepdims=True)[:, 0],
        broken,
        np.asarray(np.trapezoid(flow[:, early], clock[early] * HOUR_S, axis=1)),
    )


def _sill(
    crest_m: float, keys: BreakKeys | None, hours: FloatArray, stage_m: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """[M, K] what water must rise above, and [M] whether the levee breaks.

    It breaks when the stage first reaches what it fails at, sinks in a straight line of time, and
    stays so.
    """
    if keys is None:
        return np.full_like(stage_m, crest_m), np.zeros(len(stage_m), bool)
    failing = stage_m >= keys.fails_at_m
    broken = np.any(failing, axis=1, keepdims=True)[:, 0]
    begin = np.where(broken, hours[failing.argmax(axis=1)], np.inf)
    since = np.maximum(hours - begin[:, None], 0)
    share = np.clip(since / max(keys.minutes / 60, 1e-9), 0, 1)
    return crest_m - share * (crest_m - keys.sill_m), broken


def _check(keys: BreakKeys, crest_m: float, most_m: float) -> None:
    if keys.sill_m >= crest_m:
        raise FelsinaError(
            f"gauge.breach.sill_m = {keys.sill_m:g} is not below crest_m = {crest_m:g}; give the"
            " stage down to which the levee sinks"
        )
    if not keys.sill_m <= keys.fails_at_m <= most_m:
        raise FelsinaError(
            f"gauge.breach.fails_at_m = {keys.fails_at_m:g} is not within sill_m = {keys.sill_m:g}"
            f" and crest_m + most_over_m = {most_m:g}; give a stage that can be reached"
        )


def landing(keys: GaugeKeys, terrain: Terrain, plain: Plain | None) -> IntArray:
    """Flat cells on which the water comes down, beside the levee.

    On a synthetic plain they lie at the levee's foot, on the land's side and on the side of the
    river that is asked; elsewhere about the place that is named (``foot_near``).
    """
    if keys.river is None and keys.side is None:
        if keys.x is None or keys.y is None:
            raise FelsinaError("gauge: give x and y, or river and side on a synthetic plain")
        return foot_near(terrain, keys.x, keys.y, keys.width_m)
    if plain is None or keys.river is None or keys.side is None:
        raise FelsinaError(
            "gauge: river and side go together and are the synthetic river's; give x and y"
        )
    x, y = crest_place(plain, keys.river, keys.side)
    bank = plain.floodway | plain.crest
    foot = ndimage.binary_dilation(plain.crest, np.ones((3, 3))).astype(bool) & ~bank
    cells = np.flatnonzero(foot)
    cells = cells[lies_left(plain, cells) == (keys.side == "left")]
    if not len(cells):
        raise FelsinaError(f"gauge: no land lies beside the levee at river = {keys.river:g}")
    east, north = terrain.centres(cells)
    away = np.hypot(east - x, north - y)
    count = max(1, round(keys.width_m / terrain.cell_m))
    return cells[np.argsort(away, kind="stable")[:count]]


def foot_near(terrain: Terrain, x_m: float, y_m: float, width_m: float) -> IntArray:
    """Flat cells within a width about a place, as high as its own and joined to it by sides.

    So no width reaches over the levee, where the bed of the river lies.
    """
    x, y = terrain.centres()
    here = terrain.cell(x_m, y_m, "gauge")
    bed = terrain.bed_m.ravel()
    near = np.hypot(x - x_m, y - y_m) <= width_m / 2
    near &= np.abs(bed - bed[here]) <= FOOT_M
    near[here] = True
    pieces = connected(near.reshape(terrain.bed_m.shape)).ravel()
    return np.flatnonzero(pieces == pieces[here])
