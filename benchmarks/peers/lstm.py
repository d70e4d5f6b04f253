"""An LSTM for gauges: one network for all of them, told which is which.

After Kratzert et al. 2019, doi 10.5194/hess-23-5089-2019, whose static catchment attributes are an
embedding of the gauge here; the observed stages of every gauge are inputs beside the rain.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.peers.frames import Frames, Peer
from benchmarks.peers.network import fit_network
from training.dataset import CityDataset

WIDTH, EMBEDDING = 64, 8
STEPS = 48
"""Last steps that are run through."""


class GaugeLstm(nn.Module):
    """Maps a batch of ``Frames.batch`` to quantiles [B, N, H, Q] about the first guess."""

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        spec, nodes = frames.spec, frames.graph.nodes
        self.node = nn.Parameter(torch.randn(nodes, EMBEDDING) / EMBEDDING**0.5)
        entering = 2 + nodes + len(spec.forcings) + EMBEDDING
        self.lstm = nn.LSTM(entering, WIDTH, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(WIDTH, spec.horizon * len(spec.quantiles))
        self.shape = (spec.horizon, len(spec.quantiles))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Forecast a batch."""
        past, seen = batch["past"][..., -STEPS:], batch["seen"][..., -STEPS:]
        forcings = batch["past_forcings"][:, :, -STEPS:]
        size, nodes, steps = past.shape
        others = past.permute(0, 2, 1)[:, None].expand(-1, nodes, -1, -1)
        parts = [
            past[..., None],
            seen[..., None],
            others,
            forcings.expand(-1, nodes, -1, -1),
            self.node[None, :, None].expand(size, -1, steps, -1),
        ]
        hidden, _ = self.lstm(torch.cat(parts, -1).flatten(0, 1))
        out = self.head(self.dropout(hidden[:, -1]))
        return out.reshape(size, nodes, *self.shape)


def fit(dataset: CityDataset, lags: tuple[int, ...], seed: int) -> Peer:
    """Train the LSTM on a dataset."""
    return fit_network(GaugeLstm, Frames(dataset, lags), seed)
