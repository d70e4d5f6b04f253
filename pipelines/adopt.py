"""A city or a building served by a model that never saw it: nothing is trained.

An inductive model has learned nothing of a node by name, so its weights fit any graph. What is made
here is a trained folder like any other: exported for the new nodes, checked, backtested, released.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import FelsinaError, ForecastSpec
from models.forecaster import Forecaster
from models.record import sha256_file
from pipelines.train import FEDERATION, PRIVATE, RUN, STATE, Trained, made_by, made_of
from training.checkpoint import read
from training.dataset import CityDataset
from training.fit import Fitted, calibrate
from training.loop import Listener
from training.settings import Fairness, TrainSettings

_SAME = (
    "domain",
    "target",
    "unit",
    "step",
    "lookback",
    "horizon",
    "nonnegative",
    "forcings",
    "quantiles",
)
"""Parts of a spec that both cities must share; the lags come with the model."""


def adopt(dataset: CityDataset, model: Path, home: Path, listener: Listener) -> Trained:
    """Make, or find, a trained folder for a dataset from one trained on another.

    Weights, ridge and scales of the forcings are those of ``model``. The bands are calibrated on
    the dataset's own calibration windows; where these hold no target, the model's bands stay.

    Args:
        dataset: of the new nodes.
        model: a trained folder whose ``architecture.inductive`` is true.
        home: where trained folders lie.
        listener: told of progress.

    Raises:
        FelsinaError: if the folder is none, is not inductive, or is of another spec.
    """
    run = _run(model)
    if PRIVATE in run:
        raise FelsinaError(
            f"--like {model}: it was trained privately, and its release has to carry that claim, "
            "which one made here would not; release it for the dataset that it was trained on"
        )
    if FEDERATION in run:
        raise FelsinaError(
            f"--like {model}: partners trained it, and its release has to say so; for this dataset "
            f"make one with felsina city release {run[FEDERATION]['run']} --dataset DIR"
        )
    settings = TrainSettings(**run["settings"])
    # Its groups are those of another city.
    settings = settings.model_copy(update={"fairness": Fairness.model_validate({})})
    if not settings.architecture.inductive:
        raise FelsinaError(
            f"--like {model}: it knows its nodes by name; train it with "
            "--set architecture.inductive=true, or train on this dataset"
        )
    source = ForecastSpec.from_dict(run["spec"])
    for name in _SAME:
        theirs, ours = getattr(source, name), getattr(dataset.spec, name)
        if theirs != ours:
            raise FelsinaError(
                f"--like {model}: its {name} is {_text(theirs)}, that of {dataset.spec.dataset} "
                f"is {_text(ours)}; use a model of the same {name}, or train on this dataset"
            )
    origin = {
        "dataset": source.dataset,
        "data": run["data"],
        "code": run["code"],
        "state": sha256_file(model / STATE),
    }

    def fitting(
        dataset: CityDataset, settings: TrainSettings, work: Path, listener: Listener
    ) -> Fitted:
        began = time.perf_counter()
        spec = dataset.spec.with_lags(settings.lags)
        forecaster = Forecaster(spec, dataset.graph, settings.architecture).eval()
        try:
            state = read(model / STATE)
            state.pop("node_offset", None)
            forecaster.load_state_dict(state)
        except RuntimeError as error:
            raise FelsinaError(
                f"--like {model}: its weights do not fit; it is of other code, or only one of the "
                "two datasets has edges: train again with --set architecture.graph=false"
            ) from error
        fitted = Fitted(forecaster, spec, settings, 0.0, run["steps"])
        calibrate_here(fitted, dataset)
        return Fitted(forecaster, spec, settings, time.perf_counter() - began, run["steps"])

    made_from = made_of(dataset, settings) | {"adopted": origin}
    return made_by(fitting, dataset, settings, home, listener, made_from)


def calibrate_here(fitted: Fitted, dataset: CityDataset) -> None:
    """Set bands by a dataset's own calibration windows; where these hold no target, they stay."""
    _, calibration = dataset.splits.validation(fitted.spec)
    after = dataset.values[calibration[0] + 1 : calibration[-1] + 1 + fitted.spec.horizon]
    if not np.isnan(after).all():
        calibrate(fitted, dataset.builder(fitted.spec), calibration)


def refuse_training(
    profile: str, seed: int, config: Path | None, assignments: list[str] | None
) -> None:
    """Refuse settings of a training where nothing is trained."""
    if profile != "quick" or seed or config is not None or assignments:
        raise FelsinaError(
            "--like takes the settings of its model; leave out --profile, --seed, --config, --set"
        )


def _run(model: Path) -> dict[str, Any]:
    """The record of a trained folder."""
    try:
        return json.loads((model / RUN).read_bytes())
    except (OSError, ValueError) as error:
        raise FelsinaError(
            f"--like {model}: no trained folder ({RUN} cannot be read); felsina train says where "
            "its folder lies"
        ) from error


def _text(value: Any) -> str:
    """A part of a spec for people: forcings by name, unit and whether they are known ahead."""
    if not isinstance(value, tuple):
        return repr(value)
    parts = [
        part
        if isinstance(part, float)
        else f"{part.name} ({part.unit}{', known ahead' if part.known_future else ''})"
        for part in value
    ]
    return ", ".join(map(str, parts)) or "none"
