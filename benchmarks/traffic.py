"""What SUMO says of measures on Bologna's streets, beside what two seeds differ by.

    python -m benchmarks.traffic [--seeds 3] [--data FOLDER]

Prints Markdown tables on stdout, progress on stderr. Finished runs are kept under ``FELSINA_HOME``.
Scenarios and counts are those of ``FELSINA_DATA``, or of ``--data``.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.tables import head, row
from pipelines.domains.traffic.comparison import compare_edges, compare_totals, summarise
from pipelines.domains.traffic.counts import compare_counts
from pipelines.domains.traffic.measures import Intervention, Measure, intervention
from pipelines.domains.traffic.network import Network, open_network
from pipelines.domains.traffic.recording import Run, Span
from pipelines.domains.traffic.sumo import simulate
from pipelines.domains.traffic.trips import driven_turns
from pipelines.settings import home

STREETS, NETWORKS = "acosta", ("acosta", "pasubio", "joined")
COUNTS = "traffic/bologna-spire/spire_hourly_2024-02-01_02.csv"
HOUR = 8
MEASURES: dict[str, list[dict[str, Any]]] = {
    "30 km/h everywhere": [{"kind": "speed_limit", "km_h": 30}],
    "edge `69` closed": [{"kind": "closure", "edges": ["69"]}],
    "lane 0 of `72[0]` for buses": [{"kind": "lane", "edge": "72[0]", "lane": 0, "for": "bus"}],
    "demand x 0.8": [{"kind": "demand", "factor": 0.8}],
}
SHOWN = {
    "vehicle_km": "vehicle-km",
    "vehicle_h": "vehicle-h",
    "mean_speed_km_h": "mean speed (km/h)",
    "time_loss_h": "time loss (h)",
    "entry_delay_h": "entry delay (h)",
    "not_entered": "not entered",
    "co2_kg": "CO2 (kg)",
    "nox_kg": "NOx (kg)",
}


def simulated(network: Network, change: Intervention, seeds: range, what: str) -> list[Run]:
    """One run a seed, made or read."""
    folder, runs = home() / "benchmarks" / "sumo", []
    for seed in seeds:
        began = time.perf_counter()
        runs.append(simulate(network, change, seed, Span(), folder))
        taken = time.perf_counter() - began
        print(f"{network.name}, {what}, seed {seed}: {taken:.0f} s", file=sys.stderr)
    return runs


def effects(network: Network, seeds: int) -> None:
    """Print floors and effects an edge, then the network's totals."""
    span = Span()
    print(f"\n{network.name}: {len(network.edges)} edges, {span.measured} s after a warm-up of")
    print(f"{span.warm_up} s, {seeds} seeds. Means over edges of absolute differences.")
    first, more = range(1, seeds + 1), range(seeds + 1, 2 * seeds + 1)
    today = simulated(network, Intervention(), first, "today")
    variants = {"nothing: other seeds": simulated(network, Intervention(), more, "today")}
    read = TypeAdapter(tuple[Measure, ...])
    for name, tables in MEASURES.items():
        change = intervention(read.validate_python(tables), network, driven_turns(network))
        variants[name] = simulated(network, change, first, name)
    head("measure", "flow (veh/h)", "its floor", "told", "speed (m/s)", "its floor", "told")
    for name, runs in variants.items():
        found = summarise(compare_edges(today, runs))["quantities"]
        cells = []
        for quantity, form in (("flow_veh_h", "{:.1f}"), ("speed_m_s", "{:.2f}")):
            of = found[quantity]
            cells += [form.format(of[key]) for key in ("mean_absolute_difference", "mean_floor")]
            cells.append(f"{of['told_edges'] / len(network.edges):.0%}")
        row(name, *cells)
    head("measure", *SHOWN.values(), "trips removed", "teleports")
    for name, runs in {"today": today, **variants}.items():
        totals = compare_totals(today, runs)
        cells = [number(totals[key]["measures"]) for key in SHOWN]
        row(name, *cells, *(f"{totals[k]['measures']:.0f}" for k in ("trips_removed", "teleports")))
    floors = compare_totals(today, today)
    row("floor of today", *(number(floors[key]["floor"]) for key in SHOWN), "", "")


def number(value: float) -> str:
    """Three or more digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def diagnostic(networks: list[Network], counts: Path, seeds: int) -> None:
    """Print how simulated loops stand beside counted ones."""
    head(
        "scenario", "loops", "with counts", "GEH < 5", "median GEH", "simulated", "counted (veh/h)"
    )
    for network in networks:
        runs = simulated(network, Intervention(), range(1, seeds + 1), "today")
        found = compare_counts(network, runs, counts, HOUR)
        table = found["table"]
        sums = (f"{found[key]:.0f}" for key in ("simulated_veh_h", "counted_veh_h"))
        close = f"{found['close_share']:.0%}"
        row(network.name, found["loops"], found["matched"], close, middle(table), *sums)


def middle(table: list[dict[str, Any]]) -> str:
    """Median GEH of rows in its order."""
    return f"{table[len(table) // 2]['geh']:.1f}"


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("FELSINA_DATA", ".")))
    options = parser.parse_args()
    data = options.data / "data"
    networks = [open_network(data / "sumo-bologna" / name) for name in NETWORKS]
    effects(next(n for n in networks if n.name == STREETS), options.seeds)
    diagnostic(networks, data / COUNTS, options.seeds)


if __name__ == "__main__":
    main()
