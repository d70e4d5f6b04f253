"""A forecast, or a part of it, as JSON, GeoJSON or CSV bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
from starlette.types import Scope

from models.contracts import FloatArray, IntArray
from models.joint import THRESHOLDS
from serving.catalogue import Answer, is_stale
from serving.negotiation import field
from serving.release import AUDIT, Release
from serving.schemas import iso
from serving.selection import Selection

MEDIA = {
    "json": "application/json",
    "geojson": "application/geo+json",
    "csv": "text/csv; charset=utf-8",
    "arrow": "application/vnd.apache.arrow.stream",
}


def asked_for(scope: Scope) -> str:
    """The format that a request likes best, for those who keep an answer and those who make it."""
    return negotiated(field(scope, b"accept").decode("latin-1"))


@lru_cache
def negotiated(accept: str) -> str:
    """The format that an ``Accept`` header likes best; JSON where it names none of them.

    Of two that it likes the same, the one it names first.
    """
    known = {media.partition(";")[0]: form for form, media in MEDIA.items()}
    best, liked = "json", 0.0
    for one in accept.split(","):
        media, *parameters = (part.strip().lower() for part in one.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            value = float(weight)
        except ValueError:
            continue
        if value > liked and (form := known.get(media)):
            best, liked = form, value
    return best


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


def envelope(release: Release, answer: Answer, leads: IntArray | None = None) -> dict[str, Any]:
    """All of an answer but its features; the valid times of some ``leads``, or of all."""
    spec, manifest, forecast = release.spec, release.manifest, answer.forecast
    times = forecast.valid_times if leads is None else forecast.valid_times[leads]
    return {
        "dataset": spec.dataset,
        "domain": spec.domain,
        "target": spec.target,
        "unit": spec.unit,
        "units": {spec.target: spec.unit},
        "issued_at": iso(answer.computed_at),
        "init_time": iso(forecast.init_time),
        "data_as_of": iso(answer.data_as_of),
        "stale": is_stale(answer.data_as_of, spec.seconds),
        "step": spec.step,
        "timezone": spec.timezone,
        "valid_times": [iso(t) for t in times],
        "model": {
            "name": spec.dataset,
            "version": release.id,
            "manifest_sha256": release.sha256,
            "decision": release.approval.decision,
        },
        "approval": release.approval.state,
        "synthetic": manifest["data"]["synthetic"],
        "interval": _interval(manifest, answer.adaptive),
        "attribution": [a for a in [manifest["data"]["attribution"]] if a],
        "warnings": list(answer.warnings),
    }


def _interval(manifest: dict[str, Any], adaptive: bool) -> dict[str, Any]:
    """How the bands were made, and how often such ones held in the backtest."""
    interval = manifest["interval"]
    if not adaptive:
        return interval
    method = f"{interval['method']}, then following what came true"
    return interval | {
        "method": method,
        "empirical": manifest["calibration"]["adaptive"]["coverage_80"],
    }


def privacy(manifest: dict[str, Any]) -> dict[str, Any]:
    """The privacy statement of a release and its figures, as ``schemas.Privacy`` has them."""
    said = manifest["privacy"]
    claimed = said["differential_privacy"] or {}
    return {
        "statement": said["statement"],
        "statement_it": said.get("statement_it"),
        "not_protected": said.get("not_protected", []),
        "not_protected_it": said.get("not_protected_it", []),
        **{name: claimed.get(name) for name in ("epsilon", "delta", "unit")},
        "audit": {name: said["audit"][name] for name in AUDIT} if claimed else None,
    }


def as_json(release: Release, answer: Answer, chosen: Selection) -> bytes:
    """The answer of ``schemas.ForecastAnswer``; floats keep all their digits."""
    head = envelope(release, answer, chosen.leads)
    features = [
        node_entry(release, n) | told
        for n, told in zip(chosen.nodes.tolist(), _told(release, answer, chosen), strict=True)
    ]
    return orjson.dumps(head | {"features": features}, option=orjson.OPT_SERIALIZE_NUMPY)


def as_geojson(release: Release, answer: Answer, chosen: Selection) -> bytes:
    """A FeatureCollection (RFC 7946) of points; the envelope stands beside the features."""
    features = []
    for n, told in zip(chosen.nodes.tolist(), _told(release, answer, chosen), strict=True):
        entry = node_entry(release, n)
        lon, lat = entry.pop("lon"), entry.pop("lat")
        place = None if lon is None or lat is None else {"type": "Point", "coordinates": [lon, lat]}
        features.append(
            {
                "type": "Feature",
                "id": entry.pop("id"),
                "geometry": place,
                "properties": entry | told,
            }
        )
    head = envelope(release, answer, chosen.leads)
    body = {"type": "FeatureCollection"} | head | {"features": features}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def as_csv(release: Release, answer: Answer, chosen: Selection) -> bytes:
    """One row a node and lead: ``node, init_time, lead, valid_time, q0.05 ... q0.95``."""
    forecast = answer.forecast
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    levels = [f"q{forecast.levels[q]:g}" for q in chosen.levels]
    writer.writerow(["node", "init_time", "lead", "valid_time", *levels])
    init = iso(forecast.init_time)
    times = list(forecast.valid_times[chosen.leads])
    ahead = [(h, iso(t)) for h, t in zip(chosen.leads.tolist(), times, strict=True)]
    for n in chosen.nodes.tolist():
        for h, valid in ahead:
            cells = [str(v) for v in forecast.quantiles[h, n, chosen.levels]]
            writer.writerow([release.graph.ids[n], init, h + 1, valid, *cells])
    return out.getvalue().encode()


def _told(release: Release, answer: Answer, chosen: Selection) -> Iterator[dict[str, Any]]:
    """What a forecast says of each of the nodes chosen."""
    forecast = answer.forecast
    names = [f"{forecast.levels[q]:g}" for q in chosen.levels]
    part = forecast.quantiles[np.ix_(chosen.leads, chosen.nodes, chosen.levels)]
    table = np.ascontiguousarray(np.moveaxis(part, 0, -1))  # JSON wants each node's lists whole
    for n, rows in zip(chosen.nodes.tolist(), table, strict=True):
        yield {
            "observed_fraction": round(float(forecast.observed_fraction[n]), 4),
            "quantiles": dict(zip(names, rows, strict=True)),
            "exceedance": _exceedance(release, answer, n, chosen.leads),
        }


def by_level(quantiles: FloatArray, levels: tuple[float, ...]) -> dict[str, FloatArray]:
    """Level to one value a lead, from [H, Q]."""
    return {f"{v:g}": np.ascontiguousarray(quantiles[:, q]) for q, v in enumerate(levels)}


def _exceedance(
    release: Release, answer: Answer, node: int, leads: IntArray
) -> dict[str, dict[str, Any]]:
    """By threshold, the probability that it is reached at a lead and within the horizon."""
    forecast = answer.forecast
    if forecast.exceedance is None or forecast.exceedance_within is None:
        return {}
    least, most = 1 - forecast.levels[-1], 1 - forecast.levels[0]
    found = {}
    for k, level in enumerate(release.graph.thresholds[node]):
        if np.isnan(level):
            continue
        at_lead, up_to_lead = (
            forecast.exceedance[:, node, k],
            forecast.exceedance_within[:, node, k],
        )
        whole = up_to_lead[-1]
        tail = at_lead.max() < least or whole < least or whole > most
        found[THRESHOLDS[k]] = {
            "level": float(level),
            "unit": forecast.unit,
            "by_lead": [round(float(p), 4) for p in at_lead[leads]],
            "within_lead": [None if np.isnan(p) else round(float(p), 4) for p in up_to_lead[leads]],
            "within_horizon": None if np.isnan(whole) else round(float(whole), 4),
            "tail": bool(tail),
            "text": _chance(whole, least, most, bool(tail)),
        }
    return found


def _chance(share: float, least: float, most: float, tail: bool) -> str:
    """A probability for people: no more is said than the trained quantiles tell."""
    if np.isnan(share):
        return "unknown: this release has no joint members"
    if share < least:
        return f"< {100 * least:.0f} %"
    if share > most:
        return f"> {100 * most:.0f} %"
    return f"{100 * share:.0f} %" + (", by a fitted tail" if tail else "")
