"""Per-unit gradients: each unit's mean loss differentiated on its own, clipped, then summed.

Opacus' hooks give the gradients; those of one unit's windows are added up before anything is
clipped, so that a unit counts once however many windows it has. Adding or removing a unit then
changes the sum by no more than the clip norm, whatever its values are.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from opacus import GradSampleModule
from torch import Tensor, nn

from models.contracts import FelsinaError, FloatArray, IntArray, Window
from models.forecaster import Forecaster
from privacy.private_network import check_layers
from privacy.units import UnitWindows
from training.ridge import tensors

GRADIENT_BYTES = 256 << 20
"""Memory for gradients of windows; a step that needs more goes through them in parts."""
ROUNDING = 1e-3
"""Share by which clipping stays below the norm: rounding of 32-bit sums must not exceed it."""


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
        self.hooked = _ByUnit(forecaster.members, loss_reduction="sum", strict=False)
        self._proven = False

    def clipped_sum(self, numbers: IntArray, step: int) -> FloatArray:
        """Sum [P] of the clipped gradients of units ``numbers`` in ``step``, in 64 bit."""
        total = torch.zeros(self.size, dtype=torch.float64)
        many = max(1, GRADIENT_BYTES // (4 * self.size * self.windows.most_windows))
        for start in range(0, len(numbers), many):
            gradients = self.of_units(numbers[start : start + many], step)
            total += clipped_total(gradients, self.clip_norm)
        return total.numpy()

    def of_units(self, numbers: IntArray, step: int) -> Tensor:
        """Gradients [U, P] of the mean loss over each unit's windows, not clipped."""
        gradients = torch.zeros(len(numbers), self.size)
        window, owner = self.windows.batch(np.asarray(numbers), step)
        if not len(owner):
            return gradients
        index = torch.as_tensor(owner)
        windows = torch.bincount(index, minlength=len(numbers))
        alike = bool((windows == windows[0]).all())
        self.hooked.together = int(windows[0]) if alike else 1
        self.forecaster.members.train()
        with warnings.catch_warnings():  # inputs need no gradient
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            (self.losses(window) / windows[index]).sum().backward()
        samples = [vars(p)["grad_sample"].flatten(1) for p in self.parameters]
        self._prove(samples)
        if alike:
            torch.cat(samples, dim=1, out=gradients)
        else:
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


def clipped_total(gradients: Tensor, clip_norm: float) -> Tensor:
    """Sum [P] of gradients [U, P], none of which counts with more than ``clip_norm``.

    One whose norm is not finite in 32 bit counts as 0. Either rule looks at one unit alone, so the
    sum's sensitivity is the clip norm whatever the values are.
    """
    factors, sound = _factors(gradients, clip_norm)
    return factors @ (gradients if sound.all() else torch.where(sound[:, None], gradients, 0.0))


def clipped(gradients: Tensor, clip_norm: float) -> Tensor:
    """Gradients [U, P] as that sum counts each of them."""
    factors, sound = _factors(gradients, clip_norm)
    return torch.where(sound[:, None], factors[:, None] * gradients, 0.0)


def _factors(gradients: Tensor, clip_norm: float) -> tuple[Tensor, Tensor]:
    """What each of [U, P] is multiplied by, and whether its norm is finite."""
    norm = torch.linalg.vector_norm(gradients, dim=1)
    sound = torch.isfinite(norm)
    return (1 - ROUNDING) * clip_norm / torch.where(sound, norm, 0).clamp(min=clip_norm), sound


class _ByUnit(GradSampleModule):
    """Opacus' hooks that add up the ``together`` windows of a unit within each layer's product."""

    together = 1

    def rearrange_grad_samples(
        self, *, module: nn.Module, backprops: Tensor, loss_reduction: str, batch_first: bool
    ) -> tuple[Any, Tensor]:
        """Activations and output gradients [U, windows, ...] in place of [B, ...]."""
        activations, backprops = super().rearrange_grad_samples(
            module=module,
            backprops=backprops,
            loss_reduction=loss_reduction,
            batch_first=batch_first,
        )
        units = len(backprops) // self.together
        vars(module)["max_batch_len"] = units
        shape = (units, self.together)
        folded = [part.reshape(*shape, *part.shape[1:]) for part in activations]
        return folded, backprops.reshape(*shape, *backprops.shape[1:])
