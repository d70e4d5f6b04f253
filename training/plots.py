"""Pictures of a backtest: bands against truth, error by lead and by hour, reliability."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.dates as dates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from models.calendar import utc_offsets
from models.contracts import CityGraph, FloatArray, ForecastSpec
from training.backtest import Backtest

INK, BAND = "#1b3a4b", "#2a7f9e"
_PEERS = {
    "felsina": (INK, "-"),
    "ridge": ("#d1495b", "-"),
    "profile_level": ("#edae49", "--"),
    "seasonal_naive_week": ("#66a182", "--"),
    "seasonal_naive_day": ("#8d6a9f", ":"),
    "persistence": ("#8a8a8a", ":"),
}
_LEVELS = (BAND, "#d1495b", "#8d6a9f")


def draw_backtest(
    result: Backtest, spec: ForecastSpec, graph: CityGraph, folder: Path
) -> list[Path]:
    """Write ``bands.png``, ``error_by_lead.png``, ``error_by_hour.png`` and ``reliability.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    drawings = {
        "bands.png": _bands,
        "error_by_lead.png": _by_lead,
        "error_by_hour.png": _by_hour,
    }
    paths = []
    for name, draw in drawings.items():
        figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
        draw(axes, result, spec, graph)
        axes.spines[["top", "right"]].set_visible(False)
        paths.append(folder / name)
        figure.savefig(paths[-1], dpi=110)
        plt.close(figure)
    return [*paths, _reliability(result, spec, folder / "reliability.png")]


def _bands(axes: Axes, result: Backtest, spec: ForecastSpec, graph: CityGraph) -> None:
    """Forecasts laid end to end round the liveliest week of the best observed node."""
    seen = (~np.isnan(result.target)).mean(axis=(0, 1))
    node = int(np.argmax(seen))
    rows = np.arange(0, len(result.origins), spec.horizon)
    if len(result.origins) and np.ptp(result.origins) > len(result.origins):
        rows = np.arange(len(result.origins))
    spread = np.nan_to_num(np.nanstd(_filled(result.target[rows, :, node]), axis=1))
    span = max(1, min(len(rows), round(7 * spec.steps_per_day / spec.horizon)))
    middle = int(np.argmax(spread))
    first = int(np.clip(middle - span // 2, 0, len(rows) - span))
    rows = rows[first : first + span]
    lead = np.arange(1, spec.horizon + 1) * np.timedelta64(spec.seconds, "s")
    times = (result.init_times[rows, None] + lead).ravel()
    shift = utc_offsets(times.astype("datetime64[s]").astype(np.int64), spec.timezone)
    times = times + shift * np.timedelta64(1, "s")
    quantiles = result.quantiles[rows, :, node].reshape(-1, len(spec.quantiles))
    for low, high, alpha in ((0.05, 0.95, 0.15), (0.1, 0.9, 0.2), (0.3, 0.7, 0.3)):
        lower, upper = (quantiles[:, spec.quantiles.index(q)] for q in (low, high))
        axes.fill_between(
            times, lower, upper, color=BAND, alpha=alpha, lw=0, label=f"{low:.0%} to {high:.0%}"
        )
    axes.plot(times, quantiles[:, spec.quantiles.index(0.5)], color=BAND, lw=1.2, label="median")
    axes.plot(times, result.target[rows, :, node].ravel(), color="black", lw=0.9, label="observed")
    axes.set_title(f"{spec.dataset}: {graph.names[node]}, forecasts laid end to end")
    axes.set_ylabel(f"{spec.target} ({spec.unit})")
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.set_xlabel(f"civil time, {spec.timezone}")
    axes.legend(ncols=5, fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15))


def _by_lead(axes: Axes, result: Backtest, spec: ForecastSpec, _: CityGraph) -> None:
    """Every model; the scale is the forecaster's, so that close rivals can be told apart."""
    hours, top = np.arange(1, spec.horizon + 1) * spec.seconds / 3600, 0.0
    for name, (colour, style) in _PEERS.items():
        leads = result.report["models"][name]["by_lead"]
        mae = [leads[str(h)]["mae"] for h in range(1, spec.horizon + 1)]
        top = max(top, 2.5 * max(m or 0 for m in mae)) if name == "felsina" else top
        label = name.replace("_", " ") + (" (cut)" if max(m or 0 for m in mae) > top else "")
        axes.plot(
            hours, mae, style, color=colour, label=label, lw=2.2 if name == "felsina" else 1.2
        )
    axes.set_title(f"{spec.dataset}: mean absolute error by lead")
    axes.set_xlabel("lead (h)")
    axes.set_ylabel(f"MAE ({spec.unit})")
    axes.set_ylim(0, top or None)
    axes.legend(fontsize=8, frameon=False)


def _by_hour(axes: Axes, result: Backtest, spec: ForecastSpec, _: CityGraph) -> None:
    lead = np.arange(1, spec.horizon + 1) * np.timedelta64(spec.seconds, "s")
    seconds = (result.init_times[:, None] + lead).astype("datetime64[s]").astype(np.int64)
    offsets = utc_offsets(seconds.ravel(), spec.timezone).reshape(seconds.shape)
    hour = (seconds + offsets) % 86400 // 3600
    middle = result.quantiles[..., spec.quantiles.index(0.5)]
    error = middle - result.target
    hours = np.unique(hour)
    absolute = [np.nanmean(_filled(np.abs(error[hour == h]))) for h in hours]
    bias = [np.nanmean(_filled(error[hour == h])) for h in hours]
    axes.bar(hours, absolute, color=BAND, alpha=0.6, label="mean absolute error")
    axes.plot(hours, bias, "o-", color=INK, label="bias (forecast minus observed)", ms=4)
    axes.axhline(0, color="black", lw=0.6)
    axes.set_title(f"{spec.dataset}: error by hour of the civil day")
    axes.set_xlabel(f"hour, {spec.timezone}")
    axes.set_ylabel(spec.unit)
    axes.legend(fontsize=8, frameon=False)


def _reliability(result: Backtest, spec: ForecastSpec, path: Path) -> Path:
    """Levels against what fell below them, and crossings against how often they came."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    leads = sorted({1, -(-spec.horizon // 2), spec.horizon})
    for lead, colour in zip(leads, ("#edae49", BAND, INK), strict=False):
        quantiles, truth = result.quantiles[:, lead - 1], result.target[:, lead - 1, :, None]
        seen = ~np.isnan(truth[..., 0])
        if not seen.any():
            continue
        below = (truth <= quantiles)[seen].mean(axis=0)
        left.plot(spec.quantiles, below, "o-", ms=3, lw=1.2, color=colour, label=f"lead {lead}")
    left.set_title(f"{spec.dataset}: quantiles")
    left.set_xlabel("level")
    left.set_ylabel("share of targets at or below")
    events = result.report["threshold_events"]
    for k, (name, level) in enumerate(events.items()):
        scores = level["leads"].get("within_horizon", level["leads"][str(spec.horizon)])
        bins = [part for part in scores.get("reliability", []) if part["count"]]
        colour, label = _LEVELS[k], f"{name.replace('_', ' ')}: {level['events']} events"
        places = [part["forecast"] for part in bins], [part["observed"] for part in bins]
        right.plot(*places, "o-", ms=4, lw=1.2, color=colour, label=label)
        for x, y, part in zip(*places, bins, strict=True):
            style = {"fontsize": 6.5, "color": colour, "textcoords": "offset points"}
            right.annotate(f"{part['count']}", (x, y), (4, (-9, 4, 12)[k]), **style)
    within = all("within_horizon" in level["leads"] for level in events.values())
    right.set_title(f"a threshold reached {'within' if within else 'at'} the horizon")
    right.set_xlabel("probability forecast")
    right.set_ylabel("share that came true (number of forecasts)")
    for axes in (left, right):
        axes.plot([0, 1], [0, 1], color="black", lw=0.6, ls="--", label="perfect")
        axes.set(xlim=(-0.02, 1.04), ylim=(-0.04, 1.04))
        axes.set_aspect("equal")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _filled(values: FloatArray) -> FloatArray:
    """The values, or one zero where none is known, so that a mean always exists."""
    return values if np.isfinite(values).any() else np.zeros_like(values)
