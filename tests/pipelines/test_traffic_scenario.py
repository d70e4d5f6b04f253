"""Traffic scenarios from their files: the comparison, its floor, what is kept, what is refused."""

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.domains.scenarios import read_keys
from pipelines.domains.traffic.comparison import QUANTITIES, compare_edges, summarise
from pipelines.domains.traffic.counts import geh, loop_code
from pipelines.domains.traffic.measures import Intervention
from pipelines.domains.traffic.network import Network
from pipelines.domains.traffic.scenario import Scenario, run_scenario
from pipelines.domains.traffic.sumo import simulate
from tests.fixtures.streets import LAST_S, SPAN, STRAIGHT, THROUGH
from tests.fixtures.tiny import ROOT

EXAMPLES = ROOT / "pipelines" / "domains" / "traffic" / "examples"


def silent(text: str, share: float) -> None: ...


def scenario(*measures: dict[str, Any], **changes: Any) -> dict[str, Any]:
    whole = {"name": "what if", "domain": "traffic", "network": "town", "seeds": 2}
    whole |= {"end": LAST_S, "warm_up": 300}
    return whole | {"measures": list(measures) or [CLOSED]} | changes


CLOSED = {"kind": "closure", "edges": [THROUGH]}


@pytest.fixture(scope="module")
def done(
    streets: Network, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[float]]:
    out, shares = tmp_path_factory.mktemp("out"), list[float]()
    base = streets.folder.parent
    (base / "counts.csv").write_text(
        "datetime,codice_spira,vehicles\n"
        "2024-02-01 08:00:00,1.1 2.2 6 1,700\n"
        "2024-02-02 08:00:00,1.1 2.2 6 1,900\n"
        "2024-02-02 09:00:00,1.1 2.2 6 1,5\n"
        "2024-02-02 08:00:00,3.3 4.4 6 1,5\n"
    )
    asked = scenario(counts="counts.csv")
    report = run_scenario(asked, base, out, lambda text, share: shares.append(share))
    return out, report, shares


def test_a_report_is_json_and_holds_what_was_asked(done: Any) -> None:
    out, report, shares = done
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["seeds"] == [1, 2]
    assert report["measures"] == [CLOSED]
    assert report["changed"]["edges_closed"] == [THROUGH]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert {path.name for path in out.iterdir()} == {*report["files"], "runs"}
    assert (out / "difference.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_holds_means_over_seeds_and_their_floor(done: Any, streets: Network) -> None:
    out, report, _ = done
    table = pd.read_parquet(out / "edges.parquet").set_index("edge")
    assert set(table.index) == set(streets.edges)
    runs = {
        name: [simulate(streets, change, seed, SPAN, out / "runs") for seed in (1, 2)]
        for name, change in (
            ("today", Intervention()),
            ("measures", Intervention(closed=(THROUGH,))),
        )
    }
    flows = {
        name: [r.edges.set_index("edge")["flow_veh_h"][STRAIGHT] for r in found]
        for name, found in runs.items()
    }
    row = table.loc[STRAIGHT]
    assert row["flow_veh_h_today"] == pytest.approx(np.mean(flows["today"]))
    difference = np.mean(flows["measures"]) - np.mean(flows["today"])
    assert row["flow_veh_h_difference"] == pytest.approx(difference)
    floor = np.mean([abs(a - b) for a, b in flows.values()])
    assert row["flow_veh_h_floor"] == pytest.approx(floor)
    assert row["flow_veh_h_told"] == (abs(difference) > floor)
    total = report["totals"]["vehicle_km"]
    assert total["today"] == np.mean([r.totals["vehicle_km"] for r in runs["today"]])


def test_a_closed_edge_leads_the_list_and_has_no_speed(done: Any) -> None:
    _, report, _ = done
    row = next(e for e in report["edges"]["most_changed"] if e["edge"] == THROUGH)
    assert row["flow_veh_h_measures"] == 0
    assert row["flow_veh_h_told"]
    assert row["speed_m_s_measures"] is None
    assert not row["speed_m_s_told"]
    assert len(report["edges"]["most_changed"]) <= 10


def test_seeds_alone_are_mostly_not_told_from_noise(streets: Network, runs: Path) -> None:
    found = [simulate(streets, Intervention(), seed, SPAN, runs) for seed in range(1, 7)]
    nothing = compare_edges(found[:3], found[3:])
    closed = [
        simulate(streets, Intervention(closed=(THROUGH,)), seed, SPAN, runs) for seed in (1, 2, 3)
    ]
    something = compare_edges(found[:3], closed)
    assert nothing["flow_veh_h_told"].mean() < 0.35
    assert something["flow_veh_h_told"].sum() > 1.5 * nothing["flow_veh_h_told"].sum()


def test_identical_runs_differ_by_nothing(streets: Network, runs: Path) -> None:
    found = [simulate(streets, Intervention(), seed, SPAN, runs) for seed in (1, 2)]
    table = compare_edges(found, found)
    for name in QUANTITIES:
        assert not table[f"{name}_told"].any()
        assert table[f"{name}_difference"].fillna(0).abs().max() == 0
    assert summarise(table)["most_changed"] == []


def test_loops_with_counts_are_compared(done: Any) -> None:
    _, report, _ = done
    counts = report["counts"]
    assert (counts["loops"], counts["matched"], counts["silent"]) == (2, 1, 0)
    (row,) = counts["table"]
    assert (row["loop"], row["lanes"], row["counted_veh_h"]) == ("1.1 2.2 6 1", 2, 800)
    assert row["geh"] == pytest.approx(geh(row["simulated_veh_h"], 800))


def test_geh_and_codes_are_as_published() -> None:
    assert geh(400, 500) == pytest.approx(4.7140, abs=1e-4)
    assert geh(0, 0) == 0
    assert loop_code("0.127_2.73_6_1__l0") == "0.127 2.73 6 1"


RUNNER = """
import json, sys
from pathlib import Path
from pipelines.domains.traffic.scenario import run_scenario
run_scenario(json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), lambda *_: None)
"""


def test_a_killed_scenario_takes_up_where_it_was(streets: Network, tmp_path: Path) -> None:
    def finished() -> dict[Path, int]:
        return {path: path.stat().st_ino for path in (tmp_path / "runs").glob("[!.]*/run.json")}

    asked, base = scenario(seeds=4), streets.folder.parent
    arguments = [json.dumps(asked), str(base), str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-c", RUNNER, *arguments], cwd=ROOT)
    end = time.monotonic() + 60
    while not finished() and time.monotonic() < end:
        time.sleep(0.02)
    process.kill()
    process.wait(30)
    first = finished()
    assert 1 <= len(first) < 8
    report = run_scenario(asked, base, tmp_path, silent)
    after = finished()
    assert len(after) == 8
    assert first.items() <= after.items()
    assert not list((tmp_path / "runs").glob(".*-seed-*"))
    assert run_scenario(asked, base, tmp_path, silent) == report
    assert finished() == after


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"network": "village"}, r"network .*village: no such folder; give one relative to"),
        ({"seeds": 1}, "'what if': seeds = 1: input should be greater than or equal to 2"),
        ({"seed": 1}, "seed = 1: extra inputs are not permitted; a scenario has name, domain"),
        ({"domain": "rail"}, "domain = 'rail': input should be"),
        ({"measures": []}, r"measures = \[\]: tuple should have at least 1"),
        (
            {"measures": [{"kind": "speed_limit", "km_h": -30}]},
            "km_h = -30: input should be greater than 0",
        ),
        ({"measures": [{"kind": "demand", "factor": 0}]}, "factor = 0: input should be"),
        ({"measures": [{"kind": "tunnel"}]}, "measures.0: .*'tunnel'.* 'closure'"),
        ({"end": 1000}, "end 1000, warm_up 300: 700 s are measured"),
        ({"counts": "absent.csv"}, "counts .*absent.csv: .*; give a CSV with the columns datetime"),
        ({"counts": "counts.csv", "counts_hour": 3}, "counts.csv: no count of hour 3; set"),
        ({"counts": "town/things.add.xml"}, "things.add.xml: .*; give a CSV with the columns"),
    ],
)
def test_a_bad_scenario_is_refused_before_anything_runs(
    streets: Network, done: Any, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(FelsinaError, match=says) as refused:
        run_scenario(scenario(**changes), streets.folder.parent, tmp_path, silent)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("zone-*.toml")), ids=lambda path: path.name)
def test_examples_are_scenarios(path: Path) -> None:
    text = path.read_text()
    read_keys(Scenario, tomllib.loads(text))
    # What they offer as comments is valid too, one block at a time.
    blocks = text.split("# [[measures]]\n")[1:]
    for block in blocks:
        lines = block.partition("\n\n")[0].splitlines()
        measure = tomllib.loads("\n".join(line.removeprefix("# ") for line in lines))
        read_keys(Scenario, scenario(measure))
    assert len(blocks) == 3


def without(pattern: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.unlink()

    return spoil


def another_network(folder: Path) -> None:
    path = folder / "town.net.xml"
    path.write_text(path.read_text().replace("B1C1", "Z1Z2"))


def second_network(folder: Path) -> None:
    (folder / "other.net.xml").write_text("<net/>")


def cut_off(folder: Path) -> None:
    path = folder / "town.rou.xml"
    path.write_text(path.read_text()[:2000])


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (without("*.net.xml"), r"town: a scenario folder holds one \*.net.xml, found none; give"),
        (without("*.rou.xml"), r"holds one or more \*.rou.xml, found none"),
        (second_network, "one .*found other.net.xml, town.net.xml"),
        (another_network, "town.rou.xml: .*: B1C1 not among the 48 edges of town.net.xml; .*meant"),
        (cut_off, "town.rou.xml: no XML .*; write it anew"),
    ],
)
def test_a_bad_scenario_folder_is_refused(
    streets: Network, tmp_path: Path, spoil: Callable[[Path], None], says: str
) -> None:
    (tmp_path / "town").mkdir()
    for path in streets.folder.glob("*.xml"):
        (tmp_path / "town" / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path / "town")
    with pytest.raises(FelsinaError, match=says) as refused:
        run_scenario(scenario(), tmp_path, tmp_path / "out", silent)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_thirty_km_h_on_bologna_streets(tmp_path: Path) -> None:
    data = os.environ.get("FELSINA_DATA", "")
    if not data or not (Path(data) / "data" / "sumo-bologna").is_dir():
        pytest.skip("FELSINA_DATA does not hold data/sumo-bologna")
    asked = tomllib.loads((EXAMPLES / "zone-30.toml").read_text())
    spire = Path(data, "data", "traffic", "bologna-spire", "spire_hourly_2024-02-01_02.csv")
    asked |= {"seeds": 2, "counts": str(spire)}
    base = Path(data, "data", "sumo-bologna")
    report = run_scenario(asked, base, tmp_path, silent)
    assert report["network"]["edges"] == 178
    totals, edges = report["totals"], report["edges"]["quantities"]
    assert totals["mean_speed_km_h"]["told"]
    assert totals["mean_speed_km_h"]["difference"] < -3
    assert totals["teleports"]["measures"] == 0
    for name in ("flow_veh_h", "speed_m_s"):
        assert edges[name]["mean_absolute_difference"] > 2 * edges[name]["mean_floor"]
    assert (report["counts"]["loops"], report["counts"]["matched"]) == (28, 15)
