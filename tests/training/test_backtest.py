"""The report of a backtest and the table of its forecasts."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from models.adaptive import BOUNDS, RATE, replay
from models.contracts import QUANTILES
from training.backtest import Backtest, backtest, baselines, write_forecasts
from training.calibration import adaptive_skill
from training.dataset import CityDataset
from training.fit import Fitted
from training.metrics import Score
from training.plots import draw_backtest
from training.splits import Splits

METRICS = {"mae", "rmse", "wape", "crps", "coverage_50", "coverage_80", "coverage_90", "width_80"}
MODELS = {
    "felsina",
    "persistence",
    "seasonal_naive_day",
    "seasonal_naive_week",
    "profile_level",
    "ridge",
    "backbone",
}


@pytest.fixture(scope="module")
def result(dataset, fitted) -> Backtest:
    return backtest(dataset, fitted)


def test_the_report_has_the_keys_of_the_contract(result, dataset, fitted):
    report = result.report
    assert set(report) == {
        "dataset",
        "domain",
        "unit",
        "origins",
        "targets",
        "parameters",
        "fit_seconds",
        "models",
        "joint",
        "threshold_events",
        "adaptive",
        "weather",
    }
    assert report["joint"] is None, "no template was given"
    assert list(report["threshold_events"]) == ["p95"]
    assert (report["dataset"], report["domain"], report["unit"]) == ("tiny", "traffic", "veh/h")
    assert report["parameters"] == fitted.parameters
    assert set(report["models"]) == MODELS
    for scores in report["models"].values():
        assert set(scores) == METRICS | {"by_lead", "events"}
        assert set(scores["events"]) <= {"rise", "high", "holiday", "heat_wave"}
        assert list(scores["by_lead"]) == [str(lead) for lead in range(1, 7)]
        assert all(set(lead) == METRICS for lead in scores["by_lead"].values())
        assert 0 <= scores["coverage_80"] <= 1
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_every_origin_and_node_has_a_forecast_and_each_target_counts(result, dataset, fitted):
    origins = dataset.splits.test(fitted.spec, dataset.start)
    np.testing.assert_array_equal(result.origins, origins)
    builder = dataset.builder()
    np.testing.assert_array_equal(result.init_times, builder.times(origins))
    truth = builder.batch(origins, with_target=True).target
    np.testing.assert_array_equal(result.target, truth)
    assert result.report["origins"] == len(origins) == 235
    assert result.report["targets"] == (~np.isnan(truth)).sum() < truth.size
    assert result.quantiles.shape == (235, 6, 4, 11)
    assert np.isfinite(result.quantiles).all()
    assert (np.diff(result.quantiles, axis=-1) >= 0).all()


def test_the_scores_are_those_of_the_forecasts(result):
    error = np.abs(result.quantiles[..., 5].astype(float) - result.target)
    scores = result.report["models"]["felsina"]
    assert scores["mae"] == pytest.approx(np.nanmean(error), rel=1e-6)
    for lead in range(6):
        mae = scores["by_lead"][str(lead + 1)]["mae"]
        assert mae == pytest.approx(np.nanmean(error[:, lead]), rel=1e-6)


def test_events_are_those_of_the_forecasts(result, dataset, fitted):
    past = dataset.values[: dataset.splits.train_end]
    high = result.target > np.nanquantile(past, 0.95, axis=0)
    error = result.quantiles[..., 5][high].astype(float) - result.target[high]
    scores = {name: model["events"]["high"] for name, model in result.report["models"].items()}
    assert scores["felsina"]["mae"] == pytest.approx(np.abs(error).mean(), rel=1e-6)
    assert scores["felsina"]["bias"] == pytest.approx(error.mean(), rel=1e-5)
    (counts,) = {(score["targets"], score["events"]) for score in scores.values()}
    assert counts[0] == high.sum() > counts[1] > 0


def test_adaptive_bands_are_scored_on_the_same_forecasts(result, fitted):
    found = result.report["adaptive"]
    spec = fitted.spec
    issued = replay(result.quantiles, result.target, result.origins, spec.quantiles, True)
    score = Score(spec.horizon, spec.quantiles)
    score.update(issued, result.target)
    for name in ("coverage_50", "coverage_80", "coverage_90", "crps"):
        assert found[name] == pytest.approx(score.result()[name], rel=1e-6)
    static = result.report["models"]["felsina"]["coverage_80"]
    assert found["coverage_80"] != static
    assert (found["rate"], found["bounds"]) == (RATE, list(BOUNDS))


def test_adaptive_bands_are_the_same_by_parts_of_the_city(result, fitted, monkeypatch):
    monkeypatch.setattr("training.calibration._CELLS", result.target[..., 0].size * 3)
    again = adaptive_skill(result.quantiles, result.target, result.origins, fitted.spec)
    found = result.report["adaptive"]
    assert again.pop("bounds") == found["bounds"]
    assert again == pytest.approx({name: found[name] for name in again}, rel=1e-6)


def test_all_models_count_the_same_targets(dataset, fitted, monkeypatch):
    scores = []

    class Counting(Score):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            scores.append(self)

    monkeypatch.setattr("training.backtest.Score", Counting)
    result = backtest(dataset, fitted)
    assert len(scores) == len(MODELS)
    by_lead = (~np.isnan(result.target)).sum(axis=(0, 2))
    for score in scores:
        np.testing.assert_array_equal(score.count, by_lead)
        assert all(np.isfinite(part).all() for part in score.sums.values())


def test_the_baselines_score_as_a_plain_look_back(result, dataset):
    report = result.report["models"]
    series = pd.DataFrame(dataset.values)
    last = series.ffill().to_numpy()[result.origins][:, None]
    assert report["persistence"]["mae"] == pytest.approx(
        np.nanmean(np.abs(last - result.target)), rel=1e-5
    )
    week = [series.iloc[phase::168].ffill() for phase in range(168)]
    filled = pd.concat(week).sort_index().to_numpy()
    back = filled[result.origins[:, None] + np.arange(1, 7) - 168]
    assert report["seasonal_naive_week"]["mae"] == pytest.approx(
        np.nanmean(np.abs(back - result.target)), rel=1e-5
    )


def test_a_dead_sensor_is_forecast_and_drops_out_of_no_models_score(dataset, fitted):
    values = dataset.values.copy()
    values[dataset.splits.train_end - 24 * 20 :, 2] = np.nan
    values[-40:-20, 3] = np.nan
    result = backtest(replace(dataset, values=values), fitted)
    assert np.isfinite(result.quantiles).all()
    assert result.report["targets"] == (~np.isnan(result.target)).sum()
    for scores in result.report["models"].values():
        assert all(np.isfinite(scores[name]) for name in METRICS)


def test_forecasts_one_at_a_time_are_those_of_a_batch(result, dataset, fitted):
    sizes = set()

    def predict(window):
        sizes.add(len(window.past))
        return fitted.predict(window)

    alone = backtest(dataset, fitted, predict)
    assert sizes == {1}
    np.testing.assert_allclose(alone.quantiles, result.quantiles, rtol=1e-4, atol=1e-2)


def test_bands_see_no_test_target(dataset, fitted, result):
    """Points and bands of the baselines are what they were, whatever the last day brings."""
    values = dataset.values.copy()
    values[-6:] = 1e4
    other = backtest(replace(dataset, values=values), fitted)
    for name in MODELS:
        assert other.report["models"][name]["width_80"] == pytest.approx(
            result.report["models"][name]["width_80"], rel=0.05 if name == "felsina" else 1e-2
        ), name
    np.testing.assert_array_equal(other.quantiles[:-6], result.quantiles[:-6])


def test_the_issue_hours_are_kept(dataset, fitted):
    splits = replace(dataset.splits, issue_every=86400)
    result = backtest(replace(dataset, splits=splits), fitted)
    hours = {str(time)[11:13] for time in result.init_times.astype("datetime64[s]")}
    assert hours == {"23"}
    assert result.report["origins"] == 10


@pytest.mark.parametrize("many", [65, 129, 200])
def test_progress_rises_to_the_end(dataset: CityDataset, fitted: Fitted, many: int):
    end = dataset.splits.validation_end
    splits = Splits(dataset.splits.train_end, end, end + many - 1 + 6)
    shares: list[float] = []
    backtest(replace(dataset, splits=splits), fitted, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert all(0 < share <= 1 for share in shares)


def test_baselines_look_at_nothing_after_init(dataset, fitted):
    builder = dataset.builder(fitted.spec)
    origin = int(dataset.splits.test(fitted.spec, dataset.start)[50])
    values, forcings = dataset.values.copy(), dataset.forcings.copy()
    values[origin + 1 :] = 1e5
    forcings[origin + 1 :, :, 1] = 1e5
    changed = replace(dataset, values=values, forcings=forcings)
    row, guesses = np.array([origin]), []
    for one in (dataset, changed):
        builder = one.builder(fitted.spec)
        points = baselines(one, builder, fitted.forecaster.backbone, fitted.settings.architecture)
        guesses.append({name: point(row, builder.batch(row)) for name, point in points.items()})
    for name in guesses[0]:
        np.testing.assert_array_equal(guesses[0][name], guesses[1][name], err_msg=name)


def test_the_table_of_forecasts(result, dataset, tmp_path):
    path = tmp_path / "deep" / "forecasts.parquet"
    write_forecasts(path, result, dataset.graph.ids, QUANTILES)
    assert [p.name for p in path.parent.iterdir()] == ["forecasts.parquet"]
    names = [f"q{level}" for level in (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)]
    schema = pq.read_schema(path)
    assert schema.names == ["init_time", "lead", "node", *names]
    assert schema.field("init_time").type.tz == "UTC"
    assert str(schema.field("lead").type) == "int64"
    assert str(schema.field("node").type) == "string"

    table = pd.read_parquet(path)
    assert len(table) == 235 * 6 * 4
    assert not table.duplicated(["init_time", "lead", "node"]).any()
    assert not table.isna().any(axis=None)
    assert set(table["lead"]) == set(range(1, 7))
    assert set(table["node"]) == set(dataset.graph.ids)
    wide = table.set_index(["init_time", "lead", "node"]).sort_index()
    for b, h, n in ((0, 0, 0), (100, 5, 3), (234, 2, 1)):
        stamp = pd.Timestamp(result.init_times[b], tz="UTC")
        row = wide.loc[(stamp, h + 1, dataset.graph.ids[n])]
        np.testing.assert_allclose(row[names], result.quantiles[b, h, n], rtol=1e-6)


def test_many_origins_are_written_in_pieces(result, dataset, tmp_path):
    many = np.resize(np.arange(len(result.origins)), 2300)
    times = result.init_times[0] + np.arange(2300) * np.timedelta64(1, "h")
    long = replace(
        result, origins=np.arange(2300), init_times=times, quantiles=result.quantiles[many, :1]
    )
    write_forecasts(tmp_path / "f.parquet", long, dataset.graph.ids, QUANTILES)
    table = pd.read_parquet(tmp_path / "f.parquet")
    assert len(table) == 2300 * 4
    assert table["init_time"].nunique() == 2300
    np.testing.assert_allclose(table["q0.5"].iloc[-4:], long.quantiles[-1, 0, :, 5], rtol=1e-6)


def test_pictures_are_drawn_of_a_whole_and_of_a_poor_backtest(result, dataset, fitted, tmp_path):
    poor = replace(result, target=np.full_like(result.target, np.nan))
    for name, drawn in (("whole", result), ("poor", poor)):
        paths = draw_backtest(drawn, fitted.spec, dataset.graph, tmp_path / name)
        assert [p.name for p in paths] == [
            "bands.png",
            "error_by_lead.png",
            "error_by_hour.png",
            "reliability.png",
        ]
        assert all(p.read_bytes().startswith(b"\x89PNG") for p in paths)
