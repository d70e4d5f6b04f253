"""TiDE: a dense encoder and decoder with covariates at every step and a decoder a lead.

Das et al. 2023, arXiv 2304.08424.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.peers.frames import Frames, Peer
from benchmarks.peers.network import fit_network
from models.calendar import CALENDAR, DAY_KINDS
from training.dataset import CityDataset

CLOCK, WEEKDAY, KIND, DAY_OF_YEAR, _, WEEK_AGO = range(len(CALENDAR))
WIDTH, LEAD_WIDTH, EMBEDDING, COVARIATES, LEAD_FEATURES = 128, 32, 16, 4, 16
DROPOUT = 0.1


class Residual(nn.Module):
    """The paper's block: a perceptron with one hidden layer, a linear skip and a layer norm."""

    def __init__(self, entering: int, hidden: int, leaving: int, norm: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(entering, hidden), nn.ReLU(), nn.Linear(hidden, leaving), nn.Dropout(DROPOUT)
        )
        self.skip = nn.Linear(entering, leaving)
        self.norm = nn.LayerNorm(leaving) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map [..., entering] to [..., leaving]."""
        return self.norm(self.body(x) + self.skip(x))


class Tide(nn.Module):
    """Maps a batch of ``Frames.batch`` to quantiles [B, N, H, Q] about the first guess."""

    def __init__(self, frames: Frames) -> None:
        super().__init__()
        spec = frames.spec
        self.seasonal, self.weekly, self.annual = frames.seasonal, frames.weekly, frames.annual
        self.steps_per_day = spec.steps_per_day
        clock = self.seasonal * (4 + len(DAY_KINDS) + 1) + 7 * self.weekly * self.seasonal
        clock += 2 * self.annual * self.seasonal
        before = clock + len(spec.forcings) if spec.forcings else 0
        after = clock + len(spec.known_future)
        guesses = len(spec.lags) + 1
        self.before = Residual(before, LEAD_WIDTH, COVARIATES) if before else None
        self.after = Residual(after, LEAD_WIDTH, COVARIATES) if after else None
        self.node = nn.Parameter(torch.randn(frames.graph.nodes, EMBEDDING) / EMBEDDING**0.5)
        own = 2 * spec.lookback + guesses * spec.horizon + EMBEDDING + 2 * self.seasonal
        steps = spec.lookback * bool(before) + spec.horizon * bool(after)
        self.own = nn.Linear(own, WIDTH)
        self.covariates = nn.Linear(steps * COVARIATES, WIDTH) if steps else None
        self.encode = nn.Sequential(Residual(WIDTH, WIDTH, WIDTH), Residual(WIDTH, WIDTH, WIDTH))
        self.decode = Residual(WIDTH, WIDTH, spec.horizon * LEAD_FEATURES)
        lead = LEAD_FEATURES + COVARIATES * bool(after) + guesses
        self.lead = Residual(lead, LEAD_WIDTH, len(spec.quantiles), norm=False)
        self.skip = nn.Linear(spec.lookback, spec.horizon)
        self.horizon = spec.horizon

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Forecast a batch."""
        past = batch["past"]
        lags = torch.cat([batch["lags"], batch["base"][..., None]], -1)
        size, nodes, _ = past.shape
        own = [past, batch["seen"], lags.flatten(2), self.node.expand(size, -1, -1)]
        own += [batch["level"]] if self.seasonal else []
        hidden = self.own(torch.cat(own, -1))
        before, after = self._projected(batch)
        if self.covariates:
            hidden = hidden + self.covariates(
                torch.cat([part.flatten(2) for part in (before, after) if part is not None], -1)
            )
        hidden = self.decode(self.encode(functional.relu(hidden)))
        leads = [hidden.reshape(size, nodes, self.horizon, LEAD_FEATURES), lags]
        if after is not None:
            leads.append(after.expand(-1, nodes, -1, -1))
        return self.lead(torch.cat(leads, -1)) + self.skip(past)[..., None]

    def _projected(self, batch: dict[str, Tensor]) -> tuple[Tensor | None, Tensor | None]:
        """Covariates of the past [B, M, T, 4] and of the leads [B, M, H, 4]."""
        parts = []
        for project, name in ((self.before, "past"), (self.after, "future")):
            if project is None:
                parts.append(None)
                continue
            forcings = batch[f"{name}_forcings"]
            clock = self._clock(batch[f"{name}_calendar"])[:, None]
            clock = clock.expand(-1, forcings.shape[1], -1, -1)
            parts.append(project(torch.cat([forcings, clock], -1)))
        return parts[0], parts[1]

    def _clock(self, calendar: Tensor) -> Tensor:
        """Calendar features [B, X, C'] of integer columns [B, X, C]."""
        if not self.seasonal:
            return torch.zeros(*calendar.shape[:2], 0)
        angle = calendar[..., CLOCK, None] * (2 * math.pi / self.steps_per_day)
        parts = [angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()]
        parts.append(functional.one_hot(calendar[..., KIND], len(DAY_KINDS)).float())
        parts.append((calendar[..., WEEK_AGO, None] == 1).float())
        if self.weekly:
            parts.append(functional.one_hot(calendar[..., WEEKDAY], 7).float())
        if self.annual:
            season = calendar[..., DAY_OF_YEAR, None] * (2 * math.pi / 365.25)
            parts += [season.sin(), season.cos()]
        return torch.cat(parts, -1)


def fit(dataset: CityDataset, lags: tuple[int, ...], seed: int) -> Peer:
    """Train TiDE on a dataset."""
    return fit_network(Tide, Frames(dataset, lags), seed)
