"""What measures do to each street's flow and speed: queues, corrected by a network on the graph.

The backbone is physical (``queue_network``): drivers whose way is closed take the quickest other
one, edges let pass what they can, jams spread upstream. Today's simulated flow and speed are moved
by what the queues say that the measures change. A graph network learns the residual to that:
messages pass along the turns and against them (Gilmer et al. 2017, arXiv 1704.01212). Backbone and
residual are both taken against today's own, so without measures today is what is answered.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.nn import MessagePassing

from models.forecaster import fan
from models.layers import ResidualBlock
from models.surrogates.queue_network import Queues
from models.surrogates.street_routing import Routing, Streets

SPEED_LIMIT, CLOSED, LANES = range(3)
"""Columns of the fields."""
FLOW, SPEED = range(2)
"""Outputs."""
_ABOVE_LIMIT = 1.15
"""Mean speed over the limit that is never passed: drivers differ, some drive faster."""
_NEVER = 1e6
_FEW = 20.0
"""Vehicles an hour that are little beside the noise of a run."""


class Turns(MessagePassing):
    """Messages over turns, averaged by a dense product: scatters would race in ONNX Runtime.

    Args:
        turns: [2, L] edges that give and take messages.
        edges: E.
        width: W, features of an edge's state.
    """

    def __init__(self, turns: Tensor, edges: int, width: int) -> None:
        super().__init__(aggr=None, node_dim=-2)
        gather = torch.zeros(edges, turns.shape[1])
        gather[turns[1], torch.arange(turns.shape[1])] = 1
        gather = gather / gather.sum(1, keepdim=True).clamp(min=1)
        self.register_buffer("turns", turns, persistent=False)
        self.register_buffer("gather", gather, persistent=False)
        self.turns: Tensor
        self.gather: Tensor
        self.giver, self.taker = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Messages [B, E, W] from states [B, E, W]."""
        return self.propagate(self.turns, giver=self.giver(x), taker=self.taker(x))

    def message(self, giver_j: Tensor, taker_i: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """What a turn carries, [B, L, W]."""
        return functional.gelu(giver_j + taker_i)

    def aggregate(self, inputs: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Mean of what arrives."""
        return torch.matmul(self.gather, inputs)


class Exchange(nn.Module):
    """One round of messages along the traffic and against it, with the network's mean."""

    def __init__(self, turns: Tensor, edges: int, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.along = Turns(turns, edges, width)
        self.against = Turns(turns.flip(0), edges, width)
        self.mix = nn.Linear(3 * width, width)
        self.block = ResidualBlock(width, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, E, W] to the same shape."""
        seen = self.norm(x)
        everywhere = seen.mean(1, keepdim=True).expand_as(seen)
        heard = torch.cat([self.along(seen), self.against(seen), everywhere], dim=-1)
        return self.block(x + self.mix(heard))


class EdgeGraph(nn.Module):
    """Surrogate of a traffic simulator on one network.

    Args:
        streets: the network as it is today.
        quantiles: Q rising levels.
        width: features of an edge's state.
        rounds: of messages.
        embedding: features learned of an edge by name.
        dropout: share of features dropped in training.
    """

    def __init__(
        self,
        streets: Streets,
        quantiles: tuple[float, ...],
        width: int = 48,
        rounds: int = 4,
        embedding: int = 8,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        edges = len(streets.length_m)
        self.middle = quantiles.index(0.5)
        self.routing, self.queues = Routing(streets), Queues(streets)

        def constant(values: object) -> Tensor:
            return torch.as_tensor(values, dtype=torch.float32)

        today = {
            "limit": constant(streets.limit_m_s),
            "lanes": constant(streets.lanes),
            "flow": constant(streets.flow_veh_h),
            "speed": constant(streets.speed_m_s),
        }
        known = torch.stack(
            [
                constant(streets.length_m).clamp(min=1).log() / 3,
                today["lanes"] / 2,
                today["limit"] / 14,
                constant(streets.signal),
                today["flow"] / 1000,
                today["speed"] / today["limit"],
            ],
            dim=-1,
        )
        for name, values in {**today, "known": known}.items():
            self.register_buffer(name, values, persistent=False)
        self.limit: Tensor
        self.lanes: Tensor
        self.flow: Tensor
        self.speed: Tensor
        self.known: Tensor
        self.name = nn.Parameter(torch.zeros(edges, embedding))
        self.static_in = nn.Linear(known.shape[-1] + embedding, width)
        self.state_in = nn.Linear(self.states, width)
        turns = torch.as_tensor(streets.turns).T.contiguous()
        self.rounds = nn.Sequential(
            *(Exchange(turns, edges, width, dropout) for _ in range(rounds))
        )
        self.head_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 2 * len(quantiles))
        nn.init.normal_(self.name, std=0.1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    states = 16
    """Features of an edge that a scenario decides."""

    def forward(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Answer a batch of scenarios.

        Args:
            scalars: [B, 1] demand factor.
            fields: [B, E, 3] speed limit (m/s), closed (0 or 1), lanes for cars.

        Returns:
            [B, E, 2, Q] quantiles of flow (veh/h) and speed (m/s); rising with the level.
        """
        prior, state, most = self._prior(scalars, fields)
        x = self.static_in(torch.cat([self.known, self.name], dim=-1)) + self.state_in(state)
        raw = self.head(self.head_norm(self.rounds(x)))
        raw = raw.unflatten(-1, (2, -1)).permute(3, 0, 1, 2)
        centre = raw[self.middle]
        levels = [level[:-1] for level in raw.unbind(0)]
        levels[self.middle] = centre[:-1] - centre[-1:]  # today's is none
        fanned = fan(torch.stack(levels), self.middle)
        flow, speed = prior[:-1].unbind(-1)
        scale = _FEW + 0.05 * (flow + self.flow)
        flows = torch.minimum((flow + scale * fanned[..., FLOW]).clamp(min=0), most[:-1])
        fastest = _ABOVE_LIMIT * fields[..., SPEED_LIMIT]
        share = (speed / fastest).clamp(0.01, 0.99)
        speeds = fastest * torch.sigmoid(torch.logit(share) + 0.3 * fanned[..., SPEED])
        return torch.stack([flows, speeds], dim=-1).permute(1, 2, 3, 0)

    def backbone(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Flow and speed [B, E, 2] by the queues alone."""
        return self._prior(scalars, fields)[0][:-1]

    def _prior(self, scalars: Tensor, fields: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the queues say of the scenarios and, last, of today.

        Returns:
            Flow and speed [B + 1, E, 2], features [B + 1, E, S], and the most that can flow
            [B + 1, E]: over a closed edge, who does not heed it.
        """
        demand = torch.cat([scalars[:, :1], torch.ones_like(scalars[:1, :1])])
        today = torch.stack([self.limit, torch.zeros_like(self.limit), self.lanes], dim=-1)
        limit, closed, lanes = torch.cat([fields, today[None]]).unbind(-1)
        routed = self.routing(demand, limit, closed)
        queued = self.queues(routed, limit, lanes)
        own = {name: getattr(queued, name)[-1:] for name in ("flow", "seconds", "filled")}
        slower = (queued.seconds / own["seconds"]).log()
        most = torch.where(closed > 0.5, routed.total, _NEVER)
        flow = torch.minimum((self.flow + queued.flow - own["flow"]).clamp(min=0), most)
        speed = torch.minimum(self.speed * torch.exp(-slower), _ABOVE_LIMIT * 0.95 * limit)
        more = routed.total - routed.total[-1:]
        state = [
            limit / self.limit - 1,
            closed,
            lanes / self.lanes - 1,
            (demand - 1).expand_as(limit),
            routed.total / 1000,
            more / 500,
            torch.log((routed.total + _FEW) / (routed.total[-1:] + _FEW)),
            (queued.flow - own["flow"]) / 500,
            torch.log((queued.flow + _FEW) / (own["flow"] + _FEW)),
            (queued.flow - self.flow) / 500,
            slower,
            queued.filled,
            queued.filled - own["filled"],
            torch.log1p(queued.backlog) / 5,
            (routed.total - queued.flow) / 500,
            speed / limit,
        ]
        return torch.stack([flow, speed], dim=-1), torch.stack(state, dim=-1), most
