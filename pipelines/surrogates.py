"""The stages from an experiments folder to a sealed surrogate: fit, export, parity, score, seal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.contracts import FelsinaError, FloatArray, IntArray
from models.exported import open_session
from models.record import canonical_json, sha256_bytes, sha256_file, write_atomic
from models.scenario import CALIBRATION
from pipelines.domains.registry import Domain, domain_of
from pipelines.release import sync_folder
from pipelines.settings import held
from pipelines.train import Tracked, made_of
from serving.release import INPUTS, MANIFEST, MODEL, REPORT, release_id
from serving.surrogate import FILES, ask, load_surrogate
from training.experiments import Experiments
from training.export import PARITY, compare, export_module
from training.loop import Listener
from training.settings import LoopSettings, resolve_settings
from training.surrogate import fit_surrogate, score_surrogate
from training.tracking import Tracker


def surrogate_settings(
    experiments: Experiments,
    seed: int = 0,
    file: Path | None = None,
    assignments: list[str] | None = None,
) -> LoopSettings:
    """Settings from the surrogate's domain, a file and ``key=value`` texts."""
    defaults = _domain(experiments).surrogate_settings
    return resolve_settings(LoopSettings, defaults, file, {"seed": seed}, assignments)


def release_surrogate(
    experiments: Experiments, settings: LoopSettings, home: Path, listener: Listener
) -> Path:
    """Train, export, score and seal; work done is found again, a killed training goes on.

    Returns:
        ``mlruns/releases/NAME-DIGEST``.
    """
    spec = experiments.spec
    made_from = made_of(experiments, settings)
    key = f"{spec.name}-{sha256_bytes(canonical_json(made_from))[:12]}"
    work, note = home / "work" / key, home / "trained" / f"{key}.json"
    with held(home / "work" / f"{key}.lock"):
        if note.is_file():
            folder = home / "releases" / json.loads(note.read_bytes())["release"]
            if folder.is_dir():
                load_surrogate(folder)
                return folder
        folder = _make(experiments, settings, made_from, home, work, key, listener)
        write_atomic(note, canonical_json({"release": folder.name}))
        shutil.rmtree(work, ignore_errors=True)
    load_surrogate(folder)
    return folder


def _make(
    experiments: Experiments,
    settings: LoopSettings,
    made_from: dict[str, Any],
    home: Path,
    work: Path,
    key: str,
    listener: Listener,
) -> Path:
    spec, build = experiments.spec, _domain(experiments).surrogate
    assert build is not None
    earlier = work / "mlflow_run"
    tracker = Tracker(home, key, earlier.read_text() if earlier.exists() else "")
    write_atomic(earlier, tracker.run_id.encode())
    tracker.parameters(made_from["settings"])
    tracker.tags({f"data.{name}.sha256": digest for name, digest in experiments.digests.items()})
    tracker.tags({"dataset": spec.name, "code.sha256": made_from["code"]})
    try:
        fitted = fit_surrogate(
            experiments, build, settings, work / "checkpoints", Tracked(listener, tracker)
        )
    except Exception:
        tracker.end("FAILED")
        raise
    part = home / "releases" / f".{key}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    listener.progress("export", 0.0)
    rows = experiments.rows(CALIBRATION)

    def draw(size: int) -> dict[str, FloatArray]:
        chosen = np.resize(rows, size)
        return {"scalars": experiments.scalars[chosen], "fields": experiments.fields[chosen]}

    example = {name: torch.as_tensor(value) for name, value in draw(2).items()}
    export_module(fitted.surrogate, example, part / MODEL, fitted.surrogate.shared)
    parity = compare(fitted.surrogate, part / MODEL, draw, fitted.surrogate.parity or PARITY)
    session = open_session(part / MODEL)

    def predict(rows: IntArray) -> FloatArray:
        return ask(session, experiments.scalars[rows], experiments.fields[rows])

    listener.progress("score", 0.0)
    tests = score_surrogate(predict, experiments)
    for name, scores in tests.items():
        for output, errors in scores["outputs"].items():
            values = {k: v for k, v in errors.items() if isinstance(v, float)}
            label = name.replace(",", "")
            tracker.metrics({f"{label}.{output}.{k}": v for k, v in values.items()})
    report = {"simulator": spec.simulator, "tests": tests, "parameters": fitted.parameters}
    (part / REPORT).write_bytes(canonical_json(report))
    (part / INPUTS).write_bytes(canonical_json(spec.to_dict()))
    files = {name: sha256_file(part / name) for name in FILES}
    manifest = canonical_json(
        {
            "format": 1,
            "kind": "surrogate",
            "dataset": spec.name,
            "domain": spec.domain,
            "simulator": spec.simulator,
            "files": files,
            "interval": {"method": "split conformal on runs of their own", "nominal": 0.8},
            "data": {"digests": made_from["data"], "record": experiments.record.get("made", {})},
            "privacy": {
                "differential_privacy": None,
                "statement": "Learned from a simulator's answers; no personal data.",
            },
            "code": {"sha256": made_from["code"], "packages": made_from["packages"]},
            "training": {"settings": made_from["settings"], "steps": fitted.steps},
            "export": parity,
        }
    )
    (part / MANIFEST).write_bytes(manifest)
    folder = home / "releases" / release_id(spec.name, manifest)
    if folder.exists():
        shutil.rmtree(part)
    else:
        sync_folder(part)
        part.rename(folder)
    tags = {"release": folder.name, "manifest.sha256": sha256_file(folder / MANIFEST)}
    tracker.register(folder / MODEL, spec.name, tags)
    for name in (MANIFEST, REPORT):
        tracker.artifact(folder / name)
    tracker.end()
    listener.progress("score", 1.0)
    return folder


def _domain(experiments: Experiments) -> Domain:
    domain = domain_of(experiments.spec.domain)
    if domain.surrogate is None:
        raise FelsinaError(f"domain {domain.name!r} has no surrogate to train")
    return domain
