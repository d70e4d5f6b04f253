"""The backbone: a ridge regression a node and lead, which the network then corrects.

It sees the last day, the profile at its level, the week before and the weather; more lags made it
worse on two test spans (docs/decisions.md), so those are left to the network. It cannot diverge,
and a residual to it needs a small network only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.contracts import CityGraph, ForecastSpec, IntArray
from models.layers import Diffusion, log_bins
from models.scaling import NodeScaler, ProfileLevel

RECENT = 24
"""Own last steps that the ridge sees."""
FADING = 0.8
"""What is left of a deviation from the anchor a step after the last observed one."""
LATE_STEPS, LATE_HOURS = 3, 3
"""So long a gap may be, whichever is longer, for a value to count as late and not as lost."""
NEIGHBOUR_STEPS = 8
"""Last steps of the neighbours that the ridge sees, in log-spaced bins."""


@dataclass(frozen=True)
class Frame:
    """A window in each node's own units (standard deviations), gaps filled, ready to be mixed.

    Attributes:
        mean: [B | 1, 1, N] level of each node, in the target's unit.
        scale: [B | 1, 1, N] its standard deviation.
        past: [B, T, N], 0 where missing.
        seen: [B, T, N], 1 where observed.
        past_anchor: [B, T, N] what the anchor says of the past.
        anchor: [B, H, N] first guess of each target.
        lags: [B, K, H, N] lag minus anchor, 0 where missing.
        past_forcings: [B, J, M, F] in log-spaced bins.
        future_forcings: [B, H, M, F_known].
    """

    mean: Tensor
    scale: Tensor
    past: Tensor
    seen: Tensor
    past_anchor: Tensor
    anchor: Tensor
    lags: Tensor
    past_forcings: Tensor
    future_forcings: Tensor


def profile_level(spec: ForecastSpec, nodes: int, weekly: bool) -> ProfileLevel:
    """The profile that suits a spec.

    Less than a day of lookback tells the state of the moment, which is the ridge's to use, not a
    level.
    """
    day, lookback = spec.steps_per_day, spec.lookback
    steps = min(7 * day, lookback) if lookback >= day else 0
    return ProfileLevel(nodes, day, weekly, steps, spec.nonnegative)


class Backbone(nn.Module):
    """Anchor plus ridge: the anchor is the profile at last week's level, or the last value.

    Args:
        spec: what is forecast.
        graph: the city's graph.
        anchor: ``profile`` where people set the pace, ``last`` where water does.
        weekly: whether the profile tells weekdays apart.
        mixing: whether the ridge sees the neighbours.
        inductive: know no node: each window gives its own scale, in place of the profile stands the
            mean of the same hour in earlier weeks, and one ridge serves all.
    """

    def __init__(
        self,
        spec: ForecastSpec,
        graph: CityGraph,
        anchor: str,
        weekly: bool,
        mixing: bool,
        inductive: bool = False,
    ) -> None:
        super().__init__()
        self.spec, self.graph = spec, graph
        self.anchor = "weeks" if inductive and anchor == "profile" else anchor
        self.inductive, self.weekly = inductive, weekly
        nodes, horizon, forcings = 1 if inductive else graph.nodes, spec.horizon, len(spec.forcings)
        self.scaler = NodeScaler(nodes, forcings, by_window=inductive)
        week = 7 * spec.steps_per_day
        self.weeks = [k for k, lag in enumerate(spec.lags) if lag % week == 0]
        if self.anchor == "profile":
            self.profile = profile_level(spec, nodes, weekly)
        self.diffusion = Diffusion(graph, hops=1) if mixing and len(graph.source) else None
        self.recent = min(RECENT, spec.lookback)
        self.held = min(max(LATE_STEPS, LATE_HOURS * 3600 // spec.seconds), spec.lookback - 1)
        self.lags = [k for k, lag in enumerate(spec.lags) if lag == week]
        self.register_buffer("bins", log_bins(spec.lookback), persistent=False)
        near = min(NEIGHBOUR_STEPS, spec.lookback)
        self.register_buffer("near_bins", log_bins(near), persistent=False)
        self.bins: Tensor
        self.near_bins: Tensor
        known = len(spec.known_future)
        features = 2 + self.recent + len(self.lags) + 2 * known + self.bins.shape[1] * forcings
        if self.diffusion:
            features += self.diffusion.channels * self.near_bins.shape[1]
        self.features = features
        self.register_buffer("weight", torch.zeros(nodes, horizon, features))
        self.register_buffer("residual", torch.ones(nodes, horizon))
        self.weight: Tensor
        self.residual: Tensor

    def frame(
        self,
        past: Tensor,
        lags: Tensor,
        past_forcings: Tensor,
        future_forcings: Tensor,
        past_calendar: Tensor,
        future_calendar: Tensor,
        held_out: bool = False,
    ) -> Frame:
        """Normalise a window (shapes of ``contracts.Window``); ``held_out`` in training only."""
        scaler = self.scaler
        mean, scale = scaler.measure(past)
        z = (past - mean) / scale
        missing = torch.isnan(past)
        lag = (lags - mean[:, None]) / scale[:, None]
        if self.anchor == "profile":
            usual, coming = self.profile(past, past_calendar, future_calendar, held_out)
            past_anchor, anchor = (usual - mean) / scale, (coming - mean) / scale
        elif self.anchor == "weeks":
            weeks = lag[:, self.weeks]
            known = ~torch.isnan(weeks)
            anchor = torch.where(known, weeks, torch.zeros_like(weeks)).sum(1)
            anchor = anchor / known.sum(1).clamp(min=1)
            past_anchor = torch.zeros_like(z)
        else:
            last = last_value(z)
            past_anchor = last.expand_as(z)
            anchor = last.expand(-1, self.spec.horizon, -1)
        lag = lag - anchor[:, None]
        binned = scaler.normalise_forcings(past_forcings)
        binned = torch.einsum("btmf,tj->bjmf", binned, self.bins)
        return Frame(
            mean=mean,
            scale=scale,
            past=torch.where(missing, torch.zeros_like(z), z),
            seen=(~missing).to(z.dtype),
            past_anchor=past_anchor,
            anchor=anchor,
            lags=torch.where(torch.isnan(lag), torch.zeros_like(lag), lag),
            past_forcings=binned,
            future_forcings=scaler.normalise_forcings(future_forcings, future_forcings.shape[-1]),
        )

    def part(self, nodes: IntArray) -> Backbone:
        """The same scaler and profile, without weights, for some ``nodes``, in that order.

        Neighbours that are not among them are not seen.
        """
        anchor = "profile" if self.anchor == "weeks" else self.anchor
        graph = self.graph.subset(nodes)
        part = Backbone(self.spec, graph, anchor, self.weekly, False, self.inductive)
        if self.diffusion:  # even without an edge: a lonely node has as many regressors as others
            part.diffusion = Diffusion(graph, hops=1)
        part.to(self.weight.device)
        scaler, rows = self.scaler, torch.as_tensor(nodes, device=self.weight.device)
        part.scaler.load_state_dict(scaler.state_dict() if self.inductive else scaler.part(rows))
        if self.anchor == "profile":
            part.profile.table = self.profile.table[:, rows]
            part.profile.held_out = self.profile.held_out[..., rows]
        return part

    def design(self, frame: Frame, kept: Tensor | None = None) -> Tensor:
        """Regressors [B, N, H, D] of each target's deviation from its anchor.

        Args:
            frame: of all nodes.
            kept: the nodes wanted, where others are there as their neighbours only.
        """

        def of(part: Tensor) -> Tensor:
            """What is wanted of [B, N or 1, ...]."""
            return part if kept is None or part.shape[1] == 1 else part[:, kept]

        late = slice(-(self.recent + 2 * self.held), None)  # what the recent steps may carry
        seen = frame.seen[:, late]
        deviation = carried((frame.past - frame.past_anchor)[:, late] * seen, seen, self.held)
        anchor = of(frame.anchor.permute(0, 2, 1))
        nodes, horizon = anchor.shape[1:]
        parts = [of(deviation[:, -self.recent :].permute(0, 2, 1))]
        if self.diffusion:
            near = deviation[:, -len(self.near_bins) :].permute(0, 2, 1)
            parts.append(of(self.diffusion(torch.matmul(near, self.near_bins))))
        if frame.past_forcings.shape[-1]:
            forced = of(frame.past_forcings.permute(0, 2, 1, 3)).flatten(2)
            parts.append(forced.expand(-1, nodes, -1))
        steady = torch.cat(parts, dim=-1)[:, :, None].expand(-1, -1, horizon, -1)
        lags = of(frame.lags[:, self.lags].permute(0, 3, 2, 1))
        moving = [torch.ones_like(anchor)[..., None], anchor[..., None], lags]
        if frame.future_forcings.shape[-1]:
            coming = of(frame.future_forcings.permute(0, 2, 1, 3)).expand(-1, nodes, -1, -1)
            moving += [coming, coming.square()]
        return torch.cat([*moving, steady], dim=-1)

    def forward(self, frame: Frame) -> Tensor:
        """Point forecast [B, H, N] in each node's own units."""
        correction = (self.design(frame) * self.weight).sum(-1)
        return frame.anchor + correction.permute(0, 2, 1)


def carried(deviation: Tensor, seen: Tensor, steps: int) -> Tensor:
    """Deviations [B, T, N] where a gap's first ``steps`` steps hold the last observed one, fading.

    A value that is late is not one at its anchor; a station that is dead for hours is. Spans
    double, so that the graph stays short: the steps are at least those asked for.
    """
    reach = 1
    while reach <= steps:
        none = torch.zeros_like(deviation[:, :reach])
        earlier = torch.cat([none, deviation[:, :-reach]], dim=1) * FADING**reach
        deviation = torch.where(seen > 0, deviation, earlier)
        seen = torch.maximum(seen, torch.cat([none, seen[:, :-reach]], dim=1))
        reach *= 2
    return deviation


def last_value(z: Tensor) -> Tensor:
    """Last observed value [B, 1, N] of [B, T, N]; 0, the mean, where none was."""
    seen = ~torch.isnan(z)
    position = torch.arange(1, z.shape[1] + 1, device=z.device)[None, :, None] * seen
    latest = position.amax(1, keepdim=True)
    chosen = (position == latest) & seen
    return torch.where(chosen, z, torch.zeros_like(z)).sum(1, keepdim=True)
