"""The inundation network: whole answers, turned and unturned alike, the same when exported."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from models.contracts import FelsinaError
from models.scenario import QUANTILES
from models.surrogates.coarse_inundation import CoarseInundation, coarse_inundation, doubled
from models.surrogates.conditional_unet import ConditionalUNet, Scales, turned, unturned
from models.surrogates.terrain_features import filled, mean_around
from training.losses import pinball

ROWS = COLUMNS = 32
CELL_M = 50.0
MEAN, STD = [60, 2, 0.5, 60, 1, 4, 5], [40, 1, 0.2, 40, 1, 2, 4]


def network(rows: int = ROWS, columns: int = COLUMNS) -> ConditionalUNet:
    torch.manual_seed(0)
    scales = Scales(np.array(MEAN), np.array(STD), np.array([0.1] * 6 + [1.0]))
    return ConditionalUNet(rows, columns, CELL_M, scales, QUANTILES, width=8, fine=8)


def scenarios(count: int, rows: int = ROWS, columns: int = COLUMNS) -> tuple[Tensor, Tensor]:
    """Rain and a breach over slopes with bumps."""
    rng = np.random.default_rng(0)
    scalars = rng.uniform([20, 0.5, 0.2, 20, 0.25, 1, 0], [150, 6, 0.8, 150, 4, 8, 15], (count, 7))
    fall = np.linspace(4, 0, rows)[:, None] + rng.normal(0, 0.2, (count, rows, columns))
    source = np.zeros((count, rows, columns))
    source[:, rows // 3, columns // 2] = 1
    manning = rng.uniform(0.03, 0.1, (count, rows, columns))
    fields = np.stack([fall - fall.min((1, 2), keepdims=True), manning, source], -1)
    return torch.tensor(scalars).float(), torch.tensor(fields).float().flatten(1, 2)


@pytest.mark.parametrize(("rows", "columns"), [(32, 32), (16, 48)])
def test_quantiles_rise_and_nothing_is_below_zero(rows: int, columns: int) -> None:
    net, (scalars, fields) = network(rows, columns), scenarios(3, rows, columns)
    with torch.no_grad():
        net.head.weight.mul_(20)
    for training in (False, True):
        net.train(training)
        with torch.no_grad():
            found = net(scalars, fields)
        assert found.shape == (3, rows * columns, 7, 7)
        assert (found.diff(dim=-1) >= 0).all()
        assert (found.min() < 0) if training else (found.min() == 0)  # what is dry can learn
        median = found[..., 3]
        assert (median[:, :, :1] >= median[:, :, 1:6] - 1e-6).all()  # no depth above the largest


def test_a_grid_that_cannot_be_halved_four_times_is_refused() -> None:
    with pytest.raises(FelsinaError, match="40 x 32: both must be multiples of 16"):
        network(40, 32)


@pytest.mark.parametrize("turn", range(8))
def test_turns_are_undone(turn: int) -> None:
    grid = torch.rand(2, 3, 5, 5)
    assert torch.equal(unturned(turned(grid, turn), turn), grid)
    assert turn == 0 or not torch.equal(turned(grid, turn), grid)


def test_turned_in_training_what_copies_the_guess_comes_back_unturned() -> None:
    """With a head of zeros the answer is the backbone's guess, which no turn may move."""
    net, (scalars, fields) = network(), scenarios(2)
    with torch.no_grad():
        net.head.weight.zero_()
        still = net.eval()(scalars, fields)
        net.train()
        for seed in range(12):
            torch.manual_seed(seed)
            found = net(scalars, fields).clamp_min(0)
            torch.testing.assert_close(found, still, rtol=1e-4, atol=1e-4)


def test_what_is_remembered_is_what_is_reckoned() -> None:
    net, (scalars, fields) = network().train(), scenarios(3)
    grid = fields.transpose(1, 2).unflatten(2, (ROWS, COLUMNS))
    net._remembered(scalars[:2], grid[:2])
    for kept, fresh in zip(
        net._remembered(scalars.flip(0), grid.flip(0)),
        net._given(scalars.flip(0), grid.flip(0)),
        strict=True,
    ):
        torch.testing.assert_close(kept, fresh)
    assert len(net.memory) == 3


def test_gradients_reach_all_weights_and_few_steps_learn() -> None:
    net, (scalars, fields) = network().train(), scenarios(4)
    with torch.no_grad():
        target = net.eval()(scalars, fields)[..., 3] * 0.5 + 0.1
    target[:, ::3, 6] = torch.nan
    net.train()
    levels, weight = torch.tensor(QUANTILES), torch.tensor([10.0] * 6 + [1.0])
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    losses = []
    for step in range(80):
        loss = pinball(net(scalars, fields), target, levels, weight)
        optimiser.zero_grad()
        loss.backward()
        if step == 1:  # modulation begins at zero
            given = {name: p.grad for name, p in net.named_parameters()}
            assert not [name for name, grad in given.items() if grad is None or not grad.any()]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


def test_ponds_are_filled_to_their_lowest_sill() -> None:
    bed = torch.full((1, 1, 16, 16), 2.0)
    bed[..., 4:8, 4:8] = 0
    bed[..., 6, 8:] = 1.5  # a ditch to the edge
    level = filled(bed, 40)
    assert (level[..., 4:8, 4:8] == 1.5).all()
    assert (level[..., 10:, :] == 2).all()


def test_a_mean_leaves_out_what_lies_beyond_the_edge() -> None:
    x = torch.rand(1, 1, 8, 8)
    found = mean_around(x, 2)
    torch.testing.assert_close(found[0, 0, 0, 0], x[0, 0, :3, :3].mean())
    torch.testing.assert_close(found[0, 0, 4, 4], x[0, 0, 2:7, 2:7].mean())


def test_the_backbone_keeps_water_behind_a_levee_and_all_of_it_in_a_basin() -> None:
    """Of what enters a closed half nothing is lost, and nothing comes through."""
    bed = torch.zeros(1, 1, 32, 32)
    bed[..., 16, :] = 5.0  # a levee
    bed[..., [0, 1, -2, -1], :] = bed[..., :, [0, 1, -2, -1]] = 5.0
    water = CoarseInundation(bed, torch.full_like(bed, 0.05), CELL_M, 120.0)
    steps = 60
    none, inflow = torch.zeros(1, steps), torch.full((1, steps), 0.2)
    where = torch.zeros_like(water.low)
    where[..., 4, 8] = 1
    soaked = torch.zeros(1, 1, 1, 1)
    found = coarse_inundation(water, none, inflow, where, soaked, (30, steps))
    assert found.shape == (1, 4, 16, 16)
    held = found[0, 2]
    assert float(held[8:].sum()) == 0
    torch.testing.assert_close(held.sum(), inflow.sum(), rtol=1e-4, atol=0)
    assert float(held[:8].max()) < 0.5  # it has spread
    assert torch.equal(doubled(found)[0, 0, ::2, ::2], found[0, 0])
