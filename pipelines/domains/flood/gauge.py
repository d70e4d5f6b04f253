"""What a released forecaster says of a gauge: joint members of its stage for the next hours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import FelsinaError, FloatArray, Forecast
from models.joint import exceedance, members, within
from pipelines.domains.flood.gauge_checks import age_doubt, check_crest, check_series, span_doubt
from pipelines.domains.flood.outlook_file import GaugeKeys
from pipelines.domains.flood.rating import beyond_table, levels_of, stage_of
from pipelines.settings import home, store_place
from pipelines.train import open_registered
from serving.catalogue import Catalogue, NotFound, check_grid, input_warnings
from serving.release import REPORT, champions, load_release
from serving.runtime import Runtime
from serving.store import OBSERVED, Store

Spoken = tuple[Runtime, Forecast, FloatArray, tuple[str, ...]]
"""A release, its forecast, what was observed last at each gauge, and what it lacked."""


@dataclass(frozen=True)
class GaugeForecast:
    """Members of one gauge's stage.

    Attributes:
        runtime: the release that speaks.
        forecast: of all its gauges.
        node: position of this one.
        hours: [H + 1] after ``forecast.init_time``, from 0 on.
        stage_m: [M, H + 1] of the gauge's zero; at hour 0 what was observed last.
        observed: at the time itself, in the forecast's unit; NaN where it is missing.
        observed_m: the same as a stage of the gauge's zero; None where it is missing.
        levels_m: [L] the gauge's known alert levels as stages, rising; none of what is not known.
        warnings: sentences about what the forecaster lacked, and when it was asked.
    """

    runtime: Runtime
    forecast: Forecast
    node: int
    hours: FloatArray
    stage_m: FloatArray
    observed: float
    observed_m: float | None
    levels_m: FloatArray
    warnings: tuple[str, ...]

    def valid_time(self, hours: float) -> str:
        """A moment, so long after the forecast's time, as ISO 8601 in UTC."""
        return f"{self.forecast.init_time + np.timedelta64(60 * round(hours * 60), 's')}Z"

    def reaching(self, limit: float, until_h: float) -> float | None:
        """Probability that ``limit``, in the forecast's unit, is reached at any lead until then.

        Of the quantiles and all ranks of the release, hence not a multiple of 1 / M.
        """
        now = self.observed
        if np.isfinite(now) and now >= limit:
            return 1.0
        leads = int((self.hours[1:] <= until_h + 1e-9).sum())
        if not leads:
            return None
        spec, part = self.runtime.release.spec, slice(self.node, self.node + 1)
        chance = exceedance(
            self.forecast.quantiles[:leads, part],
            spec.quantiles,
            np.array([[limit]]),
            spec.nonnegative,
        )
        return float(within(chance, self.runtime.template[:, :leads, part])[-1, 0, 0])

    def errors(self) -> dict[str, Any]:
        """How good the release was on its test span, over all gauges, by lead."""
        report = json.loads((self.runtime.release.folder / REPORT).read_bytes())
        scores = report["models"]["felsina"]
        names = ("crps", "mae", "coverage_80", "width_80")
        leads = {lead: {n: own[n] for n in names} for lead, own in scores["by_lead"].items()}
        shown = {lead: leads[lead] for lead in sorted(leads, key=int)}
        whole = {name: scores[name] for name in names}
        rises = scores.get("events", {}).get("rise")
        return {"all leads": whole, "by lead": shown, "where it rises": rises}


def ask_gauge(keys: GaugeKeys, base: Path) -> GaugeForecast:
    """The forecast that is asked for, by the release that is served for its dataset.

    A folder's own series are read, or what is held for a dataset that is served. Bands are the
    release's own, so that a time says the same whenever it is asked.

    Raises:
        FelsinaError: naming dataset, gauge or time, and what there is instead.
    """
    folder = base / keys.dataset
    asked = None
    if keys.at is not None:
        moment = keys.at.astimezone(UTC) if keys.at.tzinfo else keys.at
        asked = np.datetime64(moment.replace(tzinfo=None), "s")
    if (folder / "dataset.toml").is_file():
        runtime, forecast, observed, lacked = _of_folder(folder, asked)
    else:
        runtime, forecast, observed, lacked = _of_held(keys.dataset, asked)
    spec, graph = runtime.release.spec, runtime.release.graph
    node = int(graph.index([keys.node], "gauge.node")[0])
    if not forecast.observed_fraction[node]:
        raise FelsinaError(
            f"gauge {keys.node}: nothing was observed in the {spec.lookback} steps up to"
            f" {forecast.init_time}Z; name another gauge or time"
        )
    levels = levels_of(graph.thresholds[node], spec.unit, keys.rating, base)
    check_crest(keys, levels)
    told = joint_members(runtime, forecast, node, keys.members)
    seen = bool(np.isfinite(observed[node]))
    first = np.full((len(told), 1), observed[node]) if seen else told[:, :1]
    values, top_m = np.concatenate([first, told], axis=1), keys.crest_m + keys.most_over_m
    stage = stage_of(values, spec.unit, keys.rating, base, top_m)
    if (beyond := beyond_table(values, keys.rating, base)).any():
        lacked = (
            *lacked,
            f"{beyond.sum()} of {len(beyond)} members pass the rating table's end: held at its last"
            f" stage, no lower than crest_m + most_over_m = {top_m:g} m",
        )
    hours = np.arange(spec.horizon + 1) * spec.seconds / 3600
    now = float(stage[0, 0]) if seen else None
    if asked is None and (doubt := age_doubt(forecast.init_time, spec.seconds)):
        lacked = (*lacked, doubt)
    if seen_before := span_doubt(
        forecast.init_time, spec.seconds, runtime.release.manifest["data"]
    ):
        lacked = (*lacked, seen_before)
    return GaugeForecast(
        runtime, forecast, node, hours, stage, float(observed[node]), now, levels, lacked
    )


def _of_folder(folder: Path, asked: np.datetime64 | None) -> Spoken:
    dataset = open_registered(folder)
    named = champions(home()).get(dataset.spec.dataset)
    if named is None:
        raise FelsinaError(
            f"no release of dataset {dataset.spec.dataset!r} under {home()}; make one: felsina run"
            f" --dataset {folder}"
        )
    runtime = Runtime(load_release(named))
    spec = runtime.release.spec
    if runtime.release.graph.ids != dataset.graph.ids:
        raise FelsinaError(
            f"{folder}: its nodes are not those of {runtime.release.id}; release it anew: felsina"
            f" run --dataset {folder}"
        )
    check_series(folder, dataset.spec, runtime.release.id, spec)
    builder = dataset.builder(spec)
    first, last = builder.times(np.array([spec.lookback - 1, len(dataset.values) - 1]))
    init = last if asked is None else asked
    if not first <= init <= last:
        raise FelsinaError(
            f"gauge.at = {init}Z: {folder} has forecasts from {first}Z to {last}Z; give one of them"
        )
    check_grid(runtime, init)
    origin = int((init - builder.times(np.array([0]))[0]) / np.timedelta64(spec.seconds, "s"))
    window = builder.batch(np.array([origin]))
    forecast = runtime.forecast(builder, window, origin)
    known = builder.forcings[: origin + 1 + spec.horizon]
    lacked = tuple(input_warnings(runtime, window, known))
    return runtime, forecast, dataset.values[origin].astype(float), lacked


def _of_held(name: str, asked: np.datetime64 | None) -> Spoken:
    store = Store(store_place())
    catalogue = Catalogue(home(), store)
    if name not in (known := catalogue.runtimes()):
        raise FelsinaError(
            f"gauge.dataset = {name!r} is no dataset folder and none that is served (served:"
            f" {', '.join(known) or 'none'}); make it one: felsina run --dataset DIR"
        )
    try:
        answer = catalogue.forecast(name, asked, adaptive=False)
    except NotFound as error:
        raise FelsinaError(f"gauge.dataset = {name!r}: {error}") from error
    runtime, init = catalogue.runtime(name), answer.forecast.init_time
    if init > answer.data_as_of:
        raise FelsinaError(
            f"gauge.at = {init}Z: observations of {name} are held until {answer.data_as_of}Z; leave"
            " at out for the latest"
        )
    graph, spec = runtime.release.graph, runtime.release.spec
    row = store.read(name, OBSERVED, list(graph.ids), init, 1, spec.seconds)[0]
    return runtime, answer.forecast, row, answer.warnings


def joint_members(runtime: Runtime, forecast: Forecast, node: int, count: int) -> FloatArray:
    """[M, H] of one gauge, in the forecast's unit.

    Fewer than the release has are ranked anew among themselves, so that they too have the
    quantiles they came from.
    """
    if count > len(runtime.template):
        runtime.members(forecast)  # says why where there are none
        raise FelsinaError(
            f"gauge.members = {count}: {runtime.release.id} has {len(runtime.template)}; give no"
            " more"
        )
    chosen = np.linspace(0, len(runtime.template) - 1, count).round().astype(int)
    ranks = runtime.template[chosen][..., node : node + 1].argsort(0).argsort(0).astype(np.uint16)
    spec = runtime.release.spec
    own = forecast.quantiles[:, node : node + 1]
    return members(own, spec.quantiles, ranks, spec.nonnegative)[..., 0].astype(float)
