"""Water from one look at it to the next: what falls, enters, seeps away, and a scheme's steps.

Steps are as long as is stable. On a GPU they are recorded and replayed.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.basin import Basin, Breach, Inflow, Rain
from models.physics.replay import Replayed, worth_compiling


class Scheme(Protocol):
    """Water on a basin that one numerical method moves.

    Attributes:
        depth_m: [B, Y, X], which sources may change between steps.
        bed_m: [B|1, Y, X] over the datum, which a breach may lower between steps.
        datum: [B|1, 1, 1] level that the scheme counts from.
    """

    depth_m: Tensor
    bed_m: Tensor
    datum: Tensor

    def stable_s(self) -> Tensor:
        """[B, 1, 1] longest step that is stable now; inf where all is dry."""
        ...

    def advance(self, step_s: Tensor) -> Tensor:
        """Move the water, in place, by steps [B, 1, 1]; volume [B] that left through edges, m3."""
        ...

    def speed_m_s(self) -> Tensor:
        """[B, Y, X] depth-averaged speed."""
        ...


class March:
    """Moves the water of B scenarios on.

    Args:
        scheme: the water.
        basin: that it is on.
        rain: that falls.
        inflow: that enters at cells.
        breach: cells whose bed sinks.

    Attributes:
        infiltrated: [B] m3 so far.
        left: [B] m3 that left through edges so far.
    """

    def __init__(
        self,
        scheme: Scheme,
        basin: Basin,
        rain: Rain | None,
        inflow: Inflow | None,
        breach: Breach | None,
    ) -> None:
        self.scheme, self.basin = scheme, basin
        self.rain, self.inflow, self.breach = rain, inflow, breach
        water = scheme.depth_m
        self.infiltrated, self.left = (
            water.new_zeros(basin.batch, dtype=torch.float64) for _ in range(2)
        )
        self.soaking = basin.infiltration_m_s if bool(basin.infiltration_m_s.any()) else None
        self.falling = None if rain is None else rain.intensity_m_s[0].clone()
        self.clock = water.new_zeros(basin.batch, 1, 1, dtype=torch.float64)
        self.end = self.clock.new_zeros(())
        self.taken = self.clock.new_zeros((), dtype=torch.int64)
        self.more = self.end
        self.advance = Replayed(self._step, water.device, worth_compiling(water.numel()))

    @property
    def steps(self) -> int:
        """Steps so far; a scenario that is done waits for those that take more."""
        return int(self.taken)

    def onward(self, begin_s: float, end_s: float) -> None:
        """Move on from a time to another, between which no source changes its law.

        Raises:
            FelsinaError: where the scheme became unstable.
        """
        self.clock.fill_(begin_s)
        self.end.fill_(end_s)
        if self.rain is not None and self.falling is not None:
            self.falling.copy_(self.rain.during(begin_s))
        ahead = 1
        while ahead:
            for _ in range(ahead):
                self.advance()
            more = float(self.more)
            if not math.isfinite(more):
                refuse_unstable(self.scheme, begin_s)
            # Where each look costs more than a step, one is taken when all should be done.
            ahead = int(more) if self.clock.is_cuda else min(1, int(more))

    def _step(self) -> None:
        """One step of each scenario; none of those that have arrived."""
        scheme, left = self.scheme, self.end - self.clock
        left = torch.where(left > 1e-9 * self.end, left, 0)
        # Equal steps to the interval's end, so that none is a sliver.
        count = (left / scheme.stable_s()).ceil().clamp_min(1)
        self.more = count.amax() - 1
        step = torch.where(count.isfinite(), left / count, 0)
        if self.breach is not None:
            scheme.bed_m = self.breach.bed(self.basin.bed_m, self.clock + step) - scheme.datum
        pace = step.to(scheme.depth_m.dtype)
        if self.falling is not None:
            scheme.depth_m += self.falling * pace
        if self.inflow is not None:
            entering = self.inflow.at(self.clock + step / 2)
            entering = entering * (pace[:, 0] / self.basin.cell_m**2)
            scheme.depth_m.flatten(1).index_add_(1, self.inflow.cells, entering)
        if self.soaking is not None:
            lost = torch.minimum(scheme.depth_m, self.soaking * pace)
            scheme.depth_m -= lost
            self.infiltrated += lost.sum((1, 2), dtype=torch.float64) * self.basin.cell_m**2
        self.left += scheme.advance(pace)
        self.clock += step
        self.taken += (step > 0).any()


def refuse_unstable(scheme: Scheme, time_s: float) -> None:
    """Say when, where and how a scheme failed.

    Raises:
        FelsinaError: always.
    """
    speed = scheme.speed_m_s()
    worst = torch.where(speed.isfinite(), speed, torch.inf).flatten().argmax()
    b, y, x = (int(i) for i in torch.unravel_index(worst, speed.shape))
    raise FelsinaError(
        f"the water became unstable at {time_s:g} s in row {y}, column {x} of scenario {b}: depth "
        f"{float(scheme.depth_m[b, y, x]):g} m, speed {float(speed[b, y, x]):g} m/s; take another "
        "scheme or a smaller courant"
    )
