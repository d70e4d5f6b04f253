"""Worlds of forecast errors with two quartieri of known difference: for tests and benchmarks."""

import numpy as np
from scipy.signal import lfilter

from fairness.groups import Areas, Group, Grouping
from fairness.metrics import SUMS

AREAS, SENSORS = 3, 3
"""A group's areas, and each area's sensors."""


def autoregressive(phi: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """[*shape] of variance 1, the last axis in time."""
    *rest, days = shape
    noise = rng.standard_normal((*rest, days + 100))
    return lfilter([np.sqrt(1 - phi**2)], [1, -phi], noise, axis=-1)[..., 100:]


def two_groups(
    phi: float, days: int, rng: np.random.Generator, gap: float = 0.0
) -> tuple[np.ndarray, tuple[Grouping, ...], Areas]:
    """Daily sums of two groups alike but for the first one's error, larger by ``gap``.

    The logarithm of a sensor's daily error (and, less, the naive one's) follows an autoregression,
    half of its variance common to the city and half of the rest to its area.
    """
    nodes = 2 * AREAS * SENSORS
    area = np.arange(nodes) // SENSORS
    common = autoregressive(phi, (1, days), rng)
    local = autoregressive(phi, (2 * AREAS, days), rng)[area]
    own = autoregressive(phi, (nodes, days), rng)
    error = np.exp(0.3 * (np.sqrt(0.5) * common + 0.5 * local + 0.5 * own))
    naive = 1.5 * np.exp(
        0.3 * (0.5 * common + np.sqrt(0.75) * autoregressive(phi, (nodes, days), rng))
    )
    first = np.arange(nodes) < nodes // 2
    sums = dict.fromkeys(SUMS, np.ones((nodes, days)))
    sums["absolute"] = error * np.where(first, 1 + gap, 1)[:, None]
    sums["naive"] = naive
    sums["covered"] = np.full((nodes, days), 0.9)
    sums["peak_short"] = np.full((nodes, days), 0.1)
    daily = np.stack([sums[name] for name in SUMS], axis=-1).transpose(1, 0, 2)[:, :, None]
    residents = np.full(2 * AREAS, 1000.0)
    names = tuple(f"area {a}" for a in range(2 * AREAS))
    areas = Areas(area, {"area": names}, residents)
    groups = (
        Group("first", np.flatnonzero(first), 3000.0),
        Group("second", np.flatnonzero(~first), 3000.0),
    )
    return daily, (Grouping("half", groups, np.zeros(0, np.int64)),), areas
