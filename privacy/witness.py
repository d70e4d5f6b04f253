"""What the adversary of the claim makes of the noisy sums: who took part in them.

The claim of private training holds against whoever sees every noisy sum, knows the network, every
unit's data and what all others added, and lacks the coin of one unit, its draws and the noise. This
adversary takes away what the stand-ins added, and asks for each canary how much of its own clipped
gradient is in the rest. An inner product with that gradient is lost among the other canaries': they
have most of their length in common. So the rest is regressed on all canaries' gradients at once,
with a prior of their chance to take part, and the noise is measured, not believed: its variance is
that under which the sum is likeliest (empirical Bayes, MacKay 1992, doi 10.1162/neco.1992.4.3.415).
Where the noise is large this is the inner product again; where it is gone, who took part is known.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import vector_to_parameters

from models.contracts import FloatArray, IntArray
from privacy.gradients import UnitGradients, clipped

_VARIANCES = torch.logspace(-4, 4, 81, dtype=torch.float64)
"""Of the noise, over the square of the clip norm: those that are tried."""
_LEAST = 1e-9
"""Directions with so little of the clip norm's square hold nothing but rounding."""


class Witness:
    """Adds up, step by step, what the noisy sums tell of each canary.

    Args:
        gradients: of a network of the same shape, over stand-ins and all canaries.
        stand_ins: S, units before the canaries.
        rate: at which a unit takes part in a step.
    """

    def __init__(self, gradients: UnitGradients, stand_ins: int, rate: float) -> None:
        self.gradients, self.rate = gradients, rate
        self.canaries = np.arange(stand_ins, len(gradients.windows))
        self.scores = np.zeros(len(self.canaries))

    def see(self, step: int, weights: Tensor, noisy_sum: Tensor, known: IntArray) -> None:
        """Look at a step.

        Args:
            step: of the training.
            weights: [P] before it.
            noisy_sum: [P] in 64 bit.
            known: stand-ins that took part.
        """
        vector_to_parameters(weights, self.gradients.parameters)
        rest = noisy_sum - torch.as_tensor(self.gradients.clipped_sum(known, step))
        own = clipped(self.gradients.of_units(self.canaries, step), self.gradients.clip_norm)
        self.scores += shares_of(own, rest, self.rate / 2, self.gradients.clip_norm).numpy()

    def losses(self, weights: Tensor, steps: IntArray) -> FloatArray:
        """Mean loss [M] of each canary's windows of some ``steps`` under weights [P]."""
        vector_to_parameters(weights, self.gradients.parameters)
        total = torch.zeros(len(self.canaries))
        for step in steps:
            window, owner = self.gradients.windows.batch(self.canaries, int(step))
            with torch.no_grad():
                losses = self.gradients.losses(window)
            index = torch.as_tensor(owner)
            count = torch.bincount(index, minlength=len(total)).clamp(min=1)
            total += torch.zeros_like(total).index_add(0, index, losses) / count
        return (total / max(1, len(steps))).numpy()


def shares_of(own: Tensor, rest: Tensor, chance: float, clip_norm: float) -> Tensor:
    """How much [M] of each gradient is in a sum, beside what is expected.

    Args:
        own: [M, P] clipped gradients.
        rest: [P] sum of some of them and noise, in 64 bit.
        chance: that one of them is in it.
        clip_norm: C.
    """
    variance = chance * (1 - chance)
    strange = (rest - chance * own.sum(0, dtype=torch.float64)) / clip_norm
    lengths, axes = torch.linalg.eigh((own @ own.T).double() / clip_norm**2)
    lengths = lengths.clamp(min=_LEAST)
    along = axes.T @ ((own @ strange.float()).double() / clip_norm)
    seen = along.square() / lengths
    beyond = (strange.square().sum() - seen.sum()).clamp(min=0)
    others = max(0, own.shape[1] - len(own))
    noise = _VARIANCES[:, None]
    spread = variance * lengths + noise
    unlikely = (spread.log() + seen / spread).sum(1) + others * noise[:, 0].log()
    unlikely += beyond / noise[:, 0]
    likeliest = _VARIANCES[unlikely.argmin()]
    return variance * (axes @ (along / (variance * lengths + likeliest)))
