"""Fit the backbone: scaler and profile by counting, ridge weights by normal equations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.backbone import Backbone
from models.contracts import CityGraph, IntArray, Window
from models.windows import WindowBuilder
from training.resident import ResidentWindows

STRENGTHS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
"""Ridge penalties tried, as multiples of the number of examples."""
BLOCKS = 4
"""Contiguous parts of the train span; each in turn is left out to choose the penalty."""
MOST_ORIGINS = 8000
"""Neighbouring origins tell nearly the same, so more than this are thinned."""
CHUNK = 64
PART_BYTES = 1 << 30
"""Memory for normal equations and regressors; nodes that need more are fitted part by part."""


def tensors(window: Window, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """A window's arrays as tensors, the target too where there is one."""
    arrays = window.inputs() | ({} if window.target is None else {"target": window.target})
    return {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}


@torch.no_grad()
def fit_backbone(
    backbone: Backbone,
    builder: WindowBuilder,
    train_end: int,
    origins: IntArray,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Fit scaler, profile and ridge on the train span alone.

    The penalty is chosen a node by leaving out each of ``BLOCKS`` blocks in turn: the held-out
    squared error follows from the blocks' normal equations, so the data is passed once. Where all
    nodes' equations would take more than ``PART_BYTES``, nodes are fitted part by part, each with
    its neighbours' series beside it: memory stays bounded and the cost linear in nodes.

    Args:
        backbone: fitted in place.
        builder: windows of the dataset.
        train_end: first row after the train span.
        origins: [B] train origins.
        progress: told the share done.
    """
    device = backbone.weight.device
    values = torch.as_tensor(builder.values[:train_end], device=device)
    backbone.scaler.fit(values, torch.as_tensor(builder.forcings[:train_end], device=device))
    if backbone.anchor == "profile":
        calendar = torch.as_tensor(builder.calendar(0, train_end), device=device)
        backbone.profile.fit(values, calendar)

    origins = origins[:: -(-len(origins) // MOST_ORIGINS)]
    parts = node_parts(backbone, builder.values.shape[1])
    equations = None
    for number, own in enumerate(parts):
        if equations is None or not backbone.inductive:
            equations = _Equations(1 if backbone.inductive else len(own), backbone)
        some, windows, kept = backbone, builder, None
        if len(parts) > 1:
            # Neighbours come along: a part is fitted as it would be among all nodes.
            around = _with_neighbours(own, backbone.graph)
            some, kept = backbone.part(around), torch.as_tensor(np.searchsorted(around, own))
            windows = builder.part(around)

        def told(share: float, number: int = number) -> None:
            progress((number + share) / len(parts))

        equations.add(some, windows, origins, kept, told)
        if not backbone.inductive or number == len(parts) - 1:
            weight, residual = equations.solve()
            rows = slice(None) if backbone.inductive else torch.as_tensor(own)
            backbone.weight[rows], backbone.residual[rows] = weight, residual


def node_parts(backbone: Backbone, nodes: int) -> list[IntArray]:
    """Nodes [N] in runs whose normal equations and regressors stay within ``PART_BYTES``."""
    horizon, width = backbone.weight.shape[1:]
    each = 4 * horizon * ((BLOCKS + 3) * width**2 + 4 * CHUNK * width)
    return np.array_split(np.arange(nodes), min(nodes, -(-nodes * each // PART_BYTES)))


def _with_neighbours(own: IntArray, graph: CityGraph) -> IntArray:
    """``own`` nodes and all that an edge joins to them, sorted."""
    mine = np.zeros(graph.nodes, bool)
    mine[own] = True
    near = mine[graph.source] | mine[graph.target]
    return np.unique(np.concatenate([own, graph.source[near], graph.target[near]]))


class _Equations:
    """Normal equations of a ridge a node and lead, kept apart for each block of the train span."""

    def __init__(self, nodes: int, like: Backbone) -> None:
        horizon, width = like.weight.shape[1:]
        shape, device = (BLOCKS, nodes, horizon), like.weight.device
        self.gram = torch.zeros(*shape, width, width, device=device)
        self.moment = torch.zeros(*shape, width, device=device)
        self.power = torch.zeros(shape, device=device)
        self.count = torch.zeros(shape, device=device)

    def add(
        self,
        backbone: Backbone,
        builder: WindowBuilder,
        origins: IntArray,
        kept: Tensor | None,
        progress: Callable[[float], None],
    ) -> None:
        """Add the windows of ``origins``, of the ``kept`` nodes alone; None for all."""
        done, resident = 0, ResidentWindows(builder, backbone.weight.device)
        for block, rows in enumerate(np.array_split(origins, BLOCKS)):
            for start in range(0, len(rows), CHUNK):
                batch = resident.batch(rows[start : start + CHUNK])
                target = batch.pop("target")
                frame = backbone.frame(**batch, held_out=True)
                truth = ((target - frame.mean) / frame.scale - frame.anchor).permute(2, 1, 0)
                truth = truth if kept is None else truth[kept]
                seen = ~torch.isnan(truth)
                truth = torch.where(seen, truth, torch.zeros_like(truth))
                design = backbone.design(frame, kept).permute(1, 2, 3, 0) * seen[:, :, None]
                done += truth.shape[2]
                if backbone.inductive:  # one ridge: every node is an example of it
                    truth, seen = (x.permute(1, 0, 2).flatten(1)[None] for x in (truth, seen))
                    design = design.permute(1, 2, 0, 3).flatten(2)[None]
                self.gram[block] += design @ design.transpose(-1, -2)
                self.moment[block] += (design @ truth[..., None])[..., 0]
                self.power[block] += truth.square().sum(-1)
                self.count[block] += seen.sum(-1)
                progress(done / len(origins))

    def solve(self) -> tuple[Tensor, Tensor]:
        """Weights [N, H, D] and held-out errors [N, H] at each node's best penalty."""
        gram, moment, count = self.gram, self.moment, self.count
        held_out = torch.zeros(len(STRENGTHS), *count.shape[1:], device=count.device)
        for block in range(BLOCKS):
            rest = [b for b in range(BLOCKS) if b != block]
            others = gram[rest[0]].clone(), moment[rest].sum(0), count[rest].sum(0)
            for b in rest[1:]:
                others[0].add_(gram[b])
            for s, strength in enumerate(STRENGTHS):
                weight = _solve(*others, strength)
                fitted = torch.einsum("nhd,nhde,nhe->nh", weight, gram[block], weight)
                held_out[s] += self.power[block] - 2 * (weight * moment[block]).sum(-1) + fitted
        best = held_out.sum(-1).argmin(0)
        gram, moment, count = gram.sum(0), moment.sum(0), count.sum(0)
        weights = torch.zeros_like(moment)
        for s, strength in enumerate(STRENGTHS):
            chosen = best == s
            if chosen.any():
                weights[chosen] = _solve(gram[chosen], moment[chosen], count[chosen], strength)
        error = held_out.gather(0, best[None, :, None].expand(1, *count.shape))[0]
        residual = (error.clamp(min=0) / count.clamp(min=1)).sqrt().clamp(min=1e-3)
        return weights, residual


def _solve(gram: Tensor, moment: Tensor, count: Tensor, strength: float) -> Tensor:
    """Ridge weights [..., D] of normal equations [..., D, D] and [..., D]."""
    width = gram.shape[-1]
    penalty = strength * count.clamp(min=1)[..., None, None] * torch.eye(width, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex(gram + penalty)
    weight = torch.cholesky_solve(moment[..., None], factor)[..., 0]
    return torch.where((failed == 0)[..., None], weight, torch.zeros_like(weight))
