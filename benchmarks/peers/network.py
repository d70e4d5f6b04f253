"""How every network among the peers is trained: pinball loss, AdamW, cosine, best weights kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.peers.frames import BATCH, Frames, Peer, in_batches
from models.contracts import FloatArray, IntArray
from training.calibration import cautious, conformal_offsets
from training.losses import pinball

ROWS = 1200
"""Node windows a step."""
LOOK_EVERY = 50
LOOK_ORIGINS = 300
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-3


def fit_network(make: Callable[[Frames], nn.Module], frames: Frames, seed: int) -> Peer:
    """Train what ``make`` builds, keep the best look at the stopping windows, calibrate.

    Args:
        make: builds a module from ``Frames.batch`` to [B, N, H, Q] about the first guess.
        frames: the windows.
        seed: of weights, batches and dropout.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = make(frames)
    steps = step_count(frames)
    many = int(np.clip(ROWS // frames.graph.nodes, 8, 128))
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min(1.0, 20 * (step + 1) / steps) * (1 + math.cos(math.pi * step / steps)) / 2,
    )
    stopping = frames.stopping[:: -(-len(frames.stopping) // LOOK_ORIGINS)]
    looks = [stopping[i : i + BATCH] for i in range(0, len(stopping), BATCH)]
    best, kept = math.inf, network.state_dict()
    for step in range(1, steps + 1):
        loss = _loss(network, frames, frames.draw(rng, many))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % LOOK_EVERY == 0 or step == steps:
            network.eval()
            with torch.inference_mode():
                error = sum(float(_loss(network, frames, part)) * len(part) for part in looks)
            network.train()
            if error < best:
                best, kept = error, copy.deepcopy(network.state_dict())
    network.load_state_dict(kept)
    network.eval()
    return _calibrated(network, frames)


def step_count(frames: Frames) -> int:
    """Optimiser steps: the more train targets, the more."""
    return int(np.clip(frames.splits.train_end * frames.graph.nodes / 500, 400, 1000))


def _loss(network: nn.Module, frames: Frames, origins: IntArray) -> Tensor:
    """Mean pinball loss in natural units, as multiples of the mean scale."""
    batch = frames.batch(origins, with_target=True)
    target = batch["target"].permute(0, 2, 1)
    levels = torch.tensor(frames.spec.quantiles)
    weight = frames.scaler.scale / frames.scaler.scale.mean()
    return pinball(network(batch).permute(0, 2, 1, 3), target, levels, weight)


def _calibrated(network: nn.Module, frames: Frames) -> Peer:
    """Add conformal offsets from the calibration windows, as Felsina has them."""
    levels = frames.spec.quantiles
    middle, low, high = (levels.index(level) for level in (0.5, 0.1, 0.9))

    def raw(origins: IntArray) -> FloatArray:
        with torch.inference_mode():
            batch = frames.batch(origins)
            rising = network(batch).sort(dim=-1).values
            return frames.natural(rising, batch).permute(0, 2, 1, 3).numpy()

    guess = in_batches(raw, frames.calibration)
    asked = conformal_offsets(guess, frames.targets(frames.calibration), levels)
    offsets = cautious(asked, frames.calibration)

    def predict(origins: IntArray) -> FloatArray:
        quantiles = raw(origins)
        width = quantiles[..., high] - quantiles[..., low]
        moved = quantiles + offsets[:, None] * width[..., None]
        moved[..., middle:] = np.maximum.accumulate(moved[..., middle:], axis=-1)
        down = np.minimum.accumulate(moved[..., middle::-1], axis=-1)
        moved[..., : middle + 1] = down[..., ::-1]
        return np.maximum(moved, 0) if frames.spec.nonnegative else moved

    return Peer(predict, sum(p.numel() for p in network.parameters()))
