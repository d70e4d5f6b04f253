"""What city and partners agreed to train, and how a partner may narrow it, never widen it."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as checked

from models.contracts import CityGraph, FelsinaError, ForecastSpec
from models.record import canonical_json, sha256_bytes
from models.toml_file import read_model
from privacy.dp import PrivateSettings, planned
from privacy.entries import Agreement, Budget, Dataset, Delta, Name, Said, Text, Unit
from privacy.local import federated, first_model
from privacy.local_private import first_private_model
from privacy.private_network import check_architecture
from privacy.rounds import RoundSettings
from privacy.strategy import Arrays
from privacy.units import check_unit_of_privacy
from training.dataset import CityDataset
from training.settings import TrainSettings

_STRICT = ConfigDict(frozen=True, extra="forbid")
SAME = ("domain", "target", "unit", "step", "lookback", "horizon", "quantiles", "forcings")
"""Members of a spec that all partners share; names and civil clocks are each one's own."""
_SHOWN = 100
"""Characters of a wrong value that an error shows."""


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class RoundPlan(RoundSettings):
    """``RoundSettings`` that a city agrees on with its partners, where nobody outweighs all others.

    Attributes:
        deadline_s: of one attempt.
    """

    rounds: int = Field(default=20, ge=1)
    most_share: float = 0.5
    deadline_s: float = Field(default=600, gt=0)

    def settings(self) -> RoundSettings:
        """For the round loop."""
        return RoundSettings(**{one.name: getattr(self, one.name) for one in fields(RoundSettings)})


class Plan(BaseModel):
    """One federation: what is forecast, by which network, over which rounds, and whom it protects.

    Attributes:
        federation: name.
        spec: ``ForecastSpec.to_dict`` with lags; of its names and clocks each partner has its own.
        rounds: of it.
        training: settings of each partner's steps, where no person's rows are trained on.
        private: settings of differentially private steps, where there are.
        reason: why nobody needs protection, where ``training`` is given.
    """

    model_config = _STRICT
    federation: Name
    spec: dict[str, Any]
    rounds: RoundPlan = RoundPlan()
    training: TrainSettings | None = None
    private: PrivateSettings | None = None
    reason: Text | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Plan:
        if (self.training is None) == (self.private is None):
            raise ValueError("give [training] or [private], one of them")
        if (self.training is None) != (self.reason is None):
            raise ValueError("reason says why nobody needs protection; it belongs to [training]")
        if self.private is not None:
            check_unit_of_privacy(self.private.unit)
            check_architecture(self.private.architecture)
        steps = (self.private or self.training).steps  # pyright: ignore[reportOptionalMemberAccess]
        if steps < self.rounds.rounds:
            raise ValueError(f"steps = {steps} are fewer than rounds = {self.rounds.rounds}")
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the whole plan."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))

    @property
    def forecast(self) -> ForecastSpec:
        """What is forecast."""
        return ForecastSpec.from_dict(self.spec)

    def check(self, dataset: CityDataset) -> None:
        """Refuse a dataset that is another task.

        Raises:
            FelsinaError: naming the member that differs.
        """
        ours, theirs = self.forecast, dataset.spec
        for name in SAME:
            wanted, found = getattr(ours, name), getattr(theirs, name)
            if wanted != found:
                raise FelsinaError(
                    f"{dataset.folder}: {name} is {found}, federation {self.federation} has "
                    f"{wanted}; prepare the dataset so"
                )

    def initial(self, graph: CityGraph) -> Arrays:
        """The city's model before any round; of ``graph`` only that there is one counts."""
        if self.private is not None:
            return first_private_model(self.forecast, self.private)
        assert self.training is not None
        settings = federated(self.training)
        return first_model(self.forecast, graph, settings.architecture, settings.seed)


class Terms(BaseModel):
    """What an agreement allows.

    Attributes:
        unit: whom the guarantee protects.
        units: about how many there are, a public figure.
        epsilon: most that may ever be spent on the dataset; 0 where no person's rows are in it.
        delta: at which it is counted.
        purposes: what for.
        until: last day (UTC).
    """

    model_config = _STRICT
    unit: Unit
    units: int = Field(ge=1)
    epsilon: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    delta: Delta
    purposes: Annotated[tuple[Text, ...], Field(min_length=1)]
    until: date

    def entries(
        self, partner: str, text_sha256: str, dataset: str, digests: dict[str, str], budget: bool
    ) -> list[Said]:
        """What a ledger says of a partner on these terms, in the order that it asks for.

        Args:
            partner: who.
            text_sha256: of the agreement's text.
            dataset: name of its dataset.
            digests: SHA-256 of the files that hold units' rows.
            budget: whether private steps may be charged.
        """
        unit, epsilon, delta = self.unit, self.epsilon, self.delta
        said: list[Said] = [
            Agreement(
                partner=partner,
                text_sha256=text_sha256,
                unit=unit,
                epsilon=epsilon,
                delta=delta,
                purposes=self.purposes,
                until=self.until,
            ),
            Dataset(partner=partner, dataset=dataset, digests=digests, unit=unit, units=self.units),
        ]
        if budget:
            said.append(
                Budget(partner=partner, dataset=dataset, unit=unit, epsilon=epsilon, delta=delta)
            )
        return said


class Policy(BaseModel):
    """A partner's own limits; every one of them may only be stricter than the city's.

    Attributes:
        epsilon: most that may be spent; where it is given alone, noise grows until a run fits in.
        noise_multiplier: at least so much noise.
        sampling_rate: at most such a share of units in a step.
        until: last day.
        basis: on which units take part, such as an article of law or a form's name; the city's
            ledger keeps it as consent.
    """

    model_config = _STRICT
    epsilon: float | None = Field(None, gt=0)
    noise_multiplier: float | None = Field(None, gt=0)
    sampling_rate: float | None = Field(None, gt=0, le=1)
    until: date | None = None
    basis: Text | None = None


def read_policy(path: Path | None) -> Policy:
    """A partner's policy from a TOML file; without one it has no limits of its own.

    Raises:
        FelsinaError: naming the file and the member.
    """
    if path is None:
        return Policy()  # pyright: ignore[reportCallIssue]
    return read_model(path, Policy)


def narrowed(terms: Terms, plan: Plan, policy: Policy) -> tuple[Terms, PrivateSettings | None]:
    """Terms and private settings under a partner's own policy.

    Raises:
        FelsinaError: where the policy is looser, or the plan no longer fits into it.
    """
    until = min(terms.until, policy.until or terms.until)
    if policy.until and policy.until > terms.until:
        raise _looser("until", policy.until, terms.until)
    private = own_settings(terms, plan)
    if private is None:
        for name in ("epsilon", "noise_multiplier", "sampling_rate"):
            if getattr(policy, name) is not None:
                raise FelsinaError(f"policy: {name} limits private training; this plan has none")
        return terms.model_copy(update={"until": until}), None
    noise = private.noise_multiplier
    assert noise is not None
    if policy.epsilon is not None and policy.epsilon > terms.epsilon:
        raise _looser("epsilon", policy.epsilon, terms.epsilon)
    if policy.noise_multiplier is not None and policy.noise_multiplier < noise:
        raise _looser("noise_multiplier", policy.noise_multiplier, noise)
    if policy.sampling_rate is not None and policy.sampling_rate > private.sampling_rate:
        raise _looser("sampling_rate", policy.sampling_rate, private.sampling_rate)
    epsilon = policy.epsilon or terms.epsilon
    own = {
        "epsilon": min(private.epsilon, epsilon),
        "noise_multiplier": policy.noise_multiplier or (None if policy.epsilon else noise),
        "sampling_rate": policy.sampling_rate or private.sampling_rate,
    }
    settings = PrivateSettings.model_validate(private.model_dump() | own)
    needed = planned(settings).noise_multiplier
    settings = settings.model_copy(update={"noise_multiplier": max(noise, needed)})
    return terms.model_copy(update={"until": until, "epsilon": epsilon}), settings


def own_settings(terms: Terms, plan: Plan) -> PrivateSettings | None:
    """The plan's private settings for one partner's units, with the noise that they need.

    Raises:
        FelsinaError: where the plan spends more than the terms allow.
    """
    if plan.private is None:
        return None
    if plan.private.unit != terms.unit:
        raise FelsinaError(
            f"terms protect unit {terms.unit}, the plan {plan.private.unit}; agree on one"
        )
    own = {
        "nominal_units": terms.units,
        "delta": terms.delta,
        "epsilon": min(plan.private.epsilon, terms.epsilon),
    }
    settings = PrivateSettings.model_validate(plan.private.model_dump() | own)
    noise = planned(settings).noise_multiplier
    return settings.model_copy(update={"noise_multiplier": noise})


def _looser(name: str, own: object, city: object) -> FelsinaError:
    return FelsinaError(
        f"policy: {name} = {own} is looser than the city's {city}; a partner's own policy can only "
        "be stricter"
    )
