"""What is learned by counting: each node's level and spread, and its weekly profile."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.calendar import CALENDAR

STEP_OF_DAY, DAY_OF_WEEK, DAY_KIND, DAY_OF_YEAR = (CALENDAR.index(c) for c in CALENDAR[:4])
SATURDAY, SUNDAY, HOLIDAY = 5, 6, 1
SHRINKAGE = 1.0
"""Weight, in days, of the all-days profile in a day's slot."""
LEAST_SPREAD = 0.05
"""A window's standard deviation is at least this share of its level."""
SMOOTHING = 1200
"""Seconds on either side from which a slot borrows: five days of 5-minute speeds are noisy."""
FOLDS = 8
"""Parts of the days that are held out in turn; no multiple of 7, so that weekdays mix."""
COLUMNS = 4096
"""Nodes whose moments are taken at once."""
HELD_OUT_BYTES = 2 << 30
"""Memory for the tables of held-out parts; a city that needs more has fewer parts, at least two."""


class NodeScaler(nn.Module):
    """Mean and standard deviation of the target at each node and of each forcing, train span only.

    Args:
        nodes: N; 1 where the target is measured in each window anew.
        forcings: F.
        by_window: measure the target in each window, so that a node never seen before can be
            scaled too; the train span gives what a window without observations takes.
    """

    def __init__(self, nodes: int, forcings: int, by_window: bool = False) -> None:
        super().__init__()
        self.by_window = by_window
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
        mean, scale = _moments(values.reshape(-1, 1) if self.by_window else values)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        if forcings.shape[2]:
            mean, scale = _moments(forcings.reshape(-1, forcings.shape[2]))
            self.forcing_mean.copy_(mean)
            self.forcing_scale.copy_(scale)

    def part(self, nodes: Tensor) -> dict[str, Tensor]:
        """State of a scaler of some ``nodes`` alone."""
        state = self.state_dict()
        return state | {name: state[name][nodes] for name in ("mean", "scale")}

    def measure(self, past: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation that a window's past [B, T, N] is scaled by: [B | 1, 1, N].

        A window whose values hardly move, or that was hardly observed, leans on its own level.
        """
        if not self.by_window:
            return self.mean[None, None], self.scale[None, None]
        seen = ~torch.isnan(past)
        filled = torch.where(seen, past, torch.zeros_like(past))
        count = seen.sum(1, keepdim=True)
        mean = filled.sum(1, keepdim=True) / count.clamp(min=1)
        mean = torch.where(count > 0, mean, self.mean)
        deviation = torch.where(seen, past - mean, torch.zeros_like(past))
        scale = (deviation.square().sum(1, keepdim=True) / count.clamp(min=1)).sqrt()
        floor = LEAST_SPREAD * torch.where(count > 0, mean.abs(), self.scale)
        return mean, torch.maximum(scale, floor + 1e-3 * LEAST_SPREAD * self.scale)

    def normalise_forcings(self, forcings: Tensor, known: int | None = None) -> Tensor:
        """Forcings [..., F] centred and scaled, unknown ones at their mean."""
        z = (forcings - self.forcing_mean[:known]) / self.forcing_scale[:known]
        return torch.where(torch.isnan(z), torch.zeros_like(z), z)


def _moments(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each column; a column never seen takes the pooled ones."""
    parts = [_moments_seen(part) for part in columns.split(COLUMNS, dim=1)]
    mean, scale, count = (torch.cat(part) for part in zip(*parts, strict=True))
    known = count > 0
    if known.any():
        mean = torch.where(known, mean, mean[known].mean())
        pooled = scale[known].mean()
        scale = torch.where(known & (scale > 1e-3 * pooled), scale, pooled)
    return mean.float(), torch.where(scale > 0, scale, torch.ones_like(scale)).float()


def _moments_seen(columns: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, standard deviation and count of what each column holds, in 64 bit."""
    seen = ~torch.isnan(columns)
    filled = torch.where(seen, columns, torch.zeros_like(columns)).double()
    count = seen.sum(0)
    mean = filled.sum(0) / count.clamp(min=1)
    deviation = torch.where(seen, filled - mean, torch.zeros_like(filled))
    return mean, (deviation.square().sum(0) / count.clamp(min=1)).sqrt(), count


class ProfileLevel(nn.Module):
    """The usual value of each time slot of the civil week, moved to the level of the last week.

    A holiday counts as a Sunday. Slots shorter than ``SMOOTHING`` borrow from their neighbours. In
    training a stamp's own day is held out, so that the profile never knows its own answer.

    Args:
        nodes: N.
        steps_per_day: slots in a civil day.
        weekly: one profile a weekday; else, in too few weeks to tell them apart, one for working
            days and one for free ones.
        level_steps: how many last steps tell the level; 0 leaves the profile where it is.
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
        self.reach = SMOOTHING * steps_per_day // 86400
        self.register_buffer("table", torch.zeros(self.days * steps_per_day, nodes))
        self.register_buffer("held_out", torch.zeros(1, *self.table.shape), persistent=False)
        self.table: Tensor
        self.held_out: Tensor

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
        """Average train values [S, N] in the slots of their calendar [S, C].

        Keeps ``FOLDS`` more for training, each without its share of the days.
        """
        seen = (~torch.isnan(values)).float()
        filled = torch.where(seen > 0, values, torch.zeros_like(values))
        slots, day = self.slots(calendar), calendar[:, DAY_OF_YEAR]
        empty = torch.zeros_like(self.table)
        total, count = (empty.index_add(0, slots, x) for x in (filled, seen))
        self.table.copy_(self._shrunk(total, count))
        new = count.sum(0) == 0  # its own level, the others' shape
        if new.any() and not new.all():
            self.table[:, new] = self.table[:, ~new].mean(1, keepdim=True)
        affordable = HELD_OUT_BYTES // (self.table.numel() * self.table.element_size())
        folds = min(FOLDS, len(day.unique()), max(2, affordable))
        self.held_out = self.table.new_zeros(folds, *self.table.shape)
        for fold in range(folds):
            mine = day % folds == fold
            own, times = (empty.index_add(0, slots[mine], x[mine]) for x in (filled, seen))
            self.held_out[fold] = self._shrunk(total - own, count - times)

    def _shrunk(self, total: Tensor, count: Tensor) -> Tensor:
        """Mean of each slot, drawn to all days at that time, and these to the node's mean."""
        total, count = (self._smooth(x) for x in (total, count))
        by_step = total.sum(0), count.sum(0)
        by_node = by_step[0].sum(0), by_step[1].sum(0)
        overall = by_node[0].sum() / by_node[1].sum().clamp(min=1)
        node = (by_node[0] + SHRINKAGE * overall) / (by_node[1] + SHRINKAGE)
        prior = (by_step[0] + SHRINKAGE * node) / (by_step[1] + SHRINKAGE)
        return ((total + SHRINKAGE * prior) / (count + SHRINKAGE)).flatten(0, 1)

    def _smooth(self, sums: Tensor) -> Tensor:
        """Running mean [days, steps, N] round the clock."""
        by_day = sums.reshape(self.days, self.steps_per_day, -1)
        smooth = by_day.clone()
        for shift in range(1, self.reach + 1):
            smooth += by_day.roll(shift, 1)
            smooth += by_day.roll(-shift, 1)
        return smooth / (2 * self.reach + 1)

    def profile(self, calendar: Tensor, held_out: bool = False) -> Tensor:
        """Usual values [B, X, N] for a calendar [B, X, C]; ``held_out`` in training."""
        slots = self.slots(calendar)
        if not held_out:
            return self.table[slots]
        return self.held_out[calendar[..., DAY_OF_YEAR] % len(self.held_out), slots]

    def forward(
        self, past: Tensor, past_calendar: Tensor, future_calendar: Tensor, held_out: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Profile at the level of the window.

        Args:
            past: [B, T, N] natural units, NaN where missing.
            past_calendar: [B, T, C].
            future_calendar: [B, H, C].
            held_out: in training, to leave each stamp's own day out of its profile.

        Returns:
            The past [B, T, N] and the future [B, H, N] as the profile would have them.
        """
        usual = self.profile(past_calendar, held_out)
        coming = self.profile(future_calendar, held_out)
        if not self.level_steps:
            return usual, coming
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
