"""The concepts that every room shares: frozen, validated, numpy only.

Dimension letters, here and everywhere: B batch (one window or privacy unit a row), T past steps,
H horizon, N nodes, F forcings, K lags, C calendar columns, Q quantiles. In every array a missing
value is NaN, so that a value and its mask cannot disagree.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import FelsinaError as FelsinaError

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]

QUANTILES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""The levels that each forecast carries, lowest first (DATASET.md, "Rules")."""

_UNITS = """
veh/h veh persons km/h mph m/s kW MW GW Wh kWh MWh kWh/m2 W/m2 J/m2 mm mm/h cm m m3/s l/s
degC K % hPa kPa Pa deg dB ug/m3 mg/m3 ppm ppb EUR EUR/MWh 1
"""
KNOWN_UNITS = frozenset(_UNITS.split())
"""Units that a target or a forcing may have; ``1`` is dimensionless."""

_NAME = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*")
_STEP = re.compile(r"(\d*)\s*(s|min|h|D)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "D": 86400}


def step_seconds(step: str, whole_day: bool = True) -> int:
    """Read a pandas offset such as ``1h``, ``15min`` or ``1D`` as seconds.

    Args:
        step: the offset.
        whole_day: refuse one that does not divide a day.
    """
    match = _STEP.fullmatch(step)
    if not match or match[1] == "0":
        raise FelsinaError(f"step {step!r} is not a regular step; write one like 5min, 1h or 1D")
    seconds = int(match[1] or 1) * _SECONDS[match[2]]
    if whole_day and 86400 % seconds:
        raise FelsinaError(f"step {step!r} does not divide a day; use one that does, like 15min")
    return seconds


@dataclass(frozen=True)
class Forcing:
    """An outside influence on the target, such as air temperature or rain.

    Attributes:
        name: its column; ``name@node`` columns together form one forcing given at each node.
        unit: one of ``KNOWN_UNITS``.
        known_future: whether a forecast or calendar of it is available over the horizon.
    """

    name: str
    unit: str
    known_future: bool

    def __post_init__(self) -> None:
        """Refuse an unknown unit."""
        check_unit(self.unit, f"forcing {self.name}")


def check_unit(unit: str, what: str) -> None:
    """Raise unless ``unit`` is one that Felsina knows."""
    if unit not in KNOWN_UNITS:
        raise FelsinaError(
            f"{what}: unknown unit {unit!r}; use one of {', '.join(sorted(KNOWN_UNITS))}"
        )


@dataclass(frozen=True)
class ForecastSpec:
    """What is forecast. Read from ``dataset.toml``; the lags are the model's choice.

    Attributes:
        dataset: name of the dataset: letters, digits, hyphens.
        domain: a registered domain, a filter only.
        target: what the series hold, such as ``flow``.
        unit: unit of the target.
        step: pandas offset; the grid is regular in UTC.
        timezone: civil clock for calendar features and for people.
        lookback: T, dense past steps shown to the model.
        horizon: H, steps forecast.
        nonnegative: whether the target can never fall below zero.
        forcings: outside influences, known-future ones first.
        lags: single earlier steps, counted back from each *target*, in steps.
        country: holiday calendar ``CC`` or ``CC-SUB``; empty for none.
        quantiles: levels, lowest first, with .5 among them.
    """

    dataset: str
    domain: str
    target: str
    unit: str
    step: str
    timezone: str
    lookback: int
    horizon: int
    nonnegative: bool
    forcings: tuple[Forcing, ...] = ()
    lags: tuple[int, ...] = ()
    country: str = ""
    quantiles: tuple[float, ...] = QUANTILES

    def __post_init__(self) -> None:
        """Refuse a spec that no window could be cut for."""
        if not _NAME.fullmatch(self.dataset):
            raise FelsinaError(f"name {self.dataset!r}: use letters, digits and single hyphens")
        check_unit(self.unit, f"target {self.target}")
        step_seconds(self.step)
        for name in ("lookback", "horizon"):
            if getattr(self, name) < 1:
                raise FelsinaError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if any(lag < 1 for lag in self.lags):
            raise FelsinaError(f"lags {self.lags}: each must be at least one step back")
        levels = self.quantiles
        if list(levels) != sorted(set(levels)) or 0.5 not in levels:
            raise FelsinaError(f"quantiles {levels}: list them rising, with 0.5 among them")
        known = [forcing.known_future for forcing in self.forcings]
        if known != sorted(known, reverse=True):
            raise FelsinaError("forcings: list the known-future ones first")

    @property
    def seconds(self) -> int:
        """Length of one step in seconds."""
        return step_seconds(self.step)

    @property
    def steps_per_day(self) -> int:
        """Steps in a civil day of 24 hours."""
        return 86400 // self.seconds

    @property
    def known_future(self) -> tuple[Forcing, ...]:
        """The forcings that are given over the horizon too."""
        return tuple(forcing for forcing in self.forcings if forcing.known_future)

    @property
    def reach(self) -> int:
        """How many steps up to and with ``init_time`` a window may read."""
        return max(stop for _, stop in self.spans)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """What a window may read, as half-open ranges of steps back from ``init_time`` (0: itself).

        The dense past, each lag over the horizon with a day for changes of the clock, and the days
        from which gaps of known-future forcings are filled.
        """
        day = self.steps_per_day
        dense = max(self.lookback, (self.horizon // day + 1) * day)
        lags = [(max(0, lag - self.horizon - day), lag + day) for lag in self.lags]
        return ((0, dense), *lags)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form; ``from_dict`` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> ForecastSpec:
        """Build a spec from ``to_dict``'s output."""
        record = dict(record)
        record["forcings"] = tuple(Forcing(**entry) for entry in record["forcings"])
        record["lags"] = tuple(record["lags"])
        record["quantiles"] = tuple(record["quantiles"])
        return cls(**record)

    def with_lags(self, lags: tuple[int, ...]) -> ForecastSpec:
        """The same spec with other lags."""
        return replace(self, lags=tuple(sorted(set(lags))))


@dataclass(frozen=True)
class CityGraph:
    """Nodes of the city and the directed, weighted edges between them.

    Attributes:
        ids: N node ids, in the order of every array's node axis.
        lon: [N] degrees east, NaN where unknown.
        lat: [N] degrees north, NaN where unknown.
        names: N names for people.
        areas: N area ids, empty where unknown.
        thresholds: [N, 3] alert levels in the target's unit, NaN where none.
        attributes: other columns of ``nodes.csv``: name to N texts. Never features of a model.
        source: [E] index of the node an edge leaves.
        target: [E] index of the node an edge enters.
        weight: [E] positive weights.
    """

    ids: tuple[str, ...]
    lon: FloatArray
    lat: FloatArray
    names: tuple[str, ...]
    areas: tuple[str, ...]
    thresholds: FloatArray
    attributes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    source: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    target: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))
    weight: FloatArray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        """Refuse repeated ids and edges that leave the graph."""
        n = len(self.ids)
        if len(set(self.ids)) != n:
            repeated = sorted({i for i in self.ids if self.ids.count(i) > 1})
            raise FelsinaError(f"node ids repeat: {', '.join(repeated[:5])}")
        for name in ("lon", "lat", "names", "areas", "thresholds"):
            if len(getattr(self, name)) != n:
                raise FelsinaError(f"graph {name} has {len(getattr(self, name))} rows, not {n}")
        ends = np.concatenate([self.source, self.target])
        if ends.size and (ends.min() < 0 or ends.max() >= n):
            wrong = ends.min() if ends.min() < 0 else ends.max()
            raise FelsinaError(f"an edge names node index {wrong} of {n} nodes")

    @property
    def nodes(self) -> int:
        """N, the number of nodes."""
        return len(self.ids)

    def index(self, ids: list[str], where: str = "nodes") -> IntArray:
        """Positions of ``ids``; an unknown id is refused with its name."""
        position = {node: i for i, node in enumerate(self.ids)}
        unknown = [node for node in ids if node not in position]
        if unknown:
            some = ", ".join(self.ids[:5]) + (", ..." if self.nodes > 5 else "")
            raise FelsinaError(f"{where}: unknown node {', '.join(unknown[:5])}; known: {some}")
        return np.array([position[node] for node in ids], np.int64)

    def subset(self, chosen: IntArray) -> CityGraph:
        """The nodes at positions ``chosen``, in that order, and the edges between them."""
        place = np.full(self.nodes, -1, np.int64)
        place[chosen] = np.arange(len(chosen))
        source, target = place[self.source], place[self.target]
        kept = (source >= 0) & (target >= 0)

        def picked(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in chosen)

        return CityGraph(
            ids=picked(self.ids),
            lon=self.lon[chosen],
            lat=self.lat[chosen],
            names=picked(self.names),
            areas=picked(self.areas),
            thresholds=self.thresholds[chosen],
            attributes={name: picked(column) for name, column in self.attributes.items()},
            source=source[kept],
            target=target[kept],
            weight=self.weight[kept],
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form with None for unknown numbers; ``from_dict`` reads it back."""

        def numbers(array: FloatArray) -> list[Any]:
            return [None if np.isnan(v) else float(v) for v in array.ravel()]

        return {
            "ids": list(self.ids),
            "lon": numbers(self.lon),
            "lat": numbers(self.lat),
            "names": list(self.names),
            "areas": list(self.areas),
            "thresholds": numbers(self.thresholds),
            "attributes": {name: list(column) for name, column in self.attributes.items()},
            "source": self.source.tolist(),
            "target": self.target.tolist(),
            "weight": [float(w) for w in self.weight],
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> CityGraph:
        """Build a graph from ``to_dict``'s output."""
        return cls(
            ids=tuple(record["ids"]),
            lon=np.array(record["lon"], float),
            lat=np.array(record["lat"], float),
            names=tuple(record["names"]),
            areas=tuple(record["areas"]),
            thresholds=np.array(record["thresholds"], float).reshape(-1, 3),
            attributes={name: tuple(column) for name, column in record["attributes"].items()},
            source=np.array(record["source"], np.int64),
            target=np.array(record["target"], np.int64),
            weight=np.array(record["weight"], np.float32),
        )


@dataclass(frozen=True)
class Window:
    """A batch of examples as arrays; the only thing a predictor sees.

    Attributes:
        past: [B, T, N] target up to and with ``init_time``, oldest first.
        lags: [B, K, H, N] target ``spec.lags`` steps before each target time on the civil clock;
            NaN where that lies after ``init_time``.
        past_forcings: [B, T, M, F] with M = N, or 1 where every forcing is city-wide.
        future_forcings: [B, H, M, F_known] over the horizon.
        past_calendar: [B, T, C] integers, columns ``windows.CALENDAR``.
        future_calendar: [B, H, C] the same over the horizon.
        target: [B, H, N] what came true, in training only.
    """

    past: FloatArray
    lags: FloatArray
    past_forcings: FloatArray
    future_forcings: FloatArray
    past_calendar: IntArray
    future_calendar: IntArray
    target: FloatArray | None = None

    def __post_init__(self) -> None:
        """Refuse parts whose batch sizes differ."""
        sizes = {
            f.name: len(part) for f in fields(self) if (part := getattr(self, f.name)) is not None
        }
        if len(set(sizes.values())) > 1:
            raise FelsinaError(f"window parts differ in batch size: {sizes}")

    def inputs(self) -> dict[str, NDArray[Any]]:
        """The arrays a predictor takes, by name, without the target."""
        return {name: getattr(self, name) for name in INPUTS}


INPUTS = tuple(f.name for f in fields(Window) if f.name != "target")
"""Names of a predictor's inputs, in order; the exported ONNX graph uses them."""


@dataclass(frozen=True)
class Forecast:
    """What a person gets: quantiles with their times, unit and origin.

    Attributes:
        quantiles: [H, N, Q] in the target's unit.
        levels: Q quantile levels.
        init_time: stamp of the last observation shown to the model, UTC.
        valid_times: [H] times forecast, UTC.
        unit: unit of the quantiles.
        release: id of the release that made it.
        observed_fraction: [N] share of the dense past that was observed.
        exceedance: [H, N, 3] probability that the target reaches each threshold, NaN where none.
        exceedance_within: [H, N, 3] the same at any lead up to and with each one, by the joint
            members; NaN where there are none.
    """

    quantiles: FloatArray
    levels: tuple[float, ...]
    init_time: np.datetime64
    valid_times: NDArray[np.datetime64]
    unit: str
    release: str
    observed_fraction: FloatArray
    exceedance: FloatArray | None = None
    exceedance_within: FloatArray | None = None

    def __post_init__(self) -> None:
        """Refuse quantiles that are not finite or that fall with their level."""
        horizon, nodes, levels = self.quantiles.shape
        shape = (len(self.valid_times), len(self.observed_fraction), len(self.levels))
        if (horizon, nodes, levels) != shape:
            raise FelsinaError(f"forecast shape {self.quantiles.shape} does not match {shape}")
        if not np.isfinite(self.quantiles).all():
            raise FelsinaError(f"release {self.release} gave a forecast that is not finite")
        if (np.diff(self.quantiles, axis=-1) < 0).any():
            raise FelsinaError(f"release {self.release} gave quantiles that cross")
