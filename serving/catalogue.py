"""The releases that are served, and their forecasts from held observations, computed once each."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.contracts import FelsinaError, FloatArray, Forecast, Window
from models.windows import WindowBuilder
from serving.release import champions, load_release
from serving.runtime import Runtime
from serving.store import FORCED, OBSERVED, Store

log = logging.getLogger(__name__)
_KEPT = 256
_RESCAN_SECONDS = 1.0


@dataclass(frozen=True)
class Answer:
    """A forecast with what the reader must know of its inputs.

    Attributes:
        forecast: quantiles and times.
        data_as_of: latest observation held, which may be later than ``init_time``.
        warnings: sentences about inputs that were missing.
    """

    forecast: Forecast
    data_as_of: np.datetime64
    warnings: tuple[str, ...]


class Catalogue:
    """Serves every verified release under a home folder; new ones are picked up while it runs.

    Args:
        home: the ``mlruns`` folder.
        store: held observations and forcings.
    """

    def __init__(self, home: Path, store: Store) -> None:
        self.home, self.store = home, store
        self._runtimes: dict[str, Runtime] = {}
        self._refused: set[Path] = set()
        self._answers: OrderedDict[tuple[str, int, np.datetime64], Answer] = OrderedDict()
        self._lock = threading.Lock()
        self._scanned = -_RESCAN_SECONDS

    def runtimes(self) -> dict[str, Runtime]:
        """Dataset name to its release; a release that fails verification is never among them."""
        with self._lock:
            if time.monotonic() - self._scanned < _RESCAN_SECONDS:
                return self._runtimes
            self._scanned = time.monotonic()
            found: dict[str, Runtime] = {}
            held = {r.release.folder: r for r in self._runtimes.values()}
            for folder in champions(self.home):
                if folder in self._refused:
                    continue
                try:
                    runtime = held.get(folder) or Runtime(load_release(folder))
                    found[runtime.release.spec.dataset] = runtime
                except Exception as error:
                    log.error("not served: %s", error)
                    self._refused.add(folder)
            self._runtimes = found
            return found

    def runtime(self, dataset: str) -> Runtime:
        """The release of a dataset.

        Raises:
            LookupError: if none is served.
        """
        runtimes = self.runtimes()
        if dataset not in runtimes:
            served = ", ".join(runtimes) or "none"
            raise LookupError(f"no release of dataset {dataset!r} is served; served: {served}")
        return runtimes[dataset]

    def forecast(self, dataset: str, init_time: np.datetime64 | None = None) -> Answer:
        """The forecast from what was observed up to ``init_time`` (the latest, when None).

        Raises:
            LookupError: if nothing is served or held.
            FelsinaError: if ``init_time`` is off the grid or nothing was observed before it.
        """
        runtime = self.runtime(dataset)
        revision, latest = self.store.state(dataset)
        if latest is None:
            raise LookupError(
                f"no observations of {dataset} are held; post some to /v1/observations/{dataset}"
            )
        init = latest if init_time is None else init_time
        key = (runtime.release.id, revision, init)
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
        answer = self._compute(runtime, init, latest)
        with self._lock:
            self._answers[key] = answer
            while len(self._answers) > _KEPT:
                self._answers.popitem(last=False)
        return answer

    def _compute(self, runtime: Runtime, init: np.datetime64, latest: np.datetime64) -> Answer:
        spec, graph = runtime.release.spec, runtime.release.graph
        check_grid(runtime, init)
        start = init - np.timedelta64((spec.reach - 1) * spec.seconds, "s")
        values = np.full((spec.reach, graph.nodes), np.nan)
        for near, far in spec.spans:
            first = spec.reach - min(far, spec.reach)
            since = start + np.timedelta64(first * spec.seconds, "s")
            steps = spec.reach - near - first
            values[first : first + steps] = self.store.read(
                spec.dataset, OBSERVED, list(graph.ids), since, steps, spec.seconds
            )
        forcings = self._forcings(runtime, start)
        builder = WindowBuilder(spec, start, values, forcings)
        origin = spec.reach - 1
        window = builder.batch(np.array([origin]))
        forecast = runtime.forecast(builder, window, origin)
        if not forecast.observed_fraction.any():
            raise FelsinaError(
                f"nothing of {spec.dataset} was observed in the {spec.lookback} steps up to "
                f"{init}Z; the latest observation held is {latest}Z"
            )
        return Answer(forecast, latest, tuple(input_warnings(runtime, window, forcings)))

    def _forcings(self, runtime: Runtime, start: np.datetime64) -> FloatArray:
        """[reach + H, M, F] held forcings, NaN where none is held."""
        spec, ids = runtime.release.spec, runtime.release.graph.ids
        steps = spec.reach + spec.horizon
        places = runtime.forcing_places
        names = {f.name: [f.name, *(f"{f.name}@{i}" for i in ids)] for f in spec.forcings}
        held = set(self.store.held(spec.dataset, FORCED)) if names else set()
        wanted = [n for group in names.values() for n in group if n in held]
        table = self.store.read(spec.dataset, FORCED, wanted, start, steps, spec.seconds)
        out = np.full((steps, places, len(names)), np.nan)
        for f, group in enumerate(names.values()):
            if group[0] in held:
                out[:, :, f] = table[:, [wanted.index(group[0])]]
            for n, column in enumerate(group[1:]):
                if places > 1 and column in held:
                    given = table[:, wanted.index(column)]
                    out[:, n, f] = np.where(np.isnan(given), out[:, n, f], given)
        return out


def check_grid(runtime: Runtime, *times: np.datetime64) -> None:
    """Refuse times that are not on the dataset's grid."""
    spec = runtime.release.spec
    anchor = np.datetime64(runtime.release.manifest["data"]["start"].rstrip("Z"), "s")
    for stamp in times:
        off = int((stamp - anchor).astype(np.int64)) % spec.seconds
        if off:
            raise FelsinaError(
                f"time {stamp}Z is {off} s off the grid of {spec.dataset} (step {spec.step}); the "
                f"stamp before it is {stamp - np.timedelta64(off, 's')}Z"
            )


def input_warnings(runtime: Runtime, window: Window, forcings: FloatArray) -> list[str]:
    """Sentences about inputs that were missing."""
    spec, graph = runtime.release.spec, runtime.release.graph
    out = []
    for f, forcing in enumerate(spec.forcings):
        ahead = forcings[-spec.horizon :, :, f]
        if forcing.known_future and (lacking := int(np.isnan(ahead).any(axis=1).sum())):
            out.append(
                f"{forcing.name} is not known for {lacking} of {spec.horizon} leads; the value of "
                "a day earlier, or the mean, stands in"
            )
        recent = forcings[: -spec.horizon, :, f][-spec.lookback :]
        if np.isnan(recent).all():
            out.append(f"no past {forcing.name} is held; its mean stands in")
    silent = [graph.ids[n] for n in np.flatnonzero(np.isnan(window.past[0]).all(axis=0))]
    if silent:
        some = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
        out.append(f"nothing was observed in the last {spec.lookback} steps at {some}")
    return out
