"""The stage from a dataset folder to a trained folder: fit, export, parity, backtest.

A trained folder is named by what it was made from (data, settings, code), so that work done is
found again and never done twice; it appears whole, by one rename.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import FelsinaError, ForecastSpec
from models.exported import open_session, predictor
from models.forecaster import Forecaster
from models.joint import Ranks, load_template
from models.missing import widened
from models.record import canonical_json, sha256_bytes, write_atomic
from models.toml_file import merge
from pipelines.digests import code_digest as code_digest
from pipelines.digests import packages
from pipelines.domains.registry import domain_of
from pipelines.groups import groups_of
from pipelines.prepare import counted, quality_of
from pipelines.prepare import open_registered as open_registered
from pipelines.present import FORECASTS, GRAPH, MEMBERS, QUALITY, REPORT, RUN, STATE, lacking
from pipelines.settings import held
from training import checkpoint
from training.backtest import Backtest, backtest, write_forecasts
from training.dataset import CityDataset
from training.experiments import Experiments
from training.export import check_parity, export_onnx
from training.fit import Fitted, fit
from training.joint import error_template
from training.loop import Listener
from training.missing import missing_record
from training.plots import draw_backtest
from training.ranks import agreed, rank, together
from training.settings import LoopSettings, TrainSettings, generic_settings, resolve_settings
from training.tracking import Tracker

Fitting = Callable[[CityDataset, TrainSettings, Path, Listener], Fitted]
"""Makes a forecaster for a dataset, as ``training.fit.fit`` does."""
Finishing = Callable[[CityDataset, Fitted], tuple[Ranks, dict[str, Any]]]
"""Template of joint members for a forecaster, and what ``run.json`` says beside the usual."""
MISSING = "missing"
"""How bands widen when inputs are missing stands under this name, in a manifest too."""
GROUPS = "groups"
"""Whom training or calibration looked at; others' ``run.json`` has none."""
PRIVATE = "private"
"""What ``run.json`` says of a private training stands under this name; others have none."""
FEDERATION = "federation"
"""What it says of a model that partners trained together; its manifest says it under this too."""
_PUBLIC = {"dataset", "domain", "unit", "origins", "parameters", "fit_seconds"}
"""Members of a backtest's report that follow from no private row."""


@dataclass(frozen=True)
class Trained:
    """A trained folder.

    Attributes:
        folder: where it lies.
        dataset: what it was trained on.
        fitted: the model, read back.
        template: [M, H, N] ranks of joint members, M = 0 where there are none.
        run: its record: settings, seconds, parity, members, MLflow run.
    """

    folder: Path
    dataset: CityDataset
    fitted: Fitted
    template: Ranks
    run: dict[str, Any]

    @cached_property
    def report(self) -> dict[str, Any]:
        """The backtest's metrics, once ``score`` has run."""
        return json.loads((self.folder / REPORT).read_bytes())

    @property
    def noise(self) -> dict[str, Any] | None:
        """Of which noisy steps an epsilon speaks; None where there is none.

        Those of a private training, or of the partner of a federation that is protected least.
        """
        return self.run.get(PRIVATE) or self.run.get(FEDERATION, {}).get("noise")

    @cached_property
    def quality(self) -> dict[str, Any]:
        """Summary of what looked wrong in the data."""
        return json.loads((self.folder / QUALITY).read_bytes())["summary"]


def settings_for(
    dataset: CityDataset,
    profile: str = "quick",
    seed: int = 0,
    file: Path | None = None,
    assignments: list[str] | None = None,
) -> TrainSettings:
    """Settings from the data, its domain, a profile, a file and ``key=value`` texts."""
    generic = generic_settings(dataset.spec, dataset.splits.train_end)
    domain = domain_of(dataset.spec.domain).defaults(dataset, profile)
    changes = {"profile": profile, "seed": seed}
    return resolve_settings(TrainSettings, merge(generic, domain), file, changes, assignments)


def train(dataset: CityDataset, settings: TrainSettings, home: Path, listener: Listener) -> Trained:
    """Train, or find the trained folder of the same data, settings and code.

    A killed training goes on from its last checkpoint when it is called again. Of several
    processes (``training.ranks``) the first alone locks, tracks and writes.
    """
    groups = groups_of(dataset, settings.fairness)
    made_from = made_of(dataset, settings)
    if groups is not None:
        made_from |= {GROUPS: groups.record(dataset.graph.ids)}
    fitting = partial(fit, groups=groups)
    return made_by(fitting, dataset, settings, home, listener, made_from)


def joined_by_errors(dataset: CityDataset, fitted: Fitted) -> tuple[Ranks, dict[str, Any]]:
    """The usual template of joint members, and how bands widen when inputs are missing."""
    template, members = error_template(dataset, fitted)
    _, calibration = dataset.splits.validation(fitted.spec)
    missing = missing_record(fitted.predict, dataset.builder(fitted.spec), calibration)
    return template, {"members": members, MISSING: missing}


def made_by(
    fitting: Fitting,
    dataset: CityDataset,
    settings: TrainSettings,
    home: Path,
    listener: Listener,
    made_from: dict[str, Any],
    finishing: Finishing = joined_by_errors,
) -> Trained:
    """The trained folder of what ``fitting`` makes, or the one found of the same ``made_from``."""
    key = work_key(dataset, made_from)
    folder, work = home / "trained" / key, home / "work" / key
    first = rank() == 0
    with held(home / "work" / f"{key}.lock") if first else nullcontext():
        if not agreed(not lacking(folder, STATE, GRAPH, MEMBERS, RUN)):
            if first:
                shutil.rmtree(folder, ignore_errors=True)
                _train(
                    fitting, finishing, dataset, settings, home, made_from, work, folder, listener
                )
            else:
                fitting(dataset, settings, work / "checkpoints", listener)
            together()
        return _read(folder, dataset, settings)


def open_trained(folder: Path, dataset: CityDataset) -> Trained:
    """Read a trained folder that was made from a dataset.

    Raises:
        FelsinaError: if it is none, or was made from other data.
    """
    try:
        run = json.loads((folder / RUN).read_bytes())
    except (OSError, ValueError) as error:
        raise FelsinaError(
            f"{folder}: no trained folder ({RUN} cannot be read); felsina train, or felsina "
            "privacy train, says where its folder lies"
        ) from error
    if run["data"] != dataset.digests:
        raise FelsinaError(
            f"{folder} was not made from {dataset.folder} as it is now; name the dataset folder "
            "that it was trained on"
        )
    return _read(folder.resolve(), dataset, TrainSettings(**run["settings"]))


def made_of(dataset: CityDataset | Experiments, settings: LoopSettings) -> dict[str, Any]:
    """All that decides what a model becomes."""
    return {
        "data": dataset.digests,
        "settings": settings.model_dump(mode="json"),
        "code": code_digest(),
        "packages": packages(),
    }


def work_key(dataset: CityDataset, made_from: dict[str, Any]) -> str:
    """Name of what is made from it."""
    return f"{dataset.spec.dataset}-{sha256_bytes(canonical_json(made_from))[:12]}"


def _train(
    fitting: Fitting,
    finishing: Finishing,
    dataset: CityDataset,
    settings: TrainSettings,
    home: Path,
    made_from: dict[str, Any],
    work: Path,
    folder: Path,
    listener: Listener,
) -> None:
    earlier = work / "mlflow_run"
    tracker = Tracker(home, folder.name, earlier.read_text() if earlier.exists() else "")
    write_atomic(earlier, tracker.run_id.encode())
    tracker.parameters(made_from["settings"])
    tracker.tags({f"data.{name}.sha256": digest for name, digest in dataset.digests.items()})
    tracker.tags({"dataset": dataset.spec.dataset, "code.sha256": made_from["code"]})
    quality = quality_of(dataset)
    tracker.tags({"data.quality": counted(quality["summary"]["kinds"])})
    try:
        fitted = fitting(dataset, settings, work / "checkpoints", Tracked(listener, tracker))
    except Exception:
        tracker.end("FAILED")
        raise
    part = work / "trained"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    (part / QUALITY).write_bytes(canonical_json(quality))
    tracker.artifact(part / QUALITY)
    checkpoint.write(fitted.forecaster.state_dict(), part / STATE)
    listener.progress("export", 0.0)
    builder = dataset.builder(fitted.spec)
    origins = dataset.splits.test(fitted.spec, dataset.start)
    export_onnx(fitted.forecaster, builder.batch(np.resize(origins, 2)), part / GRAPH)
    listener.progress("export", 0.7)
    parity = check_parity(fitted.forecaster, part / GRAPH, builder, origins)
    template, record = finishing(dataset, fitted)
    np.save(part / MEMBERS, template, allow_pickle=False)
    listener.progress("export", 1.0)
    run = made_from | {
        "spec": fitted.spec.to_dict(),
        "seconds": fitted.seconds,
        "steps": fitted.steps,
        "parity": parity,
        "mlflow_run": tracker.run_id,
        **record,
    }
    (part / RUN).write_bytes(canonical_json(run))
    folder.parent.mkdir(parents=True, exist_ok=True)
    part.rename(folder)
    tracker.end()
    shutil.rmtree(work, ignore_errors=True)


def _read(folder: Path, dataset: CityDataset, settings: TrainSettings) -> Trained:
    run = json.loads((folder / RUN).read_bytes())
    spec = ForecastSpec.from_dict(run["spec"])
    forecaster = Forecaster(spec, dataset.graph, settings.architecture)
    if settings.fairness.calibration == "group":
        forecaster.take_offsets_by_node()
    forecaster.load_state_dict(checkpoint.read(folder / STATE))
    fitted = Fitted(forecaster.eval(), spec, settings, run["seconds"], run["steps"])
    template = load_template(folder / MEMBERS, spec.horizon, dataset.graph.nodes)
    return Trained(folder, dataset, fitted, template, run)


def score(trained: Trained, home: Path, progress: Callable[[float], None]) -> dict[str, Any]:
    """Backtest a trained folder through its exported graph, as a server runs it; once.

    Returns:
        The report; ``forecasts.parquet`` and plots lie in the folder.
    """
    folder, dataset, fitted = trained.folder, trained.dataset, trained.fitted
    with held(home / "work" / f"{folder.name}.lock"):
        if (folder / REPORT).is_file():
            return trained.report
        predict = predictor(open_session(folder / GRAPH))
        predict = widened(predict, trained.run.get(MISSING), fitted.spec)
        result = backtest(dataset, fitted, predict, progress, trained.template)
        write_forecasts(folder / FORECASTS, result, dataset.graph.ids, fitted.spec.quantiles)
        plots = draw_backtest(result, fitted.spec, dataset.graph, folder / "plots")
        _log(Tracker(home, folder.name, trained.run["mlflow_run"]), result, plots)
        report = result.report
        if PRIVATE in trained.run:
            report = report | {"privacy": not_covered(report)}
        write_atomic(folder / REPORT, canonical_json(report))
        return report


def not_covered(report: dict[str, Any]) -> dict[str, Any]:
    """Which members of a private model's backtest the model's epsilon says nothing of.

    A backtest scores on rows of the test span, bands of the baselines come from validation rows,
    and the ridges that are compared are fitted on train rows: all exactly, without noise. Only
    what follows from calendar, spec and architecture is public.
    """
    return {
        "of_private_rows": sorted(set(report) - _PUBLIC),
        "note": "Computed from private rows exactly, without noise: not covered by the epsilon of "
        "the model, and shown by agreement with the partner.",
    }


def _log(tracker: Tracker, result: Backtest, plots: list[Path]) -> None:
    for name, scores in result.report["models"].items():
        leads = scores["by_lead"]
        tracker.metrics({f"{name}.{k}": v for k, v in scores.items() if not isinstance(v, dict)})
        if name == "felsina":
            for lead, metrics in leads.items():
                tracker.metrics({f"lead.{k}": v for k, v in metrics.items()}, int(lead))
    for path in plots:
        tracker.artifact(path, "plots")


class Tracked:
    """A listener whose losses also go to MLflow."""

    def __init__(self, listener: Listener, tracker: Tracker) -> None:
        self.listener, self.tracker = listener, tracker

    def progress(self, stage: str, share: float) -> None:
        """Hand on."""
        self.listener.progress(stage, share)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Log and hand on."""
        self.tracker.metrics(values, step)
        self.listener.metrics(step, values)
