"""How far what slips may come."""

import math
from itertools import pairwise

import pytest
import torch

from models.contracts import FelsinaError
from models.physics.reach_angle import reach_from

CELL_M = 10.0


def hillside() -> torch.Tensor:
    """Down the rows: 10 cells that fall by 6 m each, then 20 by 1 m; a chute in the middle."""
    fall = torch.cat([torch.zeros(1), torch.full((10,), 6.0), torch.full((20,), 1.0)])
    column = torch.arange(7, dtype=torch.float64)
    return -fall.double().cumsum(0)[:, None] + 0.8 * (column - 3).abs()


def failing(bed: torch.Tensor, row: int, hour: float = 2.0) -> torch.Tensor:
    first = torch.full_like(bed, math.inf)
    first[row, 3] = hour * 3600
    return first


def test_a_slide_ends_where_the_line_of_reach_meets_the_ground():
    bed = hillside()
    found = reach_from(bed, CELL_M, math.atan(0.4), failing(bed, 2), torch.zeros_like(bed))
    reached = found.first_s[:, 3].isfinite()
    # From row 2 it falls 48 m over 8 cells, then 1 m a cell: 48 + k >= 0.4 (80 + 10 k), k <= 5.
    assert reached.nonzero().flatten().tolist() == list(range(2, 16))
    assert not found.first_s[:, [0, 1, 5, 6]].isfinite().any()
    assert (found.first_s[2:16, 3] == 7200).all()


@pytest.mark.parametrize("row", [1, 4])
def test_a_smaller_angle_goes_at_least_as_far(row):
    bed = hillside()
    reached = [
        reach_from(bed, CELL_M, angle, failing(bed, row), torch.zeros_like(bed)).first_s.isfinite()
        for angle in (0.55, 0.4, 0.3, 0.2)
    ]
    for nearer, farther in pairwise(reached):
        assert (farther | ~nearer).all()
    assert reached[-1].sum() > reached[0].sum()


def test_what_fails_on_gentler_ground_than_the_angle_stays():
    bed = hillside()
    steep, gentle = failing(bed, 2), failing(bed, 20)
    found = reach_from(bed, CELL_M, 0.4, torch.minimum(steep, gentle), torch.zeros_like(bed))
    assert not found.stays[2, 3]  # falls by 0.6
    assert found.stays[20, 3]  # by 0.1
    assert not found.first_s[21:, 3].isfinite().any()
    assert found.stays[30].all()  # leaves the terrain


def test_the_earliest_and_the_likeliest_source_count():
    bed = hillside()
    first = torch.minimum(failing(bed, 2, 5.0), failing(bed, 6, 3.0))
    chance = torch.zeros_like(bed)
    chance[2, 3], chance[6, 3], chance[7, 3] = 0.3, 0.9, math.nan
    found = reach_from(bed, CELL_M, 0.3, first, chance)
    assert found.first_s[5, 3] == 5 * 3600
    assert found.first_s[8, 3] == 3 * 3600
    assert found.probability[5, 3] == 0.3
    assert found.probability[7, 3] == 0.9


def test_what_fails_on_gentle_land_stays():
    bed = hillside()
    found = reach_from(bed, CELL_M, math.atan(0.4), failing(bed, 20), torch.zeros_like(bed))
    assert int(found.first_s.isfinite().sum()) == 1


def test_an_angle_that_is_none_is_refused():
    bed = hillside()
    with pytest.raises(FelsinaError, match="angle of reach is 0 rad"):
        reach_from(bed, CELL_M, 0.0, failing(bed, 2), torch.zeros_like(bed))
