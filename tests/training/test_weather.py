"""Weather that is forecast, late or unknown: what is altered, by how much, and what never is."""

from dataclasses import replace

import numpy as np
import pytest

from models.contracts import Forcing, Window
from tests.factories import make_spec
from training.metrics import Score
from training.weather import (
    HOURS,
    SKILL,
    degrade,
    delay,
    delayed,
    ensemble,
    ensemble_like,
    forecast_like,
    observed,
    score_under,
    spread_out,
    unknown,
    weather_skill,
    without,
)

UNITS = ("degC", "%", "W/m2", "mm", "EUR/MWh")
TRUTH = (10.0, 95.0, 400.0, 2.0, 80.0)
SPEC = make_spec(
    horizon=48,
    forcings=(
        *(Forcing(f"forcing_{n}", unit, True) for n, unit in enumerate(UNITS)),
        Forcing("past_rain", "mm", False),
    ),
)


def window(batch: int = 400, places: int = 3) -> Window:
    """Windows whose forcings stand still."""
    future = np.broadcast_to(np.array(TRUTH, np.float32), (batch, 48, places, 5)).copy()
    past = np.ones((batch, 48, places, 6), np.float32)
    calendar = np.zeros((batch, 48, 6), np.int64)
    lags = np.ones((batch, 2, 48, 3), np.float32)
    return Window(np.ones((batch, 48, 3), np.float32), lags, past, future, calendar, calendar)


def degraded(given: Window, seed: int = 0) -> np.ndarray:
    return degrade(given, SPEC, np.random.default_rng(seed)).future_forcings


def test_errors_grow_with_lead_as_the_table_says():
    error = degraded(window(4000, 1))[..., 0, 0] - TRUTH[0]
    spread = error.std(axis=0)
    for hours in (6, 24, 48):
        expected = np.interp(hours, HOURS, SKILL["degC"].spread)
        assert spread[hours - 1] == pytest.approx(expected, rel=0.05)
    assert abs(error.mean()) < 0.1
    near = np.corrcoef(error[:, 20], error[:, 21])[0, 1]
    far = np.corrcoef(error[:, 5], error[:, 40])[0, 1]
    assert near > 0.85 > 0.2 > far


def test_each_kind_keeps_to_what_can_be():
    forecast = degraded(window())
    assert 0 <= forecast[..., 1].min() < forecast[..., 1].max() == 100
    sun, rain = forecast[..., 2], forecast[..., 3]
    assert 0 < sun.min() < sun.max() <= 1361
    assert rain.min() == 0
    missed = (rain == 0).mean(axis=(0, 2))
    expected = np.interp(np.arange(1, 49), HOURS, SKILL["mm"].missed)
    np.testing.assert_allclose(missed, expected, atol=0.06)
    for forcing in (sun, rain):
        assert forcing.mean() == pytest.approx(float(TRUTH[2 if forcing is sun else 3]), rel=0.06)


def test_a_clear_night_and_a_dry_day_stay_and_gaps_stay_gaps():
    given = window()
    given.future_forcings[:, :12, :, 2:4] = 0
    given.future_forcings[3, 7] = np.nan
    forecast = degraded(given)
    assert (np.delete(forecast, 3, axis=0)[:, :12, :, 2:4] == 0).all()
    np.testing.assert_array_equal(np.isnan(forecast), np.isnan(given.future_forcings))


def test_what_is_no_weather_and_what_is_past_stay_as_they_are():
    given = window()
    changed = degrade(given, SPEC, np.random.default_rng(0))
    np.testing.assert_array_equal(changed.future_forcings[..., 4], given.future_forcings[..., 4])
    for name in ("past", "lags", "past_forcings", "past_calendar", "future_calendar"):
        assert getattr(changed, name) is getattr(given, name)
    assert (given.future_forcings == np.array(TRUTH, np.float32)).all(), "the input was written to"


def test_all_places_err_alike_and_all_windows_by_themselves():
    forecast = degraded(window())
    np.testing.assert_array_equal(forecast[:, :, :1].repeat(3, axis=2), forecast)
    assert len(np.unique(forecast[:, 10, 0, 0])) == len(forecast)
    np.testing.assert_array_equal(degraded(window()), forecast)
    assert not np.array_equal(degraded(window(), seed=1), forecast)


def test_the_truth_is_like_one_more_member_of_the_ensemble():
    members = ensemble(window(2000, 1), SPEC, np.random.default_rng(0), 9)
    values = np.stack([member.future_forcings[:, 23, 0, 0] for member in members])
    rank = (values < TRUTH[0]).sum(axis=0)
    np.testing.assert_allclose(np.bincount(rank, minlength=10) / 2000, 0.1, atol=0.025)


def test_late_steps_are_missing_wherever_they_stand(dataset, fitted):
    builder = dataset.builder(fitted.spec)
    spec = builder.spec
    origins = dataset.splits.test(spec, dataset.start)[:200]  # across no change of the clock, and
    origins = np.concatenate([origins, np.arange(1250, 1300)])  # across one, 31 March 2024
    given = builder.batch(origins)
    for steps in (1, 3, 30):
        late = dataset.values.copy()
        late[origins[-1] - steps + 1 :] = np.nan
        other = replace(dataset, values=late).builder(spec).batch(origins[-1:])
        (got,) = delayed(builder, steps)(origins, given)
        np.testing.assert_array_equal(got.past[-1:], other.past)
        np.testing.assert_array_equal(got.lags[-1:], other.lags)
        assert np.isnan(got.past[:, -steps:]).all()
        assert np.isnan(got.past_forcings[:, -steps:]).all()
        np.testing.assert_array_equal(
            got.past_forcings[:, :-steps], given.past_forcings[:, :-steps]
        )
        np.testing.assert_array_equal(got.future_forcings, given.future_forcings)


def test_no_delay_changes_nothing_and_a_long_one_leaves_nothing():
    given = window(5)
    age = np.full((5, 2, 48), 24)
    same = delay(given, 0, age)
    for name in ("past", "lags", "past_forcings"):
        np.testing.assert_array_equal(getattr(same, name), getattr(given, name))
    gone = delay(given, 1000, age)
    assert np.isnan(gone.past).all()
    assert np.isnan(gone.lags).all()


def test_without_forcings_a_forecast_does_not_hang_on_them(dataset, fitted):
    given = dataset.builder(fitted.spec).batch(np.array([1600, 1601]))
    other = replace(
        given, future_forcings=given.future_forcings + 9, past_forcings=given.past_forcings * 3
    )
    bare = [without(one) for one in (given, other)]
    assert all(np.isnan(one.future_forcings).all() for one in bare)
    np.testing.assert_array_equal(*(fitted.predict(one) for one in bare))
    assert np.isfinite(fitted.predict(bare[0])).all()


def test_scores_under_a_condition(dataset, fitted):
    builder, spec = dataset.builder(fitted.spec), fitted.spec
    origins = dataset.splits.test(spec, dataset.start)
    found = score_under(observed, fitted.predict, builder, origins)
    score, given = Score(spec.horizon, spec.quantiles), builder.batch(origins, with_target=True)
    score.update(fitted.predict(given), given.target)
    assert found["mae"] == pytest.approx(score.result()["mae"], rel=1e-5)
    single, many = (
        score_under(make(spec, 3), fitted.predict, builder, origins)
        for make in (forecast_like, ensemble_like)
    )
    assert many["width_80"] > single["width_80"]
    assert many["crps"] != single["crps"] != found["crps"]
    again = score_under(forecast_like(spec, 3), fitted.predict, builder, origins)
    assert again == single
    other = score_under(forecast_like(spec, 4), fitted.predict, builder, origins)
    assert other["mae"] != single["mae"]


def test_what_a_backtest_says(dataset, fitted):
    builder, spec = dataset.builder(fitted.spec), fitted.spec
    origins = dataset.splits.test(spec, dataset.start)
    report = weather_skill(fitted.predict, builder, origins)
    assert list(report) == ["origins", "observed", "forecast_like", "without"]
    assert report["origins"] == 200 < len(origins)
    some = spread_out(origins)
    assert (some[0], some[-1]) == (origins[0], origins[-1])
    assert set(np.diff(some)) <= {1, 2}
    expected = score_under(unknown, fitted.predict, builder, some)
    assert report["without"] == {k: expected[k] for k in ("mae", "crps", "coverage_80")}
    few = weather_skill(fitted.predict, builder, origins[:5])
    assert few["origins"] == 5


def test_a_dataset_whose_forcings_are_not_foreseen_has_no_such_scores(dataset):
    unforeseen = tuple(replace(forcing, known_future=False) for forcing in dataset.spec.forcings)
    builder = replace(dataset, spec=replace(dataset.spec, forcings=unforeseen)).builder()
    assert weather_skill(lambda _: pytest.fail("asked"), builder, np.array([1600])) is None
