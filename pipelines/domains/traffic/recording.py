"""What a run of SUMO measured: a table of edges and periods, totals of the network, loops."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from models.contracts import FelsinaError
from models.record import canonical_json
from pipelines.domains.traffic.network import Network, parsed

PERIOD = 900
"""Seconds over which an edge's values are means or sums."""


@dataclass(frozen=True)
class Span:
    """What is simulated and what of it is measured, seconds of the scenario's clock.

    Attributes:
        begin: first second.
        end: last.
        warm_up: seconds from ``begin`` that fill the streets and are not measured.
    """

    begin: int = 0
    end: int = 3600
    warm_up: int = 900

    def __post_init__(self) -> None:
        """Refuse a span that is not of whole periods."""
        if self.warm_up < 0 or self.measured <= 0 or self.measured % PERIOD:
            raise FelsinaError(
                f"begin {self.begin}, end {self.end}, warm_up {self.warm_up}: {self.measured} s are"
                f" measured; let end - begin - warm_up be a multiple of {PERIOD}"
            )

    @property
    def measured(self) -> int:
        """Seconds that are measured."""
        return self.end - self.begin - self.warm_up


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        edges: a row an edge and period: ``begin_s``, ``edge``, ``flow_veh_h`` (distance driven over
            length and time), ``speed_m_s`` (NaN without vehicles), ``density_veh_km``,
            ``time_loss_s`` (to what the limit in force allows), ``co2_g``, ``nox_g``.
        totals: of the network with its junctions over the measured span (``TOTALS``).
        loops: induction loop to flow, veh/h; empty where none reports within the span.
    """

    edges: pd.DataFrame
    totals: dict[str, float]
    loops: dict[str, float]


TOTALS = {
    "vehicle_km": "km",
    "vehicle_h": "h",
    "time_loss_h": "h",
    "entry_delay_h": "h",
    "co2_kg": "kg",
    "nox_kg": "kg",
    "not_entered": "vehicles",
    "teleports": "vehicles",
    "trips_removed": "trips",
    "without_route": "vehicles",
}
"""Totals of a run and their units; ``entry_delay_h`` is spent waiting for room to set out.

``not_entered`` wait at the end, ``teleports`` were jams that SUMO resolved, ``trips_removed``
are those that closures make impossible, ``without_route`` found no way round one.
"""


def kept(folder: Path) -> Run:
    """Read what ``keep`` left."""
    record = json.loads((folder / "run.json").read_text())
    return Run(pd.read_parquet(folder / "edges.parquet"), record["totals"], record["loops"])


def keep(network: Network, span: Span, folder: Path, removed: int, said: str) -> None:
    """Turn SUMO's output in ``folder`` into ``edges.parquet`` and ``run.json``, and keep no more.

    Args:
        network: that was simulated.
        span: what of it is measured.
        folder: of the run.
        removed: trips that closures made impossible.
        said: what SUMO reported.
    """
    table = _edge_table(folder)
    statistics = parsed(folder / "statistics.xml")
    waiting = [
        float(step.get("waiting", 0))
        for step in parsed(folder / "summary.xml").iter("step")
        if span.begin + span.warm_up <= float(step.get("time", 0)) < span.end
    ]
    totals = {
        "vehicle_km": table["distance_m"].sum() / 1000,
        "vehicle_h": table["sampled_s"].sum() / 3600,
        "time_loss_h": table["time_loss_s"].sum() / 3600,
        # A step of the summary stands for its share of the span, whatever the step length.
        "entry_delay_h": sum(waiting) / max(1, len(waiting)) * span.measured / 3600,
        "co2_kg": table["co2_g"].sum() / 1000,
        "nox_kg": table["nox_g"].sum() / 1000,
        "not_entered": _attribute(statistics, "vehicles", "waiting"),
        "teleports": _attribute(statistics, "teleports", "total"),
        "trips_removed": removed,
        "without_route": said.count("No route for vehicle"),
    }
    record = {
        "totals": {name: float(totals[name]) for name in TOTALS},
        "loops": _loop_flows(network, span, folder),
    }
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _streets(network, table).to_parquet(folder / "edges.parquet", index=False)
    (folder / "run.json").write_bytes(canonical_json(record))


def _streets(network: Network, table: pd.DataFrame) -> pd.DataFrame:
    """Flow, speed and density (``Run.edges``) from distances and times, without junctions."""
    length = {edge.id: edge.length_m for edge in network.edges.values()}
    streets = table.loc[[edge in length for edge in table["edge"]]]
    lengths = np.array([length[edge] for edge in streets["edge"]])
    distance, sampled = (streets[name].to_numpy(float) for name in ("distance_m", "sampled_s"))
    return pd.DataFrame(
        {
            "begin_s": streets["begin_s"].to_numpy(),
            "edge": streets["edge"].to_numpy(),
            "flow_veh_h": distance / lengths * 3600 / PERIOD,
            "speed_m_s": distance / np.where(sampled > 0, sampled, np.nan),
            "density_veh_km": sampled / PERIOD / lengths * 1000,
            **{name: streets[name].to_numpy() for name in ("time_loss_s", "co2_g", "nox_g")},
        }
    )


def _edge_table(folder: Path) -> pd.DataFrame:
    """A row an edge and period, junctions too; zero where nobody drove."""
    rows: dict[tuple[float, str], dict[str, float]] = {}
    read = {
        "traffic": {
            "distance": ("distance_m", 1.0),
            "sampledSeconds": ("sampled_s", 1.0),
            "timeLoss": ("time_loss_s", 1.0),
        },
        "emissions": {"CO2_abs": ("co2_g", 1e-3), "NOx_abs": ("nox_g", 1e-3)},
    }
    for name, attributes in read.items():
        for interval in parsed(folder / f"measured-{name}.xml").iter("interval"):
            begin = float(interval.get("begin", 0))
            for edge in interval.iter("edge"):
                row = rows.setdefault((begin, edge.get("id", "")), {})
                for key, (column, factor) in attributes.items():
                    row[column] = factor * float(edge.get(key, 0))
    index = pd.MultiIndex.from_tuples(list(rows), names=["begin_s", "edge"])
    return pd.DataFrame(list(rows.values()), index=index).fillna(0.0).reset_index()


def _loop_flows(network: Network, span: Span, folder: Path) -> dict[str, float]:
    """Loop to veh/h, of the intervals that lie within the measured span."""
    counted: dict[str, list[float]] = {}
    for name in sorted(set(network.loops.values())):
        path = folder / name
        for interval in parsed(path).iter("interval") if path.is_file() else ():
            begin, end = (float(interval.get(key, "nan")) for key in ("begin", "end"))
            if begin >= span.begin + span.warm_up and end <= span.end and end > begin:
                total = counted.setdefault(interval.get("id", ""), [0.0, 0.0])
                total[0] += float(interval.get("nVehContrib", 0))
                total[1] += end - begin
    return {loop: 3600 * vehicles / seconds for loop, (vehicles, seconds) in counted.items()}


def _attribute(root: ET.Element, tag: str, key: str) -> float:
    found = root.find(tag)
    return float(found.get(key, "nan")) if found is not None else float("nan")
