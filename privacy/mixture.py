"""What a partner ends with: its own forecaster and the city's, mixed as its own rows like it best.

A federation's model is a compromise that may not suit a partner which is unlike the others. So each
partner trains alone too, and mixes the quantiles of both by a share that is chosen on its stopping
windows, none at all of the city's included (Mansour et al. 2020, arXiv 2002.10619; Deng et al.
2020, arXiv 2003.13461). A mean of two forecasts is often better than both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.contracts import FloatArray, ForecastSpec, Window
from privacy.local import LocalTrainer
from training.fit import Fitted, forecasts

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_BLOCKS = 10


@dataclass(frozen=True)
class Mixture:
    """Two forecasters of one partner's nodes.

    Attributes:
        alone: trained on its own rows only.
        together: tuned from the city's model.
        share: of ``together``.
    """

    alone: Fitted
    together: Fitted
    share: float

    @property
    def spec(self) -> ForecastSpec:
        """With the lags that both read."""
        return self.alone.spec

    def predict(self, window: Window) -> FloatArray:
        """Quantiles [B, H, N, Q] of a batch of windows; means of rising ones rise."""
        own, city = self.alone.predict(window), self.together.predict(window)
        return (1 - self.share) * own + self.share * city


def mixed(alone: Fitted, together: Fitted, trainer: LocalTrainer) -> Mixture:
    """The mixture with the least pinball loss on a partner's stopping windows.

    None of the city's is taken unless it is better by more than one standard error over blocks of
    windows in a row: who cannot tell stays with its own.
    """
    origins = np.sort(trainer.data.stopping)
    own, target = forecasts(alone.predict, trainer.builder, origins)
    city, _ = forecasts(together.predict, trainer.builder, origins)
    weight = trainer.weight.numpy()
    levels = np.array(trainer.spec.quantiles, np.float32)
    losses = [
        _window_losses((1 - share) * own + share * city, target, levels, weight) for share in SHARES
    ]
    best = int(np.argmin([loss.mean() for loss in losses]))
    gains = [block.mean() for block in np.array_split(losses[0] - losses[best], _BLOCKS)]
    sure = np.mean(gains) > np.std(gains, ddof=1) / np.sqrt(_BLOCKS)
    return Mixture(alone, together, SHARES[best] if sure else 0.0)


def _window_losses(
    quantiles: FloatArray, target: FloatArray, levels: FloatArray, weight: FloatArray
) -> FloatArray:
    """Pinball loss of each window [B]; missing targets count nothing."""
    error = target[..., None] - quantiles
    loss = np.maximum(levels * error, (levels - 1) * error).mean(-1) * weight
    return np.nan_to_num(loss).sum((1, 2)) / np.maximum(np.isfinite(target).sum((1, 2)), 1)
