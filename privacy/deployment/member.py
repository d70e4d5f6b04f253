"""A partner as the city knows it: what it was offered, and what it sent when it joined."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from privacy.deployment.plan import Terms
from privacy.entries import Name, Sha256, Text

_STRICT = ConfigDict(frozen=True, extra="forbid")


class Enrolment(BaseModel):
    """What a partner sends when it joins.

    Attributes:
        token: of its invitation; the city forgets it once it was used.
        request: PEM of its certificate signing request; its key is the node's.
        accepted: the signed acceptance.
        public_key: hex of the ed25519 key that signed it.
        terms: its own, not looser than the city's.
        dataset: name of its dataset.
        digests: SHA-256 of each of its files.
        weight: most that its replies may weigh; where training is private, the terms' units.
        sampling_rate: of its private steps.
        noise_multiplier: of them.
        basis: on which units take part, in the partner's words.
    """

    model_config = _STRICT
    token: str
    request: str = Field(max_length=10_000)
    accepted: dict[str, Any]
    public_key: Sha256
    terms: Terms
    dataset: Name
    digests: dict[Text, Sha256] = Field(min_length=1, max_length=20)
    weight: float = Field(gt=0, allow_inf_nan=False)
    sampling_rate: float | None = Field(None, gt=0, le=1)
    noise_multiplier: float | None = Field(None, gt=0)
    basis: Text | None = None


class Member(BaseModel):
    """A partner as the city knows it.

    Attributes:
        partner: name.
        token_sha256: of the invitation's token.
        agreement: the text.
        terms: what the city offered.
        enrolled: what came back; None while it is only invited.
        key: PEM of its node's public key.
        node: its number at the SuperLink, once it is known there.
        withdrawn: whether it left.
    """

    model_config = _STRICT
    partner: Name
    token_sha256: Sha256
    agreement: str
    terms: Terms
    enrolled: Enrolment | None = None
    key: str = ""
    node: int | None = None
    withdrawn: bool = False

    @property
    def state(self) -> Literal["invited", "joined", "withdrew"]:
        """In one word."""
        if self.withdrawn:
            return "withdrew"
        return "joined" if self.enrolled else "invited"
