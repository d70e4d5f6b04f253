"""What may be posted, and what is answered: pydantic models behind the OpenAPI document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from models.contracts import FelsinaError, FloatArray
from serving.retention import Rule

Number = Annotated[float, Field(allow_inf_nan=False, strict=True, ge=-1e30, le=1e30)]
Column = list[Number | None]
"""Values in order of time; null where nothing was observed."""
MOST_VALUES = 2_000_000
"""Values that one answer may hold."""
MOST_MEMBERS = 51
"""Members of a posted weather ensemble, as many as the largest that is in daily use has."""


class Body(BaseModel):
    """A posted body: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class Table(Body):
    """Columns of values on common times."""

    times: list[AwareDatetime] = Field(min_length=1, description="Stamps with a zone, on the grid.")
    values: dict[str, Column] = Field(
        min_length=1, description="Column name to one value a time; null clears a value."
    )

    def array(self) -> FloatArray:
        """[S, columns] with NaN for null; columns of another length are refused."""
        for name, column in self.values.items():
            if len(column) != len(self.times):
                raise FelsinaError(
                    f"values of {name!r}: {len(column)} for {len(self.times)} times; give one "
                    "a time"
                )
        return np.array(list(self.values.values()), float).T

    def stamps(self) -> np.ndarray:
        """[S] UTC; a stamp that stands twice is refused."""
        stamps = np.array([utc(t) for t in self.times])
        unique, count = np.unique(stamps, return_counts=True)
        if (count > 1).any():
            raise FelsinaError(f"time {unique[count > 1][0]}Z stands twice; give each time once")
        return stamps


class Observations(Table):
    """Observed values of the target; column names are node ids."""


class Forcings(Table):
    """Past or future values of forcings; column names are ``name`` or ``name@node``."""

    issued_at: AwareDatetime | None = Field(
        None,
        description="When they were issued (now, if left out); an older issue never replaces one.",
    )


class ForcingWindow(Body):
    """One forcing over the lookback and, where known, over the horizon."""

    past: Column = Field(description="One value a past step, oldest first.")
    future: Column | None = Field(None, description="One value a lead, where the future is known.")


class WindowBody(Body):
    """A window of the caller's own: nothing held is read, nothing is kept."""

    init_time: AwareDatetime = Field(description="Stamp of the last observation in `past`.")
    past: dict[str, Column] = Field(
        description="Node id to `lookback` values, oldest first; a node left out counts as unseen."
    )
    lag_values: dict[str, dict[str, Column]] = Field(
        default_factory=dict,
        description="Lag in steps to node id to one value a lead, for lags beyond `past`.",
    )
    forcings: dict[str, ForcingWindow] = Field(default_factory=dict)
    ensemble: list[dict[str, Column]] = Field(
        default_factory=list,
        max_length=MOST_MEMBERS,
        description="Members of a weather ensemble: each gives another `future` of some of the "
        "`forcings`. The answer is the equal mixture of their forecasts.",
    )


class Interval(BaseModel):
    """How the bands were made and how often they held in the backtest."""

    method: str
    nominal: float
    empirical: float | None
    window: str


class Model(BaseModel):
    """The release that made the forecast."""

    name: str
    version: str
    manifest_sha256: str = Field(description="What the ethics board's decisions sign.")
    decision: str | None = Field(
        description="The decision that approved it; felsina response verify checks it."
    )


class Exceedance(BaseModel):
    """How likely a threshold is reached. Below 0.05 and above 0.95 by a fitted tail."""

    level: float
    unit: str
    by_lead: list[float] = Field(description="Probability at each lead.")
    within_lead: list[float | None] = Field(
        description="Probability at any lead up to each one, by joint members; null without them."
    )
    within_horizon: float | None = Field(description="The last of `within_lead`.")
    tail: bool = Field(
        description="`within_horizon` rests on a fitted tail: nothing in it was seen in training."
    )
    text: str = Field(description="`within_horizon` for people, such as `< 5 %` or `37 %`.")


class Feature(BaseModel):
    """A node's forecast: quantile level to one value a lead."""

    id: str
    name: str
    lon: float | None
    lat: float | None
    area: str
    thresholds: list[float | None]
    observed_fraction: float
    quantiles: dict[str, list[float]]
    exceedance: dict[str, Exceedance] = Field(
        description="`threshold_1` to `threshold_3`, those that the node has."
    )


class Envelope(BaseModel):
    """What is needed to judge a forecast."""

    dataset: str
    domain: str
    target: str
    unit: str
    units: dict[str, str]
    issued_at: datetime
    init_time: datetime
    data_as_of: datetime
    stale: bool
    step: str
    timezone: str
    valid_times: list[datetime]
    model: Model
    approval: str
    synthetic: bool
    interval: Interval
    attribution: list[str]
    warnings: list[str]


class ForecastAnswer(Envelope):
    """A forecast: quantiles a node."""

    features: list[Feature]


class MembersFeature(BaseModel):
    """A node's joint members: one list of values by lead a member."""

    id: str
    values: list[list[float]]


class MembersAnswer(Envelope):
    """Joint members: member m of every node and lead together is one way that things may go."""

    members: int
    method: str
    tail: str
    features: list[MembersFeature]


class Sum(BaseModel):
    """Forecast of a sum over nodes: quantile level to one value a lead."""

    area: str
    nodes: int
    quantiles: dict[str, list[float]]


class AreasAnswer(Envelope):
    """Forecasts of the sums over each area's nodes and over the whole city."""

    members: int
    method: str
    total: Sum
    areas: list[Sum]


class DatasetEntry(BaseModel):
    """A served dataset."""

    name: str
    title: str
    domain: str
    target: str
    unit: str
    step: str
    horizon: int
    lookback: int
    lags: list[int]
    timezone: str
    nodes: int
    release: str
    manifest_sha256: str
    approval: str
    decision: str | None
    synthetic: bool
    data_as_of: datetime | None


class ForcingEntry(BaseModel):
    """A forcing that a model reads."""

    name: str
    unit: str
    known_future: bool


class NodeEntry(BaseModel):
    """A node of a dataset."""

    id: str
    name: str
    lon: float | None
    lat: float | None
    area: str
    thresholds: list[float | None]


class PrivacyAudit(BaseModel):
    """How hard the release's promise was tried, on invented units; `evidence.json` has it all."""

    epsilon_at_least: float = Field(
        description="Lower bound from right guesses; above the claim would refute it, which no "
        "release has. 0 where the guesses refute nothing."
    )
    confidence: float = Field(description="Of the lower bound.")
    canaries: int = Field(description="Coins that were flipped.")
    could_contradict: bool = Field(
        description="False where even right guesses alone could not have refuted the claim."
    )
    auc: float = Field(description="Of a test of who was trained on; 0.5 tells nobody apart.")


class Privacy(BaseModel):
    """Whom the release's training protects, and what it does not protect, in plain words."""

    statement: str
    statement_it: str | None = Field(description="In Italian; null in releases that lack it.")
    not_protected: list[str]
    not_protected_it: list[str]
    epsilon: float | None = Field(description="Null without differential privacy.")
    delta: float | None
    unit: str | None = Field(description="One of whom is protected: household, meter and so on.")
    audit: PrivacyAudit | None = Field(description="Null without differential privacy.")


class DatasetDetail(DatasetEntry):
    """A served dataset with its nodes and forcings, and its release's word on privacy."""

    privacy: Privacy
    retention: Rule | None = Field(
        description="How long the dataset is kept and who answers for it; null without a rule."
    )
    forcings: list[ForcingEntry]
    node_list: list[NodeEntry]


class NotServed(BaseModel):
    """What is there, and the ethics board does not let be served."""

    name: str
    detail: str = Field(description="Why: no approval, one that is over, an alarm.")


class DatasetList(BaseModel):
    """Every dataset served."""

    datasets: list[DatasetEntry]
    withheld: list[NotServed]


class Accepted(BaseModel):
    """What was written; it is on disk."""

    dataset: str
    accepted: int
    data_as_of: datetime | None


class ObservedFeature(BaseModel):
    """A node's held observations."""

    id: str
    values: list[float | None]


class ObservationsAnswer(BaseModel):
    """Held observations on the grid."""

    dataset: str
    unit: str
    step: str
    times: list[datetime]
    features: list[ObservedFeature]


class NgsiLdEntity(BaseModel):
    """A forecast of one node and lead, as a context broker holds it; other members are alike."""

    model_config = ConfigDict(extra="allow")
    id: str
    type: str
    forecast: dict[str, Any] = Field(
        description="The median: `value`, `observedAt`, `unitCode` or `unitText`, `q05` to `q95`."
    )


class JsonLdContext(BaseModel):
    """A JSON-LD context: name to IRI."""

    context: dict[str, str] = Field(alias="@context")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


def utc(stamp: datetime) -> np.datetime64:
    """An aware stamp as UTC seconds; a fraction of a second is refused."""
    if not 1970 <= stamp.year <= 2100:
        raise FelsinaError(f"time {stamp.isoformat()} lies outside the years 1970 to 2100")
    if stamp.microsecond:
        raise FelsinaError(
            f"time {stamp.isoformat()} has a fraction of a second; it is off the grid"
        )
    return np.datetime64(stamp.astimezone(UTC).replace(tzinfo=None), "s")


def iso(stamp: np.datetime64) -> str:
    """UTC seconds as ``2026-05-01T10:00:00Z``."""
    return f"{stamp.astype('datetime64[s]')}Z"
