"""Fit a forecaster on a dataset: backbone, network, stopping, calibration; killed runs resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning
import numpy as np
import torch

from models.contracts import FelsinaError, FloatArray, ForecastSpec, IntArray, Window
from models.exported import Predict
from models.forecaster import Forecaster
from models.windows import WindowBuilder
from training.acceleration import accelerated, fitting_device
from training.calibration import cautious, conformal_offsets, offsets_by_group
from training.datamodule import WindowsDataModule
from training.dataset import CityDataset
from training.groups import NodeGroups, WorstGroup, balanced, naive_loss
from training.loop import Listener, run_loop
from training.module import PredictorModule
from training.ranks import hand_round, size
from training.ridge import fit_backbone, tensors
from training.settings import TrainSettings


@dataclass(frozen=True)
class Fitted:
    """A trained, calibrated forecaster.

    Attributes:
        forecaster: in evaluation mode, offsets set.
        spec: with the lags that the model reads.
        settings: how it was trained.
        seconds: wall time of the fit.
        steps: optimiser steps taken.
    """

    forecaster: Forecaster
    spec: ForecastSpec
    settings: TrainSettings
    seconds: float
    steps: int

    @property
    def parameters(self) -> int:
        """Fitted numbers: weights of the network and of the ridge."""
        network = sum(p.numel() for p in self.forecaster.parameters())
        return network + self.forecaster.backbone.weight.numel()

    def predict(self, window: Window) -> FloatArray:
        """Quantiles [B, H, N, Q] of a batch of windows."""
        with torch.inference_mode():
            device = self.forecaster.offset.device
            inputs = tensors(window, device)
            inputs.pop("target", None)
            return self.forecaster(**inputs).cpu().numpy()


def fit(
    dataset: CityDataset,
    settings: TrainSettings,
    work: Path,
    listener: Listener,
    groups: NodeGroups | None = None,
) -> Fitted:
    """Train on the train span, stop on one part of the validation span, calibrate on another.

    Every process of a training calls this, and has the same forecaster at its end; ``work`` must
    be one folder to all of them.

    Args:
        dataset: an opened dataset folder.
        settings: resolved settings.
        work: folder of this run's checkpoints; a checkpoint found there is resumed.
        listener: told of progress and losses.
        groups: of ``settings.fairness``.

    Raises:
        FelsinaError: if training diverges, or a batch is less than one window a process.
    """
    if settings.fairness.active and groups is None:
        raise FelsinaError(
            f"fairness.weights = {settings.fairness.weights!r}, fairness.calibration = "
            f"{settings.fairness.calibration!r}: no groups were given; set fairness.attribute"
        )
    if settings.batch < size():
        raise FelsinaError(
            f"batch = {settings.batch} is less than a window for each of {size()} processes; "
            "raise batch or start fewer"
        )
    began = time.perf_counter()
    lightning.seed_everything(settings.seed, verbose=False)
    spec = dataset.spec.with_lags(settings.lags)
    builder = dataset.builder(spec)
    splits = dataset.splits
    train = splits.train(spec)
    stopping, calibration = splits.validation(spec)
    forecaster = Forecaster(spec, dataset.graph, settings.architecture)
    forecaster.to(fitting_device(settings.accelerator))
    fit_backbone(
        forecaster.backbone,
        builder,
        splits.train_end,
        train,
        lambda share: listener.progress("backbone", share),
    )
    hand_round(forecaster)
    data = WindowsDataModule(
        builder,
        train,
        stopping,
        splits.issued(spec, dataset.start, train),
        settings.batch,
        settings.issue_share,
        settings.evaluate_every,
        settings.seed,
    )
    scale = forecaster.backbone.scaler.scale
    weight = torch.ones_like(scale) / scale.mean() if settings.node_loss == "natural" else 1 / scale
    worst = None
    if groups is not None and settings.fairness.weights != "none":
        weight = weight.expand(dataset.graph.nodes)
        weight, worst = _by_group(weight, groups, settings, builder, train)
    module = PredictorModule(
        forecaster,
        weight,
        spec.quantiles,
        settings.learning_rate,
        settings.weight_decay,
        settings.whole_steps,
        settings.seed,
        worst=worst,
    )
    with accelerated(forecaster, settings):
        taken = run_loop(module, data, settings, work, listener)
    forecaster.eval()
    train_values = torch.as_tensor(builder.values[: splits.train_end])
    forecaster.lend(torch.isnan(train_values).all(0))
    if not all(torch.isfinite(p).all() for p in forecaster.parameters()):
        raise FelsinaError(
            f"training on {spec.dataset} diverged; lower learning_rate = {settings.learning_rate}"
        )
    fitted = Fitted(forecaster, spec, settings, time.perf_counter() - began, taken)
    by_group = groups if settings.fairness.calibration == "group" else None
    calibrate(fitted, builder, calibration, by_group)
    return Fitted(forecaster, spec, settings, time.perf_counter() - began, taken)


def _by_group(
    weight: torch.Tensor,
    groups: NodeGroups,
    settings: TrainSettings,
    builder: WindowBuilder,
    train: IntArray,
) -> tuple[torch.Tensor, WorstGroup | None]:
    """Weights [N] of the nodes by which groups count alike, or the rule that finds the worst."""
    naive, seen = (part.to(weight) for part in naive_loss(builder, train))
    factor = balanced(groups, weight * naive * seen)
    if settings.fairness.weights == "group":
        return weight * factor, None
    begins = int(settings.fairness.warm_start * settings.whole_steps)
    return weight, WorstGroup(groups, naive, weight, factor, begins, settings.fairness.rate)


def calibrate(
    fitted: Fitted, builder: WindowBuilder, origins: IntArray, groups: NodeGroups | None = None
) -> None:
    """Set the forecaster's conformal offsets from windows that trained nothing."""
    forecaster = fitted.forecaster

    def uncalibrated(window: Window) -> FloatArray:
        with torch.inference_mode():
            inputs = tensors(window, forecaster.offset.device)
            inputs.pop("target", None)
            return forecaster.uncalibrated(**inputs).cpu().numpy()

    quantiles, target = forecasts(uncalibrated, builder, origins)
    levels = fitted.spec.quantiles
    offsets = cautious(conformal_offsets(quantiles, target, levels), origins)
    forecaster.offset.copy_(torch.as_tensor(offsets))
    if groups is not None:
        own = offsets_by_group(quantiles, target, levels, groups.of_node, origins)
        forecaster.take_offsets_by_node().copy_(torch.as_tensor(own))


def forecasts(
    predict: Predict,
    builder: WindowBuilder,
    origins: IntArray,
    batch: int = 64,
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[FloatArray, FloatArray]:
    """Forecast every origin into arrays made once, so that memory stays in one piece.

    Returns:
        Quantiles [B, H, N, Q] and targets [B, H, N], NaN where missing.
    """
    spec, nodes = builder.spec, builder.values.shape[1]
    shape = (len(origins), spec.horizon, nodes)
    quantiles = np.empty((*shape, len(spec.quantiles)), np.float32)
    target = np.empty(shape, np.float32)
    for start in range(0, len(origins), batch):
        rows = slice(start, start + batch)
        window = builder.batch(origins[rows], with_target=True)
        target[rows] = window.target
        quantiles[rows] = predict(window)
        progress(min(1.0, (start + batch) / len(origins)))
    return quantiles, target
