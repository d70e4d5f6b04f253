"""Rain that has brought landslides before: thresholds of intensity and duration.

Empirical, regional and blind to the terrain: the counterpart of ``slope_response``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from models.contracts import FelsinaError


@dataclass(frozen=True)
class Threshold:
    """Least mean intensity of damaging rain, ``floor + scale duration^-exponent`` in mm/h and h.

    Attributes:
        name: who published it.
        scale_mm_h: intensity above the floor at one hour.
        exponent: how fast it falls with duration.
        floor_mm_h: intensity that it never falls below.
        shortest_h: least duration that it was drawn from.
        longest_h: greatest.
    """

    name: str
    scale_mm_h: float
    exponent: float
    floor_mm_h: float = 0.0
    shortest_h: float = 0.0
    longest_h: float = math.inf

    def __post_init__(self) -> None:
        """Refuse a threshold that would rise with duration or fall below zero."""
        for name, least in (("scale_mm_h", 0), ("exponent", 0), ("floor_mm_h", 0)):
            value = getattr(self, name)
            if not least <= value < math.inf:
                raise FelsinaError(f"threshold {self.name}: {name} is {value}; give 0 or more")
        if self.scale_mm_h + self.floor_mm_h <= 0:
            raise FelsinaError(f"threshold {self.name} is zero; give scale_mm_h or floor_mm_h")
        if not 0 <= self.shortest_h < self.longest_h:
            raise FelsinaError(
                f"threshold {self.name}: durations {self.shortest_h} to {self.longest_h} h;"
                " let them rise from 0 up"
            )

    def intensity_mm_h(self, duration_h: Tensor) -> Tensor:
        """Least intensity at a duration."""
        return self.floor_mm_h + self.scale_mm_h * duration_h**-self.exponent


CAINE_1980 = Threshold("Caine 1980", 14.82, 0.39, shortest_h=1 / 6, longest_h=500)
"""Worldwide, 73 cases (Geografiska Annaler 62A, 23-27, doi:10.1080/04353676.1980.11879996)."""

GUZZETTI_2008 = Threshold("Guzzetti et al. 2008", 2.20, 0.44, shortest_h=0.1, longest_h=1000)
"""Worldwide, minimum for shallow slides and debris flows (doi:10.1007/s10346-007-0112-1)."""


@dataclass(frozen=True)
class Exceedance:
    """How far rain reaches beyond a threshold, for each series and each time it may begin.

    Attributes:
        ratio: [..., T] greatest mean intensity by the threshold's, over all durations that fit;
            above one the threshold is exceeded. NaN where no duration fits.
        duration_h: [..., T] at which duration; NaN likewise.
    """

    ratio: Tensor
    duration_h: Tensor

    @property
    def exceeded(self) -> Tensor:
        """[...] whether the series exceeds the threshold at any time and duration."""
        return (self.ratio > 1).any(dim=-1)


def exceedance(rain_mm_h: Tensor, step_h: float, threshold: Threshold) -> Exceedance:
    """Compare rain with a threshold over every run of steps that its durations allow.

    Args:
        rain_mm_h: [..., T] mean intensity of each step.
        step_h: length of a step.
        threshold: the threshold.
    """
    if not 0 < step_h < math.inf:
        raise FelsinaError(f"step_h is {step_h}; give the length of a step in hours")
    if not ((rain_mm_h >= 0) & rain_mm_h.isfinite()).all():
        raise FelsinaError("rain_mm_h holds negative or missing values; give them from 0 up")
    steps = rain_mm_h.shape[-1]
    total = torch.nn.functional.pad(rain_mm_h.double().cumsum(dim=-1), (1, 0))
    first = max(1, math.ceil(threshold.shortest_h / step_h - 1e-9))
    last = steps
    if threshold.longest_h < math.inf:
        last = min(steps, math.floor(threshold.longest_h / step_h + 1e-9))
    ratio = torch.full_like(total[..., 1:], -math.inf)
    longest = torch.full_like(ratio, math.nan)
    durations_h = step_h * torch.arange(steps + 1, dtype=total.dtype, device=total.device)
    least = threshold.intensity_mm_h(durations_h)
    for count in range(first, last + 1):
        mean = (total[..., count:] - total[..., :-count]) / count
        found = mean / least[count]
        best = ratio[..., : steps - count + 1]
        better = found > best
        best[better] = found[better]
        longest[..., : steps - count + 1][better] = durations_h[count]
    ratio = torch.where(longest.isnan(), math.nan, ratio)
    return Exceedance(ratio.to(rain_mm_h), longest.to(rain_mm_h))
