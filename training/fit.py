"""Fit a forecaster on a dataset: backbone, network, stopping, calibration; killed runs resume."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from models.contracts import FelsinaError, FloatArray, ForecastSpec, IntArray, Window
from models.exported import Predict
from models.forecaster import Forecaster
from models.windows import WindowBuilder
from training.acceleration import accelerated, fitting_device
from training.calibration import cautious, conformal_offsets
from training.datamodule import WindowsDataModule
from training.dataset import CityDataset
from training.module import ForecastModule
from training.ranks import agreed, hand_round, layout, rank, size, together
from training.ridge import fit_backbone, tensors
from training.settings import TrainSettings

log = logging.getLogger(__name__)
BEST, LAST = "best.ckpt", "last.ckpt"
STOPPED = "stopped_early"


class Listener(Protocol):
    """Told how far a fit is."""

    def progress(self, stage: str, share: float) -> None:
        """``share`` of ``stage`` is done."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Losses after optimiser step ``step``."""


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


class _Report(Callback):
    def __init__(self, listener: Listener, steps: int) -> None:
        self.listener, self.steps = listener, steps

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.listener.progress("train", trainer.global_step / self.steps)

    def on_validation_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.listener.metrics(trainer.global_step, values)


def fit(dataset: CityDataset, settings: TrainSettings, work: Path, listener: Listener) -> Fitted:
    """Train on the train span, stop on one part of the validation span, calibrate on another.

    Every process of a training calls this, and has the same forecaster at its end; ``work`` must
    be one folder to all of them.

    Args:
        dataset: an opened dataset folder.
        settings: resolved settings.
        work: folder of this run's checkpoints; a checkpoint found there is resumed.
        listener: told of progress and losses.

    Raises:
        FelsinaError: if training diverges, or a batch is less than one window a process.
    """
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
    epochs = -(-settings.steps // settings.evaluate_every)
    steps = epochs * settings.evaluate_every
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
    module = ForecastModule(
        forecaster,
        weight,
        spec.quantiles,
        settings.learning_rate,
        settings.weight_decay,
        steps,
        settings.seed,
    )
    with accelerated(forecaster, settings):
        taken = _train(module, data, settings, epochs, work, listener)
    forecaster.eval()
    train_values = torch.as_tensor(builder.values[: splits.train_end])
    forecaster.lend(torch.isnan(train_values).all(0))
    if not all(torch.isfinite(p).all() for p in forecaster.parameters()):
        raise FelsinaError(
            f"training on {spec.dataset} diverged; lower learning_rate = {settings.learning_rate}"
        )
    fitted = Fitted(forecaster, spec, settings, time.perf_counter() - began, taken)
    calibrate(fitted, builder, calibration)
    return Fitted(forecaster, spec, settings, time.perf_counter() - began, taken)


def _train(
    module: ForecastModule,
    data: WindowsDataModule,
    settings: TrainSettings,
    epochs: int,
    work: Path,
    listener: Listener,
) -> int:
    """Run Lightning, resuming what ``work`` holds; leaves the best weights in ``module``."""
    last = agreed(_resumable(work) if rank() == 0 else None)
    best = ModelCheckpoint(
        work,
        filename="best",
        monitor="validation_loss",
        save_top_k=1,
        enable_version_counter=False,
    )
    stop = EarlyStopping(monitor="validation_loss", patience=settings.patience)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    report = _Report(listener, epochs * settings.evaluate_every)
    ranks = layout()
    trainer = lightning.Trainer(
        accelerator=settings.accelerator,
        devices=ranks.devices,
        num_nodes=ranks.nodes,
        strategy=ranks.strategy,
        plugins=[ranks.environment],
        use_distributed_sampler=False,
        max_epochs=epochs,
        gradient_clip_val=1.0,
        callbacks=[stop, report, best, _Checkpoint(work / LAST)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        default_root_dir=work,
    )
    steps, stopped = last or (0, False)
    if not stopped:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*Checkpoint directory.*")
            warnings.filterwarnings("ignore", message=".*isinstance.*LeafSpec.*")
            warnings.filterwarnings("ignore", message=".*sync_dist=True.*")  # summed already
            warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
            path = work / LAST if last else None
            trainer.fit(module, data, ckpt_path=path, weights_only=True)
        steps = trainer.global_step
    state = torch.load(work / BEST, weights_only=True, map_location="cpu")["state_dict"]
    module.to("cpu").load_state_dict(state)
    together()  # the first process tidies up once all have read
    return steps


class _Checkpoint(ModelCheckpoint):
    """Keeps every look's whole state in one file, replaced by a rename: never half of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent, save_top_k=0)
        self.path = path

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        # Lightning would end the step and wait for the other processes; a process that may be
        # killed at any time, as this one may, is best gone at once.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        part = self.path.with_name(f".{self.path.name}.part")
        trainer.save_checkpoint(part, weights_only=False)
        if trainer.is_global_zero:
            part.replace(self.path)

    def on_save_checkpoint(
        self,
        trainer: lightning.Trainer,
        pl_module: lightning.LightningModule,
        checkpoint: dict[str, Any],
    ) -> None:
        checkpoint[STOPPED] = trainer.should_stop


def _resumable(work: Path) -> tuple[int, bool] | None:
    """Steps of a killed training and whether it had stopped; an unreadable one is dropped."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / LAST).exists():
        return None
    try:
        state = torch.load(work / LAST, weights_only=True, map_location="cpu")
        torch.load(work / BEST, weights_only=True, map_location="cpu")
    except Exception as error:
        log.warning("%s cannot be read (%s): training starts anew", work, error)
        shutil.rmtree(work)
        work.mkdir()
        return None
    log.info("resuming from %s", work / LAST)
    return int(state["global_step"]), bool(state[STOPPED])


def calibrate(fitted: Fitted, builder: WindowBuilder, origins: IntArray) -> None:
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
