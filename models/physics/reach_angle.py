"""How far what slips may come: down the steepest way, as far as the angle of reach allows.

The angle of reach (Heim's Fahrboeschung) is that of the line from where a slide starts to the end
of its deposit: its tangent is fall by distance travelled (Corominas 1996, doi:10.1139/t96-005).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.physics.drainage import filled, receivers

LEAST = 1e-3
"""Sources less likely to fail than this are not followed."""


@dataclass(frozen=True)
class Reach:
    """What comes from above to each cell, [Y, X], the cell itself among its sources.

    Attributes:
        first_s: earliest failure of any source that reaches the cell; inf where none fails.
        probability: greatest probability of failure of any source that reaches it.
        stays: whether what slips there has a way of no length: it comes to no other cell, since the
            ground falls less steeply than the angle of reach or leaves the terrain.
    """

    first_s: Tensor
    probability: Tensor
    stays: Tensor


def reach_from(
    bed_m: Tensor,
    cell_m: float,
    angle_rad: float,
    failure_s: Tensor,
    probability: Tensor,
) -> Reach:
    """Follow each cell that may fail down the steepest way, until the line of reach meets ground.

    Ways are one cell wide: they do not spread, and nothing is said of volume or depth.

    Args:
        bed_m: [Y, X] elevation, without gaps.
        cell_m: side of a cell.
        angle_rad: angle of reach; the smaller, the farther.
        failure_s: [Y, X] when a cell fails; inf where it does not.
        probability: [Y, X] that it fails; NaN counts as none.
    """
    if not 0 < angle_rad < math.pi / 2:
        raise FelsinaError(f"angle of reach is {angle_rad:g} rad; give one between 0 and pi / 2")
    bed = bed_m.detach().cpu().numpy().astype(float)
    level = filled(bed)
    to, share, _ = receivers(level)
    # Of two neighbours that share a cell's water the slide takes the one that gets more.
    own = np.arange(bed.size)
    down = np.where(share.max(axis=0) > 0, np.where(share[1] > share[0], to[1], to[0]), own)
    row, column = np.divmod(own, bed.shape[1])
    row_down, column_down = np.divmod(down, bed.shape[1])
    step = cell_m * np.hypot(row - row_down, column - column_down)
    level = level.ravel()
    stays = (down == own) | (level - level[down] < math.tan(angle_rad) * step)
    first = failure_s.detach().cpu().numpy().astype(float).ravel()
    chance = np.nan_to_num(probability.detach().cpu().numpy().astype(float).ravel())
    found_first, found_chance = first.copy(), chance.copy()
    source = np.flatnonzero(np.isfinite(first) | (chance >= LEAST))
    at, travelled = source.copy(), np.zeros(len(source))
    while len(source):
        moving = down[at] != at
        source, at, travelled = source[moving], at[moving], travelled[moving]
        travelled = travelled + step[at]
        at = down[at]
        going = level[source] - level[at] >= math.tan(angle_rad) * travelled
        source, at, travelled = source[going], at[going], travelled[going]
        np.minimum.at(found_first, at, first[source])
        np.maximum.at(found_chance, at, chance[source])
    first_s, chances, stay = (
        torch.from_numpy(values.reshape(bed.shape)) for values in (found_first, found_chance, stays)
    )
    return Reach(first_s.to(bed_m), chances.to(bed_m), stay)
