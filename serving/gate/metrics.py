"""Prometheus metrics of all workers, and one line a request in the log.

Labels are bounded: routes are the API's templates, datasets and releases those that are served.
Nothing here knows addresses, secrets, query values or bodies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from serving.catalogue import Catalogue
from serving.drift import gauges

log = logging.getLogger("felsina.requests")
OTHER = "other"
_OF_THE_HOST = ("/healthz", "/livez", "/readyz", "/metrics")
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FRESH_SECONDS = 1.0
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"


@dataclass
class Told:
    """What is told of one request."""

    method: str
    path: str
    began: float
    caller: str = "anonymous"
    status: int = 0
    release: str = ""
    dataset: str = ""
    refused: str = ""
    error: str = ""


class Metrics:
    """Counts what is told of requests.

    Args:
        templates: paths of the routes, such as ``/v1/datasets/{dataset}``.
        catalogue: of the releases, whose age of data is told when asked.
    """

    def __init__(self, templates: Iterable[str], catalogue: Catalogue) -> None:
        self.registry = CollectorRegistry()
        self.held = _Held(catalogue)
        self.route = lru_cache(4096)(_router([*templates, *_OF_THE_HOST]))
        labels = ("route", "method", "dataset", "release", "outcome")
        self.requests = Counter(
            "felsina_requests", "Requests answered, by status.", labels, registry=self.registry
        )
        self.seconds = Histogram(
            "felsina_request_seconds",
            "Seconds until the answer was sent.",
            ("route",),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.refused = Counter(
            "felsina_refused", "Requests refused by the gate.", ("reason",), registry=self.registry
        )
        self.in_flight = Gauge(
            "felsina_in_flight",
            "Requests being answered now.",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self._requests = lru_cache(4096)(self.requests.labels)
        self._seconds = lru_cache(512)(self.seconds.labels)
        self._text, self._made, self._one = b"", -_FRESH_SECONDS, asyncio.Lock()

    def ended(self, told: Told) -> None:
        """Count a request that ended, and log it."""
        seconds = time.perf_counter() - told.began
        route = self.route(told.path)
        outcome = str(told.status) if told.status else "left"
        method = told.method if told.method in ("GET", "HEAD", "POST", "DELETE") else OTHER
        self._requests(route, method, told.dataset, told.release, outcome).inc()
        self._seconds(route).observe(seconds)
        if told.refused:
            self.refused.labels(told.refused).inc()
        if not log.isEnabledFor(logging.INFO):
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "caller": told.caller,
            "method": method,
            "route": route,
            "status": told.status,
            "ms": round(1000 * seconds, 2),
        }
        for name in ("dataset", "release", "refused", "error"):
            if value := getattr(told, name):
                line[name] = value
        log.info(orjson.dumps(line).decode())

    async def latest(self) -> bytes:
        """The text as of a second ago at most: one thread makes it for all who ask."""
        async with self._one:
            if time.monotonic() - self._made >= _FRESH_SECONDS:
                self._text = await asyncio.to_thread(self.text)
                self._made = time.monotonic()
            return self._text

    def text(self) -> bytes:
        """All workers' metrics in Prometheus' text format."""
        folder = os.environ.get(_FOLDER)
        if folder:
            registry = CollectorRegistry()
            _forget_the_dead(Path(folder))
            MultiProcessCollector(registry)
        else:
            registry = self.registry
        held = CollectorRegistry()
        held.register(self.held)
        return generate_latest(registry) + generate_latest(held)


class _Held:
    """What a worker serves, and how old its data is, looked up when asked."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue

    def describe(self) -> list[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        loaded = GaugeMetricFamily(
            "felsina_release_loaded", "Releases that are served.", labels=("dataset", "release")
        )
        age = GaugeMetricFamily(
            "felsina_data_age_seconds", "Since the latest observation.", labels=("dataset",)
        )
        served = self.catalogue.runtimes().items()
        released = {dataset: runtime.release.id for dataset, runtime in served}
        for dataset, release in released.items():
            loaded.add_metric((dataset, release), 1)
            _, latest = self.catalogue.store.state(dataset)
            if latest is not None:
                age.add_metric((dataset,), time.time() - int(latest.astype(np.int64)))
        yield loaded
        yield age
        yield from gauges(self.catalogue.home, released)
        if (approvals := self.catalogue.approvals) is None:
            return
        fault = GaugeMetricFamily(
            "felsina_decisions_fault", "1 while the board's decisions do not verify."
        )
        fault.add_metric((), float(bool(approvals.fault)))
        withheld = GaugeMetricFamily(
            "felsina_withheld", "1 where the board lets nothing be served.", labels=("dataset",)
        )
        for one in self.catalogue.withheld():
            withheld.add_metric((one["name"],), 1)
        ends = GaugeMetricFamily(
            "felsina_approval_ends_seconds",
            "When the approval ends of what may be served, since 1970.",
            labels=("dataset", "release"),
        )
        for dataset, choice in approvals.choices().items():
            for one in choice.allowed:
                if one.approval.ends is not None:
                    ends.add_metric((dataset, one.folder.name), one.approval.ends)
        yield fault
        yield withheld
        yield ends


def _router(templates: Iterable[str]) -> Callable[[str], str]:
    """From a path to its template, or ``OTHER``; literal ones come first."""
    ordered = sorted(set(templates), key=lambda template: ("{" in template, template))
    patterns = [(template, re.compile(_pattern(template))) for template in ordered]

    def route(path: str) -> str:
        return next((t for t, pattern in patterns if pattern.fullmatch(path)), OTHER)

    return route


def _pattern(template: str) -> str:
    parts = re.split(r"(\{[^}]*\})", template)
    return "".join(
        (".*" if ":path" in part else "[^/]+") if part.startswith("{") else re.escape(part)
        for part in parts
    )


def _forget_the_dead(folder: Path) -> None:
    """Drop what is in flight at workers that were killed."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = file.stem.rpartition("_")[2]
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(int(pid), str(folder))
