"""A release's model card: what it is for, what it learned from, how good it was beside others."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from serving import formats, schemas
from serving.catalogue import Catalogue, is_stale
from serving.release import Release
from serving.selection import Nothing

OWN = "felsina"
"""The release's own row among a manifest's metrics."""


class Score(BaseModel):
    """A forecaster on the test span; all were given the same windows."""

    name: str
    crps: float = Field(description="Error of the whole band, in the unit; lower is better.")
    mae: float = Field(description="Mean absolute error of the median, in the unit.")
    coverage_80: float = Field(description="Share of values inside the 80 % band; 0.8 is right.")


class Span(BaseModel):
    """From one moment to another."""

    begin: str
    end: str


class Source(BaseModel):
    """Where the data come from."""

    publisher: str | None
    licence: str | None
    attribution: str | None
    synthetic: bool


class Freshness(BaseModel):
    """Of when the newest observation held is, and whether a newer one is overdue."""

    data_as_of: str | None
    stale: bool | None


class Card(BaseModel):
    """What people should know of a release before they believe it."""

    dataset: str
    target: str
    unit: str
    step: str
    horizon: int
    nodes: int
    release: str
    manifest_sha256: str
    approval: str
    decision: str | None
    source: Source
    trained: Span
    tested: Span
    interval: schemas.Interval
    own: Score
    baselines: list[Score] = Field(description="Best first, by CRPS.")
    privacy: schemas.Privacy
    freshness: Freshness


class Network(BaseModel):
    """A dataset's edges between nodes with coordinates, as a GeoJSON feature."""

    type: str = "Feature"
    geometry: dict[str, Any]
    properties: dict[str, Any]


def add_card(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the routes that tell of a release and of its network."""

    @app.get("/v1/datasets/{dataset}/card", response_model=Card, tags=["datasets"])
    def card(dataset: str, query: Annotated[Nothing, Query()]) -> Any:
        """What a release forecasts, learned from and scored, and how old its data are."""
        release = catalogue.runtime(dataset).release
        _, latest = catalogue.store.state(dataset)
        return JSONResponse(_told(release) | {"freshness": _freshness(release, latest)})

    @app.get("/v1/datasets/{dataset}/network", response_model=Network, tags=["datasets"])
    def network(dataset: str, query: Annotated[Nothing, Query()]) -> Any:
        """The edges of a dataset's graph, to be drawn on a map."""
        graph = catalogue.runtime(dataset).release.graph
        places = np.stack([graph.lon, graph.lat], axis=1)
        ends = np.stack([graph.source, graph.target], axis=1).reshape(-1, 2)
        pairs = np.unique(np.sort(ends, axis=1), axis=0).astype(int)
        lines = places[pairs]
        lines = lines[~np.isnan(lines).any(axis=(1, 2))]
        geometry = {"type": "MultiLineString", "coordinates": lines.tolist()}
        properties = {"dataset": dataset}
        return JSONResponse({"type": "Feature", "geometry": geometry, "properties": properties})


def _told(release: Release) -> dict[str, Any]:
    """All of a card but what changes after the release was sealed."""
    spec, manifest = release.spec, release.manifest
    data, metrics = manifest["data"], manifest["metrics"]
    scores = sorted((_score(name, metrics[name]) for name in metrics), key=lambda s: s["crps"])
    return {
        "dataset": spec.dataset,
        **{key: getattr(spec, key) for key in ("target", "unit", "step", "horizon")},
        "nodes": release.graph.nodes,
        "release": release.id,
        "manifest_sha256": release.sha256,
        "approval": release.approval.state,
        "decision": release.approval.decision,
        "source": {
            **{key: data.get(key) or None for key in ("publisher", "licence", "attribution")},
            "synthetic": data["synthetic"],
        },
        "trained": {"begin": data["start"], "end": data["train_end"]},
        "tested": {"begin": data["validation_end"], "end": data["end"]},
        "interval": manifest["interval"],
        "own": next(s for s in scores if s["name"] == OWN),
        "baselines": [s for s in scores if s["name"] != OWN],
        "privacy": formats.privacy(manifest),
    }


def _score(name: str, metrics: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, **{key: metrics[key] for key in ("crps", "mae", "coverage_80")}}


def _freshness(release: Release, latest: np.datetime64 | None) -> dict[str, Any]:
    if latest is None:
        return {"data_as_of": None, "stale": None}
    return {"data_as_of": schemas.iso(latest), "stale": is_stale(latest, release.spec.seconds)}
