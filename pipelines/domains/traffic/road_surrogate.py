"""What a surrogate of SUMO on one network is asked, and the network that learns it."""

from __future__ import annotations

from importlib.metadata import version
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from models.contracts import FloatArray
from models.scenario import TRAIN, Input, Output, ScenarioSpec
from pipelines.domains.traffic.draws import DEMAND, KM_H
from pipelines.domains.traffic.georeference import edge_lines
from pipelines.domains.traffic.measures import Intervention
from pipelines.domains.traffic.network import IGNORING, Edge, Network, parsed
from pipelines.domains.traffic.recording import Span
from pipelines.domains.traffic.streams import alternatives, free_flow, streams
from pipelines.domains.traffic.trips import PUBLIC

if TYPE_CHECKING:
    from models.surrogates.street_routing import Streets
    from models.surrogates.surrogate import Members
    from training.experiments import Experiments

OUTPUTS = ("flow_veh_h", "speed_m_s")
_KNOWN = ("length_m", "signal", "flow_veh_h", "speed_m_s", "trips_veh_h", "scaled", "bound")
_FLOW_WEIGHT = 3.0
"""Edges' flows differ more than speeds do, beside what two seeds differ by."""
MEMBERS = 3
"""Networks whose mean answers."""
_SLOWEST_M_S = 0.3
"""Of a queue; no way looks endless for one."""


def spec_of(name: str, network: Network, span: Span) -> ScenarioSpec:
    """What is asked and answered, with today as the default of every street."""
    today = fields_of(network, Intervention())
    limits, _, lanes = (tuple(column) for column in today.T.round(4).tolist())
    lines = edge_lines(network)
    return ScenarioSpec(
        name=name,
        domain="traffic",
        simulator=f"SUMO {version('eclipse-sumo')}",
        axis="edge",
        places=tuple(network.edges),
        scalars=(Input("demand", "", *DEMAND, "Factor on all trips but public transport's.", 1.0),),
        fields=(
            Input(
                "speed_limit_m_s",
                "m/s",
                KM_H[0] / 3.6,
                max(limits),
                "Speed limit of the edge; a limit only lowers today's.",
                limits,
            ),
            Input("closed", "", 0, 1, "1 where nobody drives from beginning to end.", 0.0),
            Input("lanes", "", 1, max(lanes), "Lanes that are left to cars.", lanes),
        ),
        outputs=(
            Output(OUTPUTS[0], "veh/h", "Distance driven over length and time.", _FLOW_WEIGHT),
            Output(OUTPUTS[1], "m/s", "Distance driven over time spent on the edge."),
        ),
        facts={
            "network": network.name,
            "network_sha256": network.digest,
            "span_s": [span.begin, span.end],
            "warm_up_s": span.warm_up,
            **({} if lines is None else {"lines": lines}),
        },
    )


def fields_of(network: Network, change: Intervention) -> FloatArray:
    """Speed limit (m/s), closed and lanes for cars of every edge, [E, 3]."""
    return np.array(
        [
            (
                min(change.speed_limits.get(x.id, x.speed_m_s) for x in edge.lanes),
                edge.id in change.closed,
                sum(lane not in change.taken for lane in _driven(edge)),
            )
            for edge in network.edges.values()
        ],
        np.float32,
    )


def streets_record(network: Network, today: FloatArray, span: Span) -> dict[str, Any]:
    """What the queues need of a network, for JSON; ``today`` [E, 2] is simulated flow and speed."""
    fields, edges = fields_of(network, Intervention()), list(network.edges)
    number = {edge: k for k, edge in enumerate(edges)}
    speed = np.where(np.isnan(today[:, 1]), fields[:, 0], today[:, 1])
    driven = streams(network)
    lengths = np.array([edge.length_m for edge in network.edges.values()])
    jammed = dict(zip(edges, (lengths / np.maximum(speed, _SLOWEST_M_S)).tolist(), strict=True))
    ways = alternatives(network, driven, [free_flow(network), jammed])
    turns = {turn for own in ways for way in own for turn in pairwise(way)}
    lights = {
        element.get("from", "")
        for element in parsed(network.net)
        if element.tag == "connection" and element.get("tl")
    }
    departures = span.end - span.begin
    return {
        "length_m": lengths.tolist(),
        "signal": [float(edge in lights) for edge in edges],
        "flow_veh_h": today[:, 0].tolist(),
        "speed_m_s": speed.tolist(),
        "turns": sorted([number[a], number[b]] for a, b in turns),
        "trips_veh_h": [stream.trips * 3600 / departures for stream in driven],
        "scaled": [float(not stream.classes & PUBLIC) for stream in driven],
        "bound": [float(IGNORING not in stream.classes) for stream in driven],
        "ways": [[[number[edge] for edge in way] for way in own] for own in ways],
    }


def road_surrogate(experiments: Experiments) -> Members:
    """The networks that learn one SUMO scenario."""
    from models.surrogates.edge_graph import EdgeGraph
    from models.surrogates.surrogate import Members

    streets, levels = streets_of(experiments), experiments.spec.quantiles
    return Members([EdgeGraph(streets, levels) for _ in range(MEMBERS)])


def streets_of(experiments: Experiments) -> Streets:
    """The streets of a SUMO scenario, with what training runs show of their capacities."""
    from models.surrogates.street_routing import STEP_S, Streets

    record, rows = experiments.record["streets"], experiments.rows(TRAIN)
    limit, _, lanes = (np.array(field.default, float) for field in experiments.spec.fields)
    target, fields = experiments.target[rows], experiments.fields[rows]
    usual = np.abs(fields[..., 0] - limit) < 0.1
    speeds = np.where(usual & (target[..., 1] > 0), target[..., 1], 0).max(0)
    begin, end = experiments.spec.facts["span_s"]
    return Streets(
        **{name: np.array(record[name], float) for name in _KNOWN},
        limit_m_s=limit,
        lanes=lanes,
        fastest_m_s=np.where(speeds > 0, speeds, limit),
        busiest_veh_h=target[..., 0].max(0),
        turns=np.array(record["turns"]),
        ways=tuple(tuple(tuple(way) for way in own) for own in record["ways"]),
        steps=(end - begin) // STEP_S,
        warm_up=experiments.spec.facts["warm_up_s"] // STEP_S,
    )


def _driven(edge: Edge) -> list[str]:
    """Lanes for cars; where no car may drive, all."""
    cars = [lane.id for lane in edge.lanes if lane.admits("passenger")]
    return cars or [lane.id for lane in edge.lanes]
