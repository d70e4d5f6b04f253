"""A network that stands for a simulator, with its calibration: the predictor that is exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.forecaster import ordered
from models.scenario import ScenarioSpec


class Surrogate(nn.Module):
    """Adds split conformal offsets to a network's quantiles.

    Args:
        network: maps ``scalars`` [B, F] and ``fields`` [B, P, C] to rising quantiles [B, A, O, Q],
            all in physical units.
        spec: what it is asked and answers.
    """

    def __init__(self, network: nn.Module, spec: ScenarioSpec) -> None:
        super().__init__()
        self.network = network
        self.middle = spec.median
        self.low, self.high = spec.quantiles.index(0.1), spec.quantiles.index(0.9)
        shape = len(spec.answered), len(spec.outputs), len(spec.quantiles)
        self.register_buffer("offset", torch.zeros(shape))
        self.offset: Tensor
        least = [0.0 if output.nonnegative else -torch.inf for output in spec.outputs]
        self.register_buffer("least", torch.tensor(least)[:, None], persistent=False)
        self.least: Tensor

    def forward(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Calibrated quantiles [B, A, O, Q]; ``offset`` is in units of the 10-90 % band."""
        quantiles = self.network(scalars, fields)
        width = quantiles[..., self.high, None] - quantiles[..., self.low, None]
        return torch.maximum(ordered(quantiles + self.offset * width, self.middle), self.least)

    def member_quantiles(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """The uncalibrated quantiles, as the training loop asks for them."""
        return [self.network(**inputs)]
