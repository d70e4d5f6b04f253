"""What a privacy ledger can say: one frozen body for each kind of entry, validated when written.

Nothing in them is about a person: counts, digests and names of organisations, data sets and runs.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from models.errors import FelsinaError
from models.record import canonical_json
from models.toml_file import first_fault
from privacy.drop_codes import CODES

Unit = Literal["household", "meter", "vehicle", "day"]
"""Whom a guarantee protects; never a window."""

_NAME, _LONGEST = r"^[A-Za-z0-9][A-Za-z0-9._-]*$", 100
Name = Annotated[str, Field(pattern=_NAME, max_length=_LONGEST)]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=300)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Limit = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delta = Annotated[float, Field(gt=0, lt=1)]


def is_name(text: str) -> bool:
    """Whether an entry may name something so, and a folder too: one plain word."""
    return len(text) <= _LONGEST and re.fullmatch(_NAME, text) is not None


class Body(BaseModel):
    """What every body is: frozen, strict and without members that its kind does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    kind: ClassVar[str]


class Agreement(Body):
    """A partner agreed to a text; a later one takes its place.

    Attributes:
        partner: who.
        text_sha256: of the text that was signed.
        unit: whom the guarantee protects.
        epsilon: most that may be spent on any of the partner's data sets; 0 where no person's rows
            are lent, and nothing may be charged.
        delta: largest delta of any of their budgets.
        purposes: what for.
        until: last day (UTC) on which anything may be charged.
    """

    kind: ClassVar[str] = "agreement"
    partner: Name
    text_sha256: Sha256
    unit: Unit
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    delta: Delta
    purposes: Annotated[tuple[Text, ...], Field(min_length=1)]
    until: date


class Consent(Body):
    """On what basis units take part, and how many.

    Attributes:
        partner: whose data set.
        dataset: its name.
        units: how many units are covered.
        basis: in the partner's words, such as an article of law or a form's name.
    """

    kind: ClassVar[str] = "consent"
    partner: Name
    dataset: Name
    units: Annotated[int, Field(ge=1)]
    basis: Text


class Dataset(Body):
    """A partner's data set, as it now is.

    Attributes:
        partner: who holds it.
        dataset: its name.
        digests: SHA-256 of each of its files.
        unit: whom the guarantee protects.
        units: how many there are.
        continues: earlier data sets of the partner that hold some of the same units. What was spent
            on them was spent on these units too; the same name continues itself.
    """

    kind: ClassVar[str] = "dataset"
    partner: Name
    dataset: Name
    digests: Annotated[dict[Text, Sha256], Field(min_length=1)]
    unit: Unit
    units: Annotated[int, Field(ge=1)]
    continues: tuple[Name, ...] = ()


class Budget(Body):
    """The most that may be spent on a data set and all that it continues.

    Attributes:
        partner: who.
        dataset: its name.
        unit: whom the guarantee protects.
        epsilon: the limit.
        delta: at which epsilon is counted; at most 1/(10 units).
    """

    kind: ClassVar[str] = "budget"
    partner: Name
    dataset: Name
    unit: Unit
    epsilon: Limit
    delta: Delta


class Charge(Body):
    """Steps of a run that saw a data set: never taken back.

    Attributes:
        partner: who.
        dataset: its name.
        unit: whom the guarantee protects.
        run: which training run.
        first_step: number of the first of its steps.
        steps: how many.
        sampling_rate: probability that a unit takes part in a step.
        noise_multiplier: standard deviation of the noise over the clip norm.
    """

    kind: ClassVar[str] = "charge"
    partner: Name
    dataset: Name
    unit: Unit
    run: Name
    first_step: Annotated[int, Field(ge=0)]
    steps: Annotated[int, Field(ge=1)]
    sampling_rate: Annotated[float, Field(gt=0, le=1)]
    noise_multiplier: Limit


class Claim(BaseModel):
    """What a release says was spent on a data set when it was made.

    Attributes:
        partner: who.
        dataset: its name.
        unit: whom the guarantee protects.
        epsilon: spent over all charges so far.
        delta: at which.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    partner: Name
    dataset: Name
    unit: Unit
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    delta: Delta


class Release(Body):
    """A model left the house.

    Attributes:
        release: its id.
        manifest_sha256: what decisions sign.
        claim: what it says of each data set that it was trained on.
    """

    kind: ClassVar[str] = "release"
    release: Name
    manifest_sha256: Sha256
    claim: Annotated[tuple[Claim, ...], Field(min_length=1)]


class Withdrawal(Body):
    """A partner leaves: nothing more is charged unless a new agreement follows.

    Attributes:
        partner: who.
        reason: as far as the partner wants it known.
    """

    kind: ClassVar[str] = "withdrawal"
    partner: Name
    reason: Text | None = None


class Dropped(Body):
    """A partner's reply was not used in a round.

    Attributes:
        partner: whose.
        run: which training run.
        round: of it.
        code: why.
    """

    kind: ClassVar[str] = "dropped"
    partner: Name
    run: Name
    round: Annotated[int, Field(ge=0)]
    code: str

    @field_validator("code")
    @classmethod
    def _known(cls, code: str) -> str:
        if code not in CODES:
            raise ValueError(f"one of {', '.join(CODES)} is needed")
        return code


class Stop(Body):
    """A run ended before its plan.

    Attributes:
        run: which.
        reason: why.
    """

    kind: ClassVar[str] = "stop"
    run: Name
    reason: Text


Said = Agreement | Budget | Consent | Dataset
"""What stands until something else is said of the same partner or data set."""
KINDS: dict[str, type[Body]] = {
    body.kind: body
    for body in (
        Agreement, Consent, Dataset, Budget, Charge, Release, Withdrawal, Dropped, Stop
    )
}  # fmt: skip


def encoded(body: Body) -> dict[str, Any]:
    """The body as plain JSON values."""
    return body.model_dump(mode="json")


def decoded(kind: str, content: dict[str, Any]) -> Body:
    """Read and validate the body of an entry.

    Raises:
        FelsinaError: naming the member that is wrong.
    """
    if kind not in KINDS:
        raise FelsinaError(f"kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    try:
        return KINDS[kind].model_validate_json(canonical_json(content))
    except ValidationError as error:
        raise FelsinaError(f"{first_fault(error)}; correct it") from error
