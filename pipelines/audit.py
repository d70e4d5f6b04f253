"""The audit of a trained forecaster: its backtest's forecasts, scored by group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from fairness.areas import read_areas
from fairness.audit import audit
from fairness.groups import groupings, own_areas
from fairness.metrics import daily_sums, lead_bands
from models.baselines import LookBack
from models.contracts import FelsinaError, FloatArray
from pipelines.train import FORECASTS, Trained


def audit_trained(trained: Trained, areas_file: Path | None = None) -> dict[str, Any]:
    """Judge whom a backtested forecaster serves badly.

    Args:
        trained: its folder holds the backtest's forecasts.
        areas_file: a TOML file of ``fairness.areas``; the nodes' own columns when None.

    Raises:
        FelsinaError: if its nodes cannot be told apart, or the areas' file is wrong.
    """
    dataset, spec = trained.dataset, trained.fitted.spec
    graph = dataset.graph
    areas = own_areas(graph) if areas_file is None else read_areas(areas_file, graph)
    found = groupings(graph, areas)
    if not found:
        raise FelsinaError(
            f"{dataset.folder}: no column of nodes.csv tells two groups of nodes apart; add area, "
            "residents or others, or give --areas FILE"
        )
    builder = dataset.builder(spec)
    origins = dataset.splits.test(spec, dataset.start)
    quantiles = _forecasts(trained.folder / FORECASTS, (len(origins), spec.horizon, graph.nodes))
    target = builder.values[origins[:, None] + np.arange(1, spec.horizon + 1)]
    known = builder.values[: dataset.splits.train_end]
    with np.errstate(invalid="ignore"):
        mean = np.array([_mean(known[:, n]) for n in range(graph.nodes)])
    week = 7 * spec.steps_per_day
    naive = LookBack(builder, mean).seasonal_naive(origins, week)
    days = builder.times(origins + 1).astype("datetime64[D]").astype(np.int64)
    daily = daily_sums(quantiles, spec.quantiles, target, naive, days)
    return {
        "dataset": spec.dataset,
        "unit": spec.unit,
        "trained": trained.folder.name,
        "days": len(daily),
        "from": str(builder.times(origins[:1] + 1)[0].astype("datetime64[D]")),
        "to": str(builder.times(origins[-1:] + spec.horizon)[0].astype("datetime64[D]")),
        "beside": "seasonal naive (a week before)",
        "lead_bands": [list(band) for band in lead_bands(spec.horizon)],
        "groupings": audit(daily, found, areas),
    }


def _forecasts(path: Path, shape: tuple[int, int, int]) -> FloatArray:
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
