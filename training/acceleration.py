"""What makes training faster where the hardware has it: CUDA graphs, bf16 arithmetic, compilation.

Only the networks' forward passes change their arithmetic, and only while they are trained: the
backbone, the quantiles and the loss stay in 32 bit, and weights keep their names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.forecaster import Forecaster
from training.ranks import size
from training.settings import TrainSettings


def fitting_device(accelerator: str) -> torch.device:
    """Where the backbone is fitted: on the GPU that this process was given, if it is to use one."""
    gpu = accelerator != "cpu" and torch.cuda.is_available()
    return torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")


@contextmanager
def accelerated(forecaster: Forecaster, settings: TrainSettings) -> Iterator[None]:
    """Run the networks as ``precision`` and ``compile`` say, until the block ends.

    On a GPU the way to quantiles and back is recorded and replayed: hundreds of small kernels, for
    each of which it would wait. Not so a compiled network, whose first steps differ, nor beside
    other processes, whose gradients are gathered on the way.
    """
    members = list(forecaster.members)
    for member in members:
        forward = member.forward
        if settings.compile:
            forward = torch.compile(forward)
        if settings.precision == "bf16":
            forward = _in_bf16(forward)
        member.forward = forward
    if forecaster.offset.is_cuda and not settings.compile and size() == 1:
        forecaster.member_quantiles = _Recorded(forecaster).quantiles
    try:
        yield
    finally:
        forecaster.__dict__.pop("member_quantiles", None)
        for member in members:
            del member.forward


def _in_bf16(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(*inputs: object) -> Tensor:
        device = next(i.device for i in inputs if isinstance(i, Tensor)).type
        with torch.autocast(device, torch.bfloat16):
            return forward(*inputs).float()

    return run


class _Recorded:
    """A forecaster's way to its members' quantiles and back as two CUDA graphs.

    Args:
        forecaster: on a GPU. Batches are all of one shape, and gradients are cleared, not kept,
            between steps: each replay writes them anew in the same place.
    """

    def __init__(self, forecaster: Forecaster) -> None:
        self.plain = _Quantiles(forecaster)
        self.recorded = False

    def quantiles(self, window: dict[str, Tensor]) -> list[Tensor]:
        """What ``Forecaster.member_quantiles`` says of training windows."""
        inputs = tuple(window[name] for name in self.plain.names)
        if not self.recorded:
            # What is tried out before must not move the draws of dropout.
            with torch.random.fork_rng([inputs[0].device]):
                samples = tuple(part.clone() for part in inputs)
                torch.cuda.make_graphed_callables(self.plain, samples, allow_unused_input=True)
            self.recorded = True
        return list(self.plain(*inputs))


class _Quantiles(nn.Module):
    """``member_quantiles`` of tensors in a row, as a recording wants them."""

    names = (
        "past", "lags", "past_forcings", "future_forcings", "past_calendar", "future_calendar"
    )  # fmt: skip

    def __init__(self, forecaster: Forecaster) -> None:
        super().__init__()
        self.forecaster = forecaster
        self.take = forecaster.member_quantiles

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Each member's quantiles [B, H, N, Q]."""
        return tuple(self.take(dict(zip(self.names, inputs, strict=True))))
