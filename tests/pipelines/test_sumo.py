"""Runs of SUMO: what a seed decides, and what each measure does to the streets."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from pipelines.domains.traffic.measures import Intervention
from pipelines.domains.traffic.network import Network, open_network
from pipelines.domains.traffic.recording import Run, Span
from pipelines.domains.traffic.sumo import simulate, sumo_home
from tests.fixtures.streets import BUSES, SPAN, STRAIGHT, THROUGH, VEHICLES
from tests.fixtures.tiny import ROOT


def flow(run: Run, edge: str) -> float:
    table = run.edges
    return float(table[table["edge"] == edge]["flow_veh_h"].mean())


def speeds(run: Run) -> np.ndarray:
    return run.edges["speed_m_s"].dropna().to_numpy()


def everywhere(network: Network, limit: float) -> dict[str, float]:
    return {lane.id: limit for lane in network.lanes.values() if lane.speed_m_s > limit}


def run(network: Network, runs: Path, seed: int = 1, **change: object) -> Run:
    return simulate(network, Intervention(**change), seed, SPAN, runs)


def test_the_same_seed_gives_the_same_run_and_another_does_not(
    streets: Network, runs: Path, tmp_path: Path
) -> None:
    first, again = run(streets, runs), run(streets, tmp_path)
    assert first.edges.equals(again.edges)
    assert (first.totals, first.loops) == (again.totals, again.loops)
    assert not first.edges.equals(run(streets, runs, seed=2).edges)


def test_flow_speed_and_density_agree(streets: Network, runs: Path) -> None:
    table = run(streets, runs).edges
    driven = table[table["density_veh_km"] > 0]
    product = 3.6 * driven["density_veh_km"] * driven["speed_m_s"]
    np.testing.assert_allclose(driven["flow_veh_h"], product, rtol=1e-9)
    assert set(table["edge"]) == set(streets.edges)
    lengths = np.array([streets.edges[edge].length_m for edge in table["edge"]])
    km = (table["flow_veh_h"] * lengths / 1000).sum() * SPAN.measured / 3600
    total = run(streets, runs).totals["vehicle_km"]
    assert 0.8 * total < km < total  # the rest is driven on junctions


def test_a_loop_counts_what_flows_over_its_edge(streets: Network, runs: Path) -> None:
    today = run(streets, runs)
    counted = sum(today.loops[f"1.1_2.2_6_1__l{lane}"] for lane in (0, 1))
    assert counted == pytest.approx(flow(today, STRAIGHT), rel=0.05)


def test_a_limit_lowers_speeds_and_leaves_trips(streets: Network, runs: Path) -> None:
    today = run(streets, runs)
    limited = run(streets, runs, speed_limits=everywhere(streets, 30 / 3.6))
    assert speeds(limited).max() < 1.1 * 30 / 3.6 < speeds(today).max()
    assert speeds(limited).mean() < 0.85 * speeds(today).mean()
    assert limited.totals["vehicle_km"] == pytest.approx(today.totals["vehicle_km"], rel=0.1)
    assert limited.totals["vehicle_h"] > today.totals["vehicle_h"]


def test_nobody_drives_on_a_closed_edge(streets: Network, runs: Path) -> None:
    today, closed = run(streets, runs), run(streets, runs, closed=(THROUGH,))
    assert flow(today, THROUGH) > 200
    assert flow(closed, THROUGH) == 0
    assert closed.totals["trips_removed"] == closed.totals["without_route"] == 0
    assert closed.totals["vehicle_km"] > today.totals["vehicle_km"]


def test_trips_that_a_closure_makes_impossible_are_left_out(streets: Network, runs: Path) -> None:
    routes = streets.routes[0].read_text()
    first = run(streets, runs, closed=("A3B3",))
    assert first.totals["trips_removed"] == routes.count('edges="A3B3 ') > 100
    assert flow(first, "A3B3") == 0
    last = run(streets, runs, closed=("C3D3",))
    assert last.totals["trips_removed"] == routes.count(' C3D3"') > 100
    assert flow(last, "C3D3") == 0
    cut = run(streets, runs, closed=("B0C0", "B1C1", "B2C2", "B3C3"))  # the way east
    assert cut.totals["trips_removed"] == VEHICLES + BUSES
    assert cut.totals["vehicle_km"] == 0


def test_a_bus_skips_a_stop_on_a_closed_edge(streets: Network, runs: Path, tmp_path: Path) -> None:
    kept = {path.name: path.read_text() for path in streets.folder.glob("*.xml")}
    folder = tmp_path / "moved"
    folder.mkdir()
    for name, text in kept.items():
        (folder / name).write_text(text.replace('lane="A3B3_0" startPos', 'lane="B3C3_0" startPos'))
    moved = open_network(folder)
    closed = simulate(moved, Intervention(closed=(STRAIGHT,)), 1, SPAN, runs)
    assert flow(closed, STRAIGHT) == 0
    assert closed.totals["trips_removed"] == closed.totals["without_route"] == 0


def test_a_taken_lane_is_left_to_buses(streets: Network, runs: Path) -> None:
    today, taken = run(streets, runs), run(streets, runs, taken={f"{STRAIGHT}_0": "bus"})
    lanes = [[r.loops[f"1.1_2.2_6_1__l{lane}"] for lane in (0, 1)] for r in (today, taken)]
    buses = 3600 / 120
    assert lanes[0][0] > 100
    assert lanes[1][0] == pytest.approx(buses, abs=4)  # one more or less in a quarter of an hour
    assert sum(lanes[1]) == pytest.approx(sum(lanes[0]), rel=0.1)
    assert taken.totals["teleports"] == 0


def test_demand_scales_cars_and_leaves_the_timetable(streets: Network, runs: Path) -> None:
    lane = {f"{STRAIGHT}_0": "bus"}
    whole, part = (run(streets, runs, taken=lane, demand=factor) for factor in (1.0, 0.5))
    assert part.totals["vehicle_km"] == pytest.approx(0.5 * whole.totals["vehicle_km"], rel=0.06)
    assert part.loops["1.1_2.2_6_1__l0"] == whole.loops["1.1_2.2_6_1__l0"] > 0
    less = run(streets, runs, demand=0.8)
    assert flow(less, THROUGH) < 0.9 * flow(run(streets, runs), THROUGH)


def test_a_run_writes_nothing_where_the_scenario_lies(streets: Network, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in streets.folder.rglob("*")}
    run(streets, tmp_path, demand=0.9, closed=(THROUGH,))
    assert {path: path.stat().st_mtime_ns for path in streets.folder.rglob("*")} == before
    (place,) = tmp_path.iterdir()
    assert sorted(path.name for path in place.iterdir()) == ["edges.parquet", "run.json"]


def test_what_sumo_refuses_is_one_line(streets: Network, tmp_path: Path) -> None:
    folder = tmp_path / "spoilt"
    folder.mkdir()
    for path in streets.folder.glob("*.xml"):
        (folder / path.name).write_text(path.read_text().replace('type="car"', 'type="van"'))
    with pytest.raises(FelsinaError, match=r"^sumo: Error: .*van.*; mend .*$"):
        simulate(open_network(folder), Intervention(), 1, SPAN, tmp_path / "runs")


def test_a_span_is_of_whole_periods() -> None:
    with pytest.raises(FelsinaError, match=r"warm_up 1000: 2600 s are measured; .* of 900"):
        Span(0, 3600, 1000)


def test_without_sumo_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sumo", None)
    with pytest.raises(FelsinaError, match=r"^traffic .* SUMO; pip install 'felsina\[traffic\]'$"):
        sumo_home()


def test_the_command_line_does_not_load_the_simulator() -> None:
    code = "import sys, pipelines.cli; print([m for m in sys.modules if 'traffic.sumo' in m])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_stop_in_a_route_is_skipped_too(streets: Network, runs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    for path in streets.folder.glob("*.xml"):
        text = path.read_text().replace('lane="A3B3_0" startPos', 'lane="B3C3_0" startPos')
        whole = re.sub(r'(<route edges="[^"]*")/>\s*(<stop [^>]*>)', r"\1>\2</route>", text)
        (folder / path.name).write_text(whole)
    inside = open_network(folder)
    assert "></route>" in inside.routes[0].read_text()
    closed = simulate(inside, Intervention(closed=(STRAIGHT,)), 1, SPAN, runs)
    assert flow(closed, STRAIGHT) == 0
    assert closed.totals["without_route"] == 0
