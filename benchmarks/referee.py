"""The water solver beside ANUGA, another group's on triangles: where no answer is known, two are.

    python -m benchmarks.referee

Needs the extra [referee]. Markdown tables on stdout; some five minutes on one core. ANUGA
(Geoscience Australia, Australian National University) runs its DE1 scheme on four triangles for
each of our cells; a cell's depth there is the mean of its four.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from benchmarks.tables import head, row
from models.contracts import BoolArray, FloatArray, IntArray
from models.physics.basin import Basin, Edges, Inflow
from models.physics.inundation import SCHEMES, simulate
from pipelines.domains.flood.analytic import dam_break_m
from pipelines.domains.flood.embanked_plain import PlainDesign, embanked_plain

WET_M = 0.05
"""Cells that are less deep in both are left out of the mean error."""
CSI_M = (0.1, 0.3)
LOOK_S = 60.0
HOURS = 1.0


@dataclass(frozen=True)
class Case:
    """Water between walls that two solvers move.

    Attributes:
        bed_m: [Y, X], row 0 north.
        depth_m: [Y, X] at the start.
        cell_m: side of a cell.
        end_s: how long.
        manning: roughness, s/m^(1/3).
        sources: flat cells that water enters at.
        flow_m3_s: in all, throughout.
    """

    bed_m: FloatArray
    depth_m: FloatArray
    cell_m: float
    end_s: float
    manning: float = 0.0
    sources: tuple[int, ...] = field(default=())
    flow_m3_s: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What one solver says.

    Attributes:
        depth_m: [Y, X] at the end.
        most_m: [Y, X] deepest of all looks.
        volume_m3: at the end.
        seconds: that it took.
    """

    depth_m: FloatArray
    most_m: FloatArray
    volume_m3: float
    seconds: float


def ours(case: Case, scheme: str) -> Answer:
    """By one of our schemes, in double precision."""
    began = time.perf_counter()
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    basin = Basin(
        torch.from_numpy(case.bed_m)[None], case.cell_m, one * case.manning, one * 0, Edges()
    )
    inflow = None
    if case.sources:
        flow = torch.full((1, 1, len(case.sources)), case.flow_m3_s / len(case.sources))
        inflow = Inflow(torch.tensor(case.sources), torch.zeros(1).double(), flow.double())
    with torch.no_grad():
        found = simulate(
            basin,
            SCHEMES[scheme],
            case.end_s,
            inflow=inflow,
            depth_m=torch.from_numpy(case.depth_m)[None].clone(),
            watch_s=min(LOOK_S, case.end_s),
        )
    return Answer(
        found.depth_m[0].numpy(),
        found.max_depth_m[0].numpy(),
        float(found.volumes.end[0]),
        time.perf_counter() - began,
    )


def anuga_domain(case: Case) -> tuple[Any, IntArray]:
    """ANUGA's domain of a case, and the flat cell [triangles] that each triangle lies in."""
    import anuga

    rows, columns = case.bed_m.shape
    wide, tall = columns * case.cell_m, rows * case.cell_m
    domain = anuga.rectangular_cross_domain(columns, rows, len1=wide, len2=tall)
    domain.set_flow_algorithm("DE1")
    domain.set_store(False)
    x, y = domain.get_centroid_coordinates().T
    cell = (rows - 1 - (y / case.cell_m).astype(int)) * columns + (x / case.cell_m).astype(int)
    domain.set_quantity("elevation", case.bed_m.ravel()[cell], location="centroids")
    level = (case.bed_m + case.depth_m).ravel()[cell]
    domain.set_quantity("stage", level, location="centroids")
    domain.set_quantity("friction", case.manning)
    wall = anuga.Reflective_boundary(domain)
    domain.set_boundary(dict.fromkeys(("left", "right", "top", "bottom"), wall))
    if case.sources:
        inside = np.flatnonzero(np.isin(cell, case.sources)).tolist()
        area = len(case.sources) * case.cell_m**2
        anuga.Rate_operator(domain, rate=case.flow_m3_s / area, indices=inside)
    return domain, cell


def referee(case: Case) -> Answer:
    """By ANUGA's DE1."""
    began = time.perf_counter()
    domain, cell = anuga_domain(case)
    ground = domain.quantities["elevation"].centroid_values
    surface = domain.quantities["stage"].centroid_values

    def depth() -> FloatArray:
        total = np.bincount(cell, (surface - ground).clip(0), case.bed_m.size)
        return (total / 4).reshape(case.bed_m.shape)

    most = depth()
    for _ in domain.evolve(yieldstep=min(LOOK_S, case.end_s), finaltime=case.end_s):
        most = np.maximum(most, depth())
    last = depth()
    volume = float(last.sum()) * case.cell_m**2
    return Answer(last, most, volume, time.perf_counter() - began)


def halved(case: Case) -> Case:
    """The same on cells half as wide, four for one."""

    def four(values: FloatArray) -> FloatArray:
        return values.repeat(2, axis=0).repeat(2, axis=1)

    columns = case.bed_m.shape[1]
    place = np.isin(np.arange(case.bed_m.size), case.sources).reshape(-1, columns).astype(float)
    sources = tuple(np.flatnonzero(four(place)).tolist())
    return replace(
        case,
        bed_m=four(case.bed_m),
        depth_m=four(case.depth_m),
        cell_m=case.cell_m / 2,
        sources=sources,
    )


def of_four(values: FloatArray) -> FloatArray:
    """Means of four cells, back on the grid that ``halved`` was given."""
    rows, columns = values.shape
    return values.reshape(rows // 2, 2, columns // 2, 2).mean(axis=(1, 3))


def dam_break(before_m: float, cell_m: float = 1.0) -> tuple[Case, FloatArray]:
    """A dam of 1 m that goes, 200 m after 10 s, and the exact depth [1, X]."""
    x = np.arange(-100, 100, cell_m) + cell_m / 2
    depth = np.where(x < 0, 1.0, before_m)[None]
    case = Case(np.zeros_like(depth), depth, cell_m, 10.0)
    return case, dam_break_m(x, case.end_s, 1.0, before_m)[None]


def circular_dam(before_m: float) -> Case:
    """A cylinder of water 2.5 m high and 25 m wide in the middle of 100 m, after 3 s."""
    at = np.arange(100) + 0.5 - 50
    depth = np.where(np.hypot(*np.meshgrid(at, at)) < 12.5, 2.5, before_m)
    return Case(np.zeros_like(depth), depth, 1.0, 3.0)


def breach_wave(banks: int | None = None) -> Case:
    """60 m3/s that leave a river between levees, on 1.5 km of an invented plain, for an hour.

    Args:
        banks: roads and railways on banks; drawn by the plain's seed when left out.
    """
    design = PlainDesign(seed=4, rows=60, columns=60, cell_m=25.0, banks=banks)
    plain = embanked_plain(design)
    bed = plain.terrain.bed_m
    _, columns = bed.shape
    row = len(bed) // 2
    river = np.flatnonzero(plain.floodway[row])
    right = int(river.max())
    # The first ground beyond the levee's foot, on the side with more of the plain.
    if columns - right > int(river.min()):
        column = next(c for c in range(right + 2, columns) if bed[row, c] <= bed[row, c - 1] + 0.1)
        column += 2
    else:
        left = int(river.min())
        column = next(c for c in range(left - 2, 0, -1) if bed[row, c] <= bed[row, c + 1] + 0.1)
        column -= 2
    sources = tuple(int((row + k) * columns + column) for k in (-1, 0, 1))
    return Case(bed, np.zeros_like(bed), 25.0, HOURS * 3600, 0.04, sources, 60.0)


def off(found: FloatArray, exact: FloatArray) -> float:
    """Mean absolute difference over the mean, as in SWASHES."""
    return float(np.abs(found - exact).sum() / exact.sum())


def csi(one: FloatArray, other: FloatArray, from_m: float) -> float:
    """Critical success index of cells at least so deep: those in both by those in either."""
    wet: tuple[BoolArray, BoolArray] = (one >= from_m, other >= from_m)
    return float((wet[0] & wet[1]).sum() / max(int((wet[0] | wet[1]).sum()), 1))


def mae_m(one: FloatArray, other: FloatArray) -> float:
    """Mean absolute difference of depth where either is ``WET_M`` deep."""
    wet = (one >= WET_M) | (other >= WET_M)
    return float(np.abs(one - other)[wet].mean())


def dam_breaks() -> None:
    names = ("ANUGA DE1", *SCHEMES, "muscl, half the cell", "muscl beside ANUGA")
    head("dam break, L1 of depth by its mean", *names)
    for name, before in (("dry bed (Ritter)", 0.0), ("wet bed (Stoker)", 0.1)):
        case, exact = dam_break(before)
        judge = referee(case).depth_m
        found = {scheme: ours(case, scheme).depth_m for scheme in SCHEMES}
        own = (f"{off(depth, exact):.2%}" for depth in found.values())
        fine, exact_fine = dam_break(before, 0.5)
        half = off(ours(fine, "muscl").depth_m, exact_fine)
        beside = off(found["muscl"], judge)
        row(name, f"{off(judge, exact):.2%}", *own, f"{half:.2%}", f"{beside:.2%}")


def two_dimensional() -> None:
    head(
        "case",
        "scheme",
        *(f"CSI at {depth:g} m" for depth in CSI_M),
        "depth MAE, m",
        "mean depth, m",
        "volume by ANUGA's",
        "s",
        "ANUGA s",
    )
    cases = {
        "circular dam, dry before": circular_dam(0.0),
        "circular dam, 0.5 m before": circular_dam(0.5),
        "breach wave": breach_wave(),
        "breach wave, no banks": breach_wave(banks=0),
    }
    for name, case in cases.items():
        judge = referee(case)
        answers = {scheme: ours(case, scheme) for scheme in SCHEMES}
        fine = ours(halved(case), "muscl")
        coarse = {"depth_m": of_four(fine.depth_m), "most_m": of_four(fine.most_m)}
        answers["muscl, half the cell"] = replace(fine, **coarse)
        for when, which in (("deepest", "most_m"), ("end", "depth_m")):
            wanted = getattr(judge, which)
            for scheme, answer in answers.items():
                found = getattr(answer, which)
                row(
                    f"{name}, {when}",
                    scheme,
                    *(f"{csi(found, wanted, depth):.3f}" for depth in CSI_M),
                    f"{mae_m(found, wanted):.4f}",
                    f"{wanted[wanted >= WET_M].mean():.3f}",
                    f"{answer.volume_m3 / judge.volume_m3:.4f}",
                    f"{answer.seconds:.1f}",
                    f"{judge.seconds:.1f}",
                )


if __name__ == "__main__":
    torch.set_num_threads(1)
    dam_breaks()
    print()
    two_dimensional()
