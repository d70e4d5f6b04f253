"""A partner's own training: the shared arrays come and go, its rows and what names its nodes stay.

Shared are the weights of the network that are the same for any node. The backbone (scalers, ridge,
profiles) is fitted on the partner's own rows and its nodes' embeddings are learned there; neither
leaves (after FedPer, Arivazhagan et al. 2019, arXiv 1912.00818).
"""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from models.contracts import CityGraph, FelsinaError, FloatArray, ForecastSpec, Window
from models.forecaster import Architecture, Forecaster
from models.record import write_atomic
from privacy.strategy import Arrays
from training.datamodule import WindowsDataModule
from training.dataset import CityDataset
from training.fit import Fitted, calibrate, forecasts
from training.losses import pinball
from training.ridge import fit_backbone
from training.schedule import rate_share
from training.settings import TrainSettings

_PERSONAL = "node.weight"
"""A node's own embedding."""
_TUNING = 0.3
"""Learning rate at which a partner begins to tune the city's model to itself, by the training's."""


def federated(settings: TrainSettings) -> TrainSettings:
    """The same settings without a graph: an edge between two partners' nodes is nobody's."""
    architecture = settings.architecture.model_copy(update={"graph": False})
    return settings.model_copy(update={"architecture": architecture})


def shared_names(forecaster: nn.Module) -> list[str]:
    """Parameters that leave a partner, in order."""
    return [name for name, _ in forecaster.named_parameters() if not name.endswith(f".{_PERSONAL}")]


def first_model(
    spec: ForecastSpec, graph: CityGraph, architecture: Architecture, seed: int
) -> Arrays:
    """The city's model before any round; of ``graph`` only the names of attributes matter."""
    torch.manual_seed(seed)
    return shared_arrays(Forecaster(spec, graph.subset(np.array([0])), architecture))


class LocalTrainer:
    """Trains one partner's forecaster.

    Args:
        dataset: the partner's own.
        settings: the run's; ``steps`` are those of all rounds together.
        rounds: of the run.
        seed: of this partner's embedding and draws.
        work: folder in which what does not leave is kept over rounds; a killed trainer goes on.
    """

    def __init__(
        self,
        dataset: CityDataset,
        settings: TrainSettings,
        rounds: int,
        seed: int,
        work: Path | None = None,
    ) -> None:
        if settings.architecture.graph:
            raise FelsinaError(f"{dataset.spec.dataset}: a federated forecaster has no graph")
        if settings.steps < rounds:
            raise FelsinaError(f"steps = {settings.steps} are fewer than the {rounds} rounds")
        self.dataset, self.settings, self.rounds, self.seed = dataset, settings, rounds, seed
        self.spec = dataset.spec.with_lags(settings.lags)
        self.builder = dataset.builder(self.spec)
        splits = dataset.splits
        train = splits.train(self.spec)
        stopping, self.calibration = splits.validation(self.spec)
        torch.manual_seed(seed)
        self.forecaster = Forecaster(self.spec, dataset.graph, settings.architecture)
        fit_backbone(
            self.forecaster.backbone, self.builder, splits.train_end, train, lambda share: None
        )
        self.data = WindowsDataModule(
            self.builder,
            train,
            stopping,
            splits.issued(self.spec, dataset.start, train),
            settings.batch,
            settings.issue_share,
            settings.evaluate_every,
            seed,
        )
        scale = self.forecaster.backbone.scaler.scale
        natural = settings.node_loss == "natural"
        self.weight = torch.ones_like(scale) / scale.mean() if natural else 1 / scale
        self.levels = torch.tensor(self.spec.quantiles)
        self.names = shared_names(self.forecaster)
        self.kept = work / "personal.npz" if work else None
        self.round, self.before = 0, self._personal()
        if self.kept and self.kept.exists():
            self._resume(self.kept)

    @property
    def observed(self) -> int:
        """Values of the train span: what the partner may weigh by."""
        return int((~np.isnan(self.builder.values[: self.dataset.splits.train_end])).sum())

    def load(self, arrays: Arrays) -> None:
        """Take arrays of the city's model, or its own."""
        parameters = dict(self.forecaster.named_parameters())
        with torch.no_grad():
            for name, values in arrays.items():
                parameters[name].copy_(torch.as_tensor(values))

    def _personal(self) -> Arrays:
        """What is learned here and does not leave, copied."""
        return {
            name: parameter.detach().numpy().copy()
            for name, parameter in self.forecaster.named_parameters()
            if name not in self.names
        }

    def update(self, round: int, arrays: Arrays) -> Arrays:
        """What a round of local steps changes of the city's model; the same again if asked again.

        Args:
            round: from 1 to the run's number of rounds; it decides the draws and the learning rate.
            arrays: the model before.

        Raises:
            FelsinaError: for any other round.
        """
        if not 1 <= round <= self.rounds:
            raise FelsinaError(f"round {round}: the run that was agreed to has {self.rounds}")
        if round != self.round:
            self.round, self.before = round, self._personal()
        self.load(arrays | self.before)
        self._train(round)
        if self.kept:
            self._keep(self.kept)
        trained = shared_arrays(self.forecaster)
        return {name: trained[name] - arrays[name] for name in self.names}

    def _keep(self, path: Path) -> None:
        """What this round began and ended with, in one file."""
        content = io.BytesIO()
        named = {f"before/{name}": values for name, values in self.before.items()}
        named |= {f"after/{name}": values for name, values in self._personal().items()}
        np.savez(content, round=self.round, **named)  # pyright: ignore[reportArgumentType]
        write_atomic(path, content.getvalue())

    def _resume(self, path: Path) -> None:
        with np.load(path, allow_pickle=False) as file:
            self.round = int(file["round"])
            self.before = {name: file[f"before/{name}"] for name in self.before}
            self.load({name: file[f"after/{name}"] for name in self.before})

    def _train(self, round: int) -> None:
        steps = self.settings.steps // self.rounds
        first, whole = (round - 1) * steps, steps * self.rounds
        rates = {step: rate_share(step, whole) for step in range(first, first + steps)}
        self._descend(rates)

    def _descend(self, rates: dict[int, float]) -> None:
        """Optimiser steps by number, which decides the draw, and share of the learning rate."""
        optimiser = torch.optim.AdamW(
            self.forecaster.parameters(),
            lr=self.settings.learning_rate,
            weight_decay=self.settings.weight_decay,
        )
        self.forecaster.train()
        for step, rate in rates.items():
            torch.manual_seed(self.seed * 1_000_003 + step)
            for group in optimiser.param_groups:
                group["lr"] = self.settings.learning_rate * rate
            batch = self.data.windows.batch(self.data.draw(step))
            target = batch.pop("target")
            members = self.forecaster.member_quantiles(batch)
            losses = [pinball(q, target, self.levels, self.weight) for q in members]
            optimiser.zero_grad()
            torch.stack(losses).mean().backward()
            optimiser.step()
        self.forecaster.eval()

    def finished(self, arrays: Arrays, tuned: float = 0.0) -> Fitted:
        """The partner's own forecaster, calibrated on its own rows.

        Args:
            arrays: the city's last model.
            tuned: share of a training's steps that are then taken on its own rows alone; what they
                made is kept if its stopping windows are better for it, and does not leave.
        """
        self.load(arrays)
        self.forecaster.eval()
        steps = int(tuned * self.settings.steps)
        if steps:
            before, loss = copy.deepcopy(self.forecaster.state_dict()), self._stopping_loss()
            first = self.settings.steps
            self._descend({first + k: _TUNING * (1 - k / steps) for k in range(steps)})
            if not self._stopping_loss() < loss:
                self.forecaster.load_state_dict(before)
        fitted = Fitted(self.forecaster, self.spec, self.settings, 0.0, self.settings.steps)
        calibrate(fitted, self.builder, self.calibration)
        return fitted

    def _stopping_loss(self) -> float:
        """Pinball loss of the stopping windows."""
        losses = []
        with torch.no_grad():
            for origins in np.array_split(self.data.stopping, -(-len(self.data.stopping) // 64)):
                batch = self.data.windows.batch(origins)
                target = batch.pop("target")
                loss = pinball(self.forecaster(**batch), target, self.levels, self.weight)
                losses.append(float(loss) * len(origins))
        return sum(losses) / len(self.data.stopping)


class Predictor(Protocol):
    """What can be held to a test span."""

    @property
    def spec(self) -> ForecastSpec:
        """With the lags that it reads."""
        ...

    def predict(self, window: Window) -> FloatArray:
        """Quantiles [B, H, N, Q] of a batch of windows."""
        ...


def errors_on_test(predictor: Predictor, dataset: CityDataset) -> FloatArray:
    """Mean absolute error [N] of the median over a dataset's test span."""
    spec = predictor.spec
    origins = dataset.splits.test(spec, dataset.start)
    quantiles, target = forecasts(predictor.predict, dataset.builder(spec), origins)
    return np.nanmean(np.abs(quantiles[..., spec.quantiles.index(0.5)] - target), (0, 1))


def shared_arrays(forecaster: Forecaster) -> Arrays:
    """What of a forecaster leaves a partner, copied."""
    parameters = dict(forecaster.named_parameters())
    return {
        name: parameters[name].detach().numpy().astype(np.float32).copy()
        for name in shared_names(forecaster)
    }


def load_shared(forecaster: Forecaster, arrays: Arrays) -> None:
    """Take the city's model.

    Raises:
        FelsinaError: if it is no model of these settings.
    """
    parameters = dict(forecaster.named_parameters())
    shapes = {name: tuple(parameters[name].shape) for name in shared_names(forecaster)}
    if {name: values.shape for name, values in arrays.items()} != shapes:
        raise FelsinaError(
            "the city's model has other arrays than the settings make; agree on one architecture "
            "and lags"
        )
    with torch.no_grad():
        for name, values in arrays.items():
            parameters[name].copy_(torch.as_tensor(values))
