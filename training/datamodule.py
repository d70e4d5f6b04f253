"""Batches of windows, cut when they are asked for: one epoch is the steps between two looks.

Where several processes train together, each cuts its share of every batch: batches stay the same.
"""

from __future__ import annotations

from functools import cached_property

import lightning
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from models.contracts import IntArray
from models.windows import WindowBuilder
from training.ranks import rank, size
from training.resident import ResidentWindows

VALIDATION_ORIGINS = 400
"""Stopping windows looked at; neighbouring origins tell nearly the same."""
VALIDATION_BATCH = 64


class Batches(Dataset[dict[str, Tensor]]):
    """Item ``i`` is a batch of windows, given its origins."""

    def __init__(self, windows: ResidentWindows, origins: list[IntArray]) -> None:
        self.windows = windows
        self.origins = [part[rank() :: size()] for part in origins]

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.origins)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Cut batch ``index``."""
        return self.windows.batch(self.origins[index])


class WindowsDataModule(lightning.LightningDataModule):
    """Random origins for training, thinned ones for stopping.

    The origins of a step depend on seed and step alone, so that a resumed run sees what an
    unbroken one would have seen.

    Args:
        builder: windows of the dataset.
        train: train origins.
        stopping: stopping origins.
        issued: the train origins at which forecasts are issued; empty for no preference.
        batch: origins a step.
        issue_share: share of a batch drawn from ``issued``.
        steps_per_epoch: steps between two looks.
        seed: of the draws.
    """

    def __init__(
        self,
        builder: WindowBuilder,
        train: IntArray,
        stopping: IntArray,
        issued: IntArray,
        batch: int,
        issue_share: float,
        steps_per_epoch: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.builder, self.train, self.issued, self.seed = builder, train, issued, seed
        self.stopping = stopping[:: -(-len(stopping) // VALIDATION_ORIGINS)]
        self.batch, self.steps_per_epoch = batch, steps_per_epoch
        self.at_issue = int(batch * issue_share) if len(issued) else 0

    @cached_property
    def windows(self) -> ResidentWindows:
        """The series on the trainer's device, from the first batch on."""
        device = self.trainer.strategy.root_device if self.trainer else "cpu"
        return ResidentWindows(self.builder, device)

    def draw(self, step: int) -> IntArray:
        """Origins of optimiser step ``step``."""
        rng = np.random.default_rng([self.seed, step])
        anywhere = rng.choice(self.train, self.batch - self.at_issue)
        return (
            np.concatenate([anywhere, rng.choice(self.issued, self.at_issue)])
            if self.at_issue
            else anywhere
        )

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The batches of the trainer's current epoch."""
        epoch = self.trainer.current_epoch if self.trainer else 0
        first = epoch * self.steps_per_epoch
        draws = [self.draw(first + i) for i in range(self.steps_per_epoch)]
        return DataLoader(Batches(self.windows, draws), batch_size=None)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The stopping windows."""
        parts = -(-len(self.stopping) // VALIDATION_BATCH)
        draws = np.array_split(self.stopping, parts)
        return DataLoader(Batches(self.windows, draws), batch_size=None)
