"""Losses over targets that may be missing."""

from __future__ import annotations

import torch
from torch import Tensor


def pinball(quantiles: Tensor, target: Tensor, levels: Tensor, node_weight: Tensor) -> Tensor:
    """Mean pinball loss over the targets that exist.

    Args:
        quantiles: [B, H, N, Q].
        target: [B, H, N], NaN where missing.
        levels: [Q].
        node_weight: [N].

    Returns:
        Scalar in the target's unit times the weight; 0 where no target exists.
    """
    seen = ~torch.isnan(target)
    error = torch.where(seen, target, torch.zeros_like(target))[..., None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    weight = seen * node_weight
    return (loss * weight).sum() / seen.sum().clamp(min=1)


def pinball_by_node(quantiles: Tensor, target: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Sums over windows and leads of what ``pinball`` averages: [N] losses, [N] targets."""
    seen = ~torch.isnan(target)
    error = torch.where(seen, target, torch.zeros_like(target))[..., None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
    return (loss * seen).sum((0, 1)), seen.sum((0, 1))


def total_error(answer: Tensor, target: Tensor, weight: Tensor, typical: Tensor) -> Tensor:
    """Mean relative error of sums over places.

    Args:
        answer: [B, A, O].
        target: [B, A, O]; complete where ``weight`` is not 0.
        weight: [O].
        typical: [O] sums; a sum much below is held to this one's size.

    Returns:
        Scalar.
    """
    kept = weight > 0
    truth = target[..., kept].sum(1)
    error = (answer[..., kept].sum(1) - truth).abs() / (truth + typical[kept])
    return (error * weight[kept]).mean()
