"""Fit a surrogate on experiments by the forecasters' loop, calibrate it, and score it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from models.contracts import FelsinaError, FloatArray, IntArray
from models.scenario import CALIBRATION, STOPPING, TRAIN
from models.surrogates.surrogate import Surrogate
from training.experiments import Experiments
from training.loop import Listener, run_loop
from training.module import PredictorModule
from training.settings import LoopSettings

Build = Callable[[Experiments], nn.Module]
"""Makes the network for experiments."""

_BATCH = 256
"""Runs answered at a time outside of training."""
_OWN_OFFSETS = 500
"""Known calibration targets from which on a place has its own offset; others share one."""
_LISTED_PLACES = 32
_FIGURES = ("mae", "bias", "rmse", "mean", "cvrmse", "r2", "coverage_80", "width_80")


@dataclass(frozen=True)
class FittedSurrogate:
    """A trained, calibrated surrogate.

    Attributes:
        surrogate: in evaluation mode.
        settings: how it was trained.
        seconds: wall time.
        steps: optimiser steps taken.
    """

    surrogate: Surrogate
    settings: LoopSettings
    seconds: float
    steps: int

    @property
    def parameters(self) -> int:
        """Trained weights."""
        return sum(p.numel() for p in self.surrogate.parameters())


class Runs(Dataset[dict[str, Tensor]]):
    """Batches of runs, each a draw of rows from all runs' tensors."""

    def __init__(self, tensors: dict[str, Tensor], draws: list[IntArray]) -> None:
        self.tensors, self.draws = tensors, draws

    def __len__(self) -> int:
        """Number of batches."""
        return len(self.draws)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Batch ``index``."""
        rows = torch.as_tensor(self.draws[index])
        return {name: tensor[rows.to(tensor.device)] for name, tensor in self.tensors.items()}


class RunsDataModule(lightning.LightningDataModule):
    """Random training runs and all stopping runs; a step's draw depends on seed and step alone."""

    def __init__(self, experiments: Experiments, settings: LoopSettings) -> None:
        super().__init__()
        self.experiments, self.settings = experiments, settings
        self.train, self.stopping = experiments.rows(TRAIN), experiments.rows(STOPPING)

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """All runs on the trainer's device, from the first batch on."""
        device = self.trainer.strategy.root_device if self.trainer else "cpu"
        names = ("scalars", "fields", "target")
        return {n: torch.as_tensor(getattr(self.experiments, n)).to(device) for n in names}

    def _loader(self, draws: list[IntArray]) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(Runs(self.tensors, draws), batch_size=None)

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The batches of the trainer's current epoch."""
        every, seed = self.settings.evaluate_every, self.settings.seed
        first = (self.trainer.current_epoch if self.trainer else 0) * every
        draws = [
            np.random.default_rng([seed, first + i]).choice(self.train, self.settings.batch)
            for i in range(every)
        ]
        return self._loader(draws)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The stopping runs."""
        return self._loader(np.array_split(self.stopping, -(-len(self.stopping) // _BATCH)))


def fit_surrogate(
    experiments: Experiments,
    build: Build,
    settings: LoopSettings,
    work: Path,
    listener: Listener,
) -> FittedSurrogate:
    """Train on ``train``, stop on ``stopping``, calibrate on ``calibration``.

    Args:
        experiments: what the simulator answered.
        build: makes the network.
        settings: of the loop.
        work: folder of this run's checkpoints; a checkpoint found there is resumed.
        listener: told of progress and losses.

    Raises:
        FelsinaError: if training diverges.
    """
    began = time.perf_counter()
    lightning.seed_everything(settings.seed, verbose=False)
    spec = experiments.spec
    surrogate = Surrogate(build(experiments), spec)
    spread = np.nanstd(experiments.target[experiments.rows(TRAIN)], axis=(0, 1))
    weight = np.array([output.weight for output in spec.outputs])
    module = PredictorModule(
        surrogate,
        torch.tensor(weight / np.maximum(spread, 1e-9), dtype=torch.float32),
        spec.quantiles,
        settings.learning_rate,
        settings.weight_decay,
        settings.whole_steps,
        settings.seed,
        _totals(experiments),
    )
    steps = run_loop(module, RunsDataModule(experiments, settings), settings, work, listener)
    surrogate.eval()
    if not all(torch.isfinite(p).all() for p in surrogate.parameters()):
        raise FelsinaError(
            f"training on {spec.name} diverged; lower learning_rate = {settings.learning_rate}"
        )
    rows = experiments.rows(CALIBRATION)
    offsets = offsets_of(
        answers(surrogate, experiments, rows), experiments.target[rows], spec.quantiles
    )
    surrogate.offset.copy_(torch.as_tensor(offsets))
    return FittedSurrogate(surrogate, settings, time.perf_counter() - began, steps)


def _totals(experiments: Experiments) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Weights of the outputs' sums over places, and the sums' means; None where none counts."""
    weight = [output.total_weight for output in experiments.spec.outputs]
    if not any(weight):
        return None
    mean = experiments.target[experiments.rows(TRAIN)].sum(1).mean(0)
    return torch.tensor(weight), torch.as_tensor(np.nan_to_num(mean), dtype=torch.float32)


def answers(surrogate: nn.Module, experiments: Experiments, rows: IntArray) -> FloatArray:
    """Quantiles [B, A, O, Q] for some of the runs."""
    parts = []
    with torch.inference_mode():
        for begin in range(0, len(rows), _BATCH):
            some = rows[begin : begin + _BATCH]
            inputs = (torch.as_tensor(x[some]) for x in (experiments.scalars, experiments.fields))
            parts.append(surrogate(*inputs).numpy())
    return np.concatenate(parts)


def offsets_of(quantiles: FloatArray, target: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """Split conformal offsets [A, O, Q], in units of the 10-90 % band; 0 at the median.

    Args:
        quantiles: [B, A, O, Q] uncalibrated answers.
        target: [B, A, O], NaN where there is no value.
        levels: Q levels.
    """
    low, high = levels.index(0.1), levels.index(0.9)
    width = np.maximum(quantiles[..., high] - quantiles[..., low], 1e-9)
    offsets = np.zeros(quantiles.shape[1:], np.float32)
    for lower, level in enumerate(levels):
        upper = len(levels) - 1 - lower
        if level >= 0.5:
            break
        score = np.maximum(quantiles[..., lower] - target, target - quantiles[..., upper]) / width
        inside = levels[upper] - level
        for o in range(score.shape[2]):
            shared = _conformal(score[:, :, o].ravel(), inside)
            for place, own in enumerate(score[:, :, o].T):
                enough = (~np.isnan(own)).sum() >= _OWN_OFFSETS
                moved = _conformal(own, inside) if enough else shared
                offsets[place, o, lower], offsets[place, o, upper] = -moved, moved
    return offsets


def _conformal(score: FloatArray, inside: float) -> float:
    """What scores [S] are at most in a share ``inside`` of new cases; 0 where none is known."""
    known = score[~np.isnan(score)]
    if not len(known):
        return 0.0
    return float(np.quantile(known, min(1.0, inside * (1 + 1 / len(known)))))


def score_surrogate(
    predict: Callable[[IntArray], FloatArray], experiments: Experiments
) -> dict[str, Any]:
    """Errors against the simulator, by test set and output.

    Args:
        predict: from rows of the experiments to quantiles [B, A, O, Q].
        experiments: with test sets; ``record["floors"]`` may hold what the simulator differs from
            itself by, test set to output to mean absolute difference.

    Returns:
        Test set to ``runs`` and, by output: ``mae``, ``bias``, ``rmse``, ``mean`` of the truth,
        ``cvrmse`` (RMSE over mean), ``r2``, ``coverage_80``, ``width_80``, ``floor`` where known,
        ``total_error`` and ``total_bias`` of sums over places where those count, by what all runs
        sum to.
    """
    spec, floors = experiments.spec, experiments.record.get("floors", {})
    found: dict[str, Any] = {}
    for name in experiments.tests:
        rows = experiments.rows(name)
        quantiles, target = predict(rows), experiments.target[rows]
        found[name] = {"runs": len(rows), "outputs": {}}
        for o, output in enumerate(spec.outputs):
            errors: dict[str, Any] = _errors(quantiles[:, :, o], target[:, :, o], spec.quantiles)
            if output.total_weight:
                errors |= _total_errors(quantiles[:, :, o, spec.median], target[:, :, o])
            floor = floors.get(name, {}).get(output.name)
            if floor is not None:
                ratio = errors["mae"] / floor if floor and errors["mae"] is not None else None
                errors |= {"floor": floor, "mae_over_floor": ratio and float(f"{ratio:.6g}")}
            if len(spec.answered) <= _LISTED_PLACES:
                errors["places"] = {
                    place: _errors(quantiles[:, a, o], target[:, a, o], spec.quantiles)
                    for a, place in enumerate(spec.answered)
                }
            found[name]["outputs"][output.name] = errors
    return found


def _total_errors(median: FloatArray, target: FloatArray) -> dict[str, float]:
    """Errors of sums over places [B, A], by what all runs sum to."""
    gap, whole = (median - target).sum(1, dtype=float), target.sum(dtype=float)
    found = {"total_error": np.abs(gap).sum(), "total_bias": gap.sum()}
    return {name: float(f"{value / max(whole, 1e-9):.6g}") for name, value in found.items()}


def _errors(quantiles: FloatArray, target: FloatArray, levels: tuple[float, ...]) -> dict[str, Any]:
    """Figures over all values that exist; those without meaning are None."""
    known = ~np.isnan(target)
    if not known.any():
        return dict.fromkeys(_FIGURES)
    forecast, truth = quantiles[known].astype(float), target[known].astype(float)
    low, middle, high = (forecast[:, levels.index(level)] for level in (0.1, 0.5, 0.9))
    error = middle - truth
    rmse, mean, spread = np.sqrt(np.mean(error**2)), truth.mean(), truth.std()
    figures = (
        np.abs(error).mean(),
        error.mean(),
        rmse,
        mean,
        rmse / mean if mean > 0 else np.nan,
        1 - (rmse / spread) ** 2 if spread > 0 else np.nan,
        np.mean((truth >= low) & (truth <= high)),
        (high - low).mean(),
    )
    rounded = (float(f"{v:.6g}") if np.isfinite(v) else None for v in figures)
    return dict(zip(_FIGURES, rounded, strict=True))
