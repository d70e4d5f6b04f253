"""A surrogate learns its simulator, says how sure it is, and is the same after a kill."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import training.surrogate as module
from models.contracts import FelsinaError
from models.scenario import CALIBRATION, QUANTILES, STOPPING, TRAIN
from models.surrogates.surrogate import Members, Surrogate
from tests.factories import Silent
from tests.fixtures.greenhouse import NAMES, NOISE, SPEC, Beds, make_experiments, settings, truth
from training.experiments import Experiments
from training.surrogate import (
    FittedSurrogate,
    answers,
    fit_surrogate,
    offsets_of,
    score_surrogate,
)

SHORT = settings(steps=12, evaluate_every=4)


class Killed(Exception):
    pass


class Killer(Silent):
    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def progress(self, stage, share):
        if share >= self.share:
            raise Killed


@pytest.fixture(scope="module")
def experiments(tmp_path_factory) -> Experiments:
    return make_experiments(tmp_path_factory.mktemp("beds"))


@pytest.fixture(scope="module")
def fitted(experiments, tmp_path_factory) -> FittedSurrogate:
    return fit_surrogate(experiments, Beds, settings(), tmp_path_factory.mktemp("work"), Silent())


@pytest.fixture(scope="module")
def scores(experiments, fitted):
    return score_surrogate(lambda rows: answers(fitted.surrogate, experiments, rows), experiments)


def differing(one: FittedSurrogate, other: FittedSurrogate) -> list[str]:
    a, b = one.surrogate.state_dict(), other.surrogate.state_dict()
    assert list(a) == list(b)
    return [name for name in a if not torch.equal(a[name], b[name])]


def test_it_learns_the_simulator(experiments, fitted):
    rows = experiments.rows("all")
    found = answers(fitted.surrogate, experiments, rows)
    expected = truth(experiments.scalars[rows], experiments.fields[rows])
    assert found.shape == (len(rows), 4, 2, 7)
    error = np.abs(found[..., SPEC.median] - expected).mean(axis=(0, 1))
    assert (error < 0.5 * np.array(list(NOISE.values()))).all(), error
    assert (np.diff(found, axis=-1) >= 0).all()


def test_its_band_holds_80_per_cent_of_runs_never_seen(scores):
    for output in NOISE:
        assert 0.72 < scores["all"]["outputs"][output]["coverage_80"] < 0.88


def test_scores_say_what_is_needed(experiments, scores):
    assert list(scores) == experiments.tests == ["all", "strong wind"]
    assert scores["all"]["runs"] == 400
    errors = scores["all"]["outputs"]["warmth_k"]
    assert set(errors["places"]) == set(SPEC.answered)
    assert errors["floor"] == pytest.approx(0.3 * 2 / np.sqrt(np.pi))
    assert errors["mae_over_floor"] == pytest.approx(errors["mae"] / errors["floor"], rel=1e-4)
    assert errors["cvrmse"] == pytest.approx(errors["rmse"] / errors["mean"], rel=1e-4)
    assert errors["r2"] > 0.95
    assert "floor" not in scores["strong wind"]["outputs"]["warmth_k"]


def test_perfect_answers_have_no_error(experiments):
    def perfect(rows):
        return np.repeat(experiments.target[rows][..., None], 7, axis=-1)

    errors = score_surrogate(perfect, experiments)["all"]["outputs"]["loss_w_m2"]
    assert [errors[k] for k in ("mae", "bias", "rmse", "cvrmse", "width_80")] == [0] * 5
    assert (errors["r2"], errors["coverage_80"]) == (1, 1)


def test_figures_without_meaning_are_none(experiments):
    """Where nothing is known, nothing varies, or the simulator never differs from itself."""
    target = experiments.target.copy()
    target[..., 0], target[..., 1] = np.nan, 0
    spoilt = replace(
        experiments,
        target=target,
        record={"floors": {"all": {"warmth_k": 1.0, "loss_w_m2": 0.0}}},
    )
    found = score_surrogate(lambda rows: np.zeros((len(rows), 4, 2, 7)), spoilt)["all"]["outputs"]
    assert found["warmth_k"]["mae"] is None
    assert found["loss_w_m2"]["mae"] == 0
    assert [found["loss_w_m2"][k] for k in ("cvrmse", "r2")] == [None, None]
    assert [found[o]["mae_over_floor"] for o in found] == [None, None]


def test_few_runs_share_an_offset_and_many_have_their_own(monkeypatch):
    rng = np.random.default_rng(0)
    quantiles = np.tile(np.linspace(-1, 1, 7), (600, 4, 2, 1))
    target = rng.normal(size=(600, 4, 2)) * [[1], [2], [3], [4]]
    own = offsets_of(quantiles, target, QUANTILES)
    assert len(set(own[:, 0, 5].tolist())) == 4
    assert (np.diff(own[:, 0, 5]) > 0).all()
    shared = offsets_of(quantiles[:100], target[:100], QUANTILES)
    np.testing.assert_array_equal(shared, np.repeat(shared[:1], 4, axis=0))
    for offsets in (own, shared):
        assert (offsets[..., 3] == 0).all()
        np.testing.assert_array_equal(offsets[..., :3], -offsets[..., :3:-1])


def test_a_place_without_targets_borrows_the_others_offset():
    rng = np.random.default_rng(0)
    quantiles = np.tile(np.linspace(-1, 1, 7), (600, 3, 1, 1))
    target = rng.normal(size=(600, 3, 1))
    target[:, 1] = np.nan
    target[100:, 2] = np.nan
    offsets = offsets_of(quantiles, target, QUANTILES)
    assert np.isfinite(offsets).all()
    np.testing.assert_array_equal(offsets[1], offsets[2])
    assert (offsets[1] != offsets[0]).any()
    assert (offsets_of(quantiles, np.full_like(target, np.nan), QUANTILES) == 0).all()


class Fan(torch.nn.Module):
    def forward(self, scalars, fields):
        return torch.linspace(-1, 1, 7).expand(len(scalars), 4, 2, 7)


@pytest.mark.parametrize("count", [40, 2000])
def test_offsets_make_a_wrong_band_hold_80_per_cent(count):
    rng = np.random.default_rng(1)
    signed = tuple(replace(output, nonnegative=False) for output in SPEC.outputs)
    surrogate = Surrogate(Fan(), replace(SPEC, outputs=signed))
    target = rng.normal(size=(count + 4000, 4, 2)) * 5
    inputs = torch.zeros(len(target), 2), torch.zeros(len(target), 3, 1)
    offsets = offsets_of(surrogate(*inputs).numpy()[:count], target[:count], QUANTILES)
    surrogate.offset.copy_(torch.as_tensor(offsets))
    found = surrogate(*inputs).numpy()[count:]
    inside = (target[count:] >= found[..., 1]) & (target[count:] <= found[..., 5])
    assert inside.mean() == pytest.approx(0.8, abs=0.07 if count == 40 else 0.02)
    assert found.min() < 0


def test_what_is_never_negative_is_never_answered_so():
    surrogate = Surrogate(Fan(), SPEC)
    surrogate.offset.normal_()
    assert surrogate(torch.zeros(5, 2), torch.zeros(5, 3, 1)).min() == 0


def test_members_answer_by_their_mean_and_learn_each_alone():
    members = Members([Fan(), Fan()])
    surrogate = Surrogate(members, SPEC)
    inputs = {"scalars": torch.zeros(5, 2), "fields": torch.zeros(5, 3, 1)}
    each = surrogate.member_quantiles(inputs)
    assert len(each) == 2
    torch.testing.assert_close(members(**inputs), torch.stack(each).mean(0))


@pytest.fixture(scope="module")
def unbroken(experiments, tmp_path_factory) -> FittedSurrogate:
    return fit_surrogate(experiments, Beds, SHORT, tmp_path_factory.mktemp("short"), Silent())


@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_a_killed_training_goes_on_to_the_same_weights(share, experiments, unbroken, tmp_path):
    with pytest.raises(Killed):
        fit_surrogate(experiments, Beds, SHORT, tmp_path, Killer(share))
    torch.rand(17)
    resumed = fit_surrogate(experiments, Beds, SHORT, tmp_path, Silent())
    assert differing(unbroken, resumed) == []
    assert resumed.steps == unbroken.steps == 12


def test_another_seed_gives_other_weights(experiments, unbroken, tmp_path):
    other = fit_surrogate(
        experiments, Beds, SHORT.model_copy(update={"seed": 1}), tmp_path, Silent()
    )
    assert "network.head.weight" in differing(unbroken, other)


def test_test_runs_change_no_weight(experiments, unbroken, tmp_path):
    target = experiments.target.copy()
    target[sum(NAMES[name] for name in (TRAIN, STOPPING, CALIBRATION)) :] = 1e4
    changed = replace(experiments, target=target)
    again = fit_surrogate(changed, Beds, SHORT, tmp_path, Silent())
    assert differing(unbroken, again) == []


def test_what_was_fitted_is_told(fitted):
    assert not fitted.surrogate.training
    assert (fitted.steps, fitted.seconds > 0) == (300, True)
    assert fitted.parameters == sum(p.numel() for p in fitted.surrogate.network.parameters())


def test_a_diverged_training_is_refused_with_its_rate(experiments, tmp_path, monkeypatch):
    def ruined(lightning_module, *_):
        with torch.no_grad():
            next(lightning_module.predictor.parameters()).fill_(torch.nan)
        return 1

    monkeypatch.setattr(module, "run_loop", ruined)
    with pytest.raises(FelsinaError, match=r"beds diverged; lower learning_rate = 0\.01"):
        fit_surrogate(experiments, Beds, settings(), tmp_path, Silent())
