"""What a terrain alone tells of where water stands: heights over the surroundings, and ponds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch._higher_order_ops.while_loop import while_loop
from torch.nn import functional

HIGH_M = 1e3
"""Above all ground."""


def repeated(
    rounds: int,
    change: Callable[..., tuple[Tensor, ...]],
    *state: Tensor,
    begin: int = 0,
) -> tuple[Tensor, ...]:
    """Change a state so many times; an exported graph has one loop for it.

    Args:
        rounds: how often.
        change: from the round's number [] and the state to the state after it.
        state: contiguous tensors, whose shapes stay.
        begin: number of the first round.
    """
    turn = torch.tensor(begin, device=state[0].device)
    if torch.compiler.is_exporting():

        def going(turn: Tensor, *state: Tensor) -> Tensor:
            return turn < begin + rounds

        def once(turn: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            return turn + 1, *change(turn, *state)

        return while_loop(going, once, (turn, *state))[1:]
    for number in range(begin, begin + rounds):
        state = change(turn.fill_(number), *state)
    return state


def filled(bed_m: Tensor, rounds: int) -> Tensor:
    """Levels [B, 1, Y, X] at which ponds spill over the edges of beds [B, 1, Y, X].

    Morphological reconstruction (Planchon and Darboux 2002, doi 10.1016/S0341-8162(01)00164-3),
    from the edges inwards, over sides of cells; what is further than ``rounds`` cells is too high.
    """
    inner = torch.full_like(bed_m[..., 1:-1, 1:-1], HIGH_M)
    start = torch.maximum(bed_m, functional.pad(inner, (1, 1, 1, 1))).contiguous()

    def spill(turn: Tensor, level: Tensor) -> tuple[Tensor]:
        around = functional.pad(level, (1, 1, 1, 1), value=HIGH_M)
        upright = torch.minimum(around[..., :-2, 1:-1], around[..., 2:, 1:-1])
        across = torch.minimum(around[..., 1:-1, :-2], around[..., 1:-1, 2:])
        near = torch.maximum(bed_m, torch.minimum(upright, across))
        return (torch.minimum(level, near),)

    return repeated(rounds, spill, start)[0]


def mean_around(x: Tensor, reach: int) -> Tensor:
    """Mean [B, 1, Y, X] of the cells within so many rows and columns, those beyond left out."""
    rows, columns = (_band(cells, reach, x) for cells in x.shape[-2:])
    return rows @ x @ columns.T


def _band(cells: int, reach: int, like: Tensor) -> Tensor:
    """[cells, cells] weights of a mean within reach."""
    near = like.new_ones(cells, cells).tril(reach).triu(-reach)
    return near / near.sum(1, keepdim=True)
