"""The training loop's content: masked pinball loss, AdamW, warm-up and cosine."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor

from models.forecaster import Forecaster
from models.surrogates.surrogate import Surrogate
from training.groups import WorstGroup, over_naive
from training.losses import pinball, pinball_by_node, total_error
from training.ranks import over_ranks, rank, summed
from training.schedule import rate_share


class PredictorModule(lightning.LightningModule):
    """Wraps a predictor for Lightning.

    Args:
        predictor: maps a window's tensors to quantiles [B, H, N, Q].
        node_weight: [N] weight of each node's loss; 1 / typical size makes nodes equal.
        levels: Q quantile levels.
        learning_rate: peak of the schedule.
        weight_decay: of AdamW.
        steps: length of the schedule.
        seed: makes each step's dropout the same after a resume.
        totals: ``total_error``'s weights and typical sums, where sums over places count too.
        worst: weighs nodes anew at each step, and what is judged is the worst group's loss.
    """

    def __init__(
        self,
        predictor: Forecaster | Surrogate,
        node_weight: Tensor,
        levels: tuple[float, ...],
        learning_rate: float,
        weight_decay: float,
        steps: int,
        seed: int,
        totals: tuple[Tensor, Tensor] | None = None,
        worst: WorstGroup | None = None,
    ) -> None:
        super().__init__()
        self.predictor = predictor
        self.totals, self.middle = totals, levels.index(0.5)
        self.worst = worst
        self._looked: list[Tensor] = []
        self.register_buffer("node_weight", node_weight, persistent=False)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.node_weight: Tensor
        self.levels: Tensor
        self.learning_rate, self.weight_decay, self.steps = learning_rate, weight_decay, steps
        self.seed = seed

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Seed each step alone, so that a resumed run draws what an unbroken one would.

        Ranks hold different windows, so their dropout differs too.
        """
        torch.manual_seed(self.seed * 1_000_003 + self.global_step + (rank() << 40))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch of windows."""
        inputs = {name: batch[name] for name in batch if name != "target"}
        members = self.predictor.member_quantiles(inputs)
        weight = self._node_weight(members, batch["target"])
        losses = [pinball(q, batch["target"], self.levels, weight) for q in members]
        loss = torch.stack(losses).mean()
        if self.totals is not None:
            totals = [total.to(self.device) for total in self.totals]
            medians = [q[..., self.middle] for q in members]
            errors = [total_error(median, batch["target"], *totals) for median in medians]
            loss = loss + torch.stack(errors).mean()
        loss, whole, _ = over_ranks(loss, _targets(batch["target"]))
        self.log("loss", whole)
        return loss

    def _node_weight(self, members: list[Tensor], target: Tensor) -> Tensor:
        """Weights of the nodes' losses in this step."""
        if self.worst is None or self.global_step < self.worst.begins:
            return self.node_weight
        parts = [pinball_by_node(q.detach(), target, self.levels) for q in members]
        by_node = torch.stack([part for part, _ in parts]).mean(0)
        return self.worst.weights(by_node, parts[0][1])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Loss of one batch of windows, without leaving anything out of the profile.

        Every rank logs the same number, so all of them stop at the same look.
        """
        target = batch.pop("target")
        quantiles = self.predictor(**batch)
        if self.worst is not None:
            by_node, seen = pinball_by_node(quantiles, target, self.levels)
            self._looked.append(self.worst.losses(by_node, seen))
            return
        loss = pinball(quantiles, target, self.levels, self.node_weight)
        _, whole, targets = over_ranks(loss, _targets(target))
        self.log("validation_loss", whole, batch_size=max(1, int(targets)))

    def on_validation_epoch_end(self) -> None:
        """Where the worst group counts, it is known when all windows have been seen."""
        if self.worst is not None:
            relative = over_naive(summed(torch.stack(self._looked).sum(0)))
            self._looked.clear()
            self.log("validation_loss", relative.nan_to_num(0.0).max())

    def configure_optimizers(self) -> Any:
        """AdamW with 5 % warm-up and a cosine to zero."""
        weights = list(self.predictor.parameters())
        optimiser = torch.optim.AdamW(
            weights,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=True if weights[0].is_cuda else None,  # one kernel, not a dozen
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda step: rate_share(step, self.steps)
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _targets(target: Tensor) -> Tensor:
    """How many targets exist."""
    return (~torch.isnan(target)).sum()
