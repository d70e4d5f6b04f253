"""Settings of a training run: defaults in code, a domain's changes, a TOML file, ``--set``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.contracts import FelsinaError, ForecastSpec
from models.forecaster import Architecture
from models.toml_file import assigned, first_fault, merge, read_toml

Profile = Literal["quick", "full"]
_CIVIL_LAGS = {1: 14, 7: 21, 14: 730, 21: 730, 364: 730}
"""Days back at which people do the same again (364 keeps the weekday): days of training needed."""


class LoopSettings(BaseModel):
    """How any predictor is trained; recorded whole with each run and release.

    Attributes:
        seed: of weights, batches and dropout.
        steps: optimiser steps.
        batch: samples a step, in all processes together.
        learning_rate: peak, after warm-up, before the cosine.
        weight_decay: of AdamW.
        evaluate_every: steps between looks at the stopping samples, and checkpoints.
        patience: looks without improvement before stopping.
        accelerator: ``auto`` takes a GPU where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(0, ge=0)
    steps: int = Field(300, ge=1)
    batch: int = Field(64, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-3, ge=0)
    evaluate_every: int = Field(50, ge=1)
    patience: int = Field(6, ge=1)
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"

    @property
    def whole_steps(self) -> int:
        """``steps``, made up to a whole number of looks: the schedule's length."""
        return -(-self.steps // self.evaluate_every) * self.evaluate_every


class Fairness(BaseModel):
    """Groups of nodes whose errors training and calibration weigh; no forecast reads them.

    Attributes:
        attribute: column of nodes.csv, or a level or number of the areas' file; empty for none.
        areas: TOML file of a city's areas (``fairness.areas``). What it says of the nodes goes into
            the run's record; where it lies does not.
        weights: ``group`` gives every group the same share of the loss, ``dro`` then raises that of
            the group with the largest relative error.
        calibration: ``group`` moves each group's bands by its own errors.
        warm_start: share of the steps that ``dro`` leaves to the ordinary training.
        rate: at which ``dro`` turns to the worst group.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attribute: str = ""
    areas: Path | None = Field(None, exclude=True)
    weights: Literal["none", "group", "dro"] = "none"
    calibration: Literal["marginal", "group"] = "marginal"
    warm_start: float = Field(0.5, ge=0, lt=1)
    rate: float = Field(0.05, gt=0)

    @property
    def active(self) -> bool:
        """Whether groups have a say."""
        return self.weights != "none" or self.calibration != "marginal"


class TrainSettings(LoopSettings):
    """How a forecaster is trained; a sample is an origin, which brings all nodes.

    Attributes:
        profile: ``quick`` for a first look, ``full`` for a release that matters.
        lags: single earlier values, in steps before each target.
        architecture: shape of the network.
        node_loss: ``natural`` units favour large nodes as MAE does, ``equal`` weighs nodes alike.
        issue_share: share of a batch drawn at the hours at which forecasts are issued.
        precision: of the network's arithmetic in training; what is fitted by counting or by normal
            equations, weights, quantiles and losses stay in 32 bit.
        compile: whether the network is compiled for training.
        fairness: groups that training and calibration look at.
    """

    profile: Profile = "quick"
    lags: tuple[int, ...] = ()
    architecture: Architecture = Architecture()  # pyright: ignore[reportCallIssue]
    node_loss: Literal["natural", "equal"] = "natural"
    issue_share: float = Field(0.5, ge=0, le=1)
    precision: Literal["32", "bf16"] = "32"
    compile: bool = False
    fairness: Fairness = Fairness()  # pyright: ignore[reportCallIssue]


def generic_settings(spec: ForecastSpec, train_steps: int) -> dict[str, Any]:
    """What the data alone decides: lags that the train span can teach, weekly and annual terms."""
    days = train_steps / spec.steps_per_day
    lags = [lag * spec.steps_per_day for lag, needed in _CIVIL_LAGS.items() if days >= needed]
    return {
        "lags": tuple(lag for lag in lags if lag >= spec.horizon // 2),
        "architecture": {"weekly": days >= 21, "annual": days >= 365},
    }


Settings = TypeVar("Settings", bound=LoopSettings)


def resolve_settings(
    kind: type[Settings],
    defaults: dict[str, Any],
    file: Path | None = None,
    changes: dict[str, Any] | None = None,
    assignments: list[str] | None = None,
) -> Settings:
    """Merge, later ones winning: defaults, a TOML file, changes, ``key=value`` texts.

    Args:
        kind: of settings.
        defaults: nested, from the data and the domain.
        file: TOML with the same keys.
        changes: from other flags.
        assignments: such as ``architecture.width=64``.

    Raises:
        FelsinaError: for an unknown key or a value that does not fit.
    """
    merged = merge(defaults, {} if file is None else read_toml(file))
    merged = merge(merged, changes or {})
    merged = merge(merged, assigned(assignments or (), "steps=500"))
    try:
        return kind(**merged)
    except ValidationError as error:
        known = ", ".join(kind.model_fields)
        raise FelsinaError(f"setting {first_fault(error)}; settings are {known}") from error
