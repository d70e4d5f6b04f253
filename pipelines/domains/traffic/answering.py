"""A traffic scenario answered by a surrogate of SUMO on its network, at once and with a band."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from models.contracts import FelsinaError
from pipelines.domains.scenarios import read_keys
from pipelines.domains.traffic.draws import closures_outside
from pipelines.domains.traffic.measures import Intervention, intervention
from pipelines.domains.traffic.network import Network, network_beside
from pipelines.domains.traffic.road_surrogate import OUTPUTS, fields_of
from pipelines.domains.traffic.scenario import EDGES, MAP, Scenario
from pipelines.domains.traffic.trips import driven_turns
from serving.surrogate import SurrogateRelease

_LISTED = 10


def answer_scenario(
    scenario: dict[str, Any],
    base: Path,
    out: Path,
    progress: Callable[[str, float], None],
    surrogates: list[SurrogateRelease],
) -> dict[str, Any]:
    """Flow and speed of every edge with the measures, beside today's.

    Writes ``edges.parquet`` (for each of ``OUTPUTS``: ``..._today``, ``..._low``, ``..._measures``,
    ``..._high`` of the 80 % band, ``..._difference`` and whether it is ``..._told``: today lies
    outside the band) and ``difference.png``.

    Args:
        scenario: as simulated; seeds and counts are the simulator's.
        base: folder that its paths are relative to.
        out: folder to write.
        progress: told a text and the share that is done.
        surrogates: of traffic; the one of this network and span answers.

    Returns:
        The report, ready for JSON.

    Raises:
        FelsinaError: if none is of this network, or it was not trained on such measures.
    """
    asked = read_keys(Scenario, scenario)
    network = network_beside(base, asked.network)
    span = [asked.begin, asked.end, asked.warm_up]
    surrogate = _of(surrogates, network, span)
    change = intervention(asked.measures, network, driven_turns(network))
    progress(f"asked {surrogate.id}", 0.0)
    scalars = np.array([[change.demand], [1.0]], np.float32)
    fields = np.stack([fields_of(network, one) for one in (change, Intervention())])
    outside = surrogate.spec.outside(scalars[:1], fields[:1])
    found = [*map(str, outside), closures_outside(network, change.closed)]
    if any(found):
        reason = next(filter(None, found))
        raise FelsinaError(f"surrogate {surrogate.id}: {reason}; use --engine physics")
    # Calibration widens bands alike, below nothing too.
    changed, today = np.maximum(surrogate.answer(scalars, fields), 0)
    levels = [surrogate.spec.quantiles.index(level) for level in (0.1, 0.5, 0.9)]
    columns: dict[str, Any] = {"edge": list(network.edges)}
    moved = np.zeros(len(network.edges))
    for o, name in enumerate(OUTPUTS):
        low, middle, high = (changed[:, o, level] for level in levels)
        usual = today[:, o, levels[1]]
        told = (usual < low) | (usual > high)
        columns |= {f"{name}_today": usual, f"{name}_low": low, f"{name}_measures": middle}
        columns |= {f"{name}_high": high, f"{name}_difference": middle - usual}
        columns[f"{name}_told"] = told
        moved = np.maximum(moved, np.where(told, np.abs(middle - usual) / usual.std(), 0))
    table = pd.DataFrame(columns)
    table.to_parquet(out / EDGES, index=False)
    from pipelines.domains.traffic.difference_map import draw_difference

    title = f"{asked.name} ({network.name}, by {surrogate.id})"
    draw_difference(table, network, change, title, out / MAP)
    progress("drawn", 1.0)
    moved[np.maximum(today[:, 0], changed[:, 0])[:, levels[1]] < 1] = 0  # nobody's speed
    most = [k for k in np.argsort(-moved, kind="stable")[:_LISTED] if moved[k]]
    listed = [{key: _plain(table[key].iloc[k]) for key in table} for k in most]
    return {
        "surrogate": {
            "release": surrogate.id,
            "simulator": surrogate.spec.simulator,
            "errors": surrogate.report["tests"],
        },
        "network": {"name": network.name, "sha256": network.digest, "edges": len(network.edges)},
        "most_changed": listed,
        "files": [EDGES, MAP],
        "tables": {"Streets that change most": [_short(row) for row in listed]} if listed else {},
    }


def _of(surrogates: list[SurrogateRelease], network: Network, span: list[int]) -> SurrogateRelease:
    for surrogate in surrogates:
        facts = surrogate.spec.facts
        if facts["network_sha256"] == network.digest:
            if [*facts["span_s"], facts["warm_up_s"]] != span:
                raise FelsinaError(
                    f"begin, end, warm_up = {span}: surrogate {surrogate.id} knows"
                    f" {facts['span_s']} and {facts['warm_up_s']} s; use --engine physics"
                )
            return surrogate
    known = ", ".join(str(one.spec.facts["network"]) for one in surrogates)
    raise FelsinaError(
        f"network {network.name}: the surrogates are of other networks or files ({known});"
        " make one with felsina scenario sample, or use --engine physics"
    )


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """What a person reads first; the table that is written has the bands."""
    keys = {"edge": "edge"}
    for name, unit in zip(OUTPUTS, ("flow veh/h", "speed m/s"), strict=True):
        keys |= {unit: f"{name}_today", f"then {unit}": f"{name}_measures"}
    return {title: row[key] for title, key in keys.items()}


def _plain(value: Any) -> Any:
    """A table's value for JSON."""
    return getattr(value, "tolist", lambda: value)()
