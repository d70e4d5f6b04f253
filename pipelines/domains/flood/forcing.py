"""From a scenario's keys to what the solver is given: basin, rain, inflow, breaches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.contracts import FelsinaError, FloatArray
from models.physics.basin import Basin, Breach, Edge, Edges, Inflow, Rain
from pipelines.domains.flood.embanked_plain import Plain, embanked_plain
from pipelines.domains.flood.levee import Cut
from pipelines.domains.flood.rasters import read_on, read_terrain
from pipelines.domains.flood.scenario_file import Scenario
from pipelines.domains.flood.sources import Inlet, breach_cut, hyetograph, inlet
from pipelines.domains.flood.storms import HOUR_S, MM_H_IN_M_S, Hyetograph, cut_at_end
from pipelines.domains.flood.terrain import Terrain, coarsened


@dataclass(frozen=True)
class Setting:
    """A scenario with all its files read.

    Attributes:
        asked: its keys.
        terrain: the bed.
        plain: the synthetic plain that it is, if it is one.
        manning: number or [Y, X].
        infiltration_mm_h: number or [Y, X].
        rain: what falls.
        inlets: what comes by rivers.
        cuts: what breaks, in the order of ``asked.breach``.
    """

    asked: Scenario
    terrain: Terrain
    plain: Plain | None
    manning: FloatArray
    infiltration_mm_h: FloatArray
    rain: Hyetograph | None
    inlets: tuple[Inlet, ...]
    cuts: tuple[Cut, ...]

    def basin(self) -> Basin:
        """What water runs over, in double precision."""
        sides = {side: Edge(kind) for side, kind in self.asked.edges.model_dump().items()}
        return Basin(
            tensor(self.terrain.bed_m)[None],
            self.terrain.cell_m,
            tensor(np.atleast_2d(self.manning))[None],
            tensor(np.atleast_2d(self.infiltration_mm_h) * MM_H_IN_M_S)[None],
            Edges(**sides),
        )

    def falling(self) -> Rain | None:
        """The rain, dry before it begins and after it ends."""
        if self.rain is None or self.asked.rain is None:
            return None
        values = np.asarray(self.rain.intensity_mm_h, float) * MM_H_IN_M_S
        values = values.reshape(len(values), 1, *(values.shape[1:] or (1, 1)))
        dry = np.zeros_like(values[:1])
        begin = self.asked.rain.begin_h * HOUR_S
        early = begin > 0
        times = np.concatenate([[0.0] * early, self.rain.time_s + begin])
        return Rain(tensor(times), tensor(np.concatenate([dry[: int(early)], values, dry])))

    @property
    def cut(self) -> str:
        """What the end cuts off the storm, a sentence; empty where it falls whole, or none does.

        Raises:
            FelsinaError: if none of it falls before the end.
        """
        if self.rain is None or self.asked.rain is None:
            return ""
        return cut_at_end(self.rain, self.asked.rain.begin_h, self.asked.hours)

    def entering(self) -> Inflow | None:
        """All hydrographs on one clock."""
        if not self.inlets:
            return None
        clocks = [entry.hydrograph.time_s for entry in self.inlets]
        times = np.unique(np.concatenate([[0.0], *clocks]))
        flow = [
            np.interp(times, entry.hydrograph.time_s, entry.hydrograph.flow_m3_s)[:, None, None]
            / len(entry.cells)
            * np.ones(len(entry.cells))
            for entry in self.inlets
        ]
        cells = np.concatenate([entry.cells for entry in self.inlets])
        return Inflow(torch.as_tensor(cells), tensor(times), tensor(np.concatenate(flow, axis=2)))

    def breaking(self) -> Breach | None:
        """All breaches, each with its own time."""
        if not self.cuts:
            return None
        count = [len(cut.cells) for cut in self.cuts]

        def each(values: list[float]) -> Tensor:
            return tensor(np.repeat(np.array(values, float), count))[None]

        return Breach(
            torch.as_tensor(np.concatenate([cut.cells for cut in self.cuts])),
            each([cut.sill_m for cut in self.cuts]),
            each([keys.hour * HOUR_S for keys in self.asked.breach]),
            each([keys.minutes * 60 for keys in self.asked.breach]),
        )


def open_setting(asked: Scenario, base: Path) -> Setting:
    """Read all that a scenario names.

    Args:
        asked: its keys.
        base: folder that its paths are relative to.

    Raises:
        FelsinaError: naming file or key, value and remedy.
    """
    terrain, plain = _terrain(asked, base)
    return Setting(
        asked,
        terrain,
        plain,
        _surface("roughness", asked.roughness, base, terrain),
        _surface("infiltration_mm_h", asked.infiltration_mm_h, base, terrain),
        None if asked.rain is None else hyetograph(asked.rain, base, terrain),
        tuple(
            inlet(keys, f"inflow {number}", asked.hours, base, terrain, plain)
            for number, keys in enumerate(asked.inflow, start=1)
        ),
        tuple(
            breach_cut(keys, f"breach {number}", asked.hours, terrain, plain)
            for number, keys in enumerate(asked.breach, start=1)
        ),
    )


def tensor(values: FloatArray) -> Tensor:
    """In double precision."""
    return torch.as_tensor(np.array(values, float))


def _terrain(asked: Scenario, base: Path) -> tuple[Terrain, Plain | None]:
    keys = asked.terrain
    if (keys.file is None) == (keys.synthetic is None):
        raise FelsinaError("terrain: give either file = 'DTM.tif' or synthetic = {seed = 1}")
    if keys.file is not None:
        terrain = read_terrain(base / keys.file, keys.fill, keys.clip)
        return coarsened(terrain, keys.coarsen), None
    assert keys.synthetic is not None
    if keys.coarsen > 1 or keys.clip or keys.fill:
        raise FelsinaError(
            "terrain: fill, clip and coarsen are for files; give the synthetic plain another"
            " cell_m, rows and columns"
        )
    plain = embanked_plain(keys.synthetic)
    return plain.terrain, plain


def _surface(name: str, value: float | str, base: Path, terrain: Terrain) -> FloatArray:
    """A number, or the first band of a raster, from 0 on."""
    if isinstance(value, str):
        found = read_on(base / value, terrain, name)[0]
    else:
        found = np.array(value, float)
    if not (found >= 0).all() or not np.isfinite(found).all():
        raise FelsinaError(f"{name} = {value}: {found.min():g} is not a number from 0 on")
    return found
