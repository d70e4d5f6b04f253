"""A road network as it is today, and who drives which way when streets are closed or slower."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.contracts import FloatArray, IntArray

STEP_S = 20
"""Of the coarse simulation in ``queue_network``."""
_LANE_VEH_H = 700.0
_LOOKS = 4
"""How often the streets' load is looked at until the ways round a closure are shared out."""
_JAM_S = 300.0
"""What twice the capacity costs, before it is fitted."""
_WAIT_S = 30
"""How much quicker a way must be to be taken 2.7 times as often, before it is fitted."""
FASTER = 10.0
"""Fitted factors are exponentials of this times their weight: they learn faster than a network."""
_NEVER = 1e6


@dataclass(frozen=True)
class Streets:
    """A network as it is today: what the surrogate knows before it learns.

    Attributes:
        length_m: [E].
        limit_m_s: [E] limits.
        lanes: [E] lanes for cars, 1 at least.
        signal: [E] 1 where traffic lights are at its end.
        flow_veh_h: [E] simulated.
        speed_m_s: [E] simulated; the limit where nobody drove.
        fastest_m_s: [E] largest mean speed in any run with today's limit.
        busiest_veh_h: [E] largest flow in any run.
        turns: [L, 2] from which edge to which.
        trips_veh_h: [N] of each stream of drivers.
        scaled: [N] 1 where a demand factor scales it; public transport's timetable holds.
        bound: [N] 1 where closures bind its drivers; some vehicle classes ignore them.
        ways: of each stream its route and then the ways round closures, as edges.
        steps: of ``STEP_S`` that are simulated.
        warm_up: of them that are not measured.
    """

    length_m: FloatArray
    limit_m_s: FloatArray
    lanes: FloatArray
    signal: FloatArray
    flow_veh_h: FloatArray
    speed_m_s: FloatArray
    fastest_m_s: FloatArray
    busiest_veh_h: FloatArray
    turns: IntArray
    trips_veh_h: FloatArray
    scaled: FloatArray
    bound: FloatArray
    ways: tuple[tuple[tuple[int, ...], ...], ...]
    steps: int
    warm_up: int

    @property
    def capacity_veh_h(self) -> FloatArray:
        """What an edge is thought to let pass before anything is fitted."""
        return np.maximum(1.05 * self.busiest_veh_h, _LANE_VEH_H * self.lanes)


@dataclass(frozen=True)
class Routed:
    """What would be driven if no street were ever full, vehicles an hour.

    Attributes:
        turns: [B, L] from edge to edge.
        entering: [B, E] trips that begin there.
        leaving: [B, E] trips that end there.
        total: [B, E] over each edge.
    """

    turns: Tensor
    entering: Tensor
    leaving: Tensor
    total: Tensor


class Routing(nn.Module):
    """Ways of all streams: their own, or where that is broken the quickest of those left.

    Args:
        streets: the network.
    """

    def __init__(self, streets: Streets) -> None:
        super().__init__()
        edges, ways = len(streets.length_m), [w for stream in streets.ways for w in stream]
        number = {(int(a), int(b)): k for k, (a, b) in enumerate(streets.turns)}
        passes, turned = np.zeros((len(ways), edges)), np.zeros((len(ways), len(number)))
        for row, way in enumerate(ways):
            passes[row, list(way)] = 1
            turned[row, [number[turn] for turn in pairwise(way)]] = 1
        most, first = max(map(len, streets.ways)), 0
        table = np.zeros((len(streets.ways), most), int)
        absent = np.ones((len(streets.ways), most), bool)
        place, ends = np.zeros(len(ways), int), np.zeros((2, len(streets.ways), edges))
        for stream, own in enumerate(streets.ways):
            count = len(own)
            table[stream, :count], absent[stream, :count] = np.arange(first, first + count), False
            place[first : first + count] = stream * most + np.arange(count)
            ends[0, stream, own[0][0]] = ends[1, stream, own[0][-1]] = 1
            first += count
        outgoing = np.zeros((len(number), edges))
        outgoing[np.arange(len(number)), streets.turns[:, 0]] = 1
        delay = streets.length_m / streets.speed_m_s - streets.length_m / streets.limit_m_s
        for name, values in {
            "passes": passes,
            "turned": turned,
            "starts": ends[0],
            "ends": ends[1],
            "outgoing": outgoing,
            "length": streets.length_m,
            "delay": np.maximum(delay, 0),
            "capacity": streets.capacity_veh_h,
            "trips": streets.trips_veh_h,
            "scaled": streets.scaled,
            "bound": streets.bound[:, None],
        }.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), False)
        for name, whole in {"table": table, "absent": absent, "place": place}.items():
            self.register_buffer(name, torch.tensor(whole), False)
        self.liking = nn.Parameter(torch.zeros(edges))
        self.patience = nn.Parameter(torch.zeros(()))
        self.sharpness = nn.Parameter(torch.tensor(-np.log(_WAIT_S) / FASTER, dtype=torch.float32))

    def forward(self, demand: Tensor, limit: Tensor, closed: Tensor) -> Routed:
        """Route the trips.

        Args:
            demand: [B, 1] factor on today's trips.
            limit: [B, E] m/s.
            closed: [B, E] 1 where nobody may drive.
        """
        get: Any = self.get_buffer
        passes, table = get("passes"), get("table")
        usual = (get("length") / limit + get("delay")) * torch.exp(FASTER * self.liking)
        broken = (torch.matmul(closed, passes.T) > 0.5)[:, table]
        gone = broken & (get("bound") > 0.5) | get("absent")
        # One's own way, the first, is kept unless it is broken.
        keeps = torch.where(broken[..., :1], 0.0, _NEVER)
        keeps = functional.pad(keeps, (0, table.shape[1] - 1))
        trips = get("trips") * (1 + get("scaled") * (demand - 1))
        driven, crowded = torch.zeros_like(usual[:, :1]), torch.zeros_like(usual)
        for look in range(_LOOKS):  # successive averages: who is sent round sees the others
            seconds = usual + _JAM_S * torch.exp(FASTER * self.patience) * crowded
            cost = torch.matmul(seconds, passes.T) * torch.exp(FASTER * self.sharpness)
            score = torch.where(gone, -_NEVER, keeps - cost[:, table])
            shares = torch.softmax(score, dim=-1) * torch.where(gone, 0.0, 1.0)
            now = (trips[..., None] * shares).flatten(1).index_select(1, get("place"))
            driven = driven + (now - driven) / (look + 1)
            total = torch.matmul(driven, passes)
            crowded = (total / get("capacity") - 1).clamp(min=0)
        possible = trips * torch.where(gone.all(-1), 0.0, 1.0)
        turns = torch.matmul(driven, get("turned"))
        leaving = torch.matmul(possible, get("ends"))
        total = torch.matmul(turns, get("outgoing")) + leaving
        return Routed(turns, torch.matmul(possible, get("starts")), leaving, total)
