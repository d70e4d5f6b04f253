"""What Lightning optimises, and how fast."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from models.forecaster import Architecture, Forecaster
from tests.factories import make_graph, make_spec
from training.losses import pinball
from training.module import PredictorModule
from training.ridge import tensors


@pytest.fixture
def module(dataset) -> PredictorModule:
    torch.manual_seed(0)
    shape = Architecture(width=16, blocks=1, embedding=4, dropout=0.0, members=2)
    model = Forecaster(dataset.spec, make_graph(), shape)
    return PredictorModule(model, torch.ones(4), make_spec().quantiles, 1e-2, 1e-3, 100, seed=3)


def test_rate_warms_up_and_falls_to_zero(module):
    made = module.configure_optimizers()
    factor = made["lr_scheduler"]["scheduler"].lr_lambdas[0]
    rates = [factor(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[4] == rates[5] == 1
    assert all(a >= b for a, b in pairwise(rates[5:]))
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert made["lr_scheduler"]["interval"] == "step"
    assert made["optimizer"].defaults["weight_decay"] == 1e-3


@pytest.mark.parametrize("steps", [1, 2, 19])
def test_short_schedules_have_a_rate_too(module, steps):
    module.steps = steps
    factor = module.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert all(0 <= factor(step) <= 1 for step in range(steps + 1))


def test_every_weight_is_optimised(module):
    group = module.configure_optimizers()["optimizer"].param_groups[0]["params"]
    assert len(group) == len(list(module.predictor.parameters()))


def test_the_loss_is_the_mean_over_members(module, dataset, monkeypatch):
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    batch = tensors(dataset.builder().batch(np.array([500, 600]), with_target=True))
    module.on_train_batch_start(batch, 0)
    loss = module.training_step(batch, 0)
    module.on_train_batch_start(batch, 0)
    inputs = {name: batch[name] for name in batch if name != "target"}
    parts = [
        pinball(q, batch["target"], module.levels, module.node_weight)
        for q in module.predictor.member_quantiles(inputs)
    ]
    assert len(parts) == 2
    torch.testing.assert_close(loss, (parts[0] + parts[1]) / 2)


def test_a_step_draws_the_same_however_it_is_reached(module):
    module.on_train_batch_start({}, 0)
    first = torch.rand(3)
    torch.rand(100)
    module.on_train_batch_start({}, 7)
    assert torch.equal(torch.rand(3), first)
