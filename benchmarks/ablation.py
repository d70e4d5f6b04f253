"""What each part of the forecaster buys, on validation data alone.

    FELSINA_DATA=DIR python -m benchmarks.ablation [--dataset NAME ...] [--seeds 2]

The test span is cut off. What was the validation span is forecast instead, by a model that trains
and stops on what lies before it: so the table may decide what stays. Each variant is the full
profile with one part changed. Prints Markdown; records are kept in the home folder.
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
from models.backbone import Backbone, Frame
from models.record import canonical_json, sha256_bytes, write_atomic
from pipelines.settings import home
from pipelines.train import code_digest, open_registered, settings_for
from training.dataset import CityDataset
from training.fit import fit, forecasts
from training.metrics import Score
from training.settings import TrainSettings, merge, resolve_settings


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
    return resolve_settings(merge(settings.model_dump(), changes))


def variants(dataset: CityDataset, settings: TrainSettings) -> dict[str, dict[str, Any]]:
    """Name to the changes of the settings, where a part is there to be changed."""
    a = settings.architecture
    found: dict[str, dict[str, Any]] = {"as it is": {}}
    if a.calendar:
        found["no calendar"] = {"architecture": {"calendar": False}}
    if settings.lags:
        found["no lags"] = {"lags": ()}
    if len(dataset.graph.source):
        other = "no graph" if a.graph else "with graph"
        found[other] = {"architecture": {"graph": not a.graph}}
    other = "one network" if a.members > 1 else "three networks averaged"
    found[other] = {"architecture": {"members": 1 if a.members > 1 else 3}}
    anchor = "last" if a.anchor == "profile" else "profile"
    found[f"anchor: {anchor}"] = {"architecture": {"anchor": anchor}}
    found["inductive"] = {"architecture": {"inductive": True, "graph": False}}
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


PATCHES = {
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
        "patch": name if name in (*PATCHES, "no network", "no forcings") else "",
    }
    key = sha256_bytes(canonical_json(made_from))[:12]
    path = home() / "benchmarks" / "ablation" / f"{dataset.spec.dataset}-{key}.json"
    if not path.exists():
        if name == "no forcings":
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


def ablate(dataset: CityDataset, seeds: int) -> dict[str, list[Record]]:
    """Records of every variant, one a seed."""
    cut = before_test(dataset)
    found: dict[str, list[Record]] = {}
    for seed in range(seeds):
        settings = settings_for(cut, "full", seed)
        plans = {n: changed(settings, c) for n, c in variants(cut, settings).items()}
        plans |= dict.fromkeys(PATCHES, settings)
        if cut.spec.forcings:
            plans["no forcings"] = settings
        for name, plan in plans.items():
            found.setdefault(name, []).append(record := score(cut, plan, name))
            say(f"{cut.spec.dataset} {name} seed {seed}: MAE {record['mae']:.4g}")
    return found


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
        mae, crps = (mean(name, k) / mean("as it is", k) - 1 for k in ("mae", "crps"))
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
    for name in options.dataset or DATASETS:
        dataset = open_registered(folder / name)
        sys.stdout.write(section(dataset, ablate(dataset, options.seeds)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
