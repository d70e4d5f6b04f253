"""What makes training faster where the hardware has it: bf16 arithmetic, a compiled network.

Only the networks' forward passes are touched, and only while they are trained: the backbone, the
quantiles and the loss stay in 32 bit, and weights keep their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from models.forecaster import Forecaster
from training.settings import TrainSettings


def fitting_device(accelerator: str) -> torch.device:
    """Where the backbone is fitted: on the GPU that this process was given, if it is to use one."""
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")


@contextmanager
def accelerated(forecaster: Forecaster, settings: TrainSettings) -> Iterator[None]:
    """Run the networks as ``precision`` and ``compile`` say, until the block ends."""
    members = list(forecaster.members)
    for member in members:
        forward = member.forward
        if settings.compile:
            forward = torch.compile(forward)
        if settings.precision == "bf16":
            forward = _in_bf16(forward)
        member.forward = forward
    try:
        yield
    finally:
        for member in members:
            del member.forward


def _in_bf16(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*inputs: object) -> Tensor:
        device = next(i.device for i in inputs if isinstance(i, Tensor)).type
        with torch.autocast(device, torch.bfloat16):
            return forward(*inputs).float()

    return run
