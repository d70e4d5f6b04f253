"""What a surrogate may be asked over HTTP, and what it answers: pydantic models."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from serving.schemas import Body, NotServed, Number

MOST_SCENARIOS = 2000
"""Scenarios that one request may ask."""
Value = Number | list[Number] | dict[str, Number]
"""A number; for a field also one value a place, or place to number."""


class ScenariosBody(Body):
    """One scenario or many. Each is, later ones winning: defaults, preset, `inputs`, its own."""

    preset: str | None = Field(None, description="Named values of all fields, such as a climate.")
    inputs: dict[str, Value] = Field(
        default_factory=dict,
        description="Input name to value, for all scenarios. A scalar is a number; a field is a "
        "number for all places, a list with one a place, or an object of some places.",
    )
    scenarios: list[dict[str, Value]] = Field(
        default_factory=lambda: [{}],
        min_length=1,
        max_length=MOST_SCENARIOS,
        description="What differs, in the form of `inputs`; one scenario when left out.",
    )
    places: list[str] | None = Field(
        None, min_length=1, description="Places to answer, in this order; all when left out."
    )


class SurrogateName(BaseModel):
    """A sealed surrogate and the simulator that it stands for."""

    name: str
    release: str
    domain: str
    simulator: str
    manifest_sha256: str
    approval: str
    decision: str | None


class SurrogateEntry(SurrogateName):
    """A served surrogate."""

    inputs: int = Field(description="Scalars and fields.")


class SurrogateList(BaseModel):
    """Every surrogate served."""

    surrogates: list[SurrogateEntry]
    withheld: list[NotServed]


class InputEntry(BaseModel):
    """An input with the range that was trained on."""

    name: str
    unit: str
    low: float
    high: float
    about: str
    default: float | list[float] | None = Field(
        description="Holds where nothing is said, a list by place; null must be given."
    )


class OutputEntry(BaseModel):
    """A quantity that is answered."""

    name: str
    unit: str
    about: str
    weight: float = Field(description="Of its error in training, beside the other outputs'.")
    nonnegative: bool = Field(description="Whether it is never below zero.")
    total_weight: float = Field(
        description="Weight in training of its sum over places; 0 where that means nothing."
    )


class Errors(BaseModel):
    """Differences between medians and the simulator, over runs that were never trained on."""

    mae: float | None
    cvrmse: float | None = Field(description="RMSE over the mean; null where the mean is not > 0.")
    coverage_80: float | None = Field(description="Share within the 10 to 90 % band.")


class OutputErrors(Errors):
    """Errors of an output over all places, beside what the simulator differs from itself by."""

    floor: float | None = Field(description="MAE between two runs of the simulator, where known.")
    mae_over_floor: float | None
    places: dict[str, Errors] = Field(description="By place, where the report holds them.")


class TestSet(BaseModel):
    """A surrogate's errors on one test set."""

    runs: int
    outputs: dict[str, OutputErrors]


class SurrogateDetail(SurrogateEntry):
    """What a surrogate may be asked and what it answers."""

    axis: str = Field(description="What a place is.")
    places: list[str] = Field(description="Order of a field's values.")
    scalars: list[InputEntry]
    fields: list[InputEntry]
    presets: list[str]
    answered: list[str] = Field(description="Places that are answered.")
    outputs: list[OutputEntry]
    quantiles: list[float]
    facts: dict[str, Any] = Field(description="What was held fixed in all experiments.")
    errors: dict[str, TestSet] = Field(description="By test set.")


class OutsideEntry(BaseModel):
    """A value that the surrogate was not trained on."""

    input: str
    place: str | None
    value: float
    low: float
    high: float


class RangeCheck(BaseModel):
    """Whether all inputs lie where the surrogate was trained."""

    inside: bool
    outside: list[OutsideEntry]


class OutputAnswer(BaseModel):
    """An output of a scenario."""

    unit: str
    median: dict[str, float] = Field(description="By place.")
    quantiles: dict[str, list[float]] = Field(description="Level to one value a place.")


class ScenarioAnswer(BaseModel):
    """A scenario's outputs by name."""

    outputs: dict[str, OutputAnswer]
    range_check: RangeCheck


class ScenariosAnswer(SurrogateName):
    """Every scenario's outputs, and how far to trust them."""

    issued_at: datetime
    engine: Literal["surrogate"]
    axis: str
    places: list[str] = Field(description="Order of the values of `quantiles`.")
    quantiles: list[float]
    scenarios: list[ScenarioAnswer] = Field(description="In the order asked.")
    error: dict[str, TestSet] = Field(
        description="Against the simulator, by test set, at these places."
    )
