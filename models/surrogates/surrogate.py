"""A network that stands for a simulator, with its calibration: the predictor that is exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.forecaster import ordered
from models.scenario import ScenarioSpec


class Members(nn.Module):
    """Networks of one shape from different weights, trained side by side; their mean answers.

    What few runs leave open each settles otherwise (Lakshminarayanan et al. 2017, arXiv
    1612.01474).

    Args:
        networks: as ``Surrogate`` takes one.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, scalars: Tensor, fields: Tensor) -> Tensor:
        """Mean quantiles [B, A, O, Q]."""
        return torch.stack([one(scalars, fields) for one in self.networks]).mean(0)


class Surrogate(nn.Module):
    """Adds split conformal offsets to a network's quantiles.

    Args:
        network: maps ``scalars`` [B, F] and ``fields`` [B, P, C] to rising quantiles [B, A, O, Q],
            all in physical units. Its ``shared``, if any, are inputs of which one sample may be
            given for the whole batch; its ``parity``, if any, what rounding makes of its answers at
            most, by their spread.
        spec: what it is asked and answers.
    """

    def __init__(self, network: nn.Module, spec: ScenarioSpec) -> None:
        super().__init__()
        self.network = network
        self.shared: tuple[str, ...] = getattr(network, "shared", ())
        self.parity: float | None = getattr(network, "parity", None)
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
        """Each member's uncalibrated quantiles, as the training loop asks for them."""
        network = self.network
        networks = network.networks if isinstance(network, Members) else [network]
        return [one(**inputs) for one in networks]
