"""What the service answers, as arrays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from felsina_client.sending import FelsinaError


@dataclass(frozen=True)
class Forecast:
    """Quantiles by lead and node.

    Attributes:
        nodes: N ids.
        valid_times: [H] UTC.
        levels: Q quantile levels, rising.
        quantiles: [H, N, Q] in ``unit``.
        answer: all that was answered: release, approval, thresholds, warnings and so on.
    """

    dataset: str
    unit: str
    nodes: tuple[str, ...]
    valid_times: NDArray[np.datetime64]
    levels: tuple[float, ...]
    quantiles: NDArray[np.float64]
    answer: dict[str, Any]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Forecast:
        """The forecast that an answer in JSON says."""
        features = answer["features"]
        levels = list(features[0]["quantiles"]) if features else []
        table = [[one["quantiles"][level] for level in levels] for one in features]
        shape = (len(features), len(levels), len(answer["valid_times"]))
        quantiles = np.array(table, float).reshape(shape).transpose(2, 0, 1)
        return cls(*_head(answer), tuple(map(float, levels)), quantiles, answer)

    def at(self, level: float) -> NDArray[np.float64]:
        """[H, N] of a quantile level."""
        if level not in self.levels:
            raise FelsinaError(f"level {level} is not forecast; these are: {self.levels}")
        return self.quantiles[:, :, self.levels.index(level)]


@dataclass(frozen=True)
class Members:
    """Ways that all nodes and leads may go together, equally likely.

    Attributes:
        values: [M, H, N] in ``unit``.
    """

    dataset: str
    unit: str
    nodes: tuple[str, ...]
    valid_times: NDArray[np.datetime64]
    values: NDArray[np.float64]
    answer: dict[str, Any]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Members:
        """The members that an answer in JSON says."""
        values = np.array([one["values"] for one in answer["features"]], float)
        return cls(*_head(answer), values.transpose(1, 2, 0), answer)


@dataclass(frozen=True)
class Scenarios:
    """What a surrogate answers to each scenario.

    Attributes:
        outputs: name to [S, P, Q].
        inside: [S] whether all inputs lie where the surrogate was trained.
    """

    release: str
    places: tuple[str, ...]
    levels: tuple[float, ...]
    outputs: dict[str, NDArray[np.float64]]
    inside: NDArray[np.bool_]
    answer: dict[str, Any]

    @classmethod
    def of(cls, answer: dict[str, Any]) -> Scenarios:
        """The scenarios that an answer in JSON says."""
        asked = [one["outputs"] for one in answer["scenarios"]]
        levels = [f"{level:g}" for level in answer["quantiles"]]
        outputs = {
            name: np.array([[one[name]["quantiles"][q] for q in levels] for one in asked])
            for name in asked[0]
        }
        return cls(
            answer["release"],
            tuple(answer["places"]),
            tuple(answer["quantiles"]),
            {name: table.transpose(0, 2, 1) for name, table in outputs.items()},
            np.array([one["range_check"]["inside"] for one in answer["scenarios"]]),
            answer,
        )


@dataclass(frozen=True)
class Event:
    """Something that the service tells of: ``forecast`` or ``alert``."""

    kind: str
    id: str
    data: dict[str, Any]


def events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events out of their lines; comments and other fields are passed over."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line and "data" in fields:
            kind, id = fields.get("event", "message"), fields.get("id", "")
            yield Event(kind, id, json.loads(fields["data"]))
        if not line:
            fields = {}
        elif name == "data" and "data" in fields:
            fields["data"] += "\n" + value
        else:
            fields[name] = value


def _head(answer: dict[str, Any]) -> tuple[str, str, tuple[str, ...], NDArray[np.datetime64]]:
    stamps = [stamp.removesuffix("Z") for stamp in answer["valid_times"]]
    nodes = tuple(one["id"] for one in answer["features"])
    return answer["dataset"], answer["unit"], nodes, np.array(stamps, "datetime64[s]")
