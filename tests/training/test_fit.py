"""Training: the same again, whether it was killed or not."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

import training.fit
from models.contracts import FelsinaError
from models.windows import WindowBuilder
from tests.factories import Silent, make_settings
from training.fit import Fitted, calibrate, fit, forecasts


class Killed(Exception):
    pass


class Killer(Silent):
    """Ends the training when it is that far, in the midst of an epoch or at its end."""

    def __init__(self, share: float = 2.0, step: int = 10**9) -> None:
        super().__init__()
        self.share, self.step = share, step

    def progress(self, stage: str, share: float) -> None:
        if stage == "train" and share >= self.share:
            raise Killed

    def metrics(self, step: int, values: dict[str, float]) -> None:
        if step >= self.step:
            raise Killed


def differing(one: Fitted, other: Fitted) -> list[str]:
    a, b = one.forecaster.state_dict(), other.forecaster.state_dict()
    assert list(a) == list(b)
    return [name for name in a if not torch.equal(a[name], b[name])]


SETTINGS = make_settings(
    accelerator="cpu",
    steps=12,
    evaluate_every=4,
    architecture={"width": 16, "blocks": 1, "embedding": 4, "weekly": True, "dropout": 0.2},
)


@pytest.fixture(scope="module")
def unbroken(dataset, tmp_path_factory) -> Fitted:
    return fit(dataset, SETTINGS, tmp_path_factory.mktemp("unbroken"), Silent())


@pytest.mark.parametrize(
    "killer",
    [Killer(share=0.1), Killer(share=0.6), Killer(share=1.0), Killer(step=4), Killer(step=12)],
    ids=["first epoch", "midst", "last step", "first look", "last look"],
)
def test_a_killed_training_goes_on_to_the_same_weights(killer, dataset, unbroken, tmp_path):
    with pytest.raises(Killed):
        fit(dataset, SETTINGS, tmp_path, killer)
    torch.rand(17)
    resumed = fit(dataset, SETTINGS, tmp_path, Silent())
    assert differing(unbroken, resumed) == []
    assert resumed.steps == unbroken.steps == 12


def test_a_training_killed_twice_goes_on_too(dataset, unbroken, tmp_path):
    for killer in (Killer(share=0.5), Killer(share=0.8)):
        with pytest.raises(Killed):
            fit(dataset, SETTINGS, tmp_path, killer)
    assert differing(unbroken, fit(dataset, SETTINGS, tmp_path, Silent())) == []


def test_a_resumed_training_takes_up_where_it_was(dataset, tmp_path):
    class Shares(Silent):
        first = None

        def progress(self, stage, share):
            if stage == "train" and self.first is None:
                self.first = share

    with pytest.raises(Killed):
        fit(dataset, SETTINGS, tmp_path, Killer(share=0.8))
    listener = Shares()
    fit(dataset, SETTINGS, tmp_path, listener)
    assert listener.first == pytest.approx(9 / 12)


def test_a_finished_training_is_found_again(dataset, unbroken, tmp_path):
    fit(dataset, SETTINGS, tmp_path, Silent())
    assert differing(unbroken, fit(dataset, SETTINGS, tmp_path, Silent())) == []


def test_one_that_stopped_early_is_found_again(dataset, tmp_path):
    """After a kill between the last look and the export, nothing more is trained."""
    settings = SETTINGS.model_copy(
        update={"steps": 60, "evaluate_every": 2, "patience": 1, "learning_rate": 0.05}
    )
    once = fit(dataset, settings, tmp_path, Silent())
    assert once.steps < 60
    again = fit(dataset, settings, tmp_path, Silent())
    assert again.steps == once.steps
    assert differing(once, again) == []


def test_same_seed_same_weights_and_another_seed_others(dataset, unbroken, tmp_path):
    again = fit(dataset, SETTINGS, tmp_path / "again", Silent())
    assert differing(unbroken, again) == []
    other = fit(dataset, SETTINGS.model_copy(update={"seed": 1}), tmp_path / "other", Silent())
    assert "members.0.past.weight" in differing(unbroken, other)


def test_the_best_look_is_kept(dataset, tmp_path):
    """A rate that ruins later epochs leaves the weights of the best one."""

    class Looks(Silent):
        losses: list[float]

        def metrics(self, step, values):
            self.losses.append(values["validation_loss"])

    settings = SETTINGS.model_copy(update={"learning_rate": 0.2, "steps": 16, "patience": 9})
    listener = Looks()
    listener.losses = []
    fitted = fit(dataset, settings, tmp_path, listener)
    assert len(listener.losses) == 4
    fitted.forecaster.offset.zero_()
    builder = dataset.builder(fitted.spec)
    stopping, _ = dataset.splits.validation(fitted.spec)
    quantiles, target = forecasts(fitted.predict, builder, stopping)
    target = target[..., None]
    levels = np.array(fitted.spec.quantiles)
    loss = np.nanmean(
        np.maximum(levels * (target - quantiles), (levels - 1) * (target - quantiles))
    )
    loss = loss / fitted.forecaster.backbone.scaler.scale.mean().item()
    assert loss == pytest.approx(min(listener.losses), rel=0.05)


def test_what_was_fitted_is_told(fitted, dataset):
    assert fitted.spec.lags == (24, 168)
    assert not fitted.forecaster.training
    assert fitted.steps == 20
    assert fitted.seconds > 0
    weights = sum(p.numel() for p in fitted.forecaster.parameters())
    assert fitted.parameters == weights + fitted.forecaster.backbone.weight.numel()
    assert (fitted.forecaster.offset != 0).any()


def test_stages_are_told(dataset, tmp_path):
    listener = Silent()
    fit(dataset, SETTINGS.model_copy(update={"steps": 4}), tmp_path, listener)
    assert listener.stages == ["backbone", "train"]


def test_the_test_span_changes_no_weight(dataset, unbroken, tmp_path):
    """Nothing that is fitted sees it (DATASET.md)."""
    end = dataset.splits.validation_end
    values, forcings = dataset.values.copy(), dataset.forcings.copy()
    values[end:] = 1e4
    forcings[end + dataset.spec.horizon :] = 1e4
    changed = replace(dataset, values=values, forcings=forcings)
    assert differing(unbroken, fit(changed, SETTINGS, tmp_path, Silent())) == []


def test_a_diverged_training_is_refused_with_its_rate(dataset, tmp_path, monkeypatch):
    def ruined(lightning_module, *_):
        with torch.no_grad():
            next(lightning_module.predictor.parameters()).fill_(torch.nan)
        return 1

    monkeypatch.setattr("training.fit.run_loop", ruined)
    with pytest.raises(FelsinaError) as caught:
        fit(dataset, SETTINGS, tmp_path, Silent())
    assert "tiny" in str(caught.value)
    assert "learning_rate" in str(caught.value)


def test_nothing_finite_to_learn_is_refused_in_one_line(dataset, tmp_path):
    settings = SETTINGS.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(FelsinaError) as caught:
        fit(dataset, settings, tmp_path, Silent())
    assert "learning_rate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_predictions_cover_the_origins_in_pieces(fitted, dataset):
    builder = dataset.builder(fitted.spec)
    origins = np.arange(600, 610)
    shares: list[float] = []
    quantiles, target = forecasts(fitted.predict, builder, origins, 4, shares.append)
    assert shares == [0.4, 0.8, 1.0]
    np.testing.assert_allclose(quantiles, fitted.predict(builder.batch(origins)), rtol=1e-5)
    np.testing.assert_array_equal(target, builder.batch(origins, True).target)


def test_a_window_with_its_target_is_forecast_as_one_without(fitted, dataset):
    builder = dataset.builder(fitted.spec)
    origins = np.array([700, 800])
    np.testing.assert_array_equal(
        fitted.predict(builder.batch(origins)), fitted.predict(builder.batch(origins, True))
    )


@pytest.fixture
def whole_offsets(monkeypatch):
    """What the windows ask for, whole: caution with few weeks has a test of its own."""
    monkeypatch.setattr(training.fit, "cautious", lambda offsets, origins: offsets)


def own_coverage(fitted: Fitted, builder: WindowBuilder, origins: np.ndarray) -> np.ndarray:
    """Share of the calibration windows' targets in the 80 % band, by lead."""
    quantiles, target = forecasts(fitted.predict, builder, origins)
    levels = list(fitted.spec.quantiles)
    low, high = quantiles[..., levels.index(0.1)], quantiles[..., levels.index(0.9)]
    inside = np.where(np.isnan(target), np.nan, (target >= low) & (target <= high))
    return np.nanmean(inside, axis=(0, 2))


@pytest.mark.parametrize("level", [1.0, 0.02])
def test_the_calibrated_band_holds_80_per_cent_of_the_windows_it_was_calibrated_on(
    level, dataset, unbroken, tmp_path, whole_offsets
):
    """Also where the forecasts lie near zero, so that the clamp cuts a part of the band."""
    builder = dataset.builder(unbroken.spec)
    values = builder.values.copy()
    if level < 1:  # a little in some hours, nothing in most
        rng = np.random.default_rng(0)
        values = (values * level * (rng.random(values.shape) < 0.4)).astype(np.float32)
    builder = WindowBuilder(unbroken.spec, builder.start, values, builder.forcings)
    forecaster = deepcopy(unbroken.forecaster)
    train = dataset.splits.train_end
    seen = torch.as_tensor(values[:train])
    forecaster.backbone.scaler.fit(seen, torch.as_tensor(builder.forcings[:train]))
    forecaster.backbone.profile.fit(seen, torch.as_tensor(builder.calendar(0, train)))
    fitted = Fitted(forecaster, unbroken.spec, SETTINGS, 0.0, 0)
    _, calibration = dataset.splits.validation(unbroken.spec)
    calibrate(fitted, builder, calibration)
    covered = own_coverage(fitted, builder, calibration)
    assert np.isfinite(forecaster.offset).all()
    assert (covered > 0.77).all(), covered
    # Where most targets are zero the clamp alone covers them: then no more than that is asked.
    if level == 1:
        assert (covered < 0.83).all(), covered


def test_the_clamp_does_not_widen_the_band(dataset, unbroken, whole_offsets):
    """Offsets are measured on the very band that they widen.

    A fan about zero, cut at zero, and positive targets beyond it: the band should end just above
    80 % of them.
    """
    forecaster = deepcopy(unbroken.forecaster)
    for parameter in forecaster.parameters():
        parameter.data.zero_()
    backbone = forecaster.backbone
    for buffer in (backbone.weight, backbone.profile.table):
        buffer.zero_()
    backbone.scaler.mean.zero_()
    backbone.scaler.scale.fill_(1)
    backbone.residual.fill_(1)
    rng = np.random.default_rng(0)
    values = rng.exponential(3, dataset.values.shape)
    builder = WindowBuilder(unbroken.spec, dataset.start, values, np.zeros_like(dataset.forcings))
    fitted = Fitted(forecaster, unbroken.spec, SETTINGS, 0.0, 0)
    _, calibration = dataset.splits.validation(unbroken.spec)
    calibrate(fitted, builder, calibration)
    covered = own_coverage(fitted, builder, calibration)
    np.testing.assert_allclose(covered, 0.8, atol=0.02)


def test_a_sensor_that_appears_after_training_is_forecast_as_the_others_are(
    dataset, unbroken, tmp_path
):
    """It has its own level, and the mean of what the others learned."""
    values = dataset.values.copy()
    values[: dataset.splits.validation_end, 2] = np.nan
    model = fit(replace(dataset, values=values), SETTINGS, tmp_path, Silent())
    others = [0, 1, 3]
    learned = [model.forecaster.backbone.weight, model.forecaster.backbone.residual]
    learned += [member.node.weight for member in model.forecaster.members]
    for rows in learned:
        torch.testing.assert_close(rows[2], rows[others].mean(0))
    origins = np.arange(dataset.splits.validation_end + 24, dataset.splits.steps - 6, 5)
    quantiles, target = forecasts(model.predict, dataset.builder(model.spec), origins)
    error = np.nanmean(np.abs(quantiles[..., 5] - target)[..., 2])
    assert error < 0.2 * np.nanmean(target[..., 2])
    inside = (target >= quantiles[..., 1]) & (target <= quantiles[..., 9])
    assert inside[..., 2][~np.isnan(target[..., 2])].mean() > 0.4


def test_nothing_is_lent_where_every_node_was_seen(unbroken):
    before = deepcopy(unbroken.forecaster.state_dict())
    unbroken.forecaster.lend(torch.zeros(4, dtype=torch.bool))
    assert all(torch.equal(v, before[k]) for k, v in unbroken.forecaster.state_dict().items())
