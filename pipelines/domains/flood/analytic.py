"""Flows whose depth is known in closed form.

The cases are those of SWASHES (Delestre et al. 2013, doi 10.1002/fld.3741), with its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.integrate import quad
from scipy.optimize import root_scalar

from models.contracts import FloatArray

G = 9.81


def dam_break_m(x_m: FloatArray, time_s: float, behind_m: float, before_m: float) -> FloatArray:
    """Depth [N] after a dam at 0 has gone: Ritter (1892) on a dry bed, Stoker (1957) on a wet one.

    Args:
        x_m: [N] distance from the dam.
        time_s: since it went.
        behind_m: depth behind it, at negative distances.
        before_m: depth before it, 0 or more, and less than behind.
    """
    wave = np.sqrt(G * behind_m)
    speed = x_m / time_s
    fan = (2 * wave - speed) ** 2 / (9 * G)
    if before_m == 0:
        return np.where(speed < -wave, behind_m, np.where(speed < 2 * wave, fan, 0.0))

    def mismatch(depth: float) -> float:
        jump = (depth - before_m) * np.sqrt(G / 2 * (1 / depth + 1 / before_m))
        return float(2 * (wave - np.sqrt(G * depth)) - jump)

    middle = root_scalar(mismatch, bracket=(before_m, behind_m)).root
    flow = 2 * (wave - np.sqrt(G * middle))
    shock = flow * middle / (middle - before_m)
    still = np.where(speed < shock, middle, before_m)
    behind = np.where(speed < flow - np.sqrt(G * middle), fan, still)
    return np.where(speed < -wave, behind_m, behind)


@dataclass(frozen=True)
class Bowl:
    """Thacker's (1981) water in a paraboloid, SWASHES 4.2.2.

    Attributes:
        radius_m: of the still water's shore.
        still_m: depth of the still water at the centre.
        start_m: radius of the shore at time 0 (curved surface).
        shift_m: radius on which the planar surface's centre goes round.
    """

    radius_m: float = 1.0
    still_m: float = 0.1
    start_m: float = 0.8
    shift_m: float = 0.5

    def bed_m(self, x_m: FloatArray, y_m: FloatArray) -> FloatArray:
        """Bed at distances from the centre; 0 on the still water's shore."""
        return -self.still_m * (1 - (x_m**2 + y_m**2) / self.radius_m**2)

    @property
    def curved_period_s(self) -> float:
        """After which the curved surface is as it was."""
        return float(2 * np.pi * self.radius_m / np.sqrt(8 * G * self.still_m))

    @property
    def planar_period_s(self) -> float:
        """After which the planar surface is as it was."""
        return float(2 * np.pi * self.radius_m / np.sqrt(2 * G * self.still_m))

    def curved_m(self, x_m: FloatArray, y_m: FloatArray) -> FloatArray:
        """Depth at time 0 and after each period: a surface that rises and falls at the centre."""
        a2, r2 = self.radius_m**2, self.start_m**2
        share = (a2 - r2) / (a2 + r2)
        grown = np.sqrt(1 - share**2) / (1 - share)
        squared = (x_m**2 + y_m**2) / a2
        level = self.still_m * (grown - 1 - squared * (grown**2 - 1))
        return np.maximum(level - self.bed_m(x_m, y_m), 0)

    def planar_m(self, x_m: FloatArray, y_m: FloatArray) -> FloatArray:
        """Depth at time 0 and after each period: a slanted surface that goes round."""
        pull = self.shift_m * self.still_m / self.radius_m**2
        level = pull * (2 * x_m - self.shift_m)
        return np.maximum(level - self.bed_m(x_m, y_m), 0)

    def planar_velocity_m_s(self) -> tuple[float, float]:
        """Velocity along x and y of all the water at time 0."""
        return 0.0, float(self.shift_m * np.sqrt(2 * G * self.still_m) / self.radius_m)


BUMP_LENGTH_M = 25.0


def bump_bed_m(x_m: FloatArray) -> FloatArray:
    """Bed [N] of SWASHES 3.1: a parabola .2 m high at 10 m."""
    return np.where(np.abs(x_m - 10) < 2, 0.2 - 0.05 * (x_m - 10) ** 2, 0.0)


def bump_depth_m(x_m: FloatArray, flow_m2_s: float, below_m: float | None) -> FloatArray:
    """Steady depth [N] over the bump: Bernoulli's head, and a jump where the depth below asks one.

    Args:
        x_m: [N] places.
        flow_m2_s: discharge.
        below_m: depth at the end; None where the water leaves faster than waves.
    """
    bed = bump_bed_m(x_m)
    critical = (flow_m2_s**2 / G) ** (1 / 3)
    over_crest = 1.5 * critical + 0.2
    if below_m is None:
        fast = x_m > 10
        return np.array(
            [_head_depth(flow_m2_s, over_crest - z, f) for z, f in zip(bed, fast, strict=True)]
        )
    head = below_m + flow_m2_s**2 / (2 * G * below_m**2)
    if head >= over_crest:
        return np.array([_head_depth(flow_m2_s, head - z, False) for z in bed])

    def force(place: float) -> float:
        z = float(bump_bed_m(np.array(place)))
        fast = _head_depth(flow_m2_s, over_crest - z, True)
        slow = _head_depth(flow_m2_s, head - z, False)
        return (flow_m2_s**2 / G) * (1 / fast - 1 / slow) + (fast**2 - slow**2) / 2

    # Behind the crest, where the slow flow of the lower head exists.
    first = next(p for p in np.linspace(10, 12, 2001) if head - bump_bed_m(p) > 1.5 * critical)
    jump = root_scalar(force, bracket=(first, 12 - 1e-9)).root
    heads = np.where(x_m < jump, over_crest, head)
    fast = (x_m > 10) & (x_m < jump)
    cases = zip(heads, bed, fast, strict=True)
    return np.array([_head_depth(flow_m2_s, h - z, f) for h, z, f in cases])


def _head_depth(flow_m2_s: float, head_m: float, fast: bool) -> float:
    """Depth of a head above the bed: ``h + q2 / (2 g h2) = head``, the slow or the fast root."""
    roots = np.roots([1.0, -head_m, 0.0, flow_m2_s**2 / (2 * G)])
    # At the crest two roots meet, and rounding makes them a complex pair.
    real = sorted(root.real for root in roots if abs(root.imag) < 1e-4 and root.real > 0)
    return real[0] if fast else real[-1]


CHANNEL_LENGTH_M, CHANNEL_FLOW_M2_S, CHANNEL_MANNING = 1000.0, 2.0, 0.033


def channel_depth_m(x_m: FloatArray) -> FloatArray:
    """Depth [N] of MacDonald's subcritical channel of 1 000 m (1997; SWASHES 3.2.1)."""
    return (4 / G) ** (1 / 3) * (1 + 0.5 * np.exp(-16 * (x_m / 1000 - 0.5) ** 2))


def channel_bed_m(x_m: FloatArray) -> FloatArray:
    """Bed [N] on which that depth is steady, 0 at the lower end; ``x_m`` rises."""

    def slope(x: float) -> float:
        depth = float(channel_depth_m(np.array(x)))
        change = (depth - (4 / G) ** (1 / 3)) * -32 * (x / 1000 - 0.5) / 1000
        friction = CHANNEL_MANNING**2 * CHANNEL_FLOW_M2_S**2 / depth ** (10 / 3)
        return (CHANNEL_FLOW_M2_S**2 / (G * depth**3) - 1) * change - friction

    ends = [*x_m.tolist(), CHANNEL_LENGTH_M]
    rises = [quad(slope, a, b)[0] for a, b in pairwise(ends)]
    return -np.cumsum(rises[::-1])[::-1]
