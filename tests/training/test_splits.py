"""The protocol of DATASET.md: whose targets train, stop, calibrate and test."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.baselines import LookBack
from models.scaling import NodeScaler
from tests.factories import make_spec
from training.dataset import open_dataset
from training.metrics import Score
from training.splits import Splits

DATA = os.environ.get("FELSINA_DATA")
real = pytest.mark.skipif(not DATA, reason="FELSINA_DATA is not set: no real data here")
START = np.datetime64("2024-02-05T00:00:00")


def targets(origins: np.ndarray, horizon: int) -> set[int]:
    return set((origins[:, None] + np.arange(1, horizon + 1)).ravel().tolist())


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 40),
    st.integers(1, 1500),
    st.integers(1, 1500),
    st.integers(0, 200),
    st.sampled_from(["1h", "15min", "1D"]),
)
def test_no_target_of_one_split_lies_in_another(lookback, horizon, train, between, after, step):
    spec = make_spec(lookback=lookback, horizon=horizon, step=step)
    splits = Splits(train, train + between, train + between + after)
    stopping, calibration = splits.validation(spec)
    parts = [splits.train(spec), stopping, calibration, splits.test(spec, START)]
    spans = [targets(origins, horizon) for origins in parts]
    for i, one in enumerate(spans):
        for other in spans[i + 1 :]:
            assert not one & other
    train_span, stop_span, calibration_span, test_span = spans
    assert all(row < train for row in train_span)
    assert all(train <= row < train + between for row in stop_span | calibration_span)
    assert all(train + between <= row < splits.steps for row in test_span)
    assert (parts[0] >= lookback - 1).all()


def test_every_origin_that_fits_is_used():
    spec = make_spec(lookback=48, horizon=6)
    splits = Splits(1000, 1300, 1500)
    assert splits.train(spec).tolist() == list(range(47, 994))
    assert splits.test(spec, START).tolist() == list(range(1299, 1494))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100), st.integers(20, 5000))
def test_stopping_and_calibration_share_the_validation_span(horizon, between):
    """Apart from windows that straddle two blocks, none is lost; both parts are of like size."""
    spec = make_spec(horizon=horizon)
    assume(between >= 4 * horizon)
    stopping, calibration = Splits(100, 100 + between, 20_000).validation(spec)
    whole = between - horizon + 1
    assert len(stopping) + len(calibration) >= 0.5 * whole
    assert len(stopping) > 0
    assert len(calibration) > 0
    assert not set(stopping) & set(calibration)
    if between < 4 * max(168, 4 * horizon):
        assert max(stopping) < min(calibration)


def test_long_spans_alternate_by_the_week_so_that_both_see_every_season():
    spec = make_spec(horizon=24)
    stopping, calibration = Splits(0, 24 * 7 * 20, 24 * 7 * 30).validation(spec)
    for origins in (stopping, calibration):
        weeks = (origins + 1) // 168
        assert len(set(weeks.tolist())) == 10
        assert set((origins // 24 % 7).tolist()) == set(range(7))
    assert len(stopping) == len(calibration) == 10 * (168 - 23)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 3),
    st.sampled_from([3600, 6 * 3600, 86400]),
    st.integers(0, 23),
    st.integers(1, 9),
)
def test_issued_origins_have_their_first_valid_time_on_the_grid(days, every, hour, horizon):
    spec = make_spec(horizon=horizon)
    start = START + np.timedelta64(hour, "h")
    end = 100 + 24 * days
    origins = Splits(50, end, end + 240, every).test(spec, start)
    first = start + (origins + 1) * np.timedelta64(1, "h")
    since_midnight = (first - first.astype("datetime64[D]")) / np.timedelta64(1, "s")
    assert (since_midnight % every == 0).all()
    everything = Splits(50, end, end + 240).test(spec, start)
    assert set(origins) <= set(everything)
    assert len(origins) in {len(everything) * 3600 // every, len(everything) * 3600 // every + 1}


@real
@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("cambridge-elec", 365, "2018-12-31T23:00:00"),
        ("bologna-mts", 1079, "2024-08-15T23:00:00"),
    ],
)
def test_real_test_origins(name, count, first):
    dataset = open_dataset(Path(str(DATA)) / "datasets" / name)
    origins = dataset.splits.test(dataset.spec, dataset.start)
    assert len(origins) == count
    times = dataset.builder().times(origins)
    assert times[0] == np.datetime64(first)
    last = dataset.builder().times(np.array([len(dataset.values) - 1]))[0]
    assert times[-1] + dataset.spec.horizon * np.timedelta64(1, "h") <= last
    if name == "cambridge-elec":
        assert set(np.diff(times).astype("timedelta64[h]").astype(int)) == {24}


@real
@pytest.mark.parametrize(
    ("name", "metric", "published", "off"),
    [("bologna-mts", "mae", 59.8, 0.05), ("cambridge-elec", "wape", 0.0892, 0.0005)],
)
def test_the_seasonal_naive_of_a_week_scores_as_published(name, metric, published, off):
    dataset = open_dataset(Path(str(DATA)) / "datasets" / name)
    builder = dataset.builder()
    train = torch.as_tensor(builder.values[: dataset.splits.train_end])
    scaler = NodeScaler(dataset.graph.nodes, 0)
    scaler.fit(train, torch.zeros(len(train), 1, 0))
    naive = LookBack(builder, scaler.mean.numpy())
    origins = dataset.splits.test(dataset.spec, dataset.start)
    score = Score(dataset.spec.horizon, dataset.spec.quantiles)
    truth = builder.batch(origins, with_target=True).target
    point = naive.seasonal_naive(origins, 168)
    assert np.isfinite(point).all()
    score.update(np.repeat(point[..., None], 11, axis=-1), truth, point)
    assert score.result()[metric] == pytest.approx(published, abs=off)
