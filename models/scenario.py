"""What a surrogate may be asked and what it answers: named physical inputs with ranges.

A surrogate stands for a simulator. A scenario is ``scalars`` [F], one value each, and ``fields``
[P, C], one value a place (a month, a street); the answer is quantiles [A, O, Q] of O outputs at A
places, which are the same ones unless the spec says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from models.contracts import FelsinaError, FloatArray

QUANTILES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95)
TRAIN, STOPPING, CALIBRATION = "train", "stopping", "calibration"
"""Splits of a surrogate's experiments; every other name is a test set."""


@dataclass(frozen=True)
class Input:
    """One named physical input.

    Attributes:
        name: with its unit where it has one, such as ``window_w_m2k``.
        unit: for people; empty for a share.
        low: least value that the surrogate was trained on.
        high: largest.
        about: one sentence.
        default: what holds where nothing is said; a tuple gives one a place, None has none.
    """

    name: str
    unit: str
    low: float
    high: float
    about: str
    default: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse a range that is none."""
        if not self.low <= self.high:
            raise FelsinaError(f"input {self.name}: low {self.low} is not below high {self.high}")


@dataclass(frozen=True)
class Output:
    """One quantity that is answered, for each place.

    Attributes:
        name: with its unit, such as ``heating_kwh_m2``.
        unit: for people.
        about: one sentence.
        weight: of its error in training, beside the other outputs'.
        nonnegative: whether it is never below zero.
        total_weight: in training, of the relative error of its sum over places, such as a volume
            of water; 0 where that means nothing.
    """

    name: str
    unit: str
    about: str
    weight: float = 1.0
    nonnegative: bool = True
    total_weight: float = 0.0


@dataclass(frozen=True)
class Outside:
    """A value that the surrogate was not trained on.

    Attributes:
        scenario: row of the scenario.
        input: its name.
        place: where, empty for a scalar.
        value: what was asked.
        low: least of the range.
        high: largest.
    """

    scenario: int
    input: str
    place: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As a refusal says it."""
        where = f" at {self.place}" if self.place else ""
        return f"{self.input}{where} is {self.value:.6g}, trained on {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class ScenarioSpec:
    """What a surrogate is asked and answers.

    Attributes:
        name: of the surrogate.
        domain: as registered.
        simulator: that it stands for, with its version.
        axis: what a place is, such as ``month``.
        places: P ids.
        scalars: F inputs of one value.
        fields: C inputs of a value a place.
        outputs: O quantities of a value at each answered place.
        quantiles: Q rising levels, symmetric about the median, 0.1 and 0.9 among them.
        answered: A places that are answered; ``places`` when left out.
        presets: name to values [P, C] of the fields, such as a climate.
        facts: what was held fixed in all experiments, for JSON.
    """

    name: str
    domain: str
    simulator: str
    axis: str
    places: tuple[str, ...]
    scalars: tuple[Input, ...]
    fields: tuple[Input, ...]
    outputs: tuple[Output, ...]
    quantiles: tuple[float, ...] = QUANTILES
    answered: tuple[str, ...] = ()
    presets: dict[str, list[list[float]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse names that occur twice, values that do not fit the places, and odd levels."""
        if not self.answered:
            object.__setattr__(self, "answered", self.places)
        names = [one.name for one in (*self.scalars, *self.fields)]
        listed = {
            "inputs": names,
            "places": list(self.places),
            "answered places": list(self.answered),
            "outputs": [one.name for one in self.outputs],
        }
        for kind, given in listed.items():
            if len(set(given)) < len(given):
                raise FelsinaError(f"surrogate {self.name}: two {kind} have one name")
        for one in self.fields:
            if isinstance(one.default, tuple) and len(one.default) != len(self.places):
                raise FelsinaError(
                    f"input {one.name}: {len(one.default)} defaults for {len(self.places)} places"
                )
        shape = len(self.places), len(self.fields)
        for name, values in self.presets.items():
            if (found := np.array(values, float)).shape != shape or not np.isfinite(found).all():
                raise FelsinaError(
                    f"preset {name} is no table of {shape[0]} places by {shape[1]} fields"
                )
        levels = np.array(self.quantiles)
        if not {0.1, 0.5, 0.9} <= set(self.quantiles) or not np.allclose(levels + levels[::-1], 1):
            raise FelsinaError(
                f"surrogate {self.name}: quantiles {self.quantiles} must be symmetric about 0.5, "
                "with 0.1 and 0.9 among them"
            )
        if (np.diff(levels) <= 0).any():
            raise FelsinaError(f"surrogate {self.name}: quantiles {self.quantiles} must rise")

    @property
    def median(self) -> int:
        """Index of the median."""
        return self.quantiles.index(0.5)

    def outside(self, scalars: FloatArray, fields: FloatArray) -> list[Outside]:
        """Values of scenarios [B, F] and [B, P, C] that were not trained on."""
        found = []
        for places, inputs, values in (
            (("",), self.scalars, scalars[:, None]),
            (self.places, self.fields, fields),
        ):
            for c, one in enumerate(inputs):
                given = values[:, :, c].astype(float)
                slack = 1e-6 * max(1.0, abs(one.low), abs(one.high))  # of single precision
                bad = ~((given >= one.low - slack) & (given <= one.high + slack))
                found += [
                    Outside(int(b), one.name, places[p], float(given[b, p]), one.low, one.high)
                    for b, p in np.argwhere(bad)
                ]
        return sorted(found, key=lambda one: one.scenario)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> ScenarioSpec:
        """From ``to_dict`` or its JSON.

        Raises:
            FelsinaError: if it is not one.
        """
        try:
            given = dict(record)
            for key in ("scalars", "fields"):
                given[key] = tuple(_input(one) for one in given[key])
            given["outputs"] = tuple(Output(**one) for one in given["outputs"])
            for key in ("places", "quantiles", "answered"):
                given[key] = tuple(given[key])
            return ScenarioSpec(**given)
        except (KeyError, TypeError, ValueError) as error:
            raise FelsinaError(f"no scenario spec: {type(error).__name__} {error}") from error


def _input(record: Mapping[str, Any]) -> Input:
    default = record["default"]
    return Input(**{**record, "default": tuple(default) if isinstance(default, list) else default})
