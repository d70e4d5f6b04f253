"""What may be posted about webhooks, and what is answered."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from serving.schemas import Body

Kind = Literal["forecast", "alert"]


class WebhookBody(Body):
    """Asks to be posted to."""

    url: str = Field(max_length=2000, description="https, at a public address.")
    datasets: list[str] | None = Field(
        None, min_length=1, max_length=100, description="Whose events; all, if left out."
    )
    events: list[Kind] = Field(
        ["alert"], min_length=1, max_length=2, description="New forecasts, changes of alerts."
    )


class Webhook(BaseModel):
    """A webhook and how it fares."""

    id: str
    url: str = Field(description="Its host; the path may hold a secret of the receiver's.")
    datasets: list[str] | None
    events: list[Kind]
    made_at: datetime
    delivered_at: datetime | None = Field(description="When it last answered 2xx.")
    failures: int = Field(description="In a row; each waits longer than the one before.")
    failing_since: datetime | None
    failure: str | None = Field(description="The last one.")
    disabled: bool = Field(description="Failed for a day, or said 410 Gone: not tried any more.")


class NewWebhook(Webhook):
    """A webhook with its secret, which is shown this once."""

    secret: str = Field(description="Standard Webhooks: messages are signed with it.")


class WebhookList(BaseModel):
    """Every webhook."""

    webhooks: list[Webhook]


class Removed(BaseModel):
    """What was removed."""

    id: str
