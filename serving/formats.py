"""A forecast as JSON, GeoJSON or CSV bytes."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import orjson

from models.contracts import FloatArray, IntArray
from serving.catalogue import Answer, now
from serving.release import Release, approval
from serving.schemas import iso

STALE_STEPS = 3
"""Data are stale when nothing newer came for this many steps."""
MEDIA = {
    "json": "application/json",
    "geojson": "application/geo+json",
    "csv": "text/csv; charset=utf-8",
}


def number(value: float) -> float | None:
    """A float for JSON: None where it is unknown."""
    return None if np.isnan(value) else float(value)


def node_entry(release: Release, node: int) -> dict[str, Any]:
    """A node's id, name, place, area and thresholds."""
    graph = release.graph
    return {
        "id": graph.ids[node],
        "name": graph.names[node],
        "lon": number(graph.lon[node]),
        "lat": number(graph.lat[node]),
        "area": graph.areas[node],
        "thresholds": [number(t) for t in graph.thresholds[node]],
    }


def envelope(release: Release, answer: Answer) -> dict[str, Any]:
    """All of an answer but its features."""
    spec, manifest, forecast = release.spec, release.manifest, answer.forecast
    approved, decision = approval(release)
    overdue = now() - answer.data_as_of > STALE_STEPS * np.timedelta64(spec.seconds, "s")
    return {
        "dataset": spec.dataset,
        "domain": spec.domain,
        "target": spec.target,
        "unit": spec.unit,
        "units": {spec.target: spec.unit},
        "issued_at": iso(answer.computed_at),
        "init_time": iso(forecast.init_time),
        "data_as_of": iso(answer.data_as_of),
        "stale": bool(overdue),
        "step": spec.step,
        "timezone": spec.timezone,
        "valid_times": [iso(t) for t in forecast.valid_times],
        "model": {
            "name": spec.dataset,
            "version": release.id,
            "sha256": release.sha256,
            "decision": decision,
        },
        "approval": approved,
        "synthetic": manifest["data"]["synthetic"],
        "interval": manifest["interval"],
        "attribution": [a for a in [manifest["data"]["attribution"]] if a],
        "warnings": list(answer.warnings),
    }


def as_json(head: dict[str, Any], release: Release, answer: Answer, nodes: IntArray) -> bytes:
    """The answer of ``schemas.ForecastAnswer``; floats keep all their digits."""
    features = [
        node_entry(release, n)
        | {"observed_fraction": round(float(answer.forecast.observed_fraction[n]), 4)}
        | {"quantiles": _quantiles(answer, n)}
        for n in nodes.tolist()
    ]
    return orjson.dumps(head | {"features": features}, option=orjson.OPT_SERIALIZE_NUMPY)


def as_geojson(head: dict[str, Any], release: Release, answer: Answer, nodes: IntArray) -> bytes:
    """A FeatureCollection (RFC 7946) of points; the envelope stands beside the features."""
    features = []
    for n in nodes.tolist():
        entry = node_entry(release, n)
        lon, lat = entry.pop("lon"), entry.pop("lat")
        place = None if lon is None or lat is None else {"type": "Point", "coordinates": [lon, lat]}
        features.append(
            {
                "type": "Feature",
                "id": entry.pop("id"),
                "geometry": place,
                "properties": entry
                | {"observed_fraction": round(float(answer.forecast.observed_fraction[n]), 4)}
                | {"quantiles": _quantiles(answer, n)},
            }
        )
    body = {"type": "FeatureCollection"} | head | {"features": features}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def as_csv(release: Release, answer: Answer, nodes: IntArray) -> bytes:
    """One row a node and lead: ``node, init_time, lead, valid_time, q0.05 ... q0.95``."""
    forecast = answer.forecast
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    levels = [f"q{level:g}" for level in forecast.levels]
    writer.writerow(["node", "init_time", "lead", "valid_time", *levels])
    for n in nodes.tolist():
        for h, valid in enumerate(forecast.valid_times):
            cells = [str(v) for v in forecast.quantiles[h, n]]
            row = [release.graph.ids[n], iso(forecast.init_time), h + 1, iso(valid), *cells]
            writer.writerow(row)
    return out.getvalue().encode()


def _quantiles(answer: Answer, node: int) -> dict[str, FloatArray]:
    forecast = answer.forecast
    return {
        f"{level:g}": np.ascontiguousarray(forecast.quantiles[:, node, q])
        for q, level in enumerate(forecast.levels)
    }
