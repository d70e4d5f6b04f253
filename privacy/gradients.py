"""Per-unit gradients: each unit's mean loss differentiated on its own, clipped, then summed.

Opacus' hooks give the gradient of each window; those of one unit are added up before anything is
clipped, so that a unit counts once however many windows it has. Adding or removing a unit then
changes the sum by no more than the clip norm, whatever its values are.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from opacus import GradSampleModule
from torch import Tensor

from models.contracts import FelsinaError, FloatArray, IntArray, Window
from models.forecaster import Forecaster
from privacy.private_network import check_layers
from privacy.units import UnitWindows
from training.ridge import tensors

GRADIENT_BYTES = 256 << 20
"""Memory for gradients of single windows; a step that needs more goes through them in parts."""
ROUNDING = 1e-5
"""Share by which clipping stays below the norm: 32-bit sums must not exceed it."""


class UnitGradients:
    """Clipped sums of per-unit gradients of a forecaster's networks.

    Args:
        forecaster: from ``private_forecaster``.
        windows: of the units.
        clip_norm: C, Euclidean norm that no unit's gradient exceeds.
    """

    def __init__(self, forecaster: Forecaster, windows: UnitWindows, clip_norm: float) -> None:
        self.forecaster, self.windows, self.clip_norm = forecaster, windows, clip_norm
        self.parameters = [p for p in forecaster.members.parameters() if p.requires_grad]
        self.size = sum(p.numel() for p in self.parameters)
        self._levels = torch.tensor(forecaster.spec.quantiles)
        check_layers(forecaster)
        # Never taken off again: hooks belong to the networks, whose forward they leave as it is.
        self.hooked = GradSampleModule(forecaster.members, loss_reduction="sum", strict=False)
        self._proven = False

    def clipped_sum(self, numbers: IntArray, step: int) -> FloatArray:
        """Sum [P] of the clipped gradients of units ``numbers`` in ``step``, in 64 bit."""
        total = torch.zeros(self.size, dtype=torch.float64)
        many = max(1, GRADIENT_BYTES // (4 * self.size * self.windows.most_windows))
        for start in range(0, len(numbers), many):
            gradients = self.of_units(numbers[start : start + many], step)
            total += clipped(gradients, self.clip_norm).sum(0, dtype=torch.float64)
        return total.numpy()

    def of_units(self, numbers: IntArray, step: int) -> Tensor:
        """Gradients [U, P] of the mean loss over each unit's windows, not clipped."""
        gradients = torch.zeros(len(numbers), self.size)
        window, owner = self.windows.batch(np.asarray(numbers), step)
        if not len(owner):
            return gradients
        index = torch.as_tensor(owner)
        share = 1 / torch.bincount(index, minlength=len(numbers))[index]
        self.forecaster.members.train()
        with warnings.catch_warnings():  # inputs need no gradient
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            (self.losses(window) * share).sum().backward()
        samples = [vars(p)["grad_sample"].flatten(1) for p in self.parameters]
        self._prove(samples)
        gradients.index_add_(0, index, torch.cat(samples, dim=1))
        self.hooked.zero_grad(set_to_none=True)
        return gradients

    def losses(self, window: Window) -> Tensor:
        """Loss [B] of each window, in its own standard deviations, so that units weigh alike."""
        inputs = tensors(window)
        target = inputs.pop("target")
        _, scale = self.forecaster.backbone.scaler.measure(inputs["past"])
        target = target / scale
        losses = [
            pinball_of_windows(quantiles / scale[..., None], target, self._levels)
            for quantiles in self.forecaster.member_quantiles(inputs)
        ]
        return torch.stack(losses).mean(0)

    def _prove(self, samples: list[Tensor]) -> None:
        """Hold the first gradients of single windows against the ordinary gradient of them all."""
        if self._proven or not all(torch.isfinite(sample).all() for sample in samples):
            return
        for parameter, sample in zip(self.parameters, samples, strict=True):
            whole = torch.zeros_like(sample[0]) if parameter.grad is None else parameter.grad
            room = 1e-4 * (sample.abs().sum(0).max() + 1e-6)
            if not ((sample.sum(0) - whole.flatten()).abs() <= room).all():
                raise FelsinaError(
                    "gradients of single windows do not add up to the gradient of all: the "
                    "network holds a layer whose hooks are not exact; leave it out"
                )
        self._proven = True


def pinball_of_windows(quantiles: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    """Mean pinball loss [B] of each window over the targets that exist; 0 where none does.

    Args:
        quantiles: [B, H, N, Q].
        target: [B, H, N], NaN where missing.
        levels: [Q].
    """
    seen = ~torch.isnan(target)
    error = torch.where(seen, target, torch.zeros_like(target))[..., None] - quantiles
    loss = torch.maximum(levels * error, (levels - 1) * error).mean(-1) * seen
    return loss.sum((1, 2)) / seen.sum((1, 2)).clamp(min=1)


def clipped(gradients: Tensor, clip_norm: float) -> Tensor:
    """Gradients [U, P], none longer than ``clip_norm``; one that is not finite counts as 0.

    The rule looks at one unit alone, so the sum's sensitivity is the clip norm in every case.
    """
    gradients = torch.where(torch.isfinite(gradients).all(1, keepdim=True), gradients, 0.0)
    norm = gradients.norm(dim=1, keepdim=True, dtype=torch.float64)
    factor = (1 - ROUNDING) * clip_norm / norm.clamp(min=clip_norm)
    return gradients * factor.to(gradients.dtype)
