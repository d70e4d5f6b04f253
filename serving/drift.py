"""What ``felsina monitor`` found last of what is served: in an answer, and for Prometheus.

It lies in ``HOME/monitor/DATASET.json``; each run replaces it. No part of a request becomes part of
a path: the dataset is one that is served.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from prometheus_client.core import GaugeMetricFamily
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.catalogue import Catalogue
from serving.selection import Nothing

log = logging.getLogger(__name__)
FOLDER = "monitor"
FIGURES = ("residual", "coverage", "missing", "error")
Kind = Literal["silent", "flat", "level", "missing", "residual", "coverage"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Alarm(BaseModel):
    """Something that is no chance."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = Field(
        description="A sensor is silent, repeats one value, or reads unlike the others; of all, "
        "values are missing, forecasts lie to one side, or their bands hold less than tested."
    )
    node: str | None = Field(description="The sensor; null where it is the whole city.")
    since: str = Field(description="When it most likely began.")
    by: float = Field(
        description="Hours (silent, flat); change of the level as a share, or in deviations of "
        "what may be negative; of the share missing or covered; of the mean residual in deviations."
    )


class Figure(BaseModel):
    """A mean of the last days beside the same of the release's own test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    now: float | None
    usual: float | None


class Drift(BaseModel):
    """Whether a release has aged, and which sensors have failed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    release: str
    checked_at: str | None = Field(description="When it was compared; null: never.")
    through: str | None = Field(description="Last whole day, UTC, that was compared; null: none.")
    days: int = Field(description="Whole days compared, the last eight weeks at most.")
    alarms: list[Alarm]
    near: dict[str, float] = Field(description="Evidence by sequence; 1 is an alarm.")
    residual: Figure = Field(description="Mean error in deviations of the forecast's own band.")
    coverage: Figure = Field(description="Share of values in the release's own 80 % band.")
    missing: Figure = Field(description="Share missing of sensors that spoke that day.")
    error: Figure = Field(description="Mean absolute error, in the unit.")
    stability: float | None = Field(
        description="Population stability index of the last week's values beside training's; over "
        "0.25 they are unlike what the release learned from."
    )


def record_path(home: Path, dataset: str) -> Path:
    """Where the record of a dataset lies."""
    return home / FOLDER / f"{dataset}.json"


def read_record(home: Path, dataset: str, release: str) -> Drift | None:
    """The last record; None where there is none of this release, or it cannot be read."""
    try:
        found = Drift.model_validate_json(record_path(home, dataset).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        log.error("the drift of %s is not told: %s", dataset, type(error).__name__)
        return None
    return found if (found.dataset, found.release) == (dataset, release) else None


def add_drift(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the route that tells."""

    @app.get("/v1/datasets/{dataset}/drift", response_model=Drift, tags=["datasets"])
    def drift(dataset: str, query: Annotated[Nothing, Query()]) -> Any:
        """Whether what is served has aged and which sensors failed, as `felsina monitor` found."""
        release = catalogue.runtime(dataset).release
        found = read_record(catalogue.home, dataset, release.id) or _unknown(dataset, release.id)
        return JSONResponse(found.model_dump())


def _unknown(dataset: str, release: str) -> Drift:
    """What is said where nobody has compared it."""
    none = dict.fromkeys(FIGURES, Figure(now=None, usual=None))
    times = {"checked_at": None, "through": None, "days": 0, "stability": None}
    return Drift(dataset=dataset, release=release, alarms=[], near={}, **times, **none)


def gauges(home: Path, released: dict[str, str]) -> Iterator[GaugeMetricFamily]:
    """What is told to Prometheus of datasets with the releases that are served."""
    found = [one for name in released if (one := read_record(home, name, released[name]))]
    alarms = GaugeMetricFamily(
        "felsina_drift_alarms", "Alarms of felsina monitor that stand.", labels=("dataset", "kind")
    )
    evidence = GaugeMetricFamily(
        "felsina_drift_evidence", "1 is an alarm.", labels=("dataset", "sequence")
    )
    figures = GaugeMetricFamily(
        "felsina_drift_figure",
        "Means of the last days (now) and of the release's own test (usual).",
        labels=("dataset", "figure", "of"),
    )
    stability = GaugeMetricFamily(
        "felsina_drift_stability",
        "Population stability index of the last week's values beside training's.",
        labels=("dataset",),
    )
    checked = GaugeMetricFamily(
        "felsina_drift_checked_seconds", "When it was looked at, since 1970.", labels=("dataset",)
    )
    for one in found:
        for kind in KINDS:
            alarms.add_metric((one.dataset, kind), sum(a.kind == kind for a in one.alarms))
        for name, share in one.near.items():
            evidence.add_metric((one.dataset, name), share)
        for name in FIGURES:
            for of, value in getattr(one, name):
                if value is not None:
                    figures.add_metric((one.dataset, name, of), value)
        if one.stability is not None:
            stability.add_metric((one.dataset,), one.stability)
        if one.checked_at is not None:
            at = np.datetime64(one.checked_at.rstrip("Z"), "s")
            checked.add_metric((one.dataset,), int(at.astype(np.int64)))
    yield from (alarms, evidence, figures, stability, checked)
