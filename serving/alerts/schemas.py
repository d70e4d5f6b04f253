"""What may be posted about alerts, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from serving.alerts.rules import CLEAR_AFTER, CLEAR_AT, RAISE_AT
from serving.schemas import Body

Share = Annotated[float, Field(gt=0, le=1, strict=True)]
MOST_NODES = 10_000


class RuleBody(Body):
    """A rule to make: `threshold` reached `within` leads with a probability of `raise_at`."""

    dataset: str
    threshold: int = Field(ge=1, le=3, strict=True, description="Which threshold of a node.")
    within: int = Field(ge=1, le=100_000, strict=True, description="Leads.")
    raise_at: Share = Field(RAISE_AT, description="Probability from which on an alert is raised.")
    clear_at: Share = Field(
        CLEAR_AT, description="Probability below which an issue speaks for its end; < `raise_at`."
    )
    clear_after: int = Field(
        CLEAR_AFTER, ge=1, le=1000, strict=True, description="Such issues in a row that end it."
    )
    nodes: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MOST_NODES,
        description="Node ids; all that have the threshold, if left out.",
    )


class Backtest(BaseModel):
    """How a rule would have done after the release's training, replayed issue by issue."""

    from_: datetime = Field(alias="from")
    to: datetime
    issues: int
    events: int = Field(description="Runs of observed values at or above the threshold, by node.")
    hits: int = Field(description="Events before whose begin an alert was up.")
    misses: int
    issues_up: int = Field(
        description="Issues with an alert up, by node, for which it is known what followed."
    )
    false_alarms: int = Field(
        description="Of `issues_up`, those that nothing was reached `within` leads after."
    )
    pod: float | None = Field(description="hits / (hits + misses)")
    far: float | None = Field(description="false_alarms / issues_up")
    up_share: float | None = Field(description="Share of all issues, by node, with an alert up.")
    lead_time_hours_median: float | None = Field(
        description="From alert to event, over the hits; `within` leads at most."
    )
    note: str | None = Field(description="What to mind, such as too few events to say.")


class Rule(BaseModel):
    """A rule and how it would have done; `backtest` is null until it was replayed."""

    id: str
    dataset: str
    threshold: int
    level_range: list[float] | None = Field(
        description="Lowest and highest level of the threshold among the watched nodes."
    )
    unit: str
    within: int
    within_text: str
    raise_at: float
    clear_at: float
    clear_after: int
    nodes: list[str] | None
    problem: str | None = Field(description="Why the release now served cannot answer it.")
    backtest: Backtest | None


class RuleList(BaseModel):
    """Every rule that is evaluated."""

    rules: list[Rule]


class Acknowledgement(BaseModel):
    """Who has seen an alert."""

    by: str | None = Field(description="Told to keys of role operate alone, as is the note.")
    at: datetime
    note: str | None


class AcknowledgeBody(Body):
    """Says that somebody has seen an alert."""

    by: str | None = Field(
        None, max_length=80, description="Who, where one key is several people's."
    )
    note: str | None = Field(None, max_length=500)


class Alert(BaseModel):
    """An alert as of the latest issue."""

    id: str
    rule: str
    dataset: str
    domain: str
    node: str
    name: str
    area: str
    lon: float | None
    lat: float | None
    target: str
    threshold: int
    level: float
    unit: str
    probability: float = Field(description="That the level is reached `within_lead` leads.")
    within_lead: int
    within_text: str
    valid_from: datetime
    onset: datetime = Field(description="When it first becomes as likely as the rule asks.")
    valid_to: datetime
    timezone: str
    state: Literal["active", "ended"]
    raised_at: datetime
    last_seen: datetime = Field(description="The issue that this is as of: its `init_time`.")
    ended_at: datetime | None
    reached: bool = Field(description="Whether the latest observation has reached the level.")
    stale: bool = Field(description="No new data have come; it stays up until they do.")
    acknowledged: Acknowledgement | None
    release: str
    manifest_sha256: str | None = None
    approval: str
    decision: str | None = None
    synthetic: bool
    withdrawn: bool = Field(
        False, description="It ended since the board stopped its forecasts: no all-clear."
    )
    note: str | None


class AlertList(BaseModel):
    """Alerts, the latest first."""

    alerts: list[Alert]


class Removed(BaseModel):
    """What was removed."""

    id: str
