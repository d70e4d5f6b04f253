"""The one file that a partner gets from the city: where, with whom, under which text, to do what.

It is signed by the city's ledger key and holds a token that lets one key in, once. It is secret
until it was used: send it as you would send a password.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models.errors import FelsinaError
from models.record import sha256_bytes
from models.signing import (
    PrivateKey,
    key_ring,
    load_public_key,
    sign_record,
    signature_fault,
)
from models.toml_file import first_fault
from privacy.deployment.plan import Plan, Terms
from privacy.entries import Name, Sha256


class Invitation(BaseModel):
    """What an invitation says.

    Attributes:
        format: of the file.
        city: its name.
        partner: who is invited.
        address: host:port of the city's proxy.
        authority: PEM of the city's certificate authority; no other is believed.
        city_key: ed25519 key, hex, that signs ledger, receipts and this file.
        token: lets one key in, once.
        agreement: the text that is agreed to.
        terms: what it allows.
        plan: what is trained.
        bundle_sha256: of the app bundle that the city runs.
        bundle_files: name and SHA-256 of each file in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1] = 1
    city: Name
    partner: Name
    address: str
    authority: str
    city_key: Sha256
    token: str
    agreement: str = Field(min_length=1)
    terms: Terms
    plan: Plan
    bundle_sha256: Sha256
    bundle_files: dict[str, Sha256]

    @property
    def agreement_sha256(self) -> str:
        """Of the text."""
        return sha256_bytes(self.agreement.encode())

    def signed(self, key: PrivateKey) -> bytes:
        """As a file."""
        record = sign_record(self.model_dump(mode="json"), key)
        return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def read_invitation(path: Path) -> Invitation:
    """Read an invitation and check that it is whole.

    The signature is by the key that the file itself names: it shows damage and edits by others, not
    who sent it. That the file came from the city is known by the way it came, or by comparing
    ``city_key`` with what the city publishes.

    Raises:
        FelsinaError: naming the file and what is wrong with it.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FelsinaError(f"{path}: no invitation ({error}); ask for it again") from None
    try:
        body = {k: v for k, v in record.items() if k not in ("key", "signature")}
        invitation = Invitation.model_validate(body)
        key = load_public_key(invitation.city_key)
    except ValidationError as error:
        raise FelsinaError(f"{path}: {first_fault(error)}; ask for it again") from error
    fault = signature_fault(record, key_ring(key))
    if fault:
        raise FelsinaError(f"{path} {fault}; ask the city for it again")
    return invitation


def acceptance(invitation: Invitation, terms: Terms) -> dict[str, Any]:
    """What a partner signs: the text, its own (perhaps stricter) terms, the plan, the bundle."""
    return {
        "accepts": "felsina federation",
        "city": invitation.city,
        "partner": invitation.partner,
        "agreement_sha256": invitation.agreement_sha256,
        "terms": terms.model_dump(mode="json"),
        "plan_sha256": invitation.plan.digest,
        "bundle_sha256": invitation.bundle_sha256,
    }
