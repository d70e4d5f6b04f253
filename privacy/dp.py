"""Private training: noise on the sum of clipped per-unit gradients, charged before it is used.

DP-SGD (Abadi et al. 2016, doi 10.1145/2976749.2978318) whose sample is a unit: each step, every
unit takes part with the same probability (Poisson), its gradient over a few own windows is clipped
to C, and the sum carries normal noise of standard deviation sigma C. The number of steps is fixed
beforehand, there is no early stopping, and no loss or metric of private data leaves. The claim:
whatever is seen of the model, one unit's presence is bounded by (epsilon, delta) over all steps
that were charged; what many units have in common is learned, and is not protected.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from models.contracts import FelsinaError, ForecastSpec
from models.forecaster import Architecture, Forecaster
from models.record import canonical_json, sha256_bytes
from privacy.accounting import BudgetReached, Epsilon, SampledGaussian, epsilon_of, noise_for
from privacy.draws import SecretDraws, new_key
from privacy.gradients import UnitGradients
from privacy.private_network import check_architecture, private_forecaster
from privacy.resume import PrivateRun, RunState
from privacy.units import UnitWindows, check_unit_of_privacy
from training.dataset import CityDataset
from training.loop import Listener
from training.schedule import rate_share

Charge = Callable[[SampledGaussian, str, int], None]
"""Writes steps into a ledger: what they are, the run's name, the number of the first of them."""
WEAK_EPSILON = 4.0
"""Above it a guarantee is weak, and has to be asked for."""
LEAST_UNITS = 10
"""Delta is at most 1 in so many times the units."""
_SHAPE = {"width": 32, "blocks": 1, "dropout": 0.0, "inductive": True, "graph": False}


class PrivateSettings(BaseModel):
    """How a forecaster is trained privately; all of it public, none of it read off the data.

    Attributes:
        unit: whom the guarantee protects, see ``UnitWindows``.
        nominal_units: about how many units there are, a public figure (of the agreement, say); sums
            are divided by it times the rate.
        sampling_rate: probability that a unit takes part in a step.
        most_windows: windows of a unit in a step, at most.
        steps: fixed beforehand.
        epsilon: that the run may spend.
        delta: at most 1/(10 x nominal_units).
        noise_multiplier: standard deviation of the noise over the clip norm; None takes the least
            that ``epsilon`` allows.
        clip_norm: C.
        learning_rate: peak, after a warm-up of 5 %, before a cosine.
        optimiser: of the noisy gradients.
        seed: of first weights and of each unit's windows; noise and sampling have a secret key.
        lags: single earlier values, in steps before each target.
        architecture: shape of the network, on the private path.
        sampling: ``poisson``; others are refused.
        accept_weak: that epsilon above 4 is known to be weak.
        checkpoint_every: steps between checkpoints.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    nominal_units: int = Field(ge=1)
    sampling_rate: float = Field(gt=0, le=1)
    delta: float = Field(gt=0, lt=1)
    epsilon: float = Field(WEAK_EPSILON, gt=0)
    noise_multiplier: float | None = Field(None, gt=0)
    steps: int = Field(300, ge=1)
    most_windows: int = Field(8, ge=1)
    clip_norm: float = Field(0.1, gt=0)
    learning_rate: float = Field(5e-3, gt=0)
    optimiser: Literal["adam", "sgd"] = "adam"
    seed: int = Field(0, ge=0)
    lags: tuple[int, ...] = ()
    architecture: Architecture = Architecture.model_validate(_SHAPE)
    sampling: str = "poisson"
    accept_weak: bool = False
    checkpoint_every: int = Field(25, ge=1)

    @property
    def expected_units(self) -> float:
        """Units of an average step, which noisy sums are divided by."""
        return self.sampling_rate * self.nominal_units


@dataclass(frozen=True)
class PrivateFit:
    """A privately trained forecaster and what it cost.

    Attributes:
        forecaster: in evaluation mode, without conformal offsets: these would need private data.
        spec: with the lags that the model reads.
        settings: how it was trained.
        mechanism: the steps that the weights hold; None where not one was paid for.
        epsilon: what those steps alone spend, at the settings' delta.
        run: name of this draw of noise, under which its steps were charged.
        whole: whether all planned steps were taken, and not only those that the budget paid.
        seconds: wall time.
    """

    forecaster: Forecaster
    spec: ForecastSpec
    settings: PrivateSettings
    mechanism: SampledGaussian | None
    epsilon: Epsilon
    run: str
    whole: bool
    seconds: float


def planned(settings: PrivateSettings) -> SampledGaussian:
    """What a run of ``settings`` spends, to be compared with a budget before it starts.

    Raises:
        FelsinaError: where the settings would break the claim, or make it hollow.
    """
    check_unit_of_privacy(settings.unit)
    check_architecture(settings.architecture)
    if settings.sampling != "poisson":
        raise FelsinaError(
            f"sampling = {settings.sampling!r}: the accountants hold for units that take part each "
            "on its own; shuffled or fixed batches spend more than they say; use poisson"
        )
    most = 1 / (LEAST_UNITS * settings.nominal_units)
    if settings.delta > most * (1 + 1e-9):
        raise FelsinaError(
            f"delta = {settings.delta:g} with {settings.nominal_units} units: publishing one unit "
            f"whole could pass as private; take at most {most:.3g}, 1/({LEAST_UNITS} x units)"
        )
    if settings.epsilon > WEAK_EPSILON and not settings.accept_weak:
        raise FelsinaError(
            f"epsilon = {settings.epsilon:g} lets a unit's presence make a result "
            f"{math.exp(min(settings.epsilon, 700)):.3g} times as likely; take at most "
            f"{WEAK_EPSILON:g}, or accept_weak = true"
        )
    rate, steps, noise = settings.sampling_rate, settings.steps, settings.noise_multiplier
    if noise is None:
        noise = noise_for(settings.epsilon, settings.delta, rate, steps)
    mechanism = SampledGaussian(rate, noise, steps)
    spent = epsilon_of([mechanism], settings.delta).pld
    if spent > settings.epsilon:
        raise FelsinaError(
            f"{steps} steps with noise_multiplier = {noise:g} spend epsilon {spent:.4g}, more than "
            f"the {settings.epsilon:g} asked for; leave noise_multiplier out, or raise it"
        )
    return mechanism


def check_units(dataset: CityDataset, settings: PrivateSettings, units: int) -> None:
    """Refuse data that holds less than half or more than twice ``nominal_units``."""
    if not settings.nominal_units / 2 <= units <= 2 * settings.nominal_units:
        raise FelsinaError(
            f"{dataset.folder} holds far from {settings.nominal_units} units of {settings.unit}; "
            "correct nominal_units, which the noise is weighed by"
        )


class PrivateTraining:
    """The mechanism itself, a step at a time; noise may be 0 for studies, which claim nothing.

    Args:
        gradients: clipped sums of a forecaster.
        draws: who takes part, and the noise.
        settings: how.
        noise_multiplier: sigma.
    """

    def __init__(
        self,
        gradients: UnitGradients,
        draws: SecretDraws,
        settings: PrivateSettings,
        noise_multiplier: float,
    ) -> None:
        self.gradients, self.draws, self.settings = gradients, draws, settings
        self.noise_multiplier = noise_multiplier
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[settings.optimiser]
        self.weights = torch.nn.Parameter(parameters_to_vector(gradients.parameters).detach())
        self.optimiser = kind([self.weights], lr=settings.learning_rate)

    def noisy_sum(self, step: int) -> torch.Tensor:
        """Sum [P] of clipped gradients of those who take part in ``step``, with noise, 64 bit."""
        gradients, rate = self.gradients, self.settings.sampling_rate
        taking_part = self.draws.members(step, len(gradients.windows), rate).nonzero()[0]
        total = gradients.clipped_sum(taking_part, step)
        noise = self.draws.noise(step, gradients.size)
        return torch.as_tensor(total + self.noise_multiplier * gradients.clip_norm * noise)

    def take(self, step: int) -> None:
        """Move the weights by the noisy mean of ``step``, a step of no units too."""
        mean = self.noisy_sum(step) / self.settings.expected_units
        self.weights.grad = mean.to(self.weights.dtype)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * rate_share(step, self.settings.steps)
        self.optimiser.step()
        self.write()

    def write(self) -> None:
        """Copy the weights into the network."""
        vector_to_parameters(self.weights.detach(), self.gradients.parameters)


def private_run(
    dataset: CityDataset,
    settings: PrivateSettings,
    work: Path,
    public: CityDataset | None = None,
) -> PrivateRun:
    """The run of these settings and data in a folder, begun or not."""
    about = {
        "settings": settings.model_dump(mode="json", exclude={"checkpoint_every"}),
        "noise": planned(settings).noise_multiplier,
        "data": dataset.digests,
        "public": public.digests if public else {},
    }
    return PrivateRun(work, sha256_bytes(canonical_json(about)))


def fit_private(
    dataset: CityDataset,
    settings: PrivateSettings,
    work: Path,
    listener: Listener,
    charge: Charge,
    public: CityDataset | None = None,
) -> PrivateFit:
    """Train on the train span's units for a fixed number of noisy steps.

    Every step is charged before its noisy sum is formed, so that no result exists that was not
    paid for. A killed run goes on from its checkpoint; steps that were charged and lost are drawn
    again with the same members and the same noise, and are not charged twice. Of a finished run
    the weights stay and the key goes: who has it could take the noise off them.

    Args:
        dataset: an opened dataset folder.
        settings: public ones.
        work: folder of this run's checkpoint and secret key; it stays with the data.
        listener: told of progress, never of losses.
        charge: writes a step into the ledger, once however often it is asked to; raises
            ``BudgetReached`` when it cannot be paid, and the run then ends with the model that was
            paid for.
        public: a dataset for the backbone whose series are public.

    Raises:
        FelsinaError: where the claim would break or be hollow, or ``work`` holds another run.
    """
    began = time.perf_counter()
    mechanism = planned(settings)
    torch.manual_seed(settings.seed)
    spec = dataset.spec.with_lags(settings.lags)
    builder = dataset.builder(spec)
    windows = UnitWindows(dataset, builder, settings.unit, settings.most_windows, settings.seed)
    check_units(dataset, settings, len(windows))
    forecaster = private_forecaster(dataset, builder, settings.architecture, public)
    gradients = UnitGradients(forecaster, windows, settings.clip_norm)
    run = private_run(dataset, settings, work, public)
    state = run.open(new_key)
    draws = SecretDraws(state.key or new_key())
    training = PrivateTraining(gradients, draws, settings, mechanism.noise_multiplier)
    if state.steps:
        with torch.no_grad():
            training.weights.copy_(state.weights)
        training.write()
        if not state.finished:
            training.optimiser.load_state_dict(state.optimiser)
    step = state.steps
    if not state.finished:
        step = _train(training, mechanism, run, state, listener, charge)
        weights = training.weights.detach()
        run.save(RunState(b"", state.name, step, step, weights, finished=True))
    forecaster.eval()
    if not torch.isfinite(training.weights).all():
        raise FelsinaError(
            f"training on {spec.dataset} diverged; lower learning_rate = {settings.learning_rate}"
        )
    taken = None
    if step:
        taken = SampledGaussian(mechanism.sampling_rate, mechanism.noise_multiplier, step)
    epsilon = epsilon_of([taken] if taken else [], settings.delta)
    whole, seconds = step == settings.steps, time.perf_counter() - began
    return PrivateFit(forecaster, spec, settings, taken, epsilon, state.name, whole, seconds)


def _train(
    training: PrivateTraining,
    mechanism: SampledGaussian,
    run: PrivateRun,
    state: RunState,
    listener: Listener,
    charge: Charge,
) -> int:
    """Take the steps that are left; how many the weights hold at the end."""
    settings = training.settings
    one = SampledGaussian(mechanism.sampling_rate, mechanism.noise_multiplier, 1)
    for step in range(state.steps, settings.steps):
        if step >= state.charged:
            try:
                charge(one, state.name, step)
            except BudgetReached:
                return step
            run.charged(step + 1)
        training.take(step)
        if (step + 1) % settings.checkpoint_every == 0:
            run.save(
                replace(
                    state,
                    steps=step + 1,
                    charged=step + 1,
                    weights=training.weights.detach(),
                    optimiser=training.optimiser.state_dict(),
                )
            )
        listener.progress("train", (step + 1) / settings.steps)
    return settings.steps
