"""Private training: charged before it is used, resumed exactly, refused where the claim breaks."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from privacy import dp
from privacy.accounting import BudgetReached, SampledGaussian
from privacy.dp import PrivateSettings, PrivateTraining, fit_private, planned
from privacy.draws import SecretDraws
from privacy.resume import CHECKPOINT
from tests.factories import Silent
from tests.privacy.conftest import LAGS, SHAPE
from training.ridge import tensors

KEY = bytes(range(32))


def make_settings(**changes) -> PrivateSettings:
    values = {
        "unit": "household",
        "nominal_units": 4,
        "sampling_rate": 0.5,
        "most_windows": 3,
        "steps": 12,
        "epsilon": 4.0,
        "delta": 0.01,
        "noise_multiplier": 8.0,
        "clip_norm": 0.2,
        "lags": LAGS,
        "architecture": SHAPE,
        "checkpoint_every": 5,
    }
    return PrivateSettings(**values | changes)


class Ledger:
    """Counts charges; kills the run, or refuses, at one of them."""

    def __init__(self, kill_at: int | None = None, most: int | None = None) -> None:
        self.charges: list[SampledGaussian] = []
        self.steps: list[tuple[str, int]] = []
        self.kill_at, self.most = kill_at, most

    def __call__(self, mechanism: SampledGaussian, run: str, first_step: int) -> None:
        if len(self.charges) == self.most:
            raise BudgetReached("nothing left")
        self.charges.append(mechanism)
        self.steps.append((run, first_step))
        if len(self.charges) == self.kill_at:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def fixed_key(monkeypatch):
    monkeypatch.setattr(dp, "new_key", lambda: KEY)


def weights(fit: dp.PrivateFit) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in fit.forecaster.members.parameters()])


def test_every_step_is_charged_and_nothing_else_is_told(homes, tmp_path):
    ledger, listener = Ledger(), Silent()
    told = []
    listener.metrics = lambda step, values: told.append(values)
    fit = fit_private(homes, make_settings(), tmp_path / "run", listener, ledger)
    assert ledger.charges == [SampledGaussian(0.5, 8.0, 1)] * 12
    assert ledger.steps == [(fit.run, step) for step in range(12)]
    assert fit.mechanism == SampledGaussian(0.5, 8.0, 12)
    assert fit.whole
    assert 0 < fit.epsilon.pld < 4
    assert told == []
    assert (fit.forecaster.offset == 0).all()
    window = homes.builder(fit.spec).batch(np.array([900]))
    assert fit.forecaster(**tensors(window)).isfinite().all()


@pytest.mark.parametrize("kill_at", [1, 5, 9])
def test_a_killed_run_goes_on_as_if_it_had_not_been(homes, tmp_path, kill_at):
    whole = fit_private(homes, make_settings(), tmp_path / "whole", Silent(), Ledger())
    first, then = Ledger(kill_at=kill_at), Ledger()
    with pytest.raises(KeyboardInterrupt):
        fit_private(homes, make_settings(), tmp_path / "killed", Silent(), first)
    fit = fit_private(homes, make_settings(), tmp_path / "killed", Silent(), then)
    torch.testing.assert_close(weights(fit), weights(whole), rtol=0, atol=0)
    # Killed between the charge and its note: that one step is asked for twice, under one number,
    # which a ledger charges once; no step never.
    assert len(first.charges) + len(then.charges) == 13
    assert set(first.steps + then.steps) == {(fit.run, step) for step in range(12)}


def test_other_noise_on_the_same_data_is_another_run(homes, tmp_path):
    """A folder that was lost took the key along: a ledger that took both for one charged half."""
    runs = {
        fit_private(homes, make_settings(steps=1), tmp_path / name, Silent(), Ledger()).run
        for name in ("first", "second")
    }
    assert len(runs) == 2


def test_steps_that_were_charged_and_lost_are_not_charged_again(homes, tmp_path, monkeypatch):
    ledger = Ledger()
    take = PrivateTraining.take

    def dies(training: PrivateTraining, step: int) -> None:
        if step == 8:
            raise KeyboardInterrupt
        take(training, step)

    monkeypatch.setattr(PrivateTraining, "take", dies)
    with pytest.raises(KeyboardInterrupt):
        fit_private(homes, make_settings(), tmp_path / "run", Silent(), ledger)
    assert len(ledger.charges) == 9  # charged before it was taken
    monkeypatch.setattr(PrivateTraining, "take", take)
    fit_private(homes, make_settings(), tmp_path / "run", Silent(), ledger)
    assert len(ledger.charges) == 12


def test_a_budget_that_ends_in_mid_run_leaves_what_was_paid(homes, tmp_path):
    ledger = Ledger(most=7)
    fit = fit_private(homes, make_settings(), tmp_path / "run", Silent(), ledger)
    assert fit.mechanism == SampledGaussian(0.5, 8.0, 7)
    assert not fit.whole
    again = fit_private(homes, make_settings(), tmp_path / "run", Silent(), Ledger())
    assert again.mechanism == fit.mechanism
    torch.testing.assert_close(weights(again), weights(fit), rtol=0, atol=0)
    none = fit_private(homes, make_settings(), tmp_path / "none", Silent(), Ledger(most=0))
    assert none.mechanism is None
    assert none.epsilon.pld == 0


def test_a_finished_run_has_no_key_left(homes, tmp_path):
    fit_private(homes, make_settings(), tmp_path / "run", Silent(), Ledger())
    for path in (tmp_path / "run").iterdir():
        assert KEY not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_another_run_in_the_folder_is_refused(homes, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        fit_private(homes, make_settings(), tmp_path, Silent(), Ledger(kill_at=7))
    with pytest.raises(FelsinaError, match=r"other settings or data.*same noise"):
        fit_private(homes, make_settings(clip_norm=0.3), tmp_path, Silent(), Ledger())
    other = replace(homes, digests=homes.digests | {"series.parquet": "0"})
    with pytest.raises(FelsinaError, match="other settings or data"):
        fit_private(other, make_settings(), tmp_path, Silent(), Ledger())
    (tmp_path / CHECKPOINT).write_bytes(b"half")
    with pytest.raises(FelsinaError, match=r"cannot be read.*stays charged"):
        fit_private(homes, make_settings(), tmp_path, Silent(), Ledger())


def test_the_noise_has_the_deviation_that_is_claimed(gradients):
    """Standard deviation of the sum over C is sigma, for every step and coordinate."""
    noisy = PrivateTraining(gradients, SecretDraws(KEY), make_settings(), 1.7)
    bare = PrivateTraining(gradients, SecretDraws(KEY), make_settings(), 0.0)
    added = torch.stack([noisy.noisy_sum(step) - bare.noisy_sum(step) for step in range(40)])
    assert (added / gradients.clip_norm).std() == pytest.approx(1.7, rel=0.01)
    by_step = (added / gradients.clip_norm).std(1)
    assert ((by_step / 1.7 - 1).abs() < 0.05).all()
    assert (added.mean(0).abs() < 6 * 1.7 * gradients.clip_norm / 40**0.5).all()


def test_a_step_of_nobody_still_adds_noise(gradients):
    settings = make_settings(sampling_rate=1e-6)
    training = PrivateTraining(gradients, SecretDraws(KEY), settings, 1.0)
    assert not training.draws.members(0, 4, 1e-6).any()
    assert training.noisy_sum(0).std() == pytest.approx(gradients.clip_norm, rel=0.05)


def test_without_noise_it_learns(homes, gradients):
    """On the way that noise takes too: the loss of everyone falls."""
    settings = make_settings(sampling_rate=1.0, steps=40, clip_norm=10.0, learning_rate=2e-2)
    training = PrivateTraining(gradients, SecretDraws(KEY), settings, 0.0)

    def loss() -> float:
        window, _ = gradients.windows.batch(np.arange(4), 1000)
        with torch.no_grad():
            return float(gradients.losses(window).mean())

    before = loss()
    for step in range(40):
        training.take(step)
    assert loss() < 0.8 * before


def test_noise_left_out_is_the_least_that_is_allowed():
    mechanism = planned(make_settings(noise_multiplier=None))
    with pytest.raises(FelsinaError, match="spend epsilon 4"):
        planned(make_settings(noise_multiplier=mechanism.noise_multiplier - 0.01))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit": "window"}, "window protects nobody"),
        ({"delta": 0.03}, r"delta = 0\.03 with 4 units.*at most 0\.025"),
        ({"epsilon": 8.0}, "epsilon = 8 lets.*2.98e.03 times.*accept_weak"),
        ({"noise_multiplier": 1.0}, "12 steps with noise_multiplier = 1 spend epsilon"),
        ({"sampling": "shuffled"}, "'shuffled'.*use poisson"),
        ({"architecture": SHAPE.model_copy(update={"graph": True})}, "graph = true"),
        ({"architecture": SHAPE.model_copy(update={"inductive": False})}, "inductive = false"),
    ],
)
def test_what_breaks_the_claim_is_refused_before_anything_is_charged(
    homes, tmp_path, changes, said
):
    ledger = Ledger()
    with pytest.raises(FelsinaError, match=said):
        fit_private(homes, make_settings(**changes), tmp_path, Silent(), ledger)
    assert ledger.charges == []


def test_a_weak_guarantee_can_be_asked_for():
    weak = make_settings(epsilon=8.0, accept_weak=True, noise_multiplier=None)
    assert planned(weak).noise_multiplier < planned(make_settings()).noise_multiplier


def test_a_wrong_number_of_units_is_refused(homes, tmp_path):
    settings = make_settings(nominal_units=9, delta=0.01)
    with pytest.raises(FelsinaError, match="far from 9 units"):
        fit_private(homes, settings, tmp_path, Silent(), Ledger())
