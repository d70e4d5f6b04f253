"""Building blocks. Only Linear, Embedding and LayerNorm own weights; propagation owns none.

So per-sample gradients stay exact under Opacus hooks and the exported graph stays plain.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch_geometric.utils import to_dense_adj

from models.contracts import CityGraph

DENSE_NODES = 1000
"""Up to this many nodes a dense product mixes; above it, a gather of padded neighbours."""


class ResidualBlock(nn.Module):
    """Pre-normalised two-layer perceptron with a skip, as in the residual MLP of TiDE.

    Args:
        width: features in and out.
        dropout: share of hidden features dropped in training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to the same shape."""
        return x + self.body(x)


class Diffusion(nn.Module):
    """Random-walk diffusion along and against the edges (Li et al. 2018, DCRNN), without weights.

    Args:
        graph: directed, weighted edges.
        hops: powers of each walk.
    """

    def __init__(self, graph: CityGraph, hops: int = 2) -> None:
        super().__init__()
        self.hops = hops
        self.dense = graph.nodes <= DENSE_NODES
        edges = torch.tensor(graph.source), torch.tensor(graph.target)
        weight = torch.tensor(graph.weight, dtype=torch.float32)
        for name, (giver, taker) in {"along": edges, "against": edges[::-1]}.items():
            if self.dense:
                index = torch.stack([taker, giver])
                dense = to_dense_adj(index, edge_attr=weight, max_num_nodes=graph.nodes)[0]
                row = dense.sum(1, keepdim=True)
                self.register_buffer(name, dense / row.clamp(min=1e-12), persistent=False)
            else:
                neighbours, shares = padded_neighbours(giver, taker, weight, graph.nodes)
                self.register_buffer(f"{name}_neighbours", neighbours, persistent=False)
                self.register_buffer(f"{name}_shares", shares, persistent=False)

    @property
    def channels(self) -> int:
        """How many diffused copies ``forward`` gives."""
        return 2 * self.hops

    def forward(self, x: Tensor) -> Tensor:
        """Diffuse [B, N, F] to [B, N, channels * F]."""
        parts = []
        for name in ("along", "against"):
            walked = x
            for _ in range(self.hops):
                walked = self._walk(walked, name)
                parts.append(walked)
        return torch.cat(parts, dim=-1)

    def _walk(self, x: Tensor, name: str) -> Tensor:
        if self.dense:
            return torch.matmul(getattr(self, name), x)
        neighbours, shares = getattr(self, f"{name}_neighbours"), getattr(self, f"{name}_shares")
        total = torch.zeros_like(x)
        for k in range(neighbours.shape[1]):
            total = total + x.index_select(1, neighbours[:, k]) * shares[:, k, None]
        return total


def padded_neighbours(
    giver: Tensor, taker: Tensor, weight: Tensor, nodes: int
) -> tuple[Tensor, Tensor]:
    """Neighbour table [N, K] and the share [N, K] each gives, padded with share 0."""
    order = torch.argsort(taker, stable=True)
    giver, taker, weight = giver[order], taker[order], weight[order]
    degree = torch.bincount(taker, minlength=nodes)
    width = int(degree.max()) if len(taker) else 1
    rank = torch.arange(len(taker)) - (degree.cumsum(0) - degree)[taker]
    neighbours = torch.arange(nodes)[:, None].repeat(1, width)
    shares = torch.zeros(nodes, width)
    neighbours[taker, rank] = giver
    shares[taker, rank] = weight
    return neighbours, shares / shares.sum(1, keepdim=True).clamp(min=1e-12)


def log_bins(steps: int) -> Tensor:
    """Averages over the last 1, next 1, next 2, next 4 ... of ``steps``: weights [steps, J]."""
    edges = [0]
    while edges[-1] < steps:
        edges.append(min(steps, max(1, 2 * edges[-1])))
    bins = torch.zeros(steps, len(edges) - 1)
    for j, (near, far) in enumerate(pairwise(edges)):
        bins[steps - far : steps - near, j] = 1 / (far - near)
    return bins
