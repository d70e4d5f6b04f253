"""The processes of one training: who this one is among them, and what they agree on.

``torchrun`` and ``srun`` start a process a GPU. Each draws the same origins and cuts its share of
their windows, so that the batch of a step is the same however many processes there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, distributed, nn

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """How Lightning is to run.

    Attributes:
        devices: processes a node.
        nodes: machines.
        strategy: ``auto`` for one process.
        environment: who started the processes. Always given, so that Lightning does not guess; its
            own requeueing under SLURM saves from within a signal handler, in the midst of a step.
    """

    devices: int
    nodes: int
    strategy: DDPStrategy | str
    environment: ClusterEnvironment


@contextmanager
def joined() -> Iterator[None]:
    """Be one of the processes that ``torchrun`` or ``srun`` started, if there are several."""
    environment = _launched()
    if environment is None or environment.world_size() == 1:
        yield
        return
    os.environ["MASTER_ADDR"] = environment.main_address
    os.environ["MASTER_PORT"] = str(environment.main_port)
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(environment.local_rank())
        backend = "cpu:gloo,cuda:nccl"  # what is agreed on is no business of the GPU's
    distributed.init_process_group(
        backend, rank=environment.global_rank(), world_size=environment.world_size()
    )
    try:
        yield
    finally:
        distributed.destroy_process_group()


def _launched() -> ClusterEnvironment | None:
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "SLURM_STEP_ID" in os.environ:  # srun sets it, a batch script's shell has none
        return SLURMEnvironment(auto_requeue=False)
    return None


def rank() -> int:
    """Number of this process, 0 for the first: the one that writes."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def size() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def layout() -> Layout:
    """How Lightning is to run in this process."""
    environment = _launched()
    if size() == 1 or environment is None:
        return Layout(1, 1, "auto", LightningEnvironment())
    torchrun = isinstance(environment, TorchElasticEnvironment)
    nodes = int(os.environ["GROUP_WORLD_SIZE" if torchrun else "SLURM_NNODES"])
    # Buffers hold the backbone: they are the first rank's once and for all, and not at every step.
    strategy = DDPStrategy(broadcast_buffers=False)
    return Layout(size() // nodes, nodes, strategy, environment)


def agreed(value: T) -> T:
    """What the first rank says; the others' values do not count."""
    if size() == 1:
        return value
    said = [value]
    distributed.broadcast_object_list(said, src=0, device=torch.device("cpu"))
    return said[0]


def hand_round(module: nn.Module) -> None:
    """Give every process the first one's buffers, should their sums differ in the last bit."""
    if size() > 1:
        for buffer in module.buffers():
            distributed.broadcast(buffer, src=0)


def together() -> None:
    """Wait until every process has come this far."""
    if size() > 1:
        distributed.all_reduce(torch.zeros(1))


def summed(part: Tensor) -> Tensor:
    """Sum over ranks of what each has a part of."""
    if size() > 1:
        part = part.clone()
        distributed.all_reduce(part)
    return part


def over_ranks(mean: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Make a mean over a rank's own targets one over the whole batch.

    DDP averages gradients over ranks alike, but ranks hold unlike numbers of targets, some missing:
    the average of their means is not the mean. So each rank's term is weighted by its share.

    Args:
        mean: scalar, over this rank's targets.
        count: how many they are.

    Returns:
        The term to differentiate, whose average over ranks is the batch's mean; that mean; and the
        number of targets in the batch.
    """
    if size() == 1:
        return mean, mean.detach(), count
    sums = torch.stack([mean.detach() * count, count]).double()
    distributed.all_reduce(sums)
    total, targets = sums[0], sums[1]
    whole = targets.clamp(min=1)
    return mean * (count * size() / whole).to(mean), (total / whole).to(mean), targets
