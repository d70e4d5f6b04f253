"""Invented homes on a synthetic plain: a town beside the river, villages, and scattered farms."""

from __future__ import annotations

import numpy as np

from pipelines.domains.flood.embanked_plain import Plain
from pipelines.domains.flood.exposure import Homes

VILLAGES = ("Borgo Levante", "Borgo Ponente", "Ca' Rossa", "Molino Vecchio", "San Zeno")
TOWN = "Castel Piano"
FARMS = "Campagna"


def synthetic_homes(plain: Plain, seed: int = 0) -> Homes:
    """Homes outside the levees, about 60 to a square kilometre, drawn by the seed."""
    rng = np.random.default_rng([seed, 3])
    terrain = plain.terrain
    west, east, south, north = terrain.extent_m
    size = np.array([east - west, north - south])
    count = max(60, round(60 * float(np.prod(size)) / 1e6))
    middle = plain.course_m[len(plain.course_m) // 2]
    side = rng.choice([-1, 1])
    centres = [np.array([middle[0] + side * (0.12 * size[0] + 250), middle[1]])]
    for number in range(len(VILLAGES)):
        low, high = (0.08, 0.35) if number % 2 else (0.65, 0.92)
        drawn = rng.uniform((low, 0.1), (high, 0.9), (40, 2)) * size + (west, south)
        # The draw that lies farthest from all that stands: places do not run into each other.
        apart = np.linalg.norm(drawn[:, None] - np.array(centres), axis=2).min(axis=1)
        centres.append(drawn[int(np.argmax(apart))])
    names = (TOWN, *VILLAGES, FARMS)
    share = np.array([0.45, *np.full(len(VILLAGES), 0.08), 0.15])
    kind = rng.choice(len(names), 2 * count, p=share / share.sum())
    spread = 0.045 * size.min() * np.where(kind == 0, 1.4, 0.7)[:, None]
    heart = np.array([*centres, middle])[kind]
    place = heart + rng.normal(size=(2 * count, 2)) * spread
    anywhere = np.array([west, south]) + rng.random((2 * count, 2)) * size
    place = np.where((kind == len(names) - 1)[:, None], anywhere, place)
    cell = terrain.cells(*place.T)
    # Nobody lives between the levees or on them.
    taken = (plain.floodway | plain.crest).ravel()
    kept = np.flatnonzero((cell >= 0) & ~taken[np.maximum(cell, 0)])[:count]
    return Homes(
        np.array([f"h{number:05d}" for number in range(len(kept))]),
        np.array(names)[kind[kept]],
        place[kept, 0],
        place[kept, 1],
        (1 + rng.poisson(np.where(kind[kept] == 0, 5.0, 2.0))).astype(float),
        cell[kept],
    )
