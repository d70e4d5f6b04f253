"""A forecast as JSON, GeoJSON or CSV bytes; its members and sums as JSON."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import orjson

from models.contracts import FloatArray, IntArray
from models.joint import THRESHOLDS, check_additive, sum_quantiles
from serving.catalogue import Answer, now
from serving.release import AUDIT, Release, approval
from serving.runtime import Runtime
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
    approved, decision = approval(release.sha256)
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


def as_json(head: dict[str, Any], release: Release, answer: Answer, nodes: IntArray) -> bytes:
    """The answer of ``schemas.ForecastAnswer``; floats keep all their digits."""
    features = [node_entry(release, n) | _told(release, answer, n) for n in nodes.tolist()]
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
                "properties": entry | _told(release, answer, n),
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


def members_json(runtime: Runtime, answer: Answer, nodes: IntArray) -> bytes:
    """The answer of ``schemas.MembersAnswer``."""
    release, record = runtime.release, runtime.release.manifest["members"]
    joint = runtime.members(answer.forecast)
    body = envelope(release, answer) | {
        "members": len(joint),
        "method": record["method"],
        "tail": record["tail"],
        "features": [
            {"id": release.graph.ids[n], "values": np.ascontiguousarray(joint[:, :, n])}
            for n in nodes.tolist()
        ],
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def areas_json(runtime: Runtime, answer: Answer) -> bytes:
    """The answer of ``schemas.AreasAnswer``; a target that does not add up is refused."""
    spec, graph = runtime.release.spec, runtime.release.graph
    check_additive(spec.unit, spec.target)
    joint = runtime.members(answer.forecast)
    names = sorted(set(graph.areas) - {""})
    areas = np.array(graph.areas)
    groups = np.stack([np.ones(graph.nodes, bool), *(areas == name for name in names)])
    quantiles = sum_quantiles(joint, groups, spec.quantiles)
    total, *sums = (
        {
            "area": name,
            "nodes": int(group.sum()),
            "quantiles": by_level(quantiles[:, g], spec.quantiles),
        }
        for g, (name, group) in enumerate(zip(["", *names], groups, strict=True))
    )
    body = envelope(runtime.release, answer) | {
        "members": len(joint),
        "method": runtime.release.manifest["members"]["method"],
        "total": total,
        "areas": sums,
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def _told(release: Release, answer: Answer, node: int) -> dict[str, Any]:
    """What a forecast says of a node."""
    forecast = answer.forecast
    return {
        "observed_fraction": round(float(forecast.observed_fraction[node]), 4),
        "quantiles": by_level(forecast.quantiles[:, node], forecast.levels),
        "exceedance": _exceedance(release, answer, node),
    }


def by_level(quantiles: FloatArray, levels: tuple[float, ...]) -> dict[str, FloatArray]:
    """Level to one value a lead, from [H, Q]."""
    return {f"{v:g}": np.ascontiguousarray(quantiles[:, q]) for q, v in enumerate(levels)}


def _exceedance(release: Release, answer: Answer, node: int) -> dict[str, dict[str, Any]]:
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
            "by_lead": [round(float(p), 4) for p in at_lead],
            "within_lead": [None if np.isnan(p) else round(float(p), 4) for p in up_to_lead],
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
