"""Drawn inundations, each simulated, as an experiments folder that a surrogate is trained on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from scipy import ndimage

from models.contracts import BoolArray, FloatArray, IntArray
from models.physics.basin import OPEN, Basin, Edges, Inflow, Rain
from models.physics.inundation import SCHEMES, simulate
from models.record import canonical_json, sha256_bytes
from models.scenario import CALIBRATION, STOPPING, TRAIN
from pipelines.domains.flood.embanked_plain import PlainDesign, embanked_plain
from pipelines.domains.flood.inundation_surrogate import (
    HOURS,
    LEAST,
    MANNING,
    MOST,
    SCALARS,
    SNAPSHOTS_H,
    STEP_S,
    inflow_m3_s,
    spec_of,
    storm_mm_h,
)
from pipelines.domains.flood.terrain import Terrain, coarsened
from pipelines.domains.scenarios import FINISHED, Frozen, read_keys
from pipelines.settings import held
from training.experiments import Experiments, write_experiments

EXAMPLE = "an invented plain"
"""Preset of a terrain with a breach that was never trained on, for those who have none at hand."""
HELD_OUT_SCENARIOS, HELD_OUT_TERRAINS = "held-out scenarios", "held-out terrains"
_WATCH_S = 300.0
_MM_H = 1e-3 / 3600
_FILM_M = 0.01
"""Water less deep than this in a block has no level to fill its cells to."""


class Design(Frozen):
    """A design file.

    Attributes:
        name: of the surrogate.
        domain: this one.
        rows: cells from north to south.
        columns: cells from west to east.
        cell_m: side of a cell.
        draw: number that decides every terrain and scenario.
        scenarios: of each terrain.
        training: terrains that are learned from; one scenario of every second is held out.
        stopping: terrains that say when to stop training.
        calibration: terrains that the bands are calibrated on.
        held_out: terrains of the test set.
        together: scenarios that are simulated side by side.
    """

    name: str = Field(min_length=1, pattern=r"^[a-z0-9-]+$")
    domain: Literal["flood"]
    rows: int = Field(64, ge=24, le=256)
    columns: int = Field(64, ge=24, le=256)
    cell_m: float = Field(50.0, ge=5, le=200)
    draw: int = Field(1, ge=0)
    scenarios: int = Field(6, ge=2)
    training: int = Field(170, ge=2)
    stopping: int = Field(12, ge=1)
    calibration: int = Field(18, ge=1)
    held_out: int = Field(20, ge=1)
    together: int = Field(8, ge=1)

    @property
    def grid(self) -> Grid:
        """Of all terrains."""
        return Grid(self.rows, self.columns, self.cell_m)

    def runs(self) -> list[tuple[str, int, int]]:
        """Split, terrain and scenario of all runs; training comes last."""
        kinds = {HELD_OUT_TERRAINS: self.held_out, CALIBRATION: self.calibration}
        kinds |= {STOPPING: self.stopping, TRAIN: self.training}
        found, terrain = [], 0
        for kind, count in kinds.items():
            for _ in range(count):
                found += [(kind, terrain, scenario) for scenario in range(self.scenarios)]
                if kind == TRAIN and terrain % 2:
                    found[-1] = (HELD_OUT_SCENARIOS, terrain, self.scenarios - 1)
                terrain += 1
        return found


@dataclass(frozen=True)
class _Drawn:
    """A scenario: ``scalars`` [F] in the order of ``SCALARS``, ``fields`` [Y, X, 3]."""

    scalars: FloatArray
    fields: FloatArray


def sample(
    design: dict[str, Any], base: Path, out: Path, progress: Callable[[str, float], None]
) -> None:
    """Draw terrains and scenarios, simulate them and write the experiments folder ``out``.

    Finished batches are kept under ``out / FINISHED``: the same design goes on where it was killed.

    Args:
        design: the parsed file (``Design``).
        base: folder that its paths are relative to; it names none.
        out: folder to write.
        progress: told a text and the share that is done.

    Raises:
        FelsinaError: naming the key that is wrong.
    """
    asked = read_keys(Design, design)
    runs = asked.runs()
    key = sha256_bytes(canonical_json(asked.model_dump(mode="json")))[:12]
    folder = out / FINISHED
    parts = []
    with held(folder / ".lock"):
        for begin in range(0, len(runs), asked.together):
            some = runs[begin : begin + asked.together]
            path = folder / f"{key}-{begin}.npy"
            if not path.is_file():
                path.with_suffix(".part").unlink(missing_ok=True)
                drawn = [_draw(asked, terrain, k) for _, terrain, k in some]
                found = simulated(*_arrays(drawn), asked.grid)
                with path.with_suffix(".part").open("wb") as file:
                    np.save(file, found, allow_pickle=False)
                path.with_suffix(".part").rename(path)
            parts.append(np.load(path, allow_pickle=False))
            done = begin + len(some)
            progress(f"run {done} of {len(runs)}", done / len(runs))
    scalars, fields = _arrays([_draw(asked, terrain, k) for _, terrain, k in runs])
    relief = float(np.ceil(fields[..., 0].max()))
    experiments = Experiments(
        out,
        spec_of(
            asked.name,
            asked.rows,
            asked.columns,
            asked.cell_m,
            relief,
            {EXAMPLE: _example(fields, [split for split, _, _ in runs])},
        ),
        scalars,
        fields,
        np.concatenate(parts),
        np.array([split for split, _, _ in runs]),
        {"made": asked.model_dump(mode="json")},
    )
    progress("written", 1.0)
    write_experiments(out, experiments)
    shutil.rmtree(folder)


def _example(fields: FloatArray, split: list[str]) -> list[list[float]]:
    """The fields [P, 3] of the first held-out terrain that water enters, else of the first."""
    held_out = np.flatnonzero(np.array(split) == HELD_OUT_TERRAINS)
    entered = fields[held_out, :, 2].sum(axis=1) > 0
    return fields[held_out[np.argmax(entered)]].astype(float).round(4).tolist()


def _arrays(drawn: list[_Drawn]) -> tuple[FloatArray, FloatArray]:
    """Scalars [B, F] and fields [B, P, 3]."""
    fields = np.stack([one.fields.reshape(-1, 3) for one in drawn])
    return np.stack([one.scalars for one in drawn]).astype(np.float32), fields.astype(np.float32)


def _draw(design: Design, terrain: int, scenario: int) -> _Drawn:
    plain = embanked_plain(
        PlainDesign(
            seed=design.draw * 100_000 + terrain,
            rows=design.rows,
            columns=design.columns,
            cell_m=design.cell_m,
        )
    )
    rng = np.random.default_rng([design.draw, terrain, scenario])
    found = {name: rng.uniform(LEAST.get(name, 0.0), most) for name, most in MOST.items()}
    kind = rng.choice(["storm", "breach", "both"], p=[0.3, 0.4, 0.3])
    if kind == "storm":
        found["inflow_m3_s"] = 0.0
    if kind == "breach":
        found["rain_mm"] = 0.0
    bed = plain.terrain.bed_m - plain.terrain.bed_m.min()
    source = np.zeros(bed.shape)
    cells = _beside(plain.floodway | plain.crest, plain.crest, rng)
    source.flat[cells] = (kind != "storm") / len(cells)
    scalars = np.array([found[name] for name in SCALARS])
    return _Drawn(scalars, np.stack([bed, _roughness(bed.shape, rng), source], -1))


def _beside(river: BoolArray, crest: BoolArray, rng: np.random.Generator) -> IntArray:
    """One to three neighbouring cells at the foot of a levee, on the plain's side."""
    foot = ndimage.binary_dilation(crest, np.ones((3, 3))).astype(bool) & ~river
    foot[[0, -1]] = foot[:, [0, -1]] = False
    places = np.argwhere(foot if foot.any() else ~river)
    chosen = places[rng.integers(len(places))]
    nearest = np.argsort(((places - chosen) ** 2).sum(1), kind="stable")
    rows, columns = places[nearest[: rng.integers(1, 4)]].T
    return rows * river.shape[1] + columns


def _roughness(shape: tuple[int, ...], rng: np.random.Generator) -> FloatArray:
    """Manning's n: a ground's own, with rougher and smoother parts."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(2, 6))
    parts = np.exp(rng.uniform(0, 0.5) * noise / max(float(noise.std()), 1e-9))
    return np.clip(np.exp(rng.uniform(np.log(0.03), np.log(0.1))) * parts, *MANNING)


@dataclass(frozen=True)
class Grid:
    """Y x X square cells."""

    rows: int
    columns: int
    cell_m: float


def simulated(scalars: FloatArray, fields: FloatArray, grid: Grid, factor: int = 1) -> FloatArray:
    """What the solver answers to scenarios side by side.

    Args:
        scalars: [B, F] in the order of ``SCALARS``.
        fields: [B, P, 3] bed, roughness and source.
        grid: that P cells form.
        factor: blocks of so many cells squared are simulated as one; water then fills each block's
            cells to one level.

    Returns:
        [B, P, O] largest depth, depths at the snapshots, hour of arrival (NaN for never).
    """
    maps = fields.reshape(len(fields), grid.rows, grid.columns, 3)
    bed = np.stack([_bed(one, grid, factor) for one in maps[..., 0]])
    count = len(maps), grid.rows // factor, factor, grid.columns // factor, factor
    manning = maps[..., 1].reshape(count).mean((2, 4))
    share = _tensor(maps[..., 2].reshape(count).sum((2, 4))).flatten(1)
    column = dict(zip(SCALARS, scalars.T.astype(float), strict=True))
    basin = Basin(
        _tensor(bed),
        grid.cell_m * factor,
        _tensor(manning),
        _tensor(column["infiltration_mm_h"] * _MM_H)[:, None, None],
        Edges.alike(OPEN),
        len(maps),
    )
    storm = storm_mm_h(column["rain_mm"], column["rain_h"], column["rain_peak"])
    times = torch.arange(len(storm) + 1, dtype=torch.float64) * STEP_S
    rain = Rain(times[:-1], _tensor(storm * _MM_H)[:, :, None, None])
    cells = share.any(0).nonzero().flatten()
    flow = _tensor(inflow_m3_s(column["inflow_m3_s"], column["rise_h"], column["fall_h"]))
    flood = simulate(
        basin,
        SCHEMES["local_inertial"],
        HOURS * 3600,
        rain=rain,
        inflow=Inflow(cells, times, flow[:, :, None] * share[:, cells]) if len(cells) else None,
        times_s=[hour * 3600 for hour in SNAPSHOTS_H],
        watch_s=_WATCH_S,
    )
    arrival = torch.where(flood.arrival_s.isfinite(), flood.arrival_s / 3600, torch.nan)
    depths = torch.cat((flood.max_depth_m[:, None], flood.depths_m), 1).cpu().numpy()
    if factor > 1:
        level = _spread(np.where(depths > _FILM_M, bed[:, None] + depths, -np.inf), factor)
        depths = np.maximum(level - maps[:, None, ..., 0], 0)
    found = np.concatenate((depths, _spread(arrival[:, None].cpu().numpy(), factor)), 1)
    return found.reshape(*found.shape[:2], -1).swapaxes(1, 2).astype(np.float32)


def _bed(bed_m: FloatArray, grid: Grid, factor: int) -> FloatArray:
    """A bed [Y, X] by blocks, embankments kept."""
    if factor == 1:
        return bed_m
    return coarsened(Terrain(bed_m.astype(float), grid.cell_m), factor).bed_m


def _spread(values: FloatArray, factor: int) -> FloatArray:
    """Blocks as cells again, [..., Y, X]."""
    return values.repeat(factor, -2).repeat(factor, -1)


def _tensor(values: FloatArray) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float32)
