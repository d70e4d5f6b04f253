"""What every peer sees: Felsina's own windows in each node's units, centred window by window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.backbone import last_value, profile_level
from models.contracts import FloatArray, IntArray
from models.scaling import NodeScaler
from training.dataset import CityDataset
from training.ridge import tensors

BATCH = 64
HELD_OUT = 8
"""One week of so many trains nothing and joins the stopping windows: a July alone misleads."""


@dataclass(frozen=True)
class Peer:
    """A fitted rival.

    Attributes:
        predict: quantiles [B, H, N, Q] in the target's unit from origins [B].
        parameters: fitted numbers.
    """

    predict: Callable[[IntArray], FloatArray]
    parameters: int


class Frames:
    """Cuts batches for peers, scaled by the train span alone.

    Where the series has seasons (lags were given) and a window shows a day or more, it is centred
    on its mean and the first guess is the weekly profile at the window's level; elsewhere, as at a
    river gauge, both are the last value.

    Args:
        dataset: an opened dataset folder.
        lags: single earlier steps, those of Felsina's own settings.
    """

    def __init__(self, dataset: CityDataset, lags: tuple[int, ...]) -> None:
        self.dataset = dataset
        self.spec = dataset.spec.with_lags(lags)
        self.builder = dataset.builder(self.spec)
        self.graph, self.splits = dataset.graph, dataset.splits
        self.seasonal = bool(lags)
        days = self.splits.train_end / self.spec.steps_per_day
        self.weekly, self.annual = days >= 21, days >= 365
        self.train = self.splits.train(self.spec)
        self.stopping, self.calibration = self.splits.validation(self.spec)
        if days >= 7 * HELD_OUT:
            held = (self.train + 1) // (7 * self.spec.steps_per_day) % HELD_OUT == 3
            self.stopping = np.concatenate([self.train[held], self.stopping])
            self.train = self.train[~held]
        day = self.spec.steps_per_day
        self.profile = None
        if self.seasonal and self.spec.lookback >= day:
            self.profile = profile_level(self.spec, self.graph.nodes, self.weekly)
            calendar = torch.as_tensor(self.builder.calendar(0, self.splits.train_end))
            values = torch.as_tensor(self.builder.values[: self.splits.train_end])
            self.profile.fit(values, calendar)
        self.scaler = NodeScaler(self.graph.nodes, len(self.spec.forcings))
        self.scaler.fit(
            torch.as_tensor(self.builder.values[: self.splits.train_end]),
            torch.as_tensor(self.builder.forcings[: self.splits.train_end]),
        )

    def draw(self, rng: np.random.Generator, many: int) -> IntArray:
        """Random train origins, half of them at the issue hours where the dataset has such."""
        every, origins = self.splits.issue_every, rng.choice(self.train, many)
        if every is not None:
            first = self.builder.times(self.train + 1).astype(np.int64)
            origins[::2] = rng.choice(self.train[first % every == 0], len(origins[::2]))
        return origins

    def batch(self, origins: IntArray, with_target: bool = False) -> dict[str, Tensor]:
        """Inputs of the windows at ``origins`` [B].

        Returns:
            ``past`` [B, N, T] and ``lags`` [B, N, H, K] less the centre in standard deviations, 0
            where missing; ``seen`` [B, N, T]; ``lags_seen`` [B, N, H, K]; ``level`` [B, N, 2]
            centre and log spread of the window; ``past_forcings`` [B, M, T, F] and
            ``future_forcings`` [B, M, H, F_known]; calendars [B, T, C] and [B, H, C]; ``centre``
            [B, N] and ``base`` [B, N, H], the first guess less the centre; in training ``target``
            [B, N, H] less both.
        """
        window = tensors(self.builder.batch(origins, with_target))
        z = self._scaled(window["past"])
        seen = ~torch.isnan(z)
        if self.profile:
            centre = z.nanmean(1, keepdim=True).nan_to_num()
            usual = self._usual(window, origins)
            base = (self._scaled(usual) - centre).permute(0, 2, 1)
        else:
            centre = last_value(z)
            base = torch.zeros(len(z), z.shape[2], self.spec.horizon)
        past = (z - centre).nan_to_num().permute(0, 2, 1)
        lags = (self._scaled(window["lags"]) - centre[:, None]).permute(0, 3, 2, 1)
        spread = torch.log(past.square().mean(-1).sqrt() + 0.05)
        known = len(self.spec.known_future)
        forcings = self.scaler.normalise_forcings(window["past_forcings"])
        coming = self.scaler.normalise_forcings(window["future_forcings"], known)
        batch = {
            "past": past,
            "seen": seen.permute(0, 2, 1).float(),
            "lags": lags.nan_to_num(),
            "lags_seen": ~torch.isnan(lags),
            "level": torch.stack([centre[:, 0], spread], -1),
            "past_forcings": forcings.permute(0, 2, 1, 3),
            "future_forcings": coming.permute(0, 2, 1, 3),
            "past_calendar": window["past_calendar"],
            "future_calendar": window["future_calendar"],
            "centre": centre[:, 0],
            "base": base,
        }
        if with_target:
            target = self._scaled(window["target"]) - centre
            batch["target"] = target.permute(0, 2, 1) - base
        return batch

    def _usual(self, window: dict[str, Tensor], origins: IntArray) -> Tensor:
        """Profile at the window's level [B, H, N]; a train day is held out of its own profile."""
        assert self.profile
        counted = torch.as_tensor(np.asarray(origins) + self.spec.horizon < self.splits.train_end)
        counted &= "target" in window
        usual = torch.empty(len(counted), self.spec.horizon, self.graph.nodes)
        names = ("past", "past_calendar", "future_calendar")
        for rows, own in ((counted, True), (~counted, False)):
            if rows.any():
                usual[rows] = self.profile(*(window[n][rows] for n in names), held_out=own)[1]
        return usual

    def _scaled(self, values: Tensor) -> Tensor:
        """Values [..., N] in standard deviations of their node."""
        return (values - self.scaler.mean) / self.scaler.scale

    def natural(self, z: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Values [B, N, H, Q] about the first guess of ``batch`` in the target's unit."""
        z = z + (batch["centre"][..., None] + batch["base"])[..., None]
        values = z * self.scaler.scale[:, None, None] + self.scaler.mean[:, None, None]
        return values.clamp(min=0) if self.spec.nonnegative else values

    def targets(self, origins: IntArray) -> FloatArray:
        """What came true after ``origins``: [B, H, N]."""
        index = np.asarray(origins)[:, None] + np.arange(1, self.spec.horizon + 1)
        return self.builder.values[index]


def in_batches(predict: Callable[[IntArray], FloatArray], origins: IntArray) -> FloatArray:
    """``predict`` over many origins, ``BATCH`` at a time."""
    parts = [predict(origins[start : start + BATCH]) for start in range(0, len(origins), BATCH)]
    return np.concatenate(parts)
