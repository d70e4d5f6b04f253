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

from models.backbone import Backbone, profile_level
from models.baselines import LookBack
from models.contracts import FloatArray, IntArray, Window
from models.exported import Predict
from models.forecaster import Architecture
from models.joint import Ranks
from models.windows import WindowBuilder
from training.calibration import adaptive_skill, dress
from training.dataset import CityDataset
from training.events import EventScores
from training.fit import Fitted, forecasts
from training.joint_skill import joint_skill
from training.metrics import Score
from training.protocols import ProtocolScores
from training.ridge import fit_backbone, tensors
from training.threshold_events import threshold_events
from training.weather import weather_skill

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
    template: Ranks | None = None,
) -> Backtest:
    """Score the test split by DATASET.md's protocol.

    Baselines get bands from their own errors on the calibration windows, lead by lead and node by
    node, so that CRPS and coverage compare like with like.

    Args:
        dataset: opened folder.
        fitted: the model.
        predict: how to run it, one window at a time as a server does; the torch module when None.
        progress: told the share done.
        template: [M, H, N] ranks of joint members; none, when None.
    """
    spec, splits = fitted.spec, dataset.splits
    if template is None:
        template = np.zeros((0, spec.horizon, dataset.graph.nodes), np.uint8)
    builder = dataset.builder(spec)
    origins = splits.test(spec, dataset.start)
    _, calibration = splits.validation(spec)
    points = baselines(dataset, builder, fitted.forecaster.backbone, fitted.settings.architecture)
    bands = _bands(points, builder, calibration, spec.quantiles)
    scores = {name: Score(spec.horizon, spec.quantiles) for name in ("felsina", *points)}
    published = ProtocolScores(dataset)
    median = spec.quantiles.index(0.5)
    events = EventScores(dataset, builder, tuple(scores), spec.quantiles)
    batch, predict = (BATCH, fitted.predict) if predict is None else (1, predict)
    quantiles, target = forecasts(
        predict, builder, origins, batch, lambda share: progress(0.7 * share)
    )
    for start in range(0, len(origins), BATCH):
        rows = slice(start, start + BATCH)
        masks = events.masks(origins[rows], target[rows])
        scores["felsina"].update(quantiles[rows], target[rows])
        published.update("felsina", quantiles[rows][..., median], target[rows])
        events.update("felsina", masks, quantiles[rows], target[rows])
        window = builder.batch(origins[rows])
        for name, point in points.items():
            guess = point(origins[rows], window)
            dressed = guess[..., None] + bands[name]
            if spec.nonnegative:
                dressed = np.maximum(dressed, 0)
            scores[name].update(dressed, target[rows], guess)
            published.update(name, guess, target[rows])
            events.update(name, masks, dressed, target[rows], guess)
        progress(0.7 + 0.2 * min(1.0, (start + BATCH) / len(origins)))
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
        "joint": joint_skill(quantiles, target, template, spec, dataset.graph),
        "threshold_events": threshold_events(dataset, spec, origins, quantiles, template),
        "adaptive": adaptive_skill(quantiles, target, origins, spec),
        "weather": weather_skill(predict, builder, origins, batch),
    } | published.result()
    progress(1.0)
    return Backtest(report, origins, builder.times(origins), quantiles, target)


def baselines(
    dataset: CityDataset, builder: WindowBuilder, backbone: Backbone, architecture: Architecture
) -> dict[str, Point]:
    """Point forecasts [B, H, N] of every baseline, from origins and their windows.

    ``ridge`` is what a good engineer would try first: a regression a node and lead on the last day,
    the profile at its level, the week before and the weather. ``backbone`` is the model without its
    network: the same ridge, which also sees the neighbours where the graph is mixed in.
    """
    spec, nodes, train_end = builder.spec, dataset.graph.nodes, dataset.splits.train_end
    week = 7 * spec.steps_per_day
    plain_spec = spec.with_lags(tuple(lag for lag in spec.lags if lag == week))
    plain_builder = dataset.builder(plain_spec)
    plain = Backbone(
        plain_spec, dataset.graph, architecture.anchor, architecture.weekly, mixing=False
    )
    fit_backbone(plain, plain_builder, train_end, dataset.splits.train(plain_spec))
    profile = profile_level(spec, nodes, architecture.weekly)
    values = torch.as_tensor(builder.values[:train_end])
    profile.fit(values, torch.as_tensor(builder.calendar(0, train_end)))
    naive = LookBack(builder, plain.scaler.mean.numpy())
    day = spec.steps_per_day

    def usual(_: IntArray, window: Window) -> FloatArray:
        parts = (window.past, window.past_calendar, window.future_calendar)
        return profile(*(torch.as_tensor(part) for part in parts))[1].numpy()

    return {
        "persistence": lambda origins, _: naive.persistence(origins),
        "seasonal_naive_day": lambda origins, _: naive.seasonal_naive(origins, day),
        "seasonal_naive_week": lambda origins, _: naive.seasonal_naive(origins, week),
        "profile_level": usual,
        "ridge": lambda origins, _: point_forecast(plain, plain_builder.batch(origins)),
        "backbone": lambda _, window: point_forecast(backbone, window),
    }


def point_forecast(backbone: Backbone, window: Window) -> FloatArray:
    """A backbone's point forecast [B, H, N] in the target's unit."""
    with torch.inference_mode():
        inputs = tensors(window)
        inputs.pop("target", None)
        frame = backbone.frame(**inputs, held_out=False)
        point = (backbone(frame) * frame.scale + frame.mean).numpy()
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
