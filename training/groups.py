"""Groups of nodes that training and calibration look at; a forecast never reads them.

What a group costs is told by relative error: a model's loss over what a seasonal naive forecast
loses on the same targets. Raw errors only follow the level, and a small street would never count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.baselines import LookBack
from models.contracts import FloatArray, IntArray
from models.windows import WindowBuilder
from training.ranks import summed

MOST = 10.0
"""No node counts more than so many times what it did, nor less than the inverse."""
_ORIGINS = 400
"""Train origins by which the naive forecast is judged; neighbouring ones tell nearly the same."""


@dataclass(frozen=True)
class NodeGroups:
    """Nodes told apart by one attribute.

    Attributes:
        attribute: what tells them apart.
        names: G, of the groups.
        of_node: [N] each node's group, -1 where it has none.
    """

    attribute: str
    names: tuple[str, ...]
    of_node: IntArray

    def record(self, ids: tuple[str, ...]) -> dict[str, object]:
        """The groups for a run's record: names to ids of nodes."""
        members = {
            name: [ids[n] for n in np.flatnonzero(self.of_node == g)]
            for g, name in enumerate(self.names)
        }
        return {"attribute": self.attribute, "groups": members}

    def members(self) -> Tensor:
        """[G, N] ones where a node belongs to a group."""
        numbers = np.arange(len(self.names))[:, None]
        return torch.as_tensor(self.of_node == numbers, dtype=torch.float32)


def naive_loss(builder: WindowBuilder, origins: IntArray) -> tuple[Tensor, Tensor]:
    """What a seasonal naive forecast (a week before) errs at each node on train origins.

    Returns:
        [N] mean absolute errors, and [N] shares of the targets that exist; 0 where none does.
    """
    origins = origins[:: -(-len(origins) // _ORIGINS)]
    lead = np.arange(1, builder.spec.horizon + 1)
    target = builder.values[origins[:, None] + lead].astype(float)
    mean = _mean(builder.values[: origins[-1] + builder.spec.horizon + 1].astype(float), 0)
    guess = LookBack(builder, mean).seasonal_naive(origins, 7 * builder.spec.steps_per_day)
    error, seen = _mean(abs(guess - target), (0, 1)), np.isfinite(target).mean((0, 1))
    return torch.as_tensor(error).float(), torch.as_tensor(seen).float()


def _mean(values: FloatArray, axis: int | tuple[int, ...]) -> FloatArray:
    """Mean of what is known, 0 where nothing is."""
    seen = np.isfinite(values)
    return np.where(seen, values, 0).sum(axis) / np.maximum(seen.sum(axis), 1)


def balanced(groups: NodeGroups, cost: Tensor) -> Tensor:
    """Factors of the nodes' weights after which every group has the same total cost.

    Args:
        groups: the groups.
        cost: [N] what a node costs the naive forecast, as the loss counts it.

    Returns:
        [N], between 1 / ``MOST`` and ``MOST``, that leave the sum of all costs; nodes of no group
        keep their share.
    """
    members = groups.members().to(cost)
    of_group = members @ cost
    known = of_group > 0
    factor = torch.ones_like(of_group)
    factor[known] = of_group[known].mean() / of_group[known]
    inside = members.sum(0)
    found = members.T @ factor.clamp(1 / MOST, MOST) + (1 - inside)
    total = (inside * cost).sum() / (found * inside * cost).sum().clamp(min=1e-30)
    return torch.where(inside > 0, found * total, found).clamp(1 / MOST, MOST)


class WorstGroup(nn.Module):
    """Group DRO: exponentiated gradients raise the weight of the group that is served worst.

    Sagawa et al. 2020 (arXiv 1911.08731), with relative losses in place of raw ones, each over the
    mean of all groups' so that ``rate`` has no unit. It starts as the balanced weights do, and only
    after the ordinary training has taken ``begins`` steps: without a warm start it learns the
    majority too late.

    Args:
        groups: the groups.
        naive: [N] mean absolute error of the naive forecast.
        node_weight: [N] of the ordinary loss.
        factor: [N] of ``balanced``.
        begins: optimiser steps before it.
        rate: of the exponentiated gradient.
    """

    def __init__(
        self,
        groups: NodeGroups,
        naive: Tensor,
        node_weight: Tensor,
        factor: Tensor,
        begins: int,
        rate: float,
    ) -> None:
        super().__init__()
        self.begins, self.rate = begins, rate
        for name, values in (("members", groups.members()), ("naive", naive), ("factor", factor)):
            self.register_buffer(name, values.to(node_weight), persistent=False)
        self.register_buffer("node_weight", node_weight, persistent=False)
        self.register_buffer("share", torch.ones(len(groups.names)))  # a resumed run's too
        self.members: Tensor
        self.naive: Tensor
        self.factor: Tensor
        self.node_weight: Tensor
        self.share: Tensor

    def losses(self, by_node: Tensor, seen: Tensor) -> Tensor:
        """Sums [G, 2] of a batch: the model's loss and the naive forecast's.

        Args:
            by_node: [N] sums of pinball losses.
            seen: [N] targets that exist.
        """
        sums = torch.stack([by_node, seen * self.naive], dim=1) * self.node_weight[:, None]
        return self.members @ sums

    def weights(self, by_node: Tensor, seen: Tensor) -> Tensor:
        """[N] weights of the nodes' losses in this step, after a look at its losses."""
        relative = over_naive(summed(self.losses(by_node.detach(), seen)))
        known = torch.isfinite(relative)
        if known.any():
            excess = torch.where(known, relative, 0) / relative[known].mean().clamp(min=1e-12)
            share = self.share * torch.exp(self.rate * excess)
            share = (share / share.mean()).clamp(1 / MOST, MOST)
            self.share.copy_(share / share.mean())
        inside = self.members.sum(0)
        emphasis = self.members.T @ self.share + (1 - inside)
        return self.node_weight * (self.factor * emphasis).clamp(1 / MOST, MOST)


def over_naive(sums: Tensor) -> Tensor:
    """[G] relative losses of sums [G, 2]; NaN where a group has no targets."""
    return torch.where(sums[:, 1] > 0, sums[:, 0] / sums[:, 1].clamp(min=1e-30), torch.nan)
