"""STID: identities of node, time of day and weekday beside the past, and a plain perceptron.

Shao et al. 2022, doi 10.1145/3511808.3557702; its inputs here also have lags and weather.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.peers.frames import Frames, Peer
from benchmarks.peers.network import fit_network
from models.calendar import CALENDAR, DAY_KINDS
from models.layers import log_bins
from training.dataset import CityDataset

CLOCK, WEEKDAY, KIND = (CALENDAR.index(c) for c in CALENDAR[:3])
WIDTH = 32
"""Of each embedding, as published."""


class Block(nn.Module):
    """Two-layer perceptron with a skip."""

    def __init__(self, width: int, dropout: float = 0.15) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., width] to the same shape."""
        return x + self.body(x)


class Stid(nn.Module):
    """Maps a batch of ``Frames.batch`` to quantiles [B, N, H, Q] about the first guess."""

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        spec, nodes = frames.spec, frames.graph.nodes
        self.seasonal, self.weekly = frames.seasonal, frames.weekly
        self.shape = (spec.horizon, len(spec.quantiles))
        own = 2 * spec.lookback + (len(spec.lags) + 1) * spec.horizon + 2 * self.seasonal
        self.series = nn.Linear(own, WIDTH if not spec.lags else 2 * WIDTH)
        self.node = nn.Parameter(torch.randn(nodes, WIDTH) / WIDTH**0.5)
        self.register_buffer("bins", log_bins(spec.lookback))
        self.bins: Tensor
        forced = self.bins.shape[1] * len(spec.forcings) + spec.horizon * len(spec.known_future)
        self.forced = nn.Linear(forced, WIDTH) if forced else None
        width = self.series.out_features + WIDTH * (1 + bool(forced))
        if self.seasonal:
            self.clock = nn.Embedding(spec.steps_per_day, WIDTH)
            self.kind = nn.Embedding(len(DAY_KINDS), 4)
            width += WIDTH + 8
            if self.weekly:
                self.weekday = nn.Embedding(7, WIDTH)
                width += WIDTH
        self.body = nn.Sequential(*(Block(width) for _ in range(3)))
        self.head = nn.Linear(width, self.shape[0] * self.shape[1])

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Forecast a batch."""
        past = batch["past"]
        size, nodes, _ = past.shape
        own = [past, batch["seen"], batch["lags"].flatten(2), batch["base"]]
        own += [batch["level"]] if self.seasonal else []
        parts = [self.series(torch.cat(own, -1)), self.node.expand(size, -1, -1)]
        if self.forced:
            binned = torch.einsum("bmtf,tj->bmjf", batch["past_forcings"], self.bins).flatten(2)
            forced = self.forced(torch.cat([binned, batch["future_forcings"].flatten(2)], -1))
            parts.append(forced.expand(-1, nodes, -1))
        if self.seasonal:
            first, last = batch["future_calendar"][:, 0], batch["future_calendar"][:, -1]
            times = [self.clock(first[:, CLOCK]), self.kind(first[:, KIND])]
            times.append(self.kind(last[:, KIND]))
            if self.weekly:
                times.append(self.weekday(first[:, WEEKDAY]))
            parts.append(torch.cat(times, -1)[:, None].expand(-1, nodes, -1))
        return self.head(self.body(torch.cat(parts, -1))).reshape(size, nodes, *self.shape)


def fit(dataset: CityDataset, lags: tuple[int, ...], seed: int) -> Peer:
    """Train STID on a dataset."""
    return fit_network(Stid, Frames(dataset, lags), seed)
