"""Per-unit gradients are those of a plain loop, and no unit moves the sum by more than C."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from models.contracts import FelsinaError
from models.forecaster import Architecture, Forecaster
from privacy.gradients import UnitGradients, clipped, pinball_of_windows
from privacy.private_network import check_architecture, check_layers, private_forecaster
from privacy.units import UnitWindows
from tests.factories import make_dataset, make_graph
from tests.privacy.conftest import SHAPE
from training.dataset import open_dataset
from training.losses import pinball

EVERYONE = np.arange(4)


def plain(gradients: UnitGradients, number: int, step: int) -> torch.Tensor:
    """The gradient of one unit's mean loss, by ordinary differentiation."""
    window, _ = gradients.windows.batch(np.array([number]), step)
    parts = torch.autograd.grad(gradients.losses(window).mean(), gradients.parameters)
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("members", [1, 2])
def test_they_are_those_of_a_loop_over_units(homes, units, gradients, members):
    if members > 1:
        shape = SHAPE.model_copy(update={"members": members})
        forecaster = private_forecaster(homes, units.builder, shape)
        gradients = UnitGradients(forecaster, units, 0.2)
    for step in (0, 11):
        found = gradients.of_units(EVERYONE, step)
        expected = torch.stack([plain(gradients, n, step) for n in EVERYONE])
        assert expected.norm(dim=1).min() > 0.01
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_loss_is_the_pinball_of_training():
    quantiles, target = torch.randn(3, 5, 1, 4), torch.randn(3, 5, 1)
    target[0, 2:] = target[1] = torch.nan
    levels = torch.tensor([0.1, 0.4, 0.5, 0.9])
    found = pinball_of_windows(quantiles, target, levels)
    for b in range(3):
        one = pinball(quantiles[b : b + 1], target[b : b + 1], levels, torch.ones(1))
        torch.testing.assert_close(found[b], one)


def test_units_of_unequal_windows_too(homes, tmp_path):
    """Days at the ends of a span hold fewer origins than the others."""
    short = open_dataset(make_dataset(tmp_path / "short", lookback=12))
    builder = short.builder(short.spec)
    days = UnitWindows(short, builder, "day", 7)
    torch.manual_seed(0)
    gradients = UnitGradients(private_forecaster(short, builder, SHAPE), days, 0.2)
    numbers = np.arange(len(days))
    _, owner = days.batch(numbers, 0)
    assert len(set(np.bincount(owner).tolist())) > 1
    found = gradients.of_units(numbers, 0)
    again = UnitGradients(private_forecaster(short, builder, SHAPE), days, 0.2)
    again.forecaster.load_state_dict(gradients.forecaster.state_dict())
    one_by_one = torch.cat([again.of_units(numbers[n : n + 1], 0) for n in numbers])
    torch.testing.assert_close(found, one_by_one, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_a_unit_more_moves_the_sum_by_no_more_than_the_clip_norm(homes, units, gradients, scale):
    """Add or remove, and whatever the unit's values are."""
    values = homes.values.copy()
    values[::3, 2] *= scale
    wild = replace(homes, values=values)
    windows = UnitWindows(wild, wild.builder(units.builder.spec), "household", 3)
    ours = UnitGradients(private_forecaster(wild, windows.builder, SHAPE), windows, 0.01)
    for step in range(4):
        whole = ours.clipped_sum(EVERYONE, step)
        without = ours.clipped_sum(np.array([0, 1, 3]), step)
        moved = np.linalg.norm(whole - without)
        assert 0.005 < moved <= 0.01


def test_no_clipped_gradient_is_longer_than_the_norm():
    torch.manual_seed(0)
    wild = torch.randn(200, 50) * torch.logspace(-8, 30, 200)[:, None]
    short = clipped(wild, 0.3)
    assert (short.norm(dim=1, dtype=torch.float64) <= 0.3).all()
    little = wild.norm(dim=1) < 0.29
    torch.testing.assert_close(short[little], wild[little], rtol=1e-6, atol=0)
    sensible = wild.norm(dim=1).isfinite()
    assert (short[sensible & ~little].norm(dim=1) > 0.299 * 0.96).all()


def test_a_unit_without_a_finite_gradient_counts_as_nothing():
    some = torch.ones(4, 3)
    some[1, 2], some[2, 0] = torch.nan, torch.inf
    assert clipped(some, 1.0).norm(dim=1).tolist() == pytest.approx([1, 0, 0, 1], rel=2e-3)


@pytest.mark.parametrize("clip_norm", [0.001, 0.3, 1e6])
def test_the_sum_is_that_of_the_clipped_gradients(gradients, clip_norm):
    for step in (0, 5):
        gradients.clip_norm = clip_norm
        expected = clipped(gradients.of_units(EVERYONE, step), clip_norm).sum(0)
        found = gradients.clipped_sum(EVERYONE, step)
        size = clip_norm if clip_norm < 1 else float(expected.norm())
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-5 * size)


def test_a_step_in_parts_is_the_same(gradients, monkeypatch):
    whole = gradients.clipped_sum(EVERYONE, 1)
    monkeypatch.setattr("privacy.gradients.GRADIENT_BYTES", 1)
    np.testing.assert_allclose(gradients.clipped_sum(EVERYONE, 1), whole, rtol=1e-4, atol=1e-7)


def test_a_step_of_nobody_is_nothing(gradients):
    assert not gradients.clipped_sum(np.array([], int), 1).any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inductive": False}, "inductive = false.*one household"),
        ({"graph": True}, "graph = true.*neighbours"),
        ({"dropout": 0.1}, "dropout = 0.1"),
    ],
)
def test_shapes_that_leak_are_refused(changes, said):
    shape = {"inductive": True, "graph": False, "dropout": 0.0}
    with pytest.raises(FelsinaError, match=said):
        check_architecture(Architecture(**shape | changes))


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.BatchNorm1d(3), "BatchNorm1d.*across samples"),
        (nn.GRU(3, 3), "GRU.*not exact"),
        (nn.Conv1d(3, 3, 1), "Conv1d.*not exact"),
    ],
)
def test_layers_that_leak_are_refused(layer, said):
    with pytest.raises(FelsinaError, match=said):
        check_layers(nn.Sequential(nn.Linear(3, 3), layer))


def test_an_embedding_of_nodes_is_refused(units):
    with pytest.raises(FelsinaError, match=r"node \(Embedding\) learns of each node by name"):
        check_layers(Forecaster(units.builder.spec, make_graph(), Architecture()))


def test_a_private_network_knows_nothing_of_the_series(homes, units):
    other = replace(homes, values=homes.values * 3 + 1)
    states = []
    for data in (homes, other):
        torch.manual_seed(0)
        builder = data.builder(units.builder.spec)
        states.append(private_forecaster(data, builder, SHAPE).state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_a_public_backbone_comes_from_public_series(homes, units, tmp_path):
    public = open_dataset(make_dataset(tmp_path / "public", seed=1))
    fitted = private_forecaster(homes, units.builder, SHAPE, public)
    assert fitted.backbone.weight.abs().sum() > 0
    with pytest.raises(FelsinaError, match="holds the private series"):
        private_forecaster(homes, units.builder, SHAPE, homes)
    other = open_dataset(make_dataset(tmp_path / "other", seed=1, horizon=12))
    with pytest.raises(FelsinaError, match="horizon 12 is not the private dataset's 6"):
        private_forecaster(homes, units.builder, SHAPE, other)
