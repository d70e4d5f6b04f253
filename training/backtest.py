"""Backtest: the model and the baselines on every test origin, on the same targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from models.backbone import Backbone
from models.baselines import LookBack
from models.contracts import FloatArray, IntArray, Window
from models.exported import Predict
from models.windows import WindowBuilder
from training.calibration import dress
from training.dataset import CityDataset
from training.events import EventScores
from training.fit import Fitted, forecasts
from training.metrics import Score
from training.ridge import fit_backbone, tensors

Point = Callable[[IntArray, Window], FloatArray]
BATCH = 64


@dataclass(frozen=True)
class Backtest:
    """What a backtest found.

    Attributes:
        report: the JSON document of ``felsina backtest`` (metrics a model, and by lead).
        origins: [B] rows of ``init_time``.
        init_times: [B] UTC.
        quantiles: [B, H, N, Q] forecasts of the model.
        target: [B, H, N] what came true.
    """

    report: dict[str, Any]
    origins: IntArray
    init_times: np.ndarray
    quantiles: FloatArray
    target: FloatArray


def backtest(
    dataset: CityDataset,
    fitted: Fitted,
    predict: Predict | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Backtest:
    """Score the test split by DATASET.md's protocol.

    Baselines get bands from their own errors on the calibration windows, lead by lead and node by
    node, so that CRPS and coverage compare like with like.

    Args:
        dataset: opened folder.
        fitted: the model.
        predict: how to run it, one window at a time as a server does; the torch module when None.
        progress: told the share done.
    """
    spec, splits = fitted.spec, dataset.splits
    builder = dataset.builder(spec)
    origins = splits.test(spec, dataset.start)
    _, calibration = splits.validation(spec)
    points = baselines(dataset, builder, fitted.forecaster.backbone)
    bands = _bands(points, builder, calibration, spec.quantiles)
    scores = {name: Score(spec.horizon, spec.quantiles) for name in ("felsina", *points)}
    events = EventScores(dataset, builder, tuple(scores), spec.quantiles)
    quantiles, target = forecasts(
        predict or fitted.predict,
        builder,
        origins,
        BATCH if predict is None else 1,
        lambda share: progress(0.7 * share),
    )
    for start in range(0, len(origins), BATCH):
        rows = slice(start, start + BATCH)
        masks = events.masks(origins[rows], target[rows])
        scores["felsina"].update(quantiles[rows], target[rows])
        events.update("felsina", masks, quantiles[rows], target[rows])
        window = builder.batch(origins[rows])
        for name, point in points.items():
            guess = point(origins[rows], window)
            dressed = guess[..., None] + bands[name]
            if spec.nonnegative:
                dressed = np.maximum(dressed, 0)
            scores[name].update(dressed, target[rows], guess)
            events.update(name, masks, dressed, target[rows], guess)
        progress(0.7 + 0.3 * min(1.0, (start + BATCH) / len(origins)))
    report = {
        "dataset": spec.dataset,
        "domain": spec.domain,
        "unit": spec.unit,
        "origins": len(origins),
        "targets": int((~np.isnan(target)).sum()),
        "parameters": fitted.parameters,
        "fit_seconds": round(fitted.seconds, 1),
        "models": {
            name: score.result() | {"events": events.result(name)} for name, score in scores.items()
        },
    }
    return Backtest(report, origins, builder.times(origins), quantiles, target)


def baselines(dataset: CityDataset, builder: WindowBuilder, backbone: Backbone) -> dict[str, Point]:
    """Point forecasts [B, H, N] of every baseline, from origins and their windows.

    ``ridge`` is what a good engineer would try first: a regression a node and lead on the last day,
    the profile at its level, the week before and the weather. ``backbone`` is the model without its
    network: the same ridge, which also sees the neighbours where the graph is mixed in.
    """
    naive = LookBack(builder, backbone.scaler.mean.numpy())
    day = builder.spec.steps_per_day

    def profile_level(_: IntArray, window: Window) -> FloatArray:
        with torch.inference_mode():
            calendars = (
                torch.as_tensor(window.past_calendar),
                torch.as_tensor(window.future_calendar),
            )
            return backbone.profile(torch.as_tensor(window.past), *calendars)[1].numpy()

    return {
        "persistence": lambda origins, _: naive.persistence(origins),
        "seasonal_naive_day": lambda origins, _: naive.seasonal_naive(origins, day),
        "seasonal_naive_week": lambda origins, _: naive.seasonal_naive(origins, 7 * day),
        "profile_level": profile_level,
        "ridge": _ridge(dataset, backbone),
        "backbone": lambda _, window: point_forecast(backbone, window),
    }


def _ridge(dataset: CityDataset, backbone: Backbone) -> Point:
    """Fit the plain ridge on the train span."""
    week = 7 * backbone.spec.steps_per_day
    spec = backbone.spec.with_lags(tuple(lag for lag in backbone.spec.lags if lag == week))
    plain = Backbone(spec, dataset.graph, backbone.anchor, backbone.profile.weekly, mixing=False)
    builder = dataset.builder(spec)
    fit_backbone(plain, builder, dataset.splits.train_end, dataset.splits.train(spec))
    return lambda origins, _: point_forecast(plain, builder.batch(origins))


def point_forecast(backbone: Backbone, window: Window) -> FloatArray:
    """A backbone's point forecast [B, H, N] in the target's unit."""
    with torch.inference_mode():
        inputs = tensors(window)
        inputs.pop("target", None)
        z = backbone(backbone.frame(**inputs))
        point = (z * backbone.scaler.scale + backbone.scaler.mean).numpy()
    return np.maximum(point, 0) if backbone.spec.nonnegative else point


def _bands(
    points: dict[str, Point],
    builder: WindowBuilder,
    origins: IntArray,
    levels: tuple[float, ...],
) -> dict[str, FloatArray]:
    """Quantiles [H, N, Q] of each baseline's errors on the calibration windows."""
    shape = (len(origins), builder.spec.horizon, builder.values.shape[1])
    guesses = {name: np.empty(shape, np.float32) for name in points}
    target = np.empty(shape, np.float32)
    for start in range(0, len(origins), BATCH):
        rows = slice(start, start + BATCH)
        window = builder.batch(origins[rows], with_target=True)
        target[rows] = window.target
        for name, point in points.items():
            guesses[name][rows] = point(origins[rows], window)
    return {name: dress(guess, target, levels) for name, guess in guesses.items()}


def write_forecasts(
    path: Path, result: Backtest, ids: tuple[str, ...], levels: tuple[float, ...]
) -> None:
    """Write ``init_time`` (UTC), ``lead`` (1...H), ``node`` and one column a quantile."""
    horizon, nodes = result.quantiles.shape[1:3]
    part = path.with_name(f".{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    schema = pa.schema(
        [
            ("init_time", pa.timestamp("us", tz="UTC")),
            ("lead", pa.int64()),
            ("node", pa.string()),
            *((f"q{level:g}", pa.float32()) for level in levels),
        ]
    )
    with pq.ParquetWriter(part, schema) as writer:
        for start in range(0, len(result.origins), 1000):
            quantiles = result.quantiles[start : start + 1000]
            times = result.init_times[start : start + 1000].astype("datetime64[us]")
            table = pd.DataFrame(
                quantiles.reshape(-1, len(levels)), columns=[f"q{level:g}" for level in levels]
            )
            table["init_time"] = pd.DatetimeIndex(np.repeat(times, horizon * nodes), tz="UTC")
            table["lead"] = np.tile(np.repeat(np.arange(1, horizon + 1), nodes), len(quantiles))
            table["node"] = np.tile(np.array(ids, object), len(quantiles) * horizon)
            writer.write_table(pa.Table.from_pandas(table, schema, preserve_index=False))
    part.replace(path)
