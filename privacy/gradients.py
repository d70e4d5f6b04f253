"""Per-unit gradients: each unit's mean loss differentiated on its own, clipped, then summed.

Gradients of one unit's windows are added up before anything is clipped, so that a unit counts once
however many windows it has. Adding or removing a unit then changes the sum by no more than the clip
norm, whatever its values are.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from models.contracts import FelsinaError, FloatArray, IntArray, Window
from models.forecaster import Forecaster
from privacy.private_network import check_layers
from privacy.unit_gradients import LayerRecords, UnitGradientSum
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
        self._records = LayerRecords(forecaster.members)
        self._proven = False

    def clipped_sum(self, numbers: IntArray, step: int) -> FloatArray:
        """Sum [P] of the clipped gradients of units ``numbers`` in ``step``, in 64 bit."""
        total = torch.zeros(self.size, dtype=torch.float64)
        many = max(1, GRADIENT_BYTES // (4 * self.size * self.windows.most_windows))
        for start in range(0, len(numbers), many):
            found = self._differentiated(numbers[start : start + many], step)
            if found is not None:
                total += found.clipped_total((1 - ROUNDING) * self.clip_norm)
        return total.numpy()

    def of_units(self, numbers: IntArray, step: int) -> Tensor:
        """Gradients [U, P] of the mean loss over each unit's windows, not clipped."""
        found = self._differentiated(numbers, step)
        return torch.zeros(len(numbers), self.size) if found is None else found.formed()

    def _differentiated(self, numbers: IntArray, step: int) -> UnitGradientSum | None:
        """Gradients of units in a step; None where nobody has a window."""
        window, owner = self.windows.batch(np.asarray(numbers), step)
        if not len(owner):
            return None
        index = torch.as_tensor(owner)
        weight = 1 / torch.bincount(index, minlength=len(numbers))[index]
        with self._records.recording():
            self.losses(window).backward(weight)
        found = self._records.units(index, len(numbers))
        if not self._proven:
            self._prove(found, window, weight)
        return found

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

    def _prove(self, found: UnitGradientSum, window: Window, weight: Tensor) -> None:
        """Hold the first gradients of units against the ordinary gradient of them all."""
        samples = found.formed()
        if not torch.isfinite(samples).all():
            return
        whole = torch.autograd.grad(self.losses(window), self.parameters, weight, allow_unused=True)
        sizes = [parameter.numel() for parameter in self.parameters]
        for sample, ordinary in zip(samples.split(sizes, dim=1), whole, strict=True):
            expected = torch.zeros(sample.shape[1]) if ordinary is None else ordinary.flatten()
            room = 1e-4 * (sample.abs().sum(0).max() + 1e-6)
            if not ((sample.sum(0) - expected).abs() <= room).all():
                raise FelsinaError(
                    "gradients of single units do not add up to the gradient of all: the network "
                    "holds a layer that mixes windows or is not recorded exactly; leave it out"
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
    """Gradients [U, P] as the sum counts them: none longer than ``clip_norm``, wild ones as 0."""
    norm = torch.linalg.vector_norm(gradients, dim=1)
    sound = torch.isfinite(norm)
    most = (1 - ROUNDING) * clip_norm
    factors = most / torch.where(sound, norm, 0.0).clamp(min=most)
    return torch.where(sound[:, None], factors[:, None] * gradients, 0.0)
