"""What each part of the forecaster buys, on validation data alone.

    FELSINA_DATA=DIR python -m benchmarks.ablation [--dataset NAME ...] [--seeds 2]

The test span is cut off. What was the validation span is forecast instead, by a model that trains
and stops on what lies before it: so the table may decide what stays. Each variant is the full
profile, one network, with one part changed. Prints Markdown, progress on stderr; records are kept
in the home folder, a process a core makes them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import training.fit
from benchmarks.contenders import Quiet, Record, say
from benchmarks.forecasting import DATASETS
from benchmarks.jobs import in_processes
from models.backbone import Backbone, Frame
from models.record import canonical_json, sha256_bytes, write_atomic
from models.toml_file import merge
from pipelines.settings import home
from pipelines.train import code_digest, open_registered, settings_for
from training.dataset import CityDataset
from training.fit import fit, forecasts
from training.metrics import Score
from training.module import PredictorModule
from training.settings import TrainSettings, resolve_settings

ONE, NO_FORCINGS = "one network", "no forcings"


def before_test(dataset: CityDataset) -> CityDataset:
    """The dataset without its test span: each split moves one validation span back."""
    old = dataset.splits
    span = old.validation_end - old.train_end
    splits = replace(
        old,
        train_end=old.train_end - span,
        validation_end=old.train_end,
        steps=old.validation_end,
    )
    return replace(dataset, splits=splits, values=dataset.values[: old.validation_end])


def changed(settings: TrainSettings, changes: dict[str, Any]) -> TrainSettings:
    """Settings with nested changes."""
    return resolve_settings(TrainSettings, merge(settings.model_dump(), changes))


def variants(dataset: CityDataset, settings: TrainSettings) -> dict[str, dict[str, Any]]:
    """Name to the changes of the settings, where a part is there to be changed."""
    a = settings.architecture
    found: dict[str, dict[str, Any]] = {ONE: {}}
    if a.calendar:
        found["no calendar"] = {"architecture": {"calendar": False}}
    if settings.lags:
        found["no lags"] = {"lags": ()}
    if len(dataset.graph.source):
        other = "no graph" if a.graph else "with graph"
        found[other] = {"architecture": {"graph": not a.graph}}
    found["three averaged"] = {"architecture": {"members": 3}}
    anchor = "last" if a.anchor == "profile" else "profile"
    found[f"anchor: {anchor}"] = {"architecture": {"anchor": anchor}}
    other = {"inductive": not a.inductive, "graph": False}
    found["by node" if a.inductive else "inductive"] = {"architecture": other}
    return found


def without_ridge() -> Any:
    """The network alone corrects the anchor: the ridge is fitted and then forgotten."""
    fitted = training.fit.fit_backbone

    def forget(backbone: Backbone, *arguments: Any) -> None:
        fitted(backbone, *arguments)
        backbone.weight.zero_()

    return mock.patch.object(training.fit, "fit_backbone", forget)


def without_mask() -> Any:
    """Nothing says which values of the past were observed; gaps look like the mean."""
    framed = Backbone.frame

    def unmasked(self: Backbone, *arguments: Any, **named: Any) -> Frame:
        frame = framed(self, *arguments, **named)
        return replace(frame, seen=torch.ones_like(frame.seen))

    return mock.patch.object(Backbone, "frame", unmasked)


def without_node_embedding() -> Any:
    """Every node is the same node to the network; the ridge and the profile still tell them."""
    return mock.patch.object(torch.nn.Embedding, "forward", _blind(torch.nn.Embedding.forward))


def _blind(look_up: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    def forward(self: torch.nn.Embedding, index: torch.Tensor) -> torch.Tensor:
        wide = index.ndim == 2 and index.shape[1] == self.num_embeddings
        return look_up(self, torch.zeros_like(index) if wide else index)

    return forward


def with_sensor_dropout() -> Any:
    """In training a tenth of the sensors of each window have no past."""
    step = PredictorModule.training_step

    def deaf(self: PredictorModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        past = batch["past"]
        dead = torch.rand(past.shape[0], 1, past.shape[2], device=past.device) < 0.1
        return step(self, batch | {"past": past.masked_fill(dead, torch.nan)}, index)

    return mock.patch.object(PredictorModule, "training_step", deaf)


PATCHES = {
    "sensor dropout": with_sensor_dropout,
    "no ridge": without_ridge,
    "no mask": without_mask,
    "no node embedding": without_node_embedding,
}


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def score(dataset: CityDataset, settings: TrainSettings, name: str) -> Record:
    """MAE, CRPS and coverage of one variant on the former validation span, and its fit seconds."""
    made_from = {
        "data": dataset.digests,
        "steps": dataset.splits.steps,
        "code": code_digest(),
        "settings": settings.model_dump(mode="json"),
        "patch": name if name in (*PATCHES, NO_FORCINGS) else "",
    }
    key = sha256_bytes(canonical_json(made_from))[:12]
    path = home() / "benchmarks" / "ablation" / f"{dataset.spec.dataset}-{key}.json"
    if not path.exists():
        if name == NO_FORCINGS:
            dataset = replace(dataset, spec=replace(dataset.spec, forcings=()), forcings=None)
        with PATCHES.get(name, _nothing)(), tempfile.TemporaryDirectory() as work:
            fitted = fit(dataset, settings, Path(work), Quiet())
            origins = dataset.splits.test(fitted.spec, dataset.start)
            quantiles, target = forecasts(fitted.predict, dataset.builder(fitted.spec), origins)
        result = Score(fitted.spec.horizon, fitted.spec.quantiles)
        result.update(quantiles, target)
        record = {k: v for k, v in result.result().items() if k != "by_lead"}
        write_atomic(path, canonical_json(record | {"fit_seconds": fitted.seconds}))
    return json.loads(path.read_bytes())


def plans(dataset: CityDataset, seed: int) -> dict[str, TrainSettings]:
    """Settings of every variant by its name; ``dataset`` without its test span."""
    one = changed(settings_for(dataset, "full", seed), {"architecture": {"members": 1}})
    found = {name: changed(one, changes) for name, changes in variants(dataset, one).items()}
    found |= dict.fromkeys(PATCHES, one)
    return found | ({NO_FORCINGS: one} if dataset.spec.forcings else {})


def job(folder: Path, name: str, seed: int) -> None:
    """Make the record of one variant of the dataset in ``folder``."""
    cut = before_test(open_registered(folder))
    record = score(cut, plans(cut, seed)[name], name)
    say(f"{cut.spec.dataset} {name} seed {seed}: MAE {record['mae']:.4g}")


def section(dataset: CityDataset, found: dict[str, list[Record]]) -> str:
    """Markdown of one dataset; a part buys what the error rises by without it."""

    def mean(name: str, key: str) -> float:
        return float(np.mean([record[key] for record in found[name]]))

    lines = [
        f"## {dataset.spec.dataset}",
        "",
        f"| variant | MAE ({dataset.spec.unit}) | change | CRPS change | 80 % | fit s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, runs in found.items():
        spread = np.ptp([r["mae"] for r in runs]) / 2
        mae, crps = (mean(name, k) / mean(ONE, k) - 1 for k in ("mae", "crps"))
        lines.append(
            f"| {name} | {mean(name, 'mae'):.4g} ± {spread:.2g} | {mae:+.1%} | {crps:+.1%} | "
            f"{mean(name, 'coverage_80'):.1%} | {mean(name, 'fit_seconds'):.0f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the ablation and print its tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", action="append", help="a name; all seven when left out")
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    folder = Path(os.environ.get("FELSINA_DATA", "../shared")) / "datasets"
    seeds, names = range(options.seeds), options.dataset or DATASETS
    cut = {name: before_test(open_registered(folder / name)) for name in names}
    wanted = {(n, s): plans(cut[n], s) for n in names for s in seeds}
    in_processes(job, [(folder / n, v, s) for (n, s), found in wanted.items() for v in found])
    for name in names:
        found = {
            variant: [score(cut[name], wanted[name, s][variant], variant) for s in seeds]
            for variant in wanted[name, 0]
        }
        sys.stdout.write(section(cut[name], found) + "\n")


if __name__ == "__main__":
    main()
