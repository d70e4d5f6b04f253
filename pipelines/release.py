"""The stage from a trained folder to a sealed release, and to the pointer that serving reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.contracts import CityGraph, FelsinaError
from models.record import canonical_json, sha256_bytes, sha256_file, write_atomic
from pipelines.settings import held
from pipelines.train import FEDERATION, GROUPS, MISSING, PRIVATE, Trained
from pipelines.train import GRAPH as TRAINED_GRAPH
from pipelines.train import MEMBERS as TRAINED_MEMBERS
from serving.release import (
    EVIDENCE_FILES,
    GRAPH,
    MANIFEST,
    MEMBERS,
    MODEL,
    REPORT,
    champion_pointer,
    load_release,
    release_id,
)
from training.tracking import Tracker

if TYPE_CHECKING:
    from privacy.ledger import Ledger

ADAPTIVE = (
    "quantile tracking by lead and node, in units of the 10-90 % band: a central band widens by "
    "rate times its nominal coverage after a miss and narrows by rate times the rest after a hit"
)
NOT_PRIVATE = {
    "differential_privacy": None,
    "statement": "Trained without differential privacy, on data that may be published or "
    "that the city holds for this purpose.",
    "statement_it": "Addestrato senza privacy differenziale, su dati che possono essere pubblicati "
    "o che la città detiene a questo scopo.",
}


def build_release(trained: Trained, home: Path, ledger: Ledger | None = None) -> Path:
    """Seal a backtested model as a release folder, registered in MLflow; once.

    The manifest holds no clock and no path, so that the same data, settings and code give the same
    release. The folder appears whole, by one rename; that of a privately trained model, once its
    entry stands in the ledger that paid for it.

    Args:
        trained: a backtested folder.
        home: where releases lie.
        ledger: of a private training, or of a federation; None for others.

    Returns:
        ``mlruns/releases/DATASET-DIGEST``.

    Raises:
        FelsinaError: if the folder is private and has no evidence that stands, or the ledger is not
            the one that paid; or it is not private and a ledger is given.
    """
    if ledger is not None and not {PRIVATE, FEDERATION} & set(trained.run):
        raise FelsinaError(
            f"{trained.folder} was not trained privately, so no ledger paid for it; leave out "
            "--ledger and --key"
        )
    with held(home / "work" / f"{trained.folder.name}.lock"):
        part = home / "releases" / f".{trained.folder.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        shutil.copyfile(trained.folder / TRAINED_GRAPH, part / MODEL)
        shutil.copyfile(trained.folder / TRAINED_MEMBERS, part / MEMBERS)
        graph = _graph(trained)
        (part / GRAPH).write_bytes(canonical_json(graph.to_dict()))
        report = {k: v for k, v in trained.report.items() if k != "fit_seconds"}
        (part / REPORT).write_bytes(canonical_json(report))
        evidence = _evidence(trained, part)
        files = {path.name: sha256_file(path) for path in sorted(part.iterdir())}
        manifest = _sealed(trained, ledger, _manifest(trained, graph, report, files), evidence)
        (part / MANIFEST).write_bytes(manifest)
        folder = home / "releases" / release_id(trained.dataset.spec.dataset, manifest)
        if folder.exists():
            shutil.rmtree(part)
        else:
            sync_folder(part)
            part.rename(folder)
        _register(trained, home, folder)
    load_release(folder)
    return folder


def _graph(trained: Trained) -> CityGraph:
    if PRIVATE not in trained.run:
        return trained.dataset.graph
    from pipelines.private_release import released_graph

    return released_graph(trained)


def _evidence(trained: Trained, part: Path) -> dict[str, Any] | None:
    """Copy the evidence of a folder with noise, once it was found fit; None for others."""
    if trained.noise is None:
        return None
    from pipelines.evidence_folder import FOLDER, checked_evidence

    record = checked_evidence(trained)
    for name in EVIDENCE_FILES:
        shutil.copyfile(trained.folder / FOLDER / name, part / name)
    return record


def _sealed(
    trained: Trained,
    ledger: Ledger | None,
    manifest: dict[str, Any],
    evidence: dict[str, Any] | None,
) -> bytes:
    """The manifest's bytes, with what is said of privacy."""
    if FEDERATION in trained.run:
        from pipelines import federated_release

        return federated_release.entered(trained, ledger, manifest, evidence)
    if evidence is None:
        return canonical_json(manifest | {"privacy": NOT_PRIVATE})
    from pipelines.private_release import entered

    return entered(trained, ledger, manifest, evidence)


def sync_folder(folder: Path) -> None:
    """Bring a folder's files to disk before it gets its name."""
    for path in [*folder.iterdir(), folder]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def _register(trained: Trained, home: Path, folder: Path) -> None:
    """Register the release's graph in MLflow once; a note in the trained folder remembers it."""
    note = trained.folder / "registered"
    if note.is_file() and note.read_text() == folder.name:
        return
    tracker = Tracker(home, folder.name, trained.run["mlflow_run"])
    tags = {"release": folder.name, "manifest.sha256": sha256_file(folder / MANIFEST)}
    tracker.register(folder / MODEL, trained.dataset.spec.dataset, tags)
    tracker.artifact(folder / MANIFEST)
    tracker.artifact(folder / REPORT)
    tracker.end()
    write_atomic(note, folder.name.encode())


def _manifest(
    trained: Trained, graph: CityGraph, report: dict[str, Any], files: dict[str, str]
) -> dict[str, Any]:
    """All of a manifest but its ``privacy``."""
    dataset, spec, run = trained.dataset, trained.fitted.spec, trained.run
    scores = report["models"]
    builder = dataset.builder()
    splits = dataset.splits
    rows = np.array([0, splits.train_end, splits.validation_end, splits.steps - 1])
    start, train_end, validation_end, end = (f"{t}Z" for t in builder.times(rows))
    source = dataset.header.get("source", {})
    forecaster = trained.fitted.forecaster
    by_node = forecaster.node_offset
    offsets = (forecaster.offset if by_node is None else by_node).numpy()
    return {
        "format": 1,
        "dataset": spec.dataset,
        "domain": spec.domain,
        "spec": spec.to_dict(),
        "files": files,
        "metrics": {
            name: {k: v for k, v in model.items() if not isinstance(v, dict)}
            for name, model in scores.items()
        },
        "forcings_over_horizon": "observed values stood in for their forecasts"
        if spec.known_future
        else "none used",
        "weather": report["weather"],
        "interval": {
            "method": "split conformal by lead",
            "nominal": 0.8,
            "empirical": scores["felsina"]["coverage_80"],
            "window": f"test split {validation_end[:10]} to {end[:10]}",
        },
        "calibration": {
            "method": "split conformal by lead and central band, in units of the 10-90 % band; "
            "k / (k + 1) of what k calibration weeks ask for"
            + ("" if by_node is None else f"; by group ({run[GROUPS]['attribute']})"),
            "span": f"alternate blocks of {train_end[:10]} to {validation_end[:10]}",
            "largest_offset": round(float(np.abs(offsets).max()), 4),
            "adaptive": {"rule": ADAPTIVE} | report["adaptive"],
        }
        | ({MISSING: run[MISSING]} if MISSING in run else {}),
        "members": run["members"],
        "thresholds": {
            node: [None if np.isnan(t) else float(t) for t in levels]
            for node, levels in zip(graph.ids, graph.thresholds, strict=True)
            if not np.isnan(levels).all()
        },
        "data": {
            "digests": dataset.digests,
            "start": start,
            "issue_every": dataset.splits.issue_every,
            "train_end": train_end,
            "validation_end": validation_end,
            "end": end,
            "synthetic": dataset.synthetic,
            "publisher": str(source.get("publisher", "")),
            "licence": str(source.get("licence", "")),
            "attribution": dataset.attribution,
            "quality": trained.quality,
        },
        "code": {"sha256": run["code"], "packages": run["packages"]},
        "training": {
            "settings": run["settings"],
            "steps": run["steps"],
            "parameters": report["parameters"],
        }
        | {name: run[name] for name in ("adopted", GROUPS) if name in run},
        "export": run["parity"],
    }


def point_at(home: Path, folder: Path) -> None:
    """Make a release the one that is served for its dataset, by an atomic pointer file."""
    release = load_release(folder)
    pointer = {
        "release": release.id,
        "manifest_sha256": sha256_bytes((folder / MANIFEST).read_bytes()),
    }
    write_atomic(champion_pointer(home, release.spec.dataset), canonical_json(pointer))
