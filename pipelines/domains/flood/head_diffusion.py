"""Pressure head in a slope by finite differences: what the closed responses are held against."""

from __future__ import annotations

import numpy as np
from scipy.linalg import solve_banded

_LAYER_M = 0.01
"""Thickness of a layer of the numerical solution."""

STEP_S = 60.0
"""Its step in time."""


def numerical_heads(
    diffusivity_m2_s: float, flux: np.ndarray, thickness_m: float, depth_m: float
) -> np.ndarray:
    """Head at a depth at the end of each step: diffusion by Crank-Nicolson in layers.

    The independent solution: no closed form, no superposition.

    Args:
        diffusivity_m2_s: of the equation, the slope's angle in it.
        flux: [T] rain by conductivity in each step of ``STEP_S``.
        thickness_m: where water stops; far below ``depth_m`` for endless ground.
        depth_m: where the head is read, between the middles of two layers.
    """
    layers = round(thickness_m / _LAYER_M)
    number = diffusivity_m2_s * STEP_S / _LAYER_M**2
    neighbours = np.full(layers, 2.0)
    neighbours[[0, -1]] = 1.0
    bands = np.zeros((3, layers))
    bands[0, 1:] = bands[2, :-1] = -number / 2
    bands[1] = 1 + number / 2 * neighbours
    middles = (np.arange(layers) + 0.5) * _LAYER_M
    head, read = np.zeros(layers), np.empty(len(flux))
    for step, entering in enumerate(flux):
        across = np.diff(head)
        change = np.zeros(layers)
        change[:-1] += across
        change[1:] -= across
        right = head + number / 2 * change
        right[0] += number * _LAYER_M * entering
        head = solve_banded((1, 1), bands, right)
        read[step] = np.interp(depth_m, middles, head)
    return read
