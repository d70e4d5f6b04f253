"""A traffic scenario from its parsed TOML: SUMO with the measures and without, by several seeds."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.domains.scenarios import FINISHED, Frozen, read_keys
from pipelines.domains.traffic.comparison import compare_edges, compare_totals, summarise
from pipelines.domains.traffic.counts import compare_counts, counts_table
from pipelines.domains.traffic.measures import Intervention, Measure, intervention
from pipelines.domains.traffic.network import network_beside
from pipelines.domains.traffic.recording import PERIOD, Run, Span
from pipelines.domains.traffic.sumo import simulate, sumo_home
from pipelines.domains.traffic.trips import driven_turns
from pipelines.settings import held

EDGES, MAP = "edges.parquet", "difference.png"


class Scenario(Frozen):
    """A scenario file.

    Attributes:
        name: for people.
        domain: this one.
        network: a SUMO scenario folder, relative to the file.
        seeds: runs with measures and without; two at least, since their spread is the floor.
        begin: first simulated second.
        end: last.
        warm_up: seconds from ``begin`` that are not measured.
        measures: what changes.
        counts: optional table of loop counts, relative to the file.
        counts_hour: civil hour of them that the span stands for.
    """

    name: str = Field(min_length=1)
    domain: Literal["traffic"]
    network: str
    seeds: int = Field(3, ge=2, le=50)
    begin: int = Field(0, ge=0)
    end: int = 3600
    warm_up: int = 900
    measures: tuple[Measure, ...] = Field(min_length=1)
    counts: str | None = None
    counts_hour: int = Field(8, ge=0, le=23)


def run_scenario(
    scenario: dict[str, Any], base: Path, out: Path, progress: Callable[[str, float], None]
) -> dict[str, Any]:
    """Simulate today and the measures, and compare them.

    Writes ``edges.parquet`` (``comparison.compare_edges``), ``difference.png`` and ``runs/``, in
    which finished runs are kept: the same scenario, run again, takes up where it was killed.

    Args:
        scenario: the parsed file (``Scenario``).
        base: folder that its paths are relative to.
        out: folder to write.
        progress: told a text and the share that is done.

    Returns:
        The report, ready for JSON.
    """
    asked = read_keys(Scenario, scenario)
    sumo_home()
    span = Span(asked.begin, asked.end, asked.warm_up)
    network = network_beside(base, asked.network)
    change = intervention(asked.measures, network, driven_turns(network))
    counts = base / asked.counts if asked.counts else None
    if counts:
        counts_table(counts, asked.counts_hour)  # refused now, not after an hour of runs
    variants = {"today": Intervention(), "measures": change}
    runs: dict[str, list[Run]] = {name: [] for name in variants}
    done, jobs = 0, asked.seeds * len(variants)
    with held(out / FINISHED / ".lock"):
        for seed in range(1, asked.seeds + 1):
            for name, variant in variants.items():
                progress(f"{name}, seed {seed} of {asked.seeds}", done / jobs)
                runs[name].append(simulate(network, variant, seed, span, out / FINISHED))
                done += 1
    progress("compared", 1.0)
    today, measured = runs["today"], runs["measures"]
    from pipelines.domains.traffic.difference_map import draw_difference

    table = compare_edges(today, measured)
    table.to_parquet(out / EDGES, index=False)
    draw_difference(table, network, change, f"{asked.name} ({network.name})", out / MAP)
    report = {
        "simulator": f"SUMO {version('eclipse-sumo')}",
        "network": {"name": network.name, "sha256": network.digest, "edges": len(network.edges)},
        "span": {**span.__dict__, "period": PERIOD, "unit": "s"},
        "seeds": list(range(1, asked.seeds + 1)),
        "measures": [
            measure.model_dump(mode="json", by_alias=True, exclude_defaults=True)
            for measure in asked.measures
        ],
        "changed": {
            "lanes_limited": len(change.speed_limits),
            "edges_closed": list(change.closed),
            "lanes_taken": change.taken,
            "demand": change.demand,
        },
        "totals": compare_totals(today, measured),
        "edges": summarise(table),
        "files": [EDGES, MAP],
    }
    report["tables"] = _tables(report["totals"], report["edges"]["most_changed"])
    if counts:
        report["counts"] = compare_counts(network, today, counts, asked.counts_hour)
    return report


def _tables(totals: dict[str, Any], most: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """What a person reads first; a difference that is told is larger than the seeds' floor."""
    network = [{"quantity": name, **values} for name, values in totals.items()]
    streets = [
        {
            "edge": row["edge"],
            "flow veh/h": row["flow_veh_h_today"],
            "after": row["flow_veh_h_measures"],
            "told": row["flow_veh_h_told"],
            "speed m/s": row["speed_m_s_today"],
            "then": row["speed_m_s_measures"],
            "told too": row["speed_m_s_told"],
        }
        for row in most
    ]
    return {"The network": network} | ({"Streets that change most": streets} if streets else {})
