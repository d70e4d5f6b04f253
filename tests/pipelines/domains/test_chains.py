"""Chains: hops that are kept, refusals in one line, and what the report says of each hop."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.commands.scenario import run_one
from pipelines.domains import chains
from pipelines.domains.chains import CHAINS, errors_of, runner_of, told_errors
from pipelines.domains.flood.rasters import write_raster
from pipelines.domains.flood.terrain import Terrain
from pipelines.domains.flood_closes_roads import ChainKeys
from pipelines.domains.heat_wave_raises_cooling import ChainKeys as HeatChainKeys
from pipelines.domains.registry import domain_of
from pipelines.domains.scenarios import read_file, read_keys
from pipelines.domains.traffic.network import Network
from tests.fixtures.streets import LAST_S
from tests.fixtures.tiny import ROOT, Run

EXAMPLES = ROOT / "pipelines" / "domains" / "examples"
NAME = "flood closes roads"
FLOOD = """name = "a cloudburst"
domain = "flood"
hours = 1
[terrain.synthetic]
seed = 4
rows = 24
columns = 24
cell_m = 25
[rain]
kind = "uniform"
hours = 0.5
a_mm = 200
n = 0.4
"""
TRAFFIC = f"""name = "the town"
domain = "traffic"
network = "town"
seeds = 2
end = {LAST_S}
warm_up = 300
"""
CHAIN = f"""name = "water in town"
chain = "{NAME}"
[flood]
scenario = "flood.toml"
[roads]
depth_m = 0.3
[traffic]
scenario = "traffic.toml"
"""


def none(domain: str, release: str) -> list[Any]:
    raise FelsinaError(f"no surrogate of domain {domain!r} is released")


def silent(text: str, share: float) -> None: ...


@pytest.fixture
def place(streets: Network, tmp_path: Path) -> Path:
    """A folder with a small flood, a town and the chain between them."""
    (tmp_path / "town").symlink_to(streets.folder, target_is_directory=True)
    for name, text in (("flood", FLOOD), ("traffic", TRAFFIC), ("chain", CHAIN)):
        (tmp_path / f"{name}.toml").write_text(text)
    return tmp_path


def wet_rows(depth_m: float, rows: slice) -> Any:
    """A runner that floods a band of a grid of 24 cells of 25 m at once."""

    def run(scenario: Any, base: Path, out: Path, tell: Any, surrogates: Any = ()) -> Any:
        terrain = Terrain(np.zeros((24, 24)), 25.0, 0.0, 600.0)
        for name, factor in (("max_depth", 1), ("max_depth_low", 0.5), ("max_depth_high", 2)):
            depth = np.full((24, 24), np.nan)
            depth[rows] = factor * depth_m
            depth[2] = 0.2 * factor  # under the limit, but not at the band's upper end
            write_raster(out / f"{name}.tif", depth, terrain, "m")
        report = {"flooded_km2": {"wet": 1.0}, "simulator": "local inertial", "mass_error": 1e-9}
        if surrogates:
            scores = {"mae": 0.03, "cvrmse": None, "coverage_80": 0.79}
            tests = {"terrains": {"runs": 9, "outputs": {"max_depth_m": scores}}}
            (one,) = surrogates
            said = {"release": one.id, "errors": tests, "approximated": ["rain: n = 0.4"]}
            report["surrogate"] = said
        return report

    return run


@pytest.fixture
def quick_flood(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The flood's simulator and surrogate are bands of water; how often they were asked."""
    asked: list[str] = []

    def counted(kind: str) -> Any:
        run = wet_rows(0.5, slice(14, 16))

        def count(*arguments: Any) -> Any:
            asked.append(kind)
            return run(*arguments)

        return count

    def domain(name: str) -> Any:
        if name != "flood":
            return domain_of(name)
        found = domain_of(name)
        return replace(found, scenario=counted("physics"), answer=counted("surrogate"))

    monkeypatch.setattr(chains, "domain_of", domain)
    return asked


def run(place: Path, out: str = "out", **hops: dict[str, Any]) -> dict[str, Any]:
    asked = tomllib.loads((place / "chain.toml").read_text())
    for hop, keys in hops.items():
        asked[hop] |= keys
    folder = place / out
    folder.mkdir(exist_ok=True)
    return runner_of(NAME, "physics", surrogates)(asked, place, folder, silent)


def surrogates(domain: str, release: str) -> list[Any]:
    return [SimpleNamespace(id=f"{domain}-1", sha256="0")]


def test_a_flood_closes_the_streets_under_it(place: Path) -> None:
    """The whole chain by its simulators, from the command line's code."""
    run_one(place / "chain.toml", "physics", place / "out", json=True)
    out = place / "out"
    report = json.loads((out / "report.json").read_text())
    assert (report["chain"], report["engine"]) == (NAME, "physics")
    assert {path.name for path in out.iterdir()} == {
        "1-flood",
        "2-traffic",
        "streets.png",
        "report.json",
    }
    closed = report["closed"]
    assert 0 < len(closed) < 48
    assert {row["edge"] for row in report["streets"] if row["depth_m"] >= 0.3} == set(closed)
    traffic = json.loads((out / "2-traffic" / "report.json").read_text())
    assert traffic["changed"]["edges_closed"] == sorted(closed)
    edges = pd.read_parquet(out / "2-traffic" / "edges.parquet").set_index("edge")
    assert edges.loc[closed, "flow_veh_h_measures"].max() == 0
    assert edges["flow_veh_h_today"].max() > 0
    fewer, asked, more = (row["edges"] for row in report["sensitivity"])
    assert fewer <= asked == len(closed) <= more
    flood, roads, cars = report["hops"]
    assert [hop["engine"] for hop in report["hops"]] == ["physics", "rule", "physics"]
    assert "of this run's water was made or lost" in flood["error"]
    assert roads["handed_on"].startswith(f"{len(closed)} of 48 edges closed")
    assert "two seeds alone differ in flow_veh_h by" in cars["error"]
    for hop in report["hops"]:
        assert all(hop[key] for key in ("engine", "by", "error", "range", "handed_on"))
    assert "Bridges and underpasses are not known" in " ".join(report["notes"])


def test_a_surrogate_says_its_error_and_band(place: Path, quick_flood: Any) -> None:
    report = run(place, flood={"engine": "surrogate"})
    flood = report["hops"][0]
    assert quick_flood == ["surrogate"]
    assert (flood["engine"], flood["by"]) == ("surrogate", "flood-1")
    assert flood["error"] == "max_depth_m on 'terrains': MAE 0.03, 80 % band holds 79%"
    assert flood["range"] == "inside what it learned; approximated: rain: n = 0.4"
    low, asked, high = report["sensitivity"]
    assert low["water"] == "10 % depth of the surrogate"
    assert low["edges"] < asked["edges"] < high["edges"]
    assert report["tables"]["Hops"][0] == {
        "hop": "flood",
        "what": "engine",
        "it says": "surrogate",
    }


def test_a_killed_chain_goes_on_from_its_finished_hop(place: Path, quick_flood: Any) -> None:
    def killed(text: str, share: float) -> None:
        if text.startswith("2-traffic: measures"):
            raise KeyboardInterrupt

    asked, out = tomllib.loads((place / "chain.toml").read_text()), place / "out"
    out.mkdir()
    chain = runner_of(NAME, "physics", none)
    with pytest.raises(KeyboardInterrupt):
        chain(asked, place, out, killed)
    assert {path.name for path in (out / "runs").iterdir()} == {"1-flood", "2-traffic.partial"}
    finished = list((out / "runs" / "2-traffic.partial" / "runs").glob("*/run.json"))
    assert len(finished) == 1
    made = finished[0].stat().st_mtime_ns
    report = chain(asked, place, out, silent)
    assert quick_flood == ["physics"]
    (kept,) = (out / "2-traffic" / "runs").glob(f"{finished[0].parent.name}/run.json")
    assert kept.stat().st_mtime_ns == made
    assert report["closed"]
    assert {path.name for path in out.iterdir()} == {"1-flood", "2-traffic", "streets.png"}


def test_a_hop_that_is_asked_something_else_is_made_anew(place: Path, quick_flood: Any) -> None:
    def killed(text: str, share: float) -> None:
        if text.startswith("2-traffic"):
            raise KeyboardInterrupt

    asked, out = tomllib.loads((place / "chain.toml").read_text()), place / "out"
    out.mkdir()
    for text in (FLOOD, FLOOD, FLOOD.replace("a_mm = 200", "a_mm = 201")):
        (place / "flood.toml").write_text(text)
        with pytest.raises(KeyboardInterrupt):
            runner_of(NAME, "physics", none)(asked, place, out, killed)
    assert quick_flood == ["physics", "physics"]


def test_a_refused_hop_leaves_what_was_finished(
    place: Path, quick_flood: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: Any) -> Any:
        raise FelsinaError("surrogate town-1: closure: 14 edges closed at once; use physics")

    def domain(name: str) -> Any:
        found = domain_of(name)
        if name == "flood":
            return replace(found, scenario=wet_rows(0.5, slice(14, 16)))
        return replace(found, answer=refused)

    monkeypatch.setattr(chains, "domain_of", domain)
    monkeypatch.setattr("pipelines.commands.scenario.surrogates_of", surrogates)
    (place / "chain.toml").write_text(CHAIN + 'engine = "surrogate"\n')
    with pytest.raises(FelsinaError, match="14 edges closed at once"):
        run_one(place / "chain.toml", "physics", place / "out", json=True)
    assert not (place / "out").exists()
    finished = place / "out.partial" / "runs"
    assert [path.name for path in finished.iterdir()] == ["1-flood"]


def test_dry_streets_change_nothing(place: Path, quick_flood: Any) -> None:
    report = run(place, roads={"depth_m": 2.0})
    assert (report["closed"], report["measures"]) == ([], [])
    assert report["hops"][-1]["handed_on"] == "no street closes: traffic is today's"
    assert not (place / "out" / "2-traffic").exists()


def test_shallow_water_slows(place: Path, quick_flood: Any) -> None:
    report = run(place, roads={"slow_from_m": 0.1})
    closure, limit = report["measures"]
    assert (closure["kind"], limit["kind"]) == ("closure", "speed_limit")
    assert not set(closure["edges"]) & set(limit["edges"])
    traffic = json.loads((place / "out" / "2-traffic" / "report.json").read_text())
    assert traffic["changed"]["lanes_limited"] > 0
    assert f"{len(limit['edges'])} slowed" in report["hops"][1]["handed_on"]


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        (NAME, "rain closes roads", "chain 'rain closes roads' is not registered; use one of"),
        ('[traffic]\nscenario = "traffic.toml"', "", "traffic: field required"),
        ('scenario = "flood.toml"', 'scenario = "traffic.toml"', "is of domain 'traffic'; name"),
        ('scenario = "flood.toml"', 'scenario = "none.toml"', "none.toml: .*No such file"),
        ("depth_m = 0.3", "depth = 0.3", "roads.depth = 0.3: extra inputs"),
        ("depth_m = 0.3", "slow_from_m = 0.4", "slow_from_m 0.4 must be below"),
        ("depth_m = 0.3", "depth_m = 0.5\nslow_from_m = 0.1", "needs depth_m up to 0.3"),
        ("depth_m = 0.3", "shift_m = [9000, 0]", "0 edges: the terrain and the network do not"),
        ("[roads]", 'engine = "magic"\n[roads]', "flood.engine = 'magic'"),
        ("[roads]", 'engine = "surrogate"\n[roads]', "no surrogate of domain 'flood'"),
        ("chain =", 'domain = "flood"\nchain =', "domain and chain are given; keep one"),
    ],
)
def test_what_cannot_be_chained_is_refused_before_the_water_moves(
    place: Path, quick_flood: Any, before: str, after: str, says: str
) -> None:
    assert before in CHAIN
    (place / "chain.toml").write_text(CHAIN.replace(before, after, 1))
    with pytest.raises(FelsinaError, match=says) as refused:
        run_one(place / "chain.toml", "physics", place / "out", json=True)
    assert "\n" not in str(refused.value)
    assert quick_flood == []
    assert not list(place.glob("out*"))


def test_a_chain_is_no_scenario_of_a_domain(place: Path, run: Run) -> None:
    with pytest.raises(FelsinaError, match=r"--release plain names one surrogate; .*hop's"):
        run_one(place / "chain.toml", "physics", place / "out", json=True, release="plain")
    (place / "design.toml").write_text(CHAIN)
    code, _, err = run("scenario", "search", str(place / "design.toml"), "--out", "found")
    assert code == 2
    assert "domain is missing" in err


def test_errors_are_told_by_test_set() -> None:
    year = {"mae": 0.06, "cvrmse": 0.017, "coverage_80": 0.74}
    whole = {"mae": 1.0, "cvrmse": 1.0, "coverage_80": 0.1, "places": {"year": year}}
    tests = {name: {"outputs": {"heat": whole, "other": whole}} for name in ("a", "b")}
    one = "heat on '{}': MAE 0.06, CVRMSE 1.7%, 80 % band holds 74%"
    assert told_errors(errors_of(tests, ["heat"])) == f"{one.format('a')}; {one.format('b')}"


def test_examples_are_chains() -> None:
    kinds = {"levee-breaks.toml": ChainKeys, "heat-wave.toml": HeatChainKeys}
    for name, kind in kinds.items():
        asked = read_file(EXAMPLES / name, ("domain", "chain"))
        assert asked["chain"] in CHAINS
        read_keys(kind, asked)
        for hop in asked.values():
            if isinstance(hop, dict) and "scenario" in hop:
                assert read_file(EXAMPLES / hop["scenario"])["name"]
    found = {path.name for path in EXAMPLES.glob("*.toml")}
    assert found == {*kinds, "morning-peak.toml"}
