"""A surrogate's report for the ethics board: its sealed folder and what people wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairness.about import OPTIONAL_OF_SURROGATES, read_about
from fairness.surrogates import surrogate_verdict
from models.record import sha256_file
from models.scenario import Input
from pipelines.report_pages import with_pages
from serving.surrogate import SurrogateRelease, load_surrogate

KIND = "surrogate"


def gather_surrogate(folder: Path, about_file: Path | None) -> dict[str, Any]:
    """All of a surrogate's report, JSON-ready.

    Raises:
        FelsinaError: if the release is broken, or the file of human-written parts is wrong.
    """
    release, about = load_surrogate(folder), read_about(about_file)
    spec, manifest = release.spec, release.manifest
    record = {
        "format": 1,
        "kind": KIND,
        "release": release.id,
        "manifest_sha256": release.sha256,
        "dataset": spec.name,
        "domain": spec.domain,
        "missing": about.lacking(OPTIONAL_OF_SURROGATES),
        "inputs": {
            "release": manifest["files"],
            "experiments": manifest["data"]["digests"],
            "about": None if about_file is None else sha256_file(about_file),
        },
        "identity": _identity(release),
        "about": about.to_dict(),
        "experiments": {"made": manifest["data"].get("record", {}), "fixed": spec.facts},
        "asked": {
            "scalars": [_range(one) for one in spec.scalars],
            "fields": [_range(one) for one in spec.fields],
            "presets": sorted(spec.presets),
        },
        "answers": [
            {"name": one.name, "unit": one.unit, "about": one.about} for one in spec.outputs
        ],
        "tests": {
            name: {
                "runs": test["runs"],
                "outputs": {out: _errors(found) for out, found in test["outputs"].items()},
            }
            for name, test in release.report["tests"].items()
        },
        "privacy": manifest["privacy"],
        "export": manifest["export"],
        "cases": [],
    }
    return with_pages(record | {"verdict": surrogate_verdict(record)})


def _identity(release: SurrogateRelease) -> dict[str, Any]:
    spec, manifest = release.spec, release.manifest
    return {
        "simulator": spec.simulator,
        "axis": spec.axis,
        "places": len(spec.places),
        "answered": len(spec.answered),
        "quantiles": list(spec.quantiles),
        "interval": manifest["interval"],
        "parameters": release.report["parameters"],
        "steps": manifest["training"]["steps"],
        "settings": manifest["training"]["settings"],
        "code_sha256": manifest["code"]["sha256"],
        "packages": manifest["code"]["packages"],
    }


def _range(one: Input) -> dict[str, Any]:
    """What an input may be; what it is by default is the sealed folder's to say."""
    return {key: getattr(one, key) for key in ("name", "unit", "low", "high", "about")}


def _errors(found: dict[str, Any]) -> dict[str, Any]:
    """Errors over all places, with the mean one as a share of the simulator's mean."""
    mae, mean = found["mae"], found["mean"]
    share = None if mae is None or not mean else float(f"{mae / abs(mean):.6g}")
    return {key: value for key, value in found.items() if key != "places"} | {"share": share}
