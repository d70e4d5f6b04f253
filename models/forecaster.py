"""The forecaster: a small network that predicts the residual to the backbone, with its spread.

Each node's past, calendar, weather and neighbours are embedded by sums of linear maps, mixed by a
few residual blocks, and decoded lead by lead together with what is known of that lead (after TiDE,
Das et al. 2023, arXiv 2304.08424, and STID, Shao et al. 2022, doi 10.1145/3511808.3557702).
Quantiles rise by construction: a median and cumulative softplus steps away from it.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from models.backbone import Backbone, Frame
from models.calendar import CALENDAR, DAY_KINDS
from models.contracts import CityGraph, ForecastSpec
from models.layers import Diffusion, ResidualBlock

STEP_OF_DAY, DAY_OF_WEEK, DAY_KIND, DAY_OF_YEAR, YESTERDAY, WEEK_AGO = range(len(CALENDAR))
LEAD_FEATURES = 16
"""Numbers that the trunk hands to each lead's decoder."""
HARMONICS = 8
"""Waves a day that tell the time of day."""
GAUSSIAN = -1.0
"""Start of the softplus steps: about the quantiles of a normal error as large as the backbone's."""


class Architecture(BaseModel):
    """Shape of a forecaster; a part of the release's manifest.

    Attributes:
        width: features of the trunk.
        blocks: residual blocks.
        dropout: share of features dropped in training.
        embedding: features of a node's and a weekday's embedding.
        anchor: first guess, see ``Backbone``.
        weekly: whether weekdays differ.
        annual: whether the season is an input; needs a year of training.
        calendar: whether the civil clock is an input at all.
        graph: whether neighbours are mixed in, where edges exist.
        inductive: forecast nodes that were never seen in training, see ``Backbone``: nothing is
            learned of a node by name.
        neighbour_steps: last steps of the neighbours that the trunk sees.
        members: networks whose quantiles are averaged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(128, ge=8, le=4096)
    blocks: int = Field(3, ge=0, le=32)
    dropout: float = Field(0.1, ge=0, lt=1)
    embedding: int = Field(16, ge=1, le=1024)
    anchor: Literal["profile", "last"] = "profile"
    weekly: bool = True
    annual: bool = False
    calendar: bool = True
    graph: bool = True
    inductive: bool = False
    neighbour_steps: int = Field(12, ge=1)
    members: int = Field(1, ge=1, le=32)


class Forecaster(nn.Module):
    """Predictor from the arrays of ``contracts.Window`` to quantiles [B, H, N, Q].

    Args:
        spec: what is forecast.
        graph: the city's graph.
        architecture: shape of the network.
    """

    def __init__(self, spec: ForecastSpec, graph: CityGraph, architecture: Architecture) -> None:
        super().__init__()
        self.spec = spec
        self.architecture = a = architecture
        self.middle = spec.quantiles.index(0.5)
        self.backbone = Backbone(spec, graph, a.anchor, a.weekly, a.graph, a.inductive)
        bins = self.backbone.bins.shape[1]
        self.members = nn.ModuleList(
            ResidualNetwork(spec, graph, a, bins) for _ in range(a.members)
        )
        self.register_buffer("offset", torch.zeros(spec.horizon, len(spec.quantiles)))
        self.register_buffer("node_offset", None)
        self.offset: Tensor
        self.node_offset: Tensor | None

    def take_offsets_by_node(self) -> Tensor:
        """Give each node conformal offsets [H, N, Q] of its own, in place of ``offset``."""
        shape = (self.offset.shape[0], self.backbone.graph.nodes, self.offset.shape[1])
        self.node_offset = self.offset.new_zeros(shape)
        return self.node_offset

    def forward(
        self,
        past: Tensor,
        lags: Tensor,
        past_forcings: Tensor,
        future_forcings: Tensor,
        past_calendar: Tensor,
        future_calendar: Tensor,
    ) -> Tensor:
        """Forecast a batch of windows, shapes as in ``contracts.Window``.

        Args:
            past: [B, T, N] target so far, NaN where missing.
            lags: [B, K, H, N] single earlier values.
            past_forcings: [B, T, M, F].
            future_forcings: [B, H, M, F_known].
            past_calendar: [B, T, C].
            future_calendar: [B, H, C].

        Returns:
            [B, H, N, Q] in the target's unit, calibrated, never falling with the level.
        """
        frame = self.backbone.frame(
            past, lags, past_forcings, future_forcings, past_calendar, future_calendar
        )
        quantiles = self._mean(frame, past_calendar, future_calendar)
        low, high = self.spec.quantiles.index(0.1), self.spec.quantiles.index(0.9)
        width = quantiles[high] - quantiles[low]
        if self.node_offset is None:
            offset = self.offset.T[:, None, :, None]
        else:
            offset = self.node_offset.permute(2, 0, 1)[:, None]
        shifted = quantiles + offset * width
        shifted = ordered(shifted.permute(1, 2, 3, 0), self.middle)
        return shifted.clamp(min=0) if self.spec.nonnegative else shifted

    def uncalibrated(
        self,
        past: Tensor,
        lags: Tensor,
        past_forcings: Tensor,
        future_forcings: Tensor,
        past_calendar: Tensor,
        future_calendar: Tensor,
    ) -> Tensor:
        """The members' mean quantiles [B, H, N, Q], which the conformal offsets then widen."""
        frame = self.backbone.frame(
            past, lags, past_forcings, future_forcings, past_calendar, future_calendar
        )
        return self._mean(frame, past_calendar, future_calendar).permute(1, 2, 3, 0)

    def member_quantiles(self, window: dict[str, Tensor]) -> list[Tensor]:
        """Each member's quantiles [B, H, N, Q] of training windows, to be scored one by one.

        Args:
            window: inputs of the train span; the profile leaves each stamp's own day out.
        """
        frame = self.backbone.frame(**window, held_out=True)
        members = self._members(frame, window["past_calendar"], window["future_calendar"])
        return [member.permute(1, 2, 3, 0) for member in members]

    def _mean(self, frame: Frame, past_calendar: Tensor, coming: Tensor) -> Tensor:
        """The members' mean quantiles [Q, B, H, N]."""
        members = self._members(frame, past_calendar, coming)
        return torch.stack(members).mean(0) if len(members) > 1 else members[0]

    @torch.no_grad()
    def lend(self, new: Tensor) -> None:
        """Give nodes that the train span never observed the mean of what the others learned.

        Args:
            new: [N] whether a node was never observed.
        """
        if self.architecture.inductive or not new.any() or new.all():
            return
        learned = [self.backbone.weight, self.backbone.residual]
        learned += [member.get_parameter("node.weight") for member in self.members]
        for rows in learned:
            rows[new] = rows[~new].mean(0)

    def _members(self, frame: Frame, past_calendar: Tensor, coming: Tensor) -> list[Tensor]:
        """Each member's quantiles [Q, B, H, N].

        Levels come first: what a node has to itself then meets whole rows, not runs of Q numbers.
        """
        point = self.backbone(frame)
        centre = point * frame.scale + frame.mean
        spread = self.backbone.residual.T * frame.scale
        raws = [member(frame, point, past_calendar, coming) for member in self.members]
        return [centre + spread * fan(raw.permute(3, 0, 2, 1), self.middle) for raw in raws]


class ResidualNetwork(nn.Module):
    """One network: raw decoder outputs [B, N, H, Q] from a frame and the backbone's forecast.

    Args:
        spec: what is forecast.
        graph: the city's graph.
        architecture: shape of the network.
        bins: J, log-spaced bins of past forcings.
    """

    def __init__(
        self, spec: ForecastSpec, graph: CityGraph, architecture: Architecture, bins: int
    ) -> None:
        super().__init__()
        self.horizon = spec.horizon
        self.architecture = a = architecture
        lookback, horizon, lags = spec.lookback, spec.horizon, len(spec.lags)
        forcings, known = len(spec.forcings), len(spec.known_future)
        levels = len(spec.quantiles)

        self.past = nn.Linear(2 * lookback, a.width)
        self.coming = nn.Linear((2 + lags) * horizon + 2, a.width)
        if not a.inductive:
            self.node = nn.Embedding(graph.nodes, a.embedding)
            self.node_in = nn.Linear(a.embedding, a.width)
            self.register_buffer("index", torch.arange(graph.nodes)[None], persistent=False)
            self.index: Tensor
        if a.calendar:
            harmonics = torch.arange(1, 1 + min(HARMONICS, spec.steps_per_day // 2))
            self.register_buffer("turns", harmonics * 2 * torch.pi / spec.steps_per_day, False)
            self.turns: Tensor
            self.kind = nn.Embedding(len(DAY_KINDS), 4)
            known_days = 4 * 4 + (2 * a.embedding if a.weekly else 0) + (4 if a.annual else 0)
            if a.weekly:
                self.weekday = nn.Embedding(7, a.embedding)
            self.city_in = nn.Linear(2 * len(self.turns) + known_days, a.width)
        if forcings:
            self.forced = nn.Linear(bins * forcings + horizon * known, a.width)
        self.diffusion = Diffusion(graph) if a.graph and len(graph.source) else None
        if self.diffusion:
            self.neighbour_steps = min(a.neighbour_steps, lookback)
            self.neighbours = nn.Linear(self.diffusion.channels * self.neighbour_steps, a.width)
        self.blocks = nn.Sequential(*(ResidualBlock(a.width, a.dropout) for _ in range(a.blocks)))
        self.norm = nn.LayerNorm(a.width)

        clock = 2 * len(self.turns) + 8 if a.calendar else 0
        per_lead = LEAD_FEATURES + 1 + lags + known + clock
        self.to_leads = nn.Linear(a.width, horizon * LEAD_FEATURES)
        self.lead_hidden = nn.Linear(per_lead, 32)
        self.lead_out = nn.Linear(32, levels)
        self.skip = nn.Linear(a.width, horizon * levels)
        for layer in (self.lead_out, self.skip):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, frame: Frame, point: Tensor, past_calendar: Tensor, coming: Tensor) -> Tensor:
        """Correct the backbone's ``point`` [B, H, N]; calendars [B, T, C] and [B, H, C]."""
        return self._decode(self._trunk(frame, point, past_calendar, coming), frame, point, coming)

    def _trunk(self, frame: Frame, point: Tensor, past_calendar: Tensor, coming: Tensor) -> Tensor:
        """State [B, N, width] of each node."""
        seen = frame.seen
        count = seen.sum(1).clamp(min=1)
        mean = (frame.past * seen).sum(1) / count
        centred = (frame.past - mean[:, None]) * seen
        spread = (centred.square().sum(1) / count + 1e-4).sqrt()
        level = torch.stack([mean, spread.log()], dim=-1)
        deviation = (frame.past - frame.past_anchor) * seen
        x = self.past(torch.cat([deviation, seen], dim=1).permute(0, 2, 1))
        ahead = [point - mean[:, None], frame.anchor - mean[:, None], *frame.lags.unbind(1)]
        x = x + self.coming(torch.cat([torch.cat(ahead, dim=1).permute(0, 2, 1), level], dim=-1))
        if not self.architecture.inductive:
            every = self.index.expand(seen.shape[0], -1)
            x = x + self.node_in(self.node(every))
        if self.architecture.calendar:
            x = x + self.city_in(self._calendar(past_calendar, coming))[:, None]
        if frame.past_forcings.shape[-1]:
            parts = [frame.past_forcings, frame.future_forcings]
            forced = torch.cat([p.permute(0, 2, 1, 3).flatten(2) for p in parts], dim=-1)
            x = x + self.forced(forced)
        if self.diffusion:
            near = (frame.past * seen)[:, -self.neighbour_steps :].permute(0, 2, 1)
            x = x + self.neighbours(self.diffusion(near))
        return self.norm(self.blocks(x))

    def _calendar(self, past: Tensor, coming: Tensor) -> Tensor:
        """City-wide calendar features [B, ...] of the issue and of the first and last target."""
        first, last = coming[:, 0], coming[:, -1]
        parts = [self._clock(past[:, -1])]
        if self.architecture.weekly:
            parts += [self.weekday(day[:, DAY_OF_WEEK]) for day in (first, last)]
        parts += [self.kind(day[:, DAY_KIND]) for day in (first, last)]
        parts += [self.kind(last[:, YESTERDAY]), self.kind(last[:, WEEK_AGO])]
        if self.architecture.annual:
            angle = first[:, DAY_OF_YEAR, None] * (2 * torch.pi / 365.25)
            parts += [angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()]
        return torch.cat(parts, dim=-1)

    def _clock(self, calendar: Tensor) -> Tensor:
        """Time of day of [..., C] as waves, which a few days of data cannot learn by heart."""
        angle = calendar[..., STEP_OF_DAY, None] * self.turns
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    def _decode(self, trunk: Tensor, frame: Frame, point: Tensor, coming: Tensor) -> Tensor:
        """Raw decoder outputs [B, N, H, Q]."""
        batch, nodes = trunk.shape[:2]
        leads = self.to_leads(trunk).reshape(batch, nodes, self.horizon, LEAD_FEATURES)
        parts = [leads, (point - frame.anchor).permute(0, 2, 1)[..., None]]
        parts.append(frame.lags.permute(0, 3, 2, 1))
        if frame.future_forcings.shape[-1]:
            ahead = frame.future_forcings.permute(0, 2, 1, 3)
            parts.append(ahead.expand(-1, nodes, -1, -1))
        if self.architecture.calendar:
            clock = self._clock(coming)
            kinds = [self.kind(coming[..., column]) for column in (DAY_KIND, WEEK_AGO)]
            parts.append(torch.cat([clock, *kinds], dim=-1)[:, None].expand(-1, nodes, -1, -1))
        hidden = functional.gelu(self.lead_hidden(torch.cat(parts, dim=-1)))
        skip = self.skip(trunk).reshape(batch, nodes, self.horizon, -1)
        return self.lead_out(hidden) + skip


def fan(raw: Tensor, middle: int) -> Tensor:
    """Rising values from raw outputs [Q, ...]: a median, and softplus steps up and down from it."""
    centre = raw[middle]
    up, down = [centre], [centre]
    for step in functional.softplus(raw[middle + 1 :] + GAUSSIAN).unbind(0):
        up.append(up[-1] + step)
    for step in functional.softplus(raw[:middle].flip(0) + GAUSSIAN).unbind(0):
        down.append(down[-1] - step)
    return torch.stack([*reversed(down[1:]), *up])


def ordered(quantiles: Tensor, middle: int) -> Tensor:
    """Push quantiles [..., Q] that cross outwards from the median; rising ones stay as they are."""
    columns = list(quantiles.unbind(-1))
    for q in range(middle + 1, len(columns)):
        columns[q] = torch.maximum(columns[q], columns[q - 1])
    for q in range(middle - 1, -1, -1):
        columns[q] = torch.minimum(columns[q], columns[q + 1])
    return torch.stack(columns, dim=-1)
