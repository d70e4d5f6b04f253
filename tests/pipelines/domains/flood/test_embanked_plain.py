"""Synthetic plains: their levees hold, whatever the seed and the grid."""

import numpy as np
import pytest
from scipy.spatial import KDTree

from models.contracts import FelsinaError
from pipelines.domains.flood.embanked_plain import Plain, PlainDesign, drawn, embanked_plain
from pipelines.domains.flood.levee import crest_place, levee_cut
from pipelines.domains.flood.synthetic_homes import synthetic_homes
from pipelines.domains.flood.terrain import Terrain, coarsened, connected


def plain(seed: int, cell_m: float = 25.0, side: int = 96) -> Plain:
    return embanked_plain(PlainDesign(seed=seed, rows=side, columns=side, cell_m=cell_m))


def crest_at_cells(made: Plain, terrain: Terrain) -> np.ndarray:
    """Level of the crests at the nearest point of the river."""
    station = KDTree(made.course_m).query(np.column_stack(terrain.centres()))[1]
    return made.crest_m[station].reshape(terrain.bed_m.shape)


@pytest.mark.parametrize("cell_m", [10.0, 25.0, 60.0, 100.0])
@pytest.mark.parametrize("seed", range(6))
def test_water_up_to_the_crests_stays_between_them(seed: int, cell_m: float) -> None:
    made = plain(seed, cell_m)
    bed = made.terrain.bed_m
    level = crest_at_cells(made, made.terrain)
    assert (bed[made.crest] >= level[made.crest] - 1e-9).all()
    pieces = connected(bed < level - 1e-9)
    river = set(pieces[made.channel].tolist()) - {0}
    outside = set(pieces[~made.floodway & ~made.crest].tolist())
    assert river
    assert not river & outside


@pytest.mark.parametrize("seed", range(6))
def test_levees_hold_after_coarsening_by_five(seed: int) -> None:
    made = plain(seed, 10.0, 240)
    coarse = coarsened(made.terrain, 5)

    def blocks(cells: np.ndarray) -> np.ndarray:
        return cells.reshape(48, 5, 48, 5).any(axis=(1, 3))

    level = crest_at_cells(made, coarse)
    pieces = connected(coarse.bed_m < level - 0.1)
    river = set(pieces[blocks(made.channel) & ~blocks(made.crest)].tolist()) - {0}
    outside = pieces[~blocks(made.floodway) & ~blocks(made.crest)]
    assert not river & set(outside.tolist())


def test_a_plain_is_its_seeds_and_another_seed_is_another() -> None:
    assert np.array_equal(plain(3).terrain.bed_m, plain(3).terrain.bed_m)
    assert np.abs(plain(3).terrain.bed_m - plain(4).terrain.bed_m).mean() > 0.3
    designs = [drawn(PlainDesign(seed=seed)) for seed in range(40)]
    for trait in ("slope", "levee_m", "channel_width_m", "meander_m", "bank_m"):
        values = [getattr(design, trait) for design in designs]
        assert len(set(values)) == 40, trait
    assert drawn(PlainDesign(seed=1, levee_m=4.5)).levee_m == 4.5


def test_a_river_runs_from_south_to_north_above_the_plain() -> None:
    made = plain(2)
    assert (np.diff(made.crest_m) <= 1e-9).all()
    rows = made.inlet // 96
    assert (rows == 95).all()
    assert made.channel[0].any()
    assert made.channel[-1].any()
    assert made.brimful_m3_s > 100


@pytest.mark.parametrize("cell_m", [10.0, 25.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_breach_lets_water_out_from_foot_to_foot(seed: int, cell_m: float) -> None:
    made = plain(seed, cell_m, 120)
    for share, side in ((0.3, "left"), (0.6, "right")):
        cut = levee_cut(made.terrain, *crest_place(made, share, side), 60)
        bed = made.terrain.bed_m.copy()
        bed.flat[cut.cells] = np.minimum(bed.flat[cut.cells], cut.sill_m)
        assert cut.ground_m == cut.sill_m < cut.crest_m
        for ground, opened in ((made.terrain.bed_m, False), (bed, True)):
            row, column = divmod(made.terrain.cell(cut.x_m, cut.y_m, ""), 120)
            near = max(8, round(100 / cell_m))
            window = np.s_[max(row - near, 0) : row + near, max(column - near, 0) : column + near]
            pieces = connected(ground[window] <= cut.sill_m + 0.35)
            river = set(pieces[made.floodway[window]].tolist()) - {0}
            land = ~made.floodway[window] & ~made.crest[window]
            assert bool(river & set(pieces[land].tolist())) is opened


def test_breaches_that_cannot_be_are_refused() -> None:
    made = plain(1)
    x, y = crest_place(made, 0.5, "left")
    flat = made.terrain.centres(np.flatnonzero(~made.floodway & ~made.crest)[:1])
    far = float(flat[0][0]) + 300, float(flat[1][0]) - 300
    for place, keys, says in (
        (far, {}, r"breach: no levee at .*; the nearest is at x ="),
        ((x, y), {"sill_m": 99.0}, r"its sill of 99 m is not below the crest"),
        ((x, y), {"depth_m": 0.0}, r"is not below the crest"),
        ((-5.0, y), {}, "lies outside the terrain"),
    ):
        with pytest.raises(FelsinaError, match=says) as refused:
            levee_cut(made.terrain, *place, 50, **keys)
        assert "\n" not in str(refused.value)


def test_homes_lie_outside_the_levees() -> None:
    made = plain(5)
    homes = synthetic_homes(made, 5)
    assert len(homes.id) >= 60
    assert not (made.floodway | made.crest).ravel()[homes.cell].any()
    assert len(set(homes.id)) == len(homes.id)
    assert (homes.people >= 1).all()
