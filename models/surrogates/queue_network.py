"""Traffic on a network as queues: what an edge lets pass, and how jams spread.

A coarse dynamic simulation in a few hundred steps of matrix products, differentiable, so that its
capacities and delays are fitted to a microscopic simulator. Edges are point queues with a storage
(after Nie and Zhang 2005, doi 10.1007/s11067-005-6206-1): what leaves one is limited by its own
capacity and by the room of those that follow, and a full edge holds back all that wait behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.surrogates.street_routing import FASTER, STEP_S, Routed, Streets

VEHICLE_M = 7.5
"""Length of a standing vehicle with its gap."""
_HEADWAY_S = 1.0


@dataclass(frozen=True)
class Queued:
    """Means over the measured span, each [B, E].

    Attributes:
        flow: veh/h.
        seconds: that a vehicle spends on the edge.
        filled: share of its storage that is taken.
        backlog: vehicles that wait to set out there.
    """

    flow: Tensor
    seconds: Tensor
    filled: Tensor
    backlog: Tensor


class Queues(nn.Module):
    """Simulates routed traffic in steps of ``STEP_S``.

    Args:
        streets: the network.
    """

    def __init__(self, streets: Streets) -> None:
        super().__init__()
        edges, turns = len(streets.length_m), len(streets.turns)
        self.steps, self.warm_up = streets.steps, streets.warm_up
        outgoing, incoming = np.zeros((turns, edges)), np.zeros((turns, edges))
        outgoing[np.arange(turns), streets.turns[:, 0]] = 1
        incoming[np.arange(turns), streets.turns[:, 1]] = 1
        most = max(1, int(outgoing.sum(0).max()))
        following = np.full((edges, most), turns)  # turns out of an edge; padded with one more
        for edge in range(edges):
            own = np.flatnonzero(outgoing[:, edge])
            following[edge, : len(own)] = own
        waits = streets.length_m / streets.fastest_m_s - streets.length_m / streets.limit_m_s
        for name, values in {
            "outgoing": outgoing,
            "incoming": incoming,
            "length": streets.length_m,
            "limit": streets.limit_m_s,
            "lanes": streets.lanes,
            "waits": np.maximum(waits, 0.1),
            "capacity": streets.capacity_veh_h * STEP_S / 3600,
        }.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32), False)
        for name, whole in {
            "source": streets.turns[:, 0],
            "target": streets.turns[:, 1],
            "following": following,
        }.items():
            self.register_buffer(name, torch.tensor(whole), False)
        self.lane_power = nn.Parameter(torch.zeros(()))
        zeros = (nn.Parameter(torch.zeros(edges)) for _ in range(4))
        self.capacity_factor, self.waits_factor, self.storage_factor, self.blocking = zeros

    def forward(self, routed: Routed, limit: Tensor, lanes: Tensor) -> Queued:
        """Simulate.

        Args:
            routed: what wants to drive.
            limit: [B, E] m/s.
            lanes: [B, E] lanes for cars.
        """
        get: Any = self.get_buffer
        out, into, source = get("outgoing"), get("incoming"), get("source")
        part = routed.turns / (routed.total[:, source] + 1e-6)
        ending = routed.leaving / (routed.total + 1e-6)
        entering = routed.entering * (STEP_S / 3600)
        unused = part < 1e-4
        # A lane lets pass a vehicle each headway and time to move up by its length.
        pace = limit / (_HEADWAY_S * limit + VEHICLE_M)
        pace = pace * (_HEADWAY_S + VEHICLE_M / get("limit"))
        # Less is lost than the lane's share where other lanes or the next junction decide.
        left = (lanes / get("lanes")).clamp(min=0.05)
        width = left ** torch.exp(FASTER * self.lane_power - 1)
        capacity = get("capacity") * torch.exp(FASTER * self.capacity_factor) * pace * width
        storage = get("length") * get("lanes") * left / VEHICLE_M
        storage = storage * torch.exp(FASTER * self.storage_factor)
        storage = torch.maximum(storage, 1.2 * capacity).clamp(min=2.0)
        free = get("length") / limit + get("waits") * torch.exp(FASTER * self.waits_factor)
        rate = (STEP_S / free).clamp(max=1.0)
        strict = torch.sigmoid(1 + FASTER * self.blocking)
        one = torch.ones_like(capacity[:, :1])

        def step(there: Tensor, waiting: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            ready = _softer(there * rate, capacity)
            wanted = part * ready.index_select(1, source)
            waiting = waiting + entering
            setting_out = torch.minimum(waiting, capacity)
            asked = torch.matmul(wanted, into) + setting_out
            room = torch.minimum((storage - there + 0.7 * ready).clamp(min=0), 1.5 * capacity)
            taken = (room / (asked + 1e-6)).clamp(max=1.0)
            share = taken.index_select(1, get("target"))
            # Whoever waits for a full edge holds back those behind, the less the more lanes.
            held = torch.cat([torch.where(unused, 1.0, share), one], dim=1)
            least = held[:, get("following")].amin(-1)
            behind = (strict * least).index_select(1, source)
            moved = wanted * (behind + (1 - strict).index_select(0, source) * share)
            gone = torch.matmul(moved, out) + ready * ending * (strict * least + 1 - strict)
            begun = setting_out * taken
            come = torch.matmul(moved, into) + begun
            return there + come - gone, waiting - begun, come, gone

        totals = self._run(step, capacity)
        measured = self.steps - self.warm_up
        flow, present, backlog = (total / measured for total in totals)
        slowest = free.clamp(min=STEP_S)  # that a step lets nobody stay less is no delay
        queueing = (present / (flow / STEP_S + 1e-4) - slowest).clamp(min=0)
        return Queued(flow * (3600 / STEP_S), free + queueing, present / storage, backlog)

    def _run(self, step: Any, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sums of flow, vehicles present and waiting over the measured steps; empty at first."""

        def body(k: Any, *carry: Tensor) -> tuple[Any, ...]:
            there, waiting, flow, present, backlog = carry
            there, waiting, come, gone = step(there, waiting)
            measured = (k >= self.warm_up) * 1.0
            flow = flow + measured * 0.5 * (come + gone)
            present, backlog = present + measured * there, backlog + measured * waiting
            return k + 1, there, waiting, flow, present, backlog

        carry: Any = tuple(torch.zeros_like(like) for _ in range(5))
        if torch.compiler.is_exporting():  # one body, not hundreds of copies
            first = torch.zeros((), dtype=torch.int64)
            carry = torch.while_loop(lambda k, *_: k < self.steps, body, (first, *carry))[1:]
        else:
            for k in range(self.steps):
                carry = body(k, *carry)[1:]
        return carry[2], carry[3], carry[4]


def _softer(a: Tensor, b: Tensor) -> Tensor:
    """The lesser of two, rounded where they are alike: what comes at random never fits whole."""
    return a * b / ((a**4 + b**4).sqrt() + 1e-12).sqrt()
