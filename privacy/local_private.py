"""A partner's private training: noisy steps of each round, charged before they are formed.

Nothing of the private rows but the noised sums decides what leaves. The backbone is a constant or
fitted on public data, each window is scaled by its own past, and the weight is the public figure of
how many units there are. Whoever sees the answers, the city above all, learns of a unit no more
than the steps' epsilon allows: the noise is added here and not by the city.

Nothing is carried from a round to the next but the city's model. An optimiser's moments would be
about a model that the mean has moved on from, and would make an answer depend on which rounds the
partner was asked in; so they begin anew each round (docs/federation.md has what was measured).
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from models.contracts import CityGraph, FelsinaError, FloatArray, ForecastSpec, Window
from models.forecaster import Forecaster
from models.record import canonical_json, sha256_bytes, write_atomic
from privacy.accounting import SampledGaussian
from privacy.checkpoints import digest
from privacy.dp import PrivateSettings, PrivateTraining, check_units, planned
from privacy.draws import SecretDraws, new_key
from privacy.gradients import UnitGradients
from privacy.local import load_shared, shared_arrays, shared_names
from privacy.private_network import check_architecture, private_forecaster
from privacy.resume import PrivateRun, RunState
from privacy.strategy import Arrays
from privacy.units import UnitWindows
from training.dataset import CityDataset
from training.ridge import tensors


def first_private_model(spec: ForecastSpec, settings: PrivateSettings) -> Arrays:
    """The city's model before any round, made of public settings alone.

    Args:
        spec: of the partners' datasets, as their headers say it.
        settings: of the private training.
    """
    check_architecture(settings.architecture)
    nowhere, unknown = np.full(1, np.nan), np.full((1, 3), np.nan)
    nobody = CityGraph(("nobody",), nowhere, nowhere, ("nobody",), ("",), unknown)
    torch.manual_seed(settings.seed)
    return shared_arrays(Forecaster(spec.with_lags(settings.lags), nobody, settings.architecture))


def a_round(settings: PrivateSettings, rounds: int) -> SampledGaussian:
    """What one of ``rounds`` spends of a partner's budget.

    Raises:
        FelsinaError: as ``dp.planned``, or if there are more rounds than steps.
    """
    if settings.steps < rounds:
        raise FelsinaError(f"steps = {settings.steps} are fewer than the {rounds} rounds")
    whole = planned(settings)
    return SampledGaussian(whole.sampling_rate, whole.noise_multiplier, settings.steps // rounds)


class PrivateTrainer:
    """Trains one partner's share of the rounds with noise.

    Args:
        dataset: the partner's own.
        settings: the run's; ``steps`` are those of all rounds together, ``nominal_units`` about how
            many units this partner has.
        rounds: of the run.
        work: folder of this run at this partner: its secret key and what it answered; it stays
            with the data and serves one run.
        charge: writes a round's steps and the number of the first of them into the partner's own
            account; what it raises keeps the round from being answered.
        public: a dataset for the backbone whose series are public, the same at each partner.

    Raises:
        FelsinaError: where the claim would break, or ``work`` holds another run.
    """

    def __init__(
        self,
        dataset: CityDataset,
        settings: PrivateSettings,
        rounds: int,
        work: Path,
        charge: Callable[[SampledGaussian, int], None],
        public: CityDataset | None = None,
    ) -> None:
        self.dataset, self.settings, self.rounds = dataset, settings, rounds
        self.observed = float(settings.nominal_units)
        self.charge, self.mechanism = charge, a_round(settings, rounds)
        self.spec = dataset.spec.with_lags(settings.lags)
        builder = dataset.builder(self.spec)
        windows = UnitWindows(dataset, builder, settings.unit, settings.most_windows, settings.seed)
        check_units(dataset, settings, len(windows))
        self.forecaster = private_forecaster(dataset, builder, settings.architecture, public)
        self.names = shared_names(self.forecaster)
        self.gradients = UnitGradients(self.forecaster, windows, settings.clip_norm)
        about = {
            "settings": settings.model_dump(mode="json", exclude={"checkpoint_every"}),
            "noise": self.mechanism.noise_multiplier,
            "rounds": rounds,
            "data": dataset.digests,
            "nodes": list(dataset.graph.ids),
            "public": public.digests if public else {},
        }
        self.run = PrivateRun(work, sha256_bytes(canonical_json(about)))
        self.run.open(new_key)
        self._forget_key()

    def update(self, round: int, arrays: Arrays) -> Arrays:
        """What a round's noisy steps change of the city's model; the same again if asked again.

        An answer is on disk before it leaves, and is given again as it is: the same noise on
        another model would give the gradients away, so a round is answered for one model only.

        Args:
            round: from 1 to the run's number of rounds; it decides members, noise and rate.
            arrays: the model before.

        Raises:
            FelsinaError: for another round or model than can be answered, and what ``charge``
                raises.
        """
        if not 1 <= round <= self.rounds:
            raise FelsinaError(f"round {round}: the run that was agreed to has {self.rounds}")
        if (answered := self._answered(round, digest(arrays))) is not None:
            return answered
        self.load(arrays)
        first = (round - 1) * self.mechanism.steps
        self.charge(self.mechanism, first)
        self._descend(range(first, first + self.mechanism.steps))
        trained = shared_arrays(self.forecaster)
        step = {name: trained[name] - arrays[name] for name in self.names}
        if not all(np.isfinite(values).all() for values in step.values()):
            raise FelsinaError(
                f"round {round} on {self.spec.dataset} diverged; lower learning_rate = "
                f"{self.settings.learning_rate}"
            )
        self._answer(round, digest(arrays), step)
        return step

    def load(self, arrays: Arrays) -> None:
        """Take the city's model.

        Raises:
            FelsinaError: if it is no model of these settings.
        """
        load_shared(self.forecaster, arrays)

    def predict(self, window: Window) -> FloatArray:
        """Quantiles [B, H, N, Q] of a batch of windows, of the model that was last loaded."""
        self.forecaster.eval()
        with torch.inference_mode():
            inputs = tensors(window)
            inputs.pop("target", None)
            return self.forecaster(**inputs).numpy()

    def _descend(self, steps: range) -> None:
        """Noisy steps of the model that is loaded, under their numbers in the whole run."""
        # Of a finished run the key is gone; a round that was never answered then has a fresh one.
        draws = SecretDraws(self.run.open(new_key).key or new_key())
        noise = self.mechanism.noise_multiplier
        training = PrivateTraining(self.gradients, draws, self.settings, noise)
        for step in steps:
            training.take(step)

    def _answered(self, round: int, asked: str) -> Arrays | None:
        path = self._path(round)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as file:
            before = file["asked"].tobytes().decode()
            step = {name: file[f"a{i}"] for i, name in enumerate(sorted(self.names))}
        if before != asked:
            raise FelsinaError(
                f"round {round} was answered for another model: the same noise on both would give "
                "the gradients away; begin a run of another name"
            )
        return step

    def _answer(self, round: int, asked: str, step: Arrays) -> None:
        content = io.BytesIO()
        named = {f"a{i}": step[name] for i, name in enumerate(sorted(step))}
        text = np.frombuffer(asked.encode(), np.uint8)
        np.savez(content, asked=text, **named)  # pyright: ignore[reportArgumentType]
        write_atomic(self._path(round), content.getvalue())
        self._forget_key()

    def _forget_key(self) -> None:
        """Of a run whose last round is answered; who has the key could take the noise off."""
        if self._path(self.rounds).exists():
            self.run.save(RunState(b"", finished=True))

    def _path(self, round: int) -> Path:
        return self.run.work / f"answer-{round:06d}.npz"
