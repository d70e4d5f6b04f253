"""The audit of a private training: the release's own code and settings, on canaries and stand-ins.

It trains as the release was trained, with the same sampling, clipping, noise, network, optimiser
and number of steps, on units that nobody has to protect: no private row is read, so it costs no
budget. What it can refute is therefore the code and the settings, not what the release's own rows
did: noise that a fault left out, a rate or a clip norm other than the one that was accounted for.

The guarantee does not depend on how many units there are. Where stand-ins are too few for the
settings' nominal units, sums are smaller beside the same noise and divided by the same expected
number: the network learns less, and canaries are seen no worse.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from models.contracts import FelsinaError
from privacy.accounting import Epsilon, SampledGaussian, epsilon_of
from privacy.canary import LEAST_CANARIES, Audit, audit, shares_to_guess
from privacy.canary_units import Pattern, canary_units
from privacy.dp import PrivateSettings, PrivateTraining, planned
from privacy.draws import KEY_BYTES, SecretDraws
from privacy.gradients import UnitGradients
from privacy.private_network import private_forecaster
from privacy.units import UnitWindows
from privacy.witness import Witness
from training.dataset import CityDataset
from training.loop import Listener

STAGE = "audit"
"""What a listener is told of."""
_LOOKS = 8
"""Steps whose windows of each canary the black-box score reads."""


@dataclass(frozen=True)
class PrivateAudit:
    """What an audit of settings found.

    Attributes:
        white_box: of who sees all noisy sums, as the claim allows; the verdict is this one's.
        black_box: of who sees how far each canary's loss fell, and nothing else.
        settings: that were audited.
        claimed: the mechanism that the claim counts.
        epsilon: the claim, by each accountant.
        noise_multiplier: that was in force, which a study may set apart from the claimed one.
        stand_in: name of the dataset of stand-ins.
        units: that could take part, stand-ins and canaries that were in.
        pattern: of the canaries.
        seed: of coins, canaries, sampling and noise.
        seconds: wall time.
    """

    white_box: Audit
    black_box: Audit
    settings: PrivateSettings
    claimed: SampledGaussian
    epsilon: Epsilon
    noise_multiplier: float
    stand_in: str
    units: int
    pattern: Pattern
    seed: int
    seconds: float

    @property
    def contradicts(self) -> bool:
        """Whether the claim is refuted."""
        return self.white_box.contradicts

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, without the wall time, which is another on each machine."""
        return {
            "claimed": {**asdict(self.epsilon), **asdict(self.claimed)},
            "noise_multiplier": self.noise_multiplier,
            "contradicts": self.contradicts,
            "could_contradict": self.white_box.ceiling > self.white_box.claim,
            "white_box": asdict(self.white_box),
            "black_box": asdict(self.black_box),
            "unit": self.settings.unit,
            "stand_in": self.stand_in,
            "units": self.units,
            "nominal_units": self.settings.nominal_units,
            "expected_units": self.settings.expected_units,
            "pattern": self.pattern,
            "seed": self.seed,
        }


def audit_private(
    settings: PrivateSettings,
    stand_in: CityDataset,
    listener: Listener,
    canaries: int = LEAST_CANARIES,
    noise_multiplier: float | None = None,
    seed: int = 0,
    public: CityDataset | None = None,
    pattern: Pattern = "gaps",
) -> PrivateAudit:
    """Train on stand-ins and canaries, and guess which canaries were in.

    Args:
        settings: of the release.
        stand_in: public or synthetic units with the release's lookback and horizon.
        listener: told of progress.
        canaries: coins to flip.
        noise_multiplier: in force; None for the claimed one, 0 for none at all.
        seed: of coins, canaries, sampling and noise.
        public: dataset of the release's backbone.
        pattern: how canaries are odd.

    Raises:
        FelsinaError: where the settings have no claim, or the canaries are too few.
    """
    began = time.perf_counter()
    if canaries < LEAST_CANARIES:
        raise FelsinaError(f"{canaries} canaries: an audit needs {LEAST_CANARIES} at least")
    claimed = planned(settings)
    epsilon = epsilon_of([claimed], settings.delta)
    noise = claimed.noise_multiplier if noise_multiplier is None else noise_multiplier
    units = canary_units(stand_in, settings.unit, settings.nominal_units, canaries, pattern, seed)
    rate = settings.sampling_rate
    guesses = shares_to_guess(canaries, epsilon.pld, settings.delta, rate, settings.steps)
    draws = SecretDraws(np.random.default_rng([seed, 1]).bytes(KEY_BYTES))
    witness = Witness(untrained_gradients(units.everyone, settings, public), units.stand_ins, rate)
    own = untrained_gradients(units.trained, settings, public)
    training = _Watched(own, draws, settings, noise)

    def see(step: int, noisy_sum: torch.Tensor) -> None:
        members = draws.members(step, len(own.windows), rate)
        known = members[: units.stand_ins].nonzero()[0]
        witness.see(step, training.weights.detach(), noisy_sum, known)

    training.see = see
    looks = np.linspace(0, settings.steps - 1, min(_LOOKS, settings.steps)).astype(np.int64)
    before = witness.losses(training.weights.detach(), looks)
    for step in range(settings.steps):
        training.take(step)
        listener.progress(STAGE, (step + 1) / settings.steps)
    after = witness.losses(training.weights.detach(), looks)
    given = (units.included, epsilon.pld, settings.delta, guesses[0])
    return PrivateAudit(
        white_box=audit(witness.scores, *given, guessed_out=guesses[1]),
        black_box=audit(before - after, *given, guessed_out=guesses[1]),
        settings=settings,
        claimed=claimed,
        epsilon=epsilon,
        noise_multiplier=noise,
        stand_in=stand_in.spec.dataset,
        units=len(own.windows),
        pattern=pattern,
        seed=seed,
        seconds=time.perf_counter() - began,
    )


class _Watched(PrivateTraining):
    """The mechanism itself, whose noisy sums are shown to somebody."""

    see: Callable[[int, torch.Tensor], None]

    def noisy_sum(self, step: int) -> torch.Tensor:
        """The sum that moves the weights, and that is seen."""
        total = super().noisy_sum(step)
        self.see(step, total)
        return total


def untrained_gradients(
    dataset: CityDataset, settings: PrivateSettings, public: CityDataset | None = None
) -> UnitGradients:
    """Of a private network before its first step, over a dataset's units."""
    torch.manual_seed(settings.seed)
    builder = dataset.builder(dataset.spec.with_lags(settings.lags))
    windows = UnitWindows(dataset, builder, settings.unit, settings.most_windows, settings.seed)
    forecaster = private_forecaster(dataset, builder, settings.architecture, public)
    return UnitGradients(forecaster, windows, settings.clip_norm)
