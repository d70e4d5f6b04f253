"""What is learned by counting: each node's level and spread, and its weekly profile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.calendar import CALENDAR

STEP_OF_DAY, DAY_OF_WEEK, DAY_KIND = (CALENDAR.index(c) for c in CALENDAR[:3])
SATURDAY, SUNDAY, HOLIDAY = 5, 6, 1
SHRINKAGE = 1.0
"""Weight, in days, of the all-days profile in a day's slot."""


class NodeScaler(nn.Module):
    """Mean and standard deviation of the target at each node and of each forcing, train span only.

    Args:
        nodes: N.
        forcings: F.
    """

    def __init__(self, nodes: int, forcings: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(nodes))
        self.register_buffer("scale", torch.ones(nodes))
        self.register_buffer("forcing_mean", torch.zeros(forcings))
        self.register_buffer("forcing_scale", torch.ones(forcings))
        self.mean: Tensor
        self.scale: Tensor
        self.forcing_mean: Tensor
        self.forcing_scale: Tensor

    @torch.no_grad()
    def fit(self, values: Tensor, forcings: Tensor) -> None:
        """Measure train values [S, N] and forcings [S, M, F], NaN where missing."""
        mean, scale = _moments(values)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        if forcings.shape[2]:
            mean, scale = _moments(forcings.reshape(-1, forcings.shape[2]))
            self.forcing_mean.copy_(mean)
            self.forcing_scale.copy_(scale)

    def normalise(self, values: Tensor) -> Tensor:
        """Target [..., N] in units of each node's standard deviation; NaN stays NaN."""
        return (values - self.mean) / self.scale

    def normalise_forcings(self, forcings: Tensor, known: int | None = None) -> Tensor:
        """Forcings [..., F] centred and scaled, unknown ones at their mean."""
        z = (forcings - self.forcing_mean[:known]) / self.forcing_scale[:known]
        return torch.where(torch.isnan(z), torch.zeros_like(z), z)


def _moments(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; a column never seen takes the pooled ones."""
    seen = ~torch.isnan(columns)
    filled = torch.where(seen, columns, torch.zeros_like(columns)).double()
    count = seen.sum(0)
    mean = filled.sum(0) / count.clamp(min=1)
    deviation = torch.where(seen, filled - mean, torch.zeros_like(filled))
    scale = (deviation.square().sum(0) / count.clamp(min=1)).sqrt()
    known = count > 0
    if known.any():
        mean = torch.where(known, mean, mean[known].mean())
        pooled = scale[known].mean()
        scale = torch.where(known & (scale > 1e-3 * pooled), scale, pooled)
    return mean.float(), torch.where(scale > 0, scale, torch.ones_like(scale)).float()


class ProfileLevel(nn.Module):
    """The usual value of each time slot of the civil week, moved to the level of the last week.

    A holiday counts as a Sunday. In training a stamp's own value is taken out of its slot, so that
    the profile never knows its own answer.

    Args:
        nodes: N.
        steps_per_day: slots in a civil day.
        weekly: one profile a weekday; else, in too few weeks to tell them apart, one for working
            days and one for free ones.
        level_steps: how many last steps tell the level.
        multiplicative: profile x level, for targets that cannot fall below zero; else profile +
            level.
    """

    def __init__(
        self, nodes: int, steps_per_day: int, weekly: bool, level_steps: int, multiplicative: bool
    ) -> None:
        super().__init__()
        self.steps_per_day = steps_per_day
        self.weekly = weekly
        self.days = 7 if weekly else 2
        self.level_steps = level_steps
        self.multiplicative = multiplicative
        self.register_buffer("total", torch.zeros(self.days * steps_per_day, nodes))
        self.register_buffer("count", torch.zeros(self.days * steps_per_day, nodes))
        self.register_buffer("step_total", torch.zeros(steps_per_day, nodes))
        self.register_buffer("step_count", torch.zeros(steps_per_day, nodes))
        self.register_buffer("node_total", torch.zeros(nodes))
        self.register_buffer("node_count", torch.ones(nodes))
        self.total: Tensor
        self.count: Tensor
        self.step_total: Tensor
        self.step_count: Tensor
        self.node_total: Tensor
        self.node_count: Tensor

    def slots(self, calendar: Tensor) -> Tensor:
        """Slot of each stamp of a calendar [..., C], holidays as Sundays."""
        day, holiday = calendar[..., DAY_OF_WEEK], calendar[..., DAY_KIND] == HOLIDAY
        if self.weekly:
            kind = torch.where(holiday, torch.full_like(day, SUNDAY), day)
        else:
            kind = (holiday | (day >= SATURDAY)).long()
        return kind * self.steps_per_day + calendar[..., STEP_OF_DAY]

    @torch.no_grad()
    def fit(self, values: Tensor, calendar: Tensor) -> None:
        """Count train values [S, N] into the slots of their calendar [S, C]."""
        seen = (~torch.isnan(values)).float()
        filled = torch.where(seen > 0, values, torch.zeros_like(values))
        slots = self.slots(calendar)
        self.total.zero_().index_add_(0, slots, filled)
        self.count.zero_().index_add_(0, slots, seen)
        by_step = (self.days, self.steps_per_day, -1)
        self.step_total.copy_(self.total.reshape(by_step).sum(0))
        self.step_count.copy_(self.count.reshape(by_step).sum(0))
        overall = filled.sum() / seen.sum().clamp(min=1)
        self.node_total.copy_(filled.sum(0) + SHRINKAGE * overall)
        self.node_count.copy_(seen.sum(0) + SHRINKAGE)

    def profile(self, calendar: Tensor, own: Tensor | None = None) -> Tensor:
        """Usual values [B, X, N] for a calendar [B, X, C], the values ``own`` left out."""
        slots, step = self.slots(calendar), calendar[..., STEP_OF_DAY]
        count = self.count[slots]
        counted = value = torch.zeros_like(count)
        if own is not None:
            counted = (~torch.isnan(own) & (count > 0)).float()
            value = torch.where(counted > 0, own, torch.zeros_like(own))
        node = (self.node_total - value) / (self.node_count - counted)
        total, seen = self.step_total[step] - value, self.step_count[step] - counted
        prior = (total + SHRINKAGE * node) / (seen + SHRINKAGE)
        return (self.total[slots] - value + SHRINKAGE * prior) / (count - counted + SHRINKAGE)

    def forward(
        self,
        past: Tensor,
        past_calendar: Tensor,
        future_calendar: Tensor,
        target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Profile at the level of the window.

        Args:
            past: [B, T, N] natural units, NaN where missing.
            past_calendar: [B, T, C].
            future_calendar: [B, H, C].
            target: [B, H, N] in training, to leave it out of its own profile.

        Returns:
            The past [B, T, N] and the future [B, H, N] as the profile would have them.
        """
        usual = self.profile(past_calendar, past if target is not None else None)
        coming = self.profile(future_calendar, target)
        recent, expected = past[:, -self.level_steps :], usual[:, -self.level_steps :]
        seen = ~torch.isnan(recent)
        zero = torch.zeros_like(recent)
        if self.multiplicative:
            observed = torch.where(seen, recent, zero).sum(1, keepdim=True)
            expected = torch.where(seen, expected, zero).sum(1, keepdim=True)
            ratio = torch.where(expected > 0, observed / expected.clamp(min=1e-6), 1.0)
            level = ratio.clamp(0.0, 5.0)
            return usual * level, coming * level
        shift = torch.where(seen, recent - expected, zero).sum(1, keepdim=True)
        level = shift / seen.sum(1, keepdim=True).clamp(min=1)
        return usual + level, coming + level
