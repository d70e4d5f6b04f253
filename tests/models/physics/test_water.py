"""Water over terrains: what must hold for any scheme, and what is refused."""

from functools import partial

import pytest
import torch

from models.contracts import FelsinaError
from models.physics.basin import Basin, Breach, Edge, Edges, Inflow, Rain
from models.physics.inundation import SCHEMES, simulate
from models.physics.march import March
from models.physics.shallow_water import ShallowWater

ALL = pytest.mark.parametrize("make", SCHEMES.values(), ids=SCHEMES)


def basin(bed: torch.Tensor, manning=0.03, infiltration=0.0, edges=None, batch=1) -> Basin:
    flat = torch.ones(1, 1, 1, dtype=bed.dtype)
    return Basin(bed, 10.0, flat * manning, flat * infiltration, edges or Edges(), batch)


def rough(rows=12, columns=16, seed=0, terrains=1) -> torch.Tensor:
    torch.manual_seed(seed)
    slope = torch.linspace(2, 0, columns, dtype=torch.float64)
    return slope + torch.rand(terrains, rows, columns, dtype=torch.float64)


def shower(batch=1, mm_h=60.0) -> Rain:
    first = torch.linspace(mm_h, mm_h / 2, batch, dtype=torch.float64) / 3.6e6
    return Rain(
        torch.tensor([0.0, 600.0], dtype=torch.float64),
        torch.stack((first, torch.zeros_like(first)))[:, :, None, None],
    )


@ALL
def test_a_lake_stays_at_rest(make):
    bed = rough()
    still = (1.5 - bed).clamp_min(0)
    flood = simulate(basin(bed), make, 60.0, depth_m=still, watch_s=10.0)
    torch.testing.assert_close(flood.depth_m, still, rtol=0, atol=1e-13)
    assert flood.max_speed_m_s.max() < 1e-12


@ALL
def test_every_litre_is_accounted_for(make):
    bed = rough()
    river = Inflow(
        torch.tensor([35, 36]),
        torch.tensor([0.0, 300.0, 900.0], dtype=torch.float64),
        torch.tensor([[0.0, 0], [2, 1], [0, 0]], dtype=torch.float64)[:, None],
    )
    flood = simulate(
        basin(bed, infiltration=2e-6, edges=Edges.alike("open")),
        make,
        1200.0,
        rain=shower(),
        inflow=river,
    )
    volumes = flood.volumes
    assert float(volumes.error) < 1e-12
    assert float(volumes.inflow) == pytest.approx(3 * 300 / 2 + 3 * 600 / 2)
    assert float(volumes.rain) == pytest.approx(60e-3 / 6 * 12 * 16 * 100)
    assert float(volumes.infiltrated) > 0
    assert float(volumes.left) > 0
    assert (flood.depth_m >= 0).all()


@ALL
def test_a_scenario_does_not_depend_on_its_batch(make):
    beds = rough(terrains=3)
    rain, edges = shower(3), Edges.alike("open")
    together = simulate(basin(beds, edges=edges, batch=3), make, 900.0, rain=rain)
    for b in range(3):
        one = Rain(rain.time_s, rain.intensity_m_s[:, b : b + 1])
        alone = simulate(basin(beds[b : b + 1], edges=edges), make, 900.0, rain=one)
        for field in ("depth_m", "max_depth_m", "max_speed_m_s"):
            found, wanted = getattr(together, field)[b], getattr(alone, field)[0]
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
        torch.testing.assert_close(together.arrival_s[b], alone.arrival_s[0])


@ALL
def test_steps_after_the_last_change_nothing(make):
    """A GPU takes them before it is known whether any is left to take."""
    where = basin(rough(terrains=2), infiltration=2e-6, edges=Edges.alike("open"), batch=2)
    water = torch.rand(where.shape, dtype=torch.float64)
    scheme = make(where, water)
    march = March(scheme, where, shower(2), None, None)
    march.onward(0.0, 60.0)
    before = scheme.depth_m.clone(), scheme.speed_m_s(), march.left.clone(), march.steps
    for _ in range(3):
        march.advance()
    after = scheme.depth_m, scheme.speed_m_s(), march.left, march.steps
    assert all(torch.equal(*pair) for pair in zip(before[:3], after[:3], strict=True))
    assert before[3] == after[3] > 1


@ALL
def test_a_terrain_that_is_turned_turns_its_flood(make):
    bed = rough(14, 14)
    flat = simulate(basin(bed), make, 900.0, rain=shower())
    turned = simulate(basin(bed.rot90(1, (1, 2))), make, 900.0, rain=shower())
    torch.testing.assert_close(
        turned.max_depth_m, flat.max_depth_m.rot90(1, (1, 2)), rtol=0, atol=1e-9
    )
    mirrored = simulate(basin(bed.flip(2)), make, 900.0, rain=shower())
    torch.testing.assert_close(mirrored.max_depth_m, flat.max_depth_m.flip(2), rtol=0, atol=1e-9)


@ALL
def test_a_levee_holds_until_it_breaks(make):
    bed = torch.zeros(1, 9, 20, dtype=torch.float64)
    bed[:, :, 8] = 3.0
    water = torch.zeros_like(bed)
    water[:, :, :8] = 2.0
    gap = Breach(
        torch.tensor([4 * 20 + 8]),
        torch.zeros(1, 1, dtype=torch.float64),
        torch.tensor([300.0]),
        torch.tensor([60.0]),
    )
    held = simulate(basin(bed), make, 600.0, depth_m=water)
    assert held.max_depth_m[:, :, 9:].max() == 0
    broken = simulate(basin(bed), make, 600.0, depth_m=water, breach=gap, watch_s=20.0)
    assert broken.depth_m[:, :, 9:].max() > 0.2
    first = broken.arrival_s[0, 4, 9]
    assert 300 < first <= 380
    assert broken.arrival_s[0, 4, 15] > first
    assert float(broken.volumes.error) < 1e-12


@ALL
def test_a_breach_sinks_to_a_level_and_not_to_a_height_over_the_lowest_cell(make):
    bed = torch.zeros(1, 5, 12, dtype=torch.float64)
    bed[:, :, 5] = 3.0
    water = torch.zeros_like(bed)
    water[:, :, :5] = 2.0
    floods = []
    for foot in (0.0, 57.0):
        gap = Breach(
            torch.tensor([2 * 12 + 5]),
            torch.full((1, 1), foot + 0.5, dtype=torch.float64),
            torch.tensor([60.0]),
            torch.tensor([60.0]),
        )
        floods.append(simulate(basin(bed + foot), make, 600.0, depth_m=water, breach=gap))
    assert floods[0].depth_m[:, :, 6:].max() > 0.2
    torch.testing.assert_close(floods[1].depth_m, floods[0].depth_m, rtol=0, atol=1e-9)


@ALL
def test_each_cell_of_a_breach_may_have_its_own_time(make):
    bed = torch.zeros(1, 11, 12, dtype=torch.float64)
    bed[:, 5] = bed[:, :, 5] = 3.0  # two basins in the west, one above the other
    water = torch.zeros_like(bed)
    water[:, :, :5] = 2.0
    water[:, 5] = 0
    gaps = Breach(
        torch.tensor([2 * 12 + 5, 8 * 12 + 5]),
        torch.zeros(1, 2, dtype=torch.float64),
        torch.tensor([[120.0, 420.0]]),
        torch.tensor([[30.0, 30.0]]),
    )
    arrival = simulate(basin(bed), make, 600.0, depth_m=water, breach=gaps, watch_s=20.0).arrival_s[
        0
    ]
    assert 120 < arrival[2, 6] <= 180
    assert 420 < arrival[8, 6] <= 480


def test_a_river_that_enters_a_steep_channel_is_no_instability():
    """Cells that have just given all they held: their flow over no depth is no speed."""
    bed = torch.linspace(0.0, 40.0, 40, dtype=torch.float64)[None, :, None].repeat(1, 1, 3)
    river = Inflow(
        torch.tensor([39 * 3, 39 * 3 + 1, 39 * 3 + 2]),
        torch.tensor([0.0], dtype=torch.float64),
        torch.full((1, 1, 3), 40.0, dtype=torch.float64),
    )
    edges = Edges(north=Edge("open"))
    flood = simulate(
        basin(bed, edges=edges), SCHEMES["local_inertial"], 600.0, inflow=river, watch_s=5.0
    )
    assert float(flood.volumes.error) < 1e-12
    assert flood.max_speed_m_s.max() < 15


def test_more_rain_floods_no_less():
    floods = [
        simulate(basin(rough()), SCHEMES["muscl"], 900.0, rain=shower(mm_h=mm))
        for mm in (20.0, 40.0, 80.0)
    ]
    areas = [float((flood.max_depth_m > 0.05).sum()) for flood in floods]
    assert areas == sorted(areas)
    assert areas[0] < areas[-1]


def test_what_is_watched_belongs_together():
    flood = simulate(basin(rough()), SCHEMES["muscl"], 900.0, rain=shower(), times_s=(0, 300, 900))
    came = flood.arrival_s.isfinite()
    assert torch.equal(came, flood.max_depth_m >= 0.05)
    assert (flood.duration_s[~came] == 0).all()
    assert (flood.duration_s[came] + flood.arrival_s[came] <= 900 + 60).all()
    assert flood.depths_m.shape == (1, 3, 12, 16)
    torch.testing.assert_close(flood.depths_m[:, 2], flood.depth_m)
    assert (flood.depths_m[:, 0] == 0).all()


@pytest.mark.parametrize(("name", "off"), [("local_inertial", 0.005), ("muscl", 0.06)])
def test_sheet_flow_is_kinematic(name, off):
    """Rain of a time T on a plane: depth is the rain's, until water from the upper end arrives."""
    slope = torch.linspace(1.2, 0, 24, dtype=torch.float64).expand(1, 3, 24)
    plane = basin(slope, 0.05, edges=Edges(east=Edge("open")))
    flood = simulate(plane, SCHEMES[name], 1800.0, rain=shower(mm_h=40), times_s=(600,))
    rained = 40e-3 / 6
    lower = flood.depths_m[0, 0, 1, 12:18]  # away from both ends
    assert (lower - rained).abs().max() < off * rained


def test_an_unstable_run_says_where_and_when():
    wild = partial(ShallowWater, courant=1.0)
    bed = 40 * rough()
    with pytest.raises(FelsinaError, match=r"unstable at \d+ s in row \d+, column \d+ of"):
        simulate(basin(bed, 0.0), wild, 3600.0, depth_m=torch.rand_like(bed) * 20)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bed": torch.full((1, 3, 3), torch.nan)}, "no height in row 0, column 0"),
        ({"manning": -0.1}, "manning is -0.1"),
        ({"edge": "sea"}, "edge 'sea' is unknown; use one of wall"),
        ({"rain": -5.0}, "rain at 0 s is -5 mm/h"),
        ({"times": [0.0, 0.0]}, "time 0 s is not after the one before"),
        ({"late": (7200.0,)}, "lie outside 0 to 60 s"),
        ({"cell": 9}, "outside the grid of 3 x 3"),
        ({"depth": torch.ones(1, 4, 3)}, "depth_m is .1, 4, 3., which does not fit"),
    ],
)
def test_bad_input_is_refused_in_a_line(change, says):
    def run():
        edges = Edges.alike(change.get("edge", "wall"))
        where = basin(
            change.get("bed", torch.zeros(1, 3, 3)), change.get("manning", 0.03), edges=edges
        )
        times = torch.tensor(change.get("times", [0.0]))
        rain = Rain(times, torch.full((len(times), 1, 1, 1), change.get("rain", 1.0) / 3.6e6))
        inflow = Inflow(torch.tensor([change.get("cell", 0)]), torch.zeros(1), torch.zeros(1, 1, 1))
        simulate(
            where,
            SCHEMES["local_inertial"],
            60.0,
            rain=rain,
            inflow=inflow,
            depth_m=change.get("depth"),
            times_s=change.get("late", ()),
        )

    with pytest.raises(FelsinaError, match=says) as refusal:
        run()
    assert "\n" not in str(refusal.value)
