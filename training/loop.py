"""The loop that trains every predictor: early stopping, checkpoints that outlive a kill."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import warnings
from pathlib import Path
from typing import Any, Protocol

import lightning
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from training.checkpoint import SUFFIX, Checkpoints, read
from training.module import PredictorModule
from training.ranks import agreed, layout, rank, together
from training.settings import LoopSettings

log = logging.getLogger(__name__)
BEST, LAST = f"best{SUFFIX}", f"last{SUFFIX}"
STOPPED = "stopped_early"


class Listener(Protocol):
    """Told how far a fit is."""

    def progress(self, stage: str, share: float) -> None:
        """``share`` of ``stage`` is done."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Losses after optimiser step ``step``."""


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


def run_loop(
    module: PredictorModule,
    data: lightning.LightningDataModule,
    settings: LoopSettings,
    work: Path,
    listener: Listener,
) -> int:
    """Run Lightning, resuming what ``work`` holds; leaves the best weights in ``module``.

    Returns:
        Optimiser steps taken.
    """
    last = agreed(_resumable(work) if rank() == 0 else None)
    best = ModelCheckpoint(
        work,
        filename="best",
        monitor="validation_loss",
        save_top_k=1,
        enable_version_counter=False,
    )
    best.FILE_EXTENSION = SUFFIX  # pyright: ignore[reportAttributeAccessIssue] (typed as .ckpt)
    stop = _Stop(settings.patience, module.worst.begins if module.worst else 0)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.WARNING)
    report = _Report(listener, settings.whole_steps)
    ranks = layout()
    trainer = lightning.Trainer(
        accelerator=settings.accelerator,
        devices=ranks.devices,
        num_nodes=ranks.nodes,
        strategy=ranks.strategy,
        plugins=[ranks.environment, Checkpoints()],
        use_distributed_sampler=False,
        max_epochs=settings.whole_steps // settings.evaluate_every,
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
    module.to("cpu").load_state_dict(read(work / BEST)["state_dict"])
    together()  # the first process tidies up once all have read
    return steps


class _Stop(EarlyStopping):
    """Early stopping that waits until what is to be judged has begun."""

    def __init__(self, patience: int, begins: int) -> None:
        super().__init__(monitor="validation_loss", patience=patience)
        self.begins = begins

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        if trainer.global_step > self.begins:
            super().on_train_epoch_end(trainer, pl_module)


class _Checkpoint(ModelCheckpoint):
    """Keeps every look's whole state in one file."""

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
        trainer.save_checkpoint(self.path, weights_only=False)

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
        state = read(work / LAST)
        read(work / BEST)
    except Exception as error:
        log.warning("%s cannot be read (%s): training starts anew", work, error)
        shutil.rmtree(work)
        work.mkdir()
        return None
    log.info("resuming from %s", work / LAST)
    return int(state["global_step"]), bool(state[STOPPED])
