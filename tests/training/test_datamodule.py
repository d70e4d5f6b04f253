"""Which origins each step sees."""

import numpy as np
import pytest
import torch

from models.windows import WindowBuilder
from tests.factories import make_spec
from training.datamodule import VALIDATION_ORIGINS, WindowsDataModule


def make_data(**changes) -> WindowsDataModule:
    spec = make_spec(forcings=(), lags=(24,))
    builder = WindowBuilder(
        spec, np.datetime64("2024-02-05"), np.arange(2000.0)[:, None].repeat(2, 1)
    )
    values = {
        "train": np.arange(47, 1000),
        "stopping": np.arange(1000, 1100),
        "issued": np.arange(47, 1000, 24),
        "batch": 8,
        "issue_share": 0.5,
        "steps_per_epoch": 5,
        "seed": 3,
    }
    return WindowsDataModule(builder, **(values | changes))


def test_draws_depend_on_seed_and_step_alone():
    one, other = make_data(), make_data(steps_per_epoch=17, stopping=np.arange(5))
    for step in (0, 7, 3, 7):
        np.testing.assert_array_equal(one.draw(step), other.draw(step))
    assert not np.array_equal(one.draw(0), one.draw(1))
    assert not np.array_equal(one.draw(0), make_data(seed=4).draw(0))


def test_draws_come_from_the_train_origins_and_partly_from_the_issued_ones():
    data = make_data(issue_share=0.25)
    for step in range(20):
        draw = data.draw(step)
        assert len(draw) == 8
        assert set(draw) <= set(range(47, 1000))
        assert set(draw[-2:]) <= set(range(47, 1000, 24))
    assert make_data(issued=np.zeros(0, int)).at_issue == 0
    assert len(make_data(issued=np.zeros(0, int)).draw(0)) == 8


def test_all_or_none_at_the_issue_hours():
    every = make_data(issue_share=1.0).draw(1)
    assert len(every) == 8
    assert set(every) <= set(range(47, 1000, 24))
    draws = np.concatenate([make_data(issue_share=0.0).draw(step) for step in range(20)])
    assert not set(draws) <= set(range(47, 1000, 24))


def test_an_epoch_holds_the_draws_of_its_steps():
    data = make_data()
    batches = list(data.train_dataloader())
    assert len(batches) == 5
    for step, batch in enumerate(batches):
        assert batch["past"][:, -1, 0].tolist() == data.draw(step).tolist()
        assert batch["target"][:, 0, 0].tolist() == (data.draw(step) + 1).tolist()
        assert batch["past"].dtype == torch.float32


@pytest.mark.parametrize("many", [1, 63, 65, 399, 400, 401, 900])
def test_stopping_windows_are_thinned_evenly(many):
    stopping = np.arange(1000, 1000 + many)
    data = make_data(stopping=stopping)
    seen = np.concatenate([batch["past"][:, -1, 0].numpy() for batch in data.val_dataloader()])
    assert 0 < len(seen) <= VALIDATION_ORIGINS
    assert len(seen) >= min(many, VALIDATION_ORIGINS // 2)
    assert set(seen) <= set(stopping)
    assert len(set(np.diff(seen))) <= 1
