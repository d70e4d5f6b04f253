"""A forecaster's test span as sums a day: what audits and weekly watching are made of.

A sealed release is replayed: its own graph forecasts every test origin anew, so that what is
audited is what would be served, and anyone who has the release and the dataset can do it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fairness.metrics import daily_sums, peaks
from models.baselines import LookBack
from models.contracts import FelsinaError, FloatArray, ForecastSpec, IntArray
from models.windows import WindowBuilder
from pipelines.train import FORECASTS, Trained
from serving.release import Release
from serving.runtime import Runtime
from training.dataset import CityDataset

BATCH = 64
"""Least issues forecast at once; whole days of them."""
Progress = Callable[[float], None]
Forecasts = Callable[[slice], FloatArray]
"""From a slice of the test origins to quantiles [B, H, N, Q]."""


@dataclass(frozen=True)
class Scored:
    """A test span's forecasts beside what came true.

    Attributes:
        dataset: that was forecast.
        spec: of the forecaster, its lags too.
        origins: [B] rows of ``init_time``.
        daily: [D, N, L, S] of ``fairness.metrics.daily_sums``.
        days: [D] dates of the first lead, rising; one without an issue is left out.
    """

    dataset: CityDataset
    spec: ForecastSpec
    origins: IntArray
    daily: FloatArray
    days: np.ndarray


def score_trained(trained: Trained) -> Scored:
    """The forecasts that a backtest wrote."""
    spec = trained.fitted.spec
    origins = trained.dataset.splits.test(spec, trained.dataset.start)
    shape = (len(origins), spec.horizon, trained.dataset.graph.nodes)
    quantiles = _written(trained.folder / FORECASTS, shape)
    return scored_by(trained.dataset, spec, lambda part: quantiles[part], lambda share: None)


def score_release(
    release: Release, dataset: CityDataset, progress: Progress = lambda share: None
) -> Scored:
    """The forecasts of a release's own graph.

    Raises:
        FelsinaError: if the dataset is not the one that the release was tested on.
    """
    check_data(release, dataset)
    return score_runtime(Runtime(release), dataset, progress)


def score_runtime(
    runtime: Runtime, dataset: CityDataset, progress: Progress = lambda share: None
) -> Scored:
    """The forecasts of an open release, whatever data it was made from."""
    spec = runtime.release.spec
    builder = dataset.builder(spec)
    origins = dataset.splits.test(spec, dataset.start)

    def forecast(part: slice) -> FloatArray:
        return runtime.predict(builder.batch(origins[part]))

    return scored_by(dataset, spec, forecast, progress)


def score_naive(name: str, dataset: CityDataset, spec: ForecastSpec) -> Scored:
    """A naive forecast of a backtest by its ``name``, whose band has no width."""
    builder = dataset.builder(spec)
    origins = dataset.splits.test(spec, dataset.start)
    naive = look_back(dataset, builder)
    season = {"seasonal_naive_day": 1, "seasonal_naive_week": 7}.get(name, 0) * spec.steps_per_day

    def forecast(part: slice) -> FloatArray:
        rows = origins[part]
        point = naive.seasonal_naive(rows, season) if season else naive.persistence(rows)
        return np.repeat(point[..., None], len(spec.quantiles), axis=-1)

    return scored_by(dataset, spec, forecast, lambda share: None)


def check_data(release: Release, dataset: CityDataset) -> None:
    """Refuse a dataset of which a file is not the one that a release was made from."""
    sealed = release.manifest["data"]["digests"]
    for name in sorted(set(sealed) | set(dataset.digests)):
        if (found := dataset.digests.get(name)) != (was := sealed.get(name)):
            raise FelsinaError(
                f"{dataset.folder / name}: sha256 {(found or 'none')[:12]}, but {release.id} was "
                f"tested on {(was or 'none')[:12]}; name the dataset folder that it was made from"
            )


def scored_by(
    dataset: CityDataset, spec: ForecastSpec, forecasts: Forecasts, progress: Progress
) -> Scored:
    """Score ``forecasts`` of the dataset's test origins, in batches of whole days."""
    builder = dataset.builder(spec)
    origins = dataset.splits.test(spec, dataset.start)
    naive = look_back(dataset, builder)
    leads = np.arange(1, spec.horizon + 1)
    peak = peaks(builder.values, origins[:, None] + leads)
    dates = builder.times(origins + 1).astype("datetime64[D]")
    parts = []
    for part in _whole_days(dates):
        rows = origins[part]
        target = builder.values[rows[:, None] + leads]
        week = naive.seasonal_naive(rows, 7 * spec.steps_per_day)
        days = dates[part].astype(np.int64)
        parts.append(daily_sums(forecasts(part), spec.quantiles, target, week, days, peak))
        progress(part.stop / len(origins))
    return Scored(dataset, spec, origins, np.concatenate(parts), np.unique(dates))


def look_back(dataset: CityDataset, builder: WindowBuilder) -> LookBack:
    """The naive forecasts; a node's train mean stands where nothing was ever seen."""
    known = builder.values[: dataset.splits.train_end]
    mean = np.array([_mean(known[:, n]) for n in range(dataset.graph.nodes)])
    return LookBack(builder, mean)


def _whole_days(dates: np.ndarray) -> Iterator[slice]:
    """Slices of ``BATCH`` issues or more that cut no day."""
    ends = [*np.flatnonzero(dates[1:] != dates[:-1]) + 1, len(dates)]
    start = 0
    for end in map(int, ends):
        if end - start >= BATCH or end == len(dates):
            yield slice(start, end)
            start = end


def _written(path: Path, shape: tuple[int, int, int]) -> FloatArray:
    """[B, H, N, Q] of the backtest, which are written issue by issue, lead by lead."""
    table = pq.read_table(path)
    columns = [name for name in table.column_names if name.startswith("q")]
    if table.num_rows != np.prod(shape):
        raise FelsinaError(
            f"{path}: {table.num_rows} rows, not {np.prod(shape)}; delete its folder and train anew"
        )
    return np.stack([table[name].to_numpy().reshape(shape) for name in columns], axis=-1)


def _mean(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0
