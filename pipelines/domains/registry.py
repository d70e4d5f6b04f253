"""What a domain brings: a name, a title, training defaults, and a synthetic dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.contracts import FelsinaError
from pipelines import domains

if TYPE_CHECKING:
    from torch import nn

    from pipelines.domains.published import Published
    from pipelines.ingest.source import Source
    from serving.surrogate import SurrogateRelease
    from training.dataset import CityDataset
    from training.experiments import Experiments

Defaults = Callable[["CityDataset", str], dict[str, Any]]
"""From a dataset and a profile (``quick`` or ``full``) to changes of the generic settings."""

Runner = Callable[[dict[str, Any], Path, Path, Callable[[str, float], None]], dict[str, Any]]
"""From a scenario (its TOML), the folder its paths are relative to, the folder to write into and
``progress(stage, share)`` to a report for JSON, whose ``tables`` (title to rows) are shown."""

Answering = Callable[
    [dict[str, Any], Path, Path, Callable[[str, float], None], "list[SurrogateRelease]"],
    dict[str, Any],
]
"""A ``Runner`` that is also given the domain's surrogates, one of which answers."""

Sampler = Callable[[dict[str, Any], Path, Path, Callable[[str, float], None]], None]
"""From a design (its TOML), the folder its paths are relative to, the folder to write and
``progress(stage, share)``: writes an experiments folder; finished parts outlive a kill."""


SMALL_NETWORK: dict[str, Any] = {
    "architecture": {"width": 64, "blocks": 2, "dropout": 0.3},
    "learning_rate": 5e-4,
    "weight_decay": 0.1,
}
"""For series that teach little: a large network would learn them by heart."""


@dataclass(frozen=True)
class Check:
    """One published number that a simulator must reproduce: a gate with bounds.

    Attributes:
        domain: whose simulator.
        case: the published case.
        quantity: what is compared, with its unit.
        value: what the simulator says.
        low: least that passes.
        high: most that passes.
    """

    domain: str
    case: str
    quantity: str
    value: float
    low: float
    high: float

    @property
    def ok(self) -> bool:
        """Whether the value is within the bounds."""
        return self.low <= self.value <= self.high


@dataclass(frozen=True)
class OpenData:
    """A source of open data, as commands list it.

    Attributes:
        what: it is, for people.
        place: ``module:name`` of its ``pipelines.ingest.source.Source``.
    """

    what: str
    place: str


def _no_changes(dataset: CityDataset, profile: str) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Domain:
    """A registered domain.

    Attributes:
        name: as in ``dataset.toml``.
        title: for people.
        defaults: training settings that suit it.
        synthesise: writes its part of the embedded city, given folder and seed, and how many days
            where that is not the usual number.
        embedded: name of that dataset.
        published: public benchmarks that it reads: name to what file that is.
        ingest: writes one of them, by name, as a dataset folder.
        sources: open data that it connects to, by name.
        verify: compares its simulator with published references, given their folder.
        scenario: runs a scenario through its simulator.
        answer: answers one by a surrogate.
        search: finds the best measures of one; given no surrogates, by the simulator alone.
        sample: runs drawn scenarios through it, for a surrogate to learn from.
        surrogate: makes the network that learns them.
        surrogate_settings: changes of the training loop's settings that suit it.
    """

    name: str
    title: str
    defaults: Defaults = _no_changes
    synthesise: Callable[..., None] | None = None
    embedded: str = ""
    published: dict[str, str] = field(default_factory=dict)
    ingest: Callable[[str, Published, Path], None] | None = None
    sources: dict[str, OpenData] = field(default_factory=dict)
    verify: Callable[[Path], list[Check]] | None = None
    scenario: Runner | None = None
    answer: Answering | None = None
    search: Answering | None = None
    sample: Sampler | None = None
    surrogate: Callable[[Experiments], nn.Module] | None = None
    surrogate_settings: dict[str, Any] = field(default_factory=dict)


def later(place: str) -> Callable[..., Any]:
    """The function at ``module:name``, imported when it is called: commands start fast."""

    def call(*arguments: Any) -> Any:
        return _at(place)(*arguments)

    return call


def _at(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def registered() -> dict[str, Domain]:
    """Domain name to domain, in order of registration."""
    found = (import_module(package).DOMAIN for package in domains.DOMAINS)
    return {domain.name: domain for domain in found}


def domain_of(name: str) -> Domain:
    """A registered domain; an unknown one is refused."""
    known = registered()
    if name not in known:
        raise FelsinaError(f"domain {name!r} is not registered; use one of {', '.join(known)}")
    return known[name]


def published() -> dict[str, Domain]:
    """Name of a public benchmark to the domain that reads it."""
    return {name: domain for domain in registered().values() for name in domain.published}


_ANYWHERE = {
    "csv": OpenData(
        "any CSV by a mapping file: long, one column a node, or several steps a row",
        "pipelines.ingest.csv_table:SOURCE",
    ),
    "open-meteo": OpenData(
        "weather as it was forecast a day (or more) ahead, hourly",
        "pipelines.ingest.open_meteo:FORECAST",
    ),
    "open-meteo-archive": OpenData(
        "weather as it was analysed afterwards, hourly", "pipelines.ingest.open_meteo:ARCHIVE"
    ),
    "road-graph": OpenData(
        "road distances between nodes, from a GeoPackage of streets",
        "pipelines.ingest.road_graph:SOURCE",
    ),
    "bologna-areas": OpenData(
        "Bologna's statistical areas with income and fragility, for audits",
        "pipelines.ingest.bologna_areas:SOURCE",
    ),
}
"""Sources that no domain owns."""


def sources() -> dict[str, OpenData]:
    """Each source of open data by its name."""
    found = dict(_ANYWHERE)
    for domain in registered().values():
        found |= domain.sources
    return found


def source_of(name: str) -> Source:
    """A source of open data; an unknown one is refused."""
    known = sources()
    if name not in known:
        names = ", ".join([*known, *published()])
        raise FelsinaError(f"source {name!r} is unknown; use one of {names}")
    return _at(known[name].place)
