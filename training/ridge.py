"""Fit the backbone: scaler and profile by counting, ridge weights by normal equations."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.backbone import Backbone
from models.contracts import IntArray, Window
from models.windows import WindowBuilder

STRENGTHS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0)
"""Ridge penalties tried, as multiples of the number of examples."""
BLOCKS = 4
"""Contiguous parts of the train span; each in turn is left out to choose the penalty."""
MOST_ORIGINS = 8000
"""Neighbouring origins tell nearly the same, so more than this are thinned."""
CHUNK = 64


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
    squared error follows from the blocks' normal equations, so the data is passed once.

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
    nodes, horizon, width = backbone.weight.shape
    gram = torch.zeros(BLOCKS, nodes, horizon, width, width, device=device)
    moment = torch.zeros(BLOCKS, nodes, horizon, width, device=device)
    power = torch.zeros(BLOCKS, nodes, horizon, device=device)
    count = torch.zeros(BLOCKS, nodes, horizon, device=device)
    done = 0
    for block, part in enumerate(np.array_split(origins, BLOCKS)):
        for start in range(0, len(part), CHUNK):
            batch = tensors(builder.batch(part[start : start + CHUNK], with_target=True), device)
            target = batch.pop("target")
            frame = backbone.frame(**batch, held_out=True)
            truth = ((target - frame.mean) / frame.scale - frame.anchor).permute(2, 1, 0)
            seen = ~torch.isnan(truth)
            truth = torch.where(seen, truth, torch.zeros_like(truth))
            design = backbone.design(frame).permute(1, 2, 3, 0) * seen[:, :, None]
            done += truth.shape[2]
            if nodes == 1:  # one ridge: every node is an example of it
                truth, seen = (x.permute(1, 0, 2).flatten(1)[None] for x in (truth, seen))
                design = design.permute(1, 2, 0, 3).flatten(2)[None]
            gram[block] += design @ design.transpose(-1, -2)
            moment[block] += (design @ truth[..., None])[..., 0]
            power[block] += truth.square().sum(-1)
            count[block] += seen.sum(-1)
            progress(done / len(origins))

    held_out = torch.zeros(len(STRENGTHS), nodes, horizon, device=device)
    for block in range(BLOCKS):
        rest = [b for b in range(BLOCKS) if b != block]
        others = gram[rest[0]].clone(), moment[rest].sum(0), count[rest].sum(0)
        for b in rest[1:]:
            others[0].add_(gram[b])
        for s, strength in enumerate(STRENGTHS):
            weight = _solve(*others, strength)
            fitted = torch.einsum("nhd,nhde,nhe->nh", weight, gram[block], weight)
            held_out[s] += power[block] - 2 * (weight * moment[block]).sum(-1) + fitted
    best = held_out.sum(-1).argmin(0)
    gram, moment = gram.sum(0), moment.sum(0)
    for s, strength in enumerate(STRENGTHS):
        chosen = best == s
        if chosen.any():
            part = gram[chosen], moment[chosen], count.sum(0)[chosen]
            backbone.weight[chosen] = _solve(*part, strength)
    error = held_out.gather(0, best[None, :, None].expand(1, -1, horizon))[0]
    error = (error.clamp(min=0) / count.sum(0).clamp(min=1)).sqrt()
    backbone.residual.copy_(error.clamp(min=1e-3))


def _solve(gram: Tensor, moment: Tensor, count: Tensor, strength: float) -> Tensor:
    """Ridge weights [..., D] of normal equations [..., D, D] and [..., D]."""
    width = gram.shape[-1]
    penalty = strength * count.clamp(min=1)[..., None, None] * torch.eye(width, device=gram.device)
    factor, failed = torch.linalg.cholesky_ex(gram + penalty)
    weight = torch.cholesky_solve(moment[..., None], factor)[..., 0]
    return torch.where((failed == 0)[..., None], weight, torch.zeros_like(weight))
