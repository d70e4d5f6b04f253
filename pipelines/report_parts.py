"""The parts of a report that a release, its dataset and a city's areas give by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from fairness.areas import area_source, read_areas, read_outlines
from fairness.groups import LEAST_RESIDENTS, own_areas
from models.contracts import CityGraph, FloatArray
from pipelines.gate import NAIVE, Gate
from serving.release import EVIDENCE, REPORT, Release

OWN, SIMPLE = "felsina", "ridge"
_SCORES = ("mae", "crps", "wape", "coverage_50", "coverage_80", "coverage_90", "width_80")
_WARNED = ("events", "warned", "issued", "false", "pod", "far", "lead_time_h")
_DEGREES = 4
"""Decimals of places on the map: ten metres."""


def identity(release: Release) -> dict[str, Any]:
    """What the model is."""
    spec, manifest = release.spec, release.manifest
    training = manifest["training"]
    return {
        **{key: getattr(spec, key) for key in ("target", "unit", "step", "horizon", "lookback")},
        "timezone": spec.timezone,
        "quantiles": list(spec.quantiles),
        "forcings": [forcing.name for forcing in spec.forcings],
        "sensors": release.graph.nodes,
        "parameters": training["parameters"],
        "settings": training["settings"],
        "code_sha256": manifest["code"]["sha256"],
        "packages": manifest["code"]["packages"],
    }


def data_part(release: Release) -> dict[str, Any]:
    """Where the data come from and which days are for what."""
    data = release.manifest["data"]
    names = ("start", "train_end", "validation_end", "end", "synthetic")
    return {
        **{name: data[name] for name in (*names, "publisher", "licence", "attribution")},
        "quality": data["quality"],
    }


def performance_part(release: Release) -> dict[str, Any]:
    """Scores on the test span beside naive and simple methods, from the sealed backtest."""
    report = json.loads((release.folder / REPORT).read_bytes())
    models = report["models"]
    naive = min(NAIVE, key=lambda name: models[name]["mae"] or 0)
    shown = (OWN, SIMPLE, naive)
    leads = range(1, release.spec.horizon + 1)
    return {
        "targets": report["targets"],
        "origins": report["origins"],
        "naive": naive,
        "models": {
            name: {key: _short(model[key]) for key in _SCORES} for name, model in models.items()
        },
        "by_lead": {
            name: [_short(models[name]["by_lead"][str(lead)]["mae"]) for lead in leads]
            for name in shown
        },
        "events": {
            event: {
                "targets": scores["targets"],
                "events": scores["events"],
                "bias": _short(scores["bias"]),
                "coverage_80": _short(scores["coverage_80"]),
                "mae": {name: _short(models[name]["events"][event]["mae"]) for name in shown},
            }
            for event, scores in models[OWN]["events"].items()
        },
        "warnings": {
            level: {key: _short(found["warnings"][key]) for key in _WARNED}
            for level, found in (report.get("threshold_events") or {}).items()
            if found["warnings"] is not None
        },
        "bands": {
            "method": release.manifest["interval"]["method"],
            "calibrated": release.manifest["calibration"]["span"],
            "following": {
                band: _short(release.manifest["calibration"]["adaptive"][band])
                for band in ("coverage_50", "coverage_80", "coverage_90")
            },
        },
    }


def robustness_part(release: Release) -> dict[str, Any]:
    """What happens when inputs are missing, and when the weather is only forecast."""
    manifest = release.manifest
    return {
        "forcings_over_horizon": bool(release.spec.known_future),
        "weather": manifest["weather"],
        "missing": manifest["calibration"].get("missing"),
        "export": manifest["export"],
    }


def privacy_part(release: Release) -> dict[str, Any]:
    """What a manifest says of privacy, and of a private release its evidence."""
    said = release.manifest["privacy"]
    if not said["differential_privacy"]:
        return said
    evidence = json.loads((release.folder / EVIDENCE).read_bytes())
    kept = ("audit", "membership_auc", "errors", "epsilon")
    return said | {"evidence": {name: evidence[name] for name in kept}}


def champion_part(
    release: Release,
    champion: Release,
    gate: Gate,
) -> dict[str, Any]:
    """What changed since the release that is served now.

    Args:
        release: the new one.
        champion: the one that it would replace.
        gate: before which both stood.
    """
    new, old = release.manifest, champion.manifest
    changed = {
        "data": _changed(new["data"]["digests"], old["data"]["digests"]),
        "packages": _changed(new["code"]["packages"], old["code"]["packages"]),
        "settings": _changed(new["training"]["settings"], old["training"]["settings"]),
        "code": ["sha256"] if new["code"]["sha256"] != old["code"]["sha256"] else [],
    }
    return {
        "release": champion.id,
        "manifest_sha256": champion.sha256,
        "share": gate.share,
        "trained_to": old["data"]["train_end"],
        **{key: _short(old["metrics"][OWN][key]) for key in ("mae", "crps", "coverage_80")},
        "changed": {name: found for name, found in changed.items() if found},
        "groups": gate.changed,
    }


def area_map(released: CityGraph, graph: CityGraph, areas_file: Path | None) -> dict[str, Any]:
    """Areas with their sensors and outlines, and sensors with their places.

    Residents are not told where they are fewer than a group may have.

    Args:
        released: the release's graph, which says no place that is private.
        graph: the dataset's.
        areas_file: of ``fairness.areas``.
    """
    areas = own_areas(graph) if areas_file is None else read_areas(areas_file, graph)
    levels = list(areas.levels.values())
    sensors = np.bincount(areas.of_node[areas.of_node >= 0], minlength=len(levels[0]))
    outlines = {} if areas_file is None else read_outlines(areas_file)
    located = np.isfinite(released.lon) & np.isfinite(released.lat)
    return {
        "attribution": "" if areas_file is None else area_source(areas_file),
        "areas": [
            {
                "name": name,
                "district": levels[-1][at] if len(levels) > 1 else "",
                "residents": int(areas.residents[at])
                if areas.residents[at] >= LEAST_RESIDENTS
                else None,
                "sensors": int(sensors[at]),
                "rings": [_rounded(ring) for polygon in outlines.get(name, []) for ring in polygon],
            }
            for at, name in enumerate(levels[0])
        ],
        "sensors": [
            [
                round(float(released.lon[n]), _DEGREES),
                round(float(released.lat[n]), _DEGREES),
                int(areas.of_node[n]),
            ]
            for n in np.flatnonzero(located)
        ],
    }


def _rounded(ring: FloatArray) -> list[list[float]]:
    """A ring's points to ten metres, each once."""
    points = [[round(float(x), _DEGREES), round(float(y), _DEGREES)] for x, y in ring]
    return [p for at, p in enumerate(points) if at == 0 or p != points[at - 1]]


def _changed(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    return sorted(name for name in new.keys() | old.keys() if new.get(name) != old.get(name))


def _short(value: Any) -> Any:
    """A figure to six digits; what is no float stays."""
    return float(f"{value:.6g}") if isinstance(value, float) else value
