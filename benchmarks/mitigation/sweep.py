"""The trainings of the sweep, each kept in the home folder once it is made."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import Quiet, say
from benchmarks.mitigation.cases import settings_of, thinned
from benchmarks.mitigation.homes import (
    private_forecaster,
    private_settings,
)
from benchmarks.mitigation.reference import BOUNDS, reference_record
from benchmarks.mitigation.scores import Told, by_group, sums_by_node, worst
from models.contracts import FloatArray, Window
from models.forecaster import ordered
from models.record import canonical_json, sha256_bytes, write_atomic
from pipelines.settings import home
from pipelines.train import code_digest
from training.calibration import cautious, conformal_offsets, offsets_by_group
from training.dataset import CityDataset
from training.fit import Fitted, fit, forecasts
from training.groups import NodeGroups
from training.ridge import tensors
from training.settings import Fairness, TrainSettings

BANDS = ("marginal", "group")
EPSILONS = (np.inf, 8.0, 3.0, 1.0)


def kept(
    name: str,
    dataset: CityDataset,
    groups: NodeGroups,
    about: Any,
    make: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """What ``make`` gives, or gave before for the same data, groups, code and ``about``."""
    made_from = {
        "data": dataset.digests or sha256_bytes(dataset.values.tobytes()),
        "groups": groups.record(dataset.graph.ids),
        "code": code_digest(),
        "about": about,
    }
    key = sha256_bytes(canonical_json(made_from))[:12]
    path = home() / "benchmarks" / "mitigation" / f"{name}-{key}.json"
    if not path.exists():
        write_atomic(path, canonical_json(make()))
    return json.loads(path.read_bytes())


def tested(dataset: CityDataset, fitted: Fitted, groups: NodeGroups) -> dict[str, Told]:
    """Test figures with the calibration of all nodes and with that of groups."""
    spec, model = fitted.spec, fitted.forecaster
    builder = dataset.builder(spec)
    _, calibration = dataset.splits.validation(spec)
    origins = dataset.splits.test(spec, dataset.start)[:: thinned(dataset)]

    def bare(window: Window) -> FloatArray:
        inputs = tensors(window)
        inputs.pop("target", None)
        with torch.inference_mode():
            return model.uncalibrated(**inputs).numpy()

    seen = forecasts(bare, builder, calibration[:: thinned(dataset)], batch=16)
    quantiles, target = forecasts(bare, builder, origins, batch=16)
    low, high = (spec.quantiles.index(level) for level in (0.1, 0.9))
    width = (quantiles[..., high] - quantiles[..., low])[..., None]
    common = cautious(conformal_offsets(*seen, spec.quantiles), calibration)[:, None]
    own = offsets_by_group(*seen, spec.quantiles, groups.of_node, calibration)
    found = {}
    for name, offsets in zip(BANDS, (common, own), strict=True):
        moved = torch.as_tensor(quantiles + offsets * width)
        shifted = ordered(moved, spec.quantiles.index(0.5)).numpy()
        shifted = np.maximum(shifted, 0) if spec.nonnegative else shifted
        sums = sums_by_node(dataset, origins, shifted, target, spec.quantiles)
        found[name] = by_group(sums, groups)
    return found


def trained(
    name: str, dataset: CityDataset, groups: NodeGroups, weights: str, seed: int
) -> dict[str, Any]:
    """Figures of one training without noise."""
    fairness = Fairness.model_validate({"attribute": groups.attribute, "weights": weights})
    settings = settings_of(dataset, seed).model_copy(update={"fairness": fairness})

    def make() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as work:
            fitted = fit(dataset, settings, Path(work), Quiet(), groups)
        return tested(dataset, fitted, groups) | {"seconds": fitted.seconds}

    found = kept(name, dataset, groups, {"settings": settings.model_dump(mode="json")}, make)
    told = found["marginal"]
    say(f"{name} {weights} {seed}: {told['all']['error']:.4f}, worst {worst(told, 'error'):.4f}")
    return found


def privately(
    dataset: CityDataset, groups: NodeGroups, epsilon: float, weighed: bool, seed: int
) -> dict[str, Any]:
    """Figures of one training with noise, in which groups' clipped gradients may count alike.

    Bands are calibrated exactly, which the product refuses: the epsilon would not cover them.
    """
    settings = private_settings(epsilon, seed)
    sizes = np.bincount(groups.of_node)
    factor = (sizes.min() / sizes)[groups.of_node] if weighed else None

    def make() -> dict[str, Any]:
        forecaster = private_forecaster(dataset, settings, factor)
        plain = TrainSettings()  # pyright: ignore[reportCallIssue]
        return tested(dataset, Fitted(forecaster, forecaster.spec, plain, 0.0, 0), groups)

    about = {"private": settings.model_dump(mode="json"), "weighed": weighed}
    found = kept(dataset.spec.dataset, dataset, groups, about, make)
    told = found["marginal"]
    error = told["all"]["error"]
    say(f"epsilon {epsilon:g} {weighed} {seed}: {error:.4f}, worst {worst(told, 'error'):.4f}")
    return found


def referred(name: str, dataset: CityDataset, groups: NodeGroups) -> dict[str, Any]:
    """The reference's errors without and with bounds."""
    lags, thin = settings_of(dataset, 0).lags, thinned(dataset)
    about = {"reference": 1, "bounds": BOUNDS, "lags": lags, "thin": thin}
    return kept(name, dataset, groups, about, lambda: reference_record(dataset, groups, lags, thin))
