"""LightGBM: one model for all nodes and leads, the lead a feature (direct multi-horizon)."""

from __future__ import annotations

import lightgbm
import numpy as np
import torch
from torch import Tensor

from benchmarks.peers.frames import Frames, Peer, in_batches
from models.calendar import CALENDAR
from models.contracts import FloatArray, IntArray
from models.layers import Diffusion, log_bins
from training.calibration import dress
from training.dataset import CityDataset

ROWS = 300_000
"""Train rows (origin, node, lead) at most."""
ORIGINS = 1500
"""Train origins that rows are drawn from."""
STOPPING_ORIGINS = 150
CHUNK = 32
RECENT = 6
"""Own last steps that are features."""
ROUNDS, PATIENCE = 400, 30


def fit(dataset: CityDataset, lags: tuple[int, ...], seed: int) -> Peer:
    """Boost absolute errors with early stopping; bands are its own errors before the test."""
    frames = Frames(dataset, lags)
    features = Features(frames)
    rng = np.random.default_rng(seed)
    train = frames.draw(rng, min(ORIGINS, len(frames.train)))
    share = min(1.0, ROWS / (len(train) * frames.graph.nodes * frames.spec.horizon))
    parts = [
        features.examples(train[i : i + CHUNK], rng, share) for i in range(0, len(train), CHUNK)
    ]
    stopping = frames.stopping[:: -(-len(frames.stopping) // STOPPING_ORIGINS)]
    looks = [
        features.examples(stopping[i : i + CHUNK], rng, 1.0) for i in range(0, len(stopping), CHUNK)
    ]
    data = _table(parts)
    settings = {
        "objective": "regression_l1",
        "learning_rate": 0.08,
        "num_leaves": 63,
        "min_data_in_leaf": 100,
        "feature_fraction": 0.6,
        "bagging_fraction": 0.8,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "cat_smooth": 30,
        "seed": seed,
        "num_threads": torch.get_num_threads(),
        "verbosity": -1,
    }
    booster = lightgbm.train(
        settings,
        data,
        ROUNDS,
        [_table(looks, data)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )

    def point(origins: IntArray) -> FloatArray:
        batch = frames.batch(origins)
        columns = features.columns(batch)
        raw = booster.predict(columns.reshape(-1, columns.shape[-1]), num_threads=1)
        z = torch.as_tensor(np.asarray(raw, np.float32).reshape(*columns.shape[:3], 1))
        return frames.natural(z, batch)[..., 0].permute(0, 2, 1).numpy()

    guess = in_batches(point, frames.calibration)
    bands = dress(guess, frames.targets(frames.calibration), frames.spec.quantiles)
    bands -= bands[..., frames.spec.quantiles.index(0.5), None]  # the point forecast is the median

    def predict(origins: IntArray) -> FloatArray:
        quantiles = point(origins)[..., None] + bands
        return np.maximum(quantiles, 0) if frames.spec.nonnegative else quantiles

    leaves = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])
    return Peer(predict, leaves)


def _table(
    parts: list[tuple[FloatArray, FloatArray, FloatArray]], like: lightgbm.Dataset | None = None
) -> lightgbm.Dataset:
    """Features, labels and weights of many batches as LightGBM's table, binned ``like`` another."""
    columns, label, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    settings = {"max_bin": 127, "verbosity": -1}
    return lightgbm.Dataset(columns, label, like, weight, categorical_feature=[0], params=settings)


class Features:
    """Turns a batch of windows into a table with one row a node and lead.

    Args:
        frames: the windows.
    """

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        spec = frames.spec
        self.bins = log_bins(spec.lookback)
        self.diffusion = Diffusion(frames.graph, hops=1) if len(frames.graph.source) else None

    def examples(
        self, origins: IntArray, rng: np.random.Generator, share: float
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """A random ``share`` of the rows whose target exists: features, label, weight."""
        batch = self.frames.batch(origins, with_target=True)
        columns, label = self.columns(batch), batch["target"].numpy()
        kept = ~np.isnan(label) & (rng.random(label.shape) < share)
        scaler = self.frames.scaler
        weight = (scaler.scale / scaler.scale.mean()).numpy()[None, :, None]
        return columns[kept], label[kept], np.broadcast_to(weight, label.shape)[kept]

    def columns(self, batch: dict[str, Tensor]) -> FloatArray:
        """Features [B, N, H, D], node first, NaN where missing."""
        past, spec = batch["past"], self.frames.spec
        size, nodes, _ = past.shape
        horizon, day = spec.horizon, spec.steps_per_day
        shape = (size, nodes, horizon)
        known = torch.where(batch["seen"] > 0, past, torch.nan)
        lags = torch.where(batch["lags_seen"], batch["lags"], torch.nan)

        def steady(part: Tensor) -> Tensor:
            """[B, N or 1, D] at every lead."""
            return part[:, :, None].expand(-1, nodes, horizon, -1)

        node = torch.arange(nodes).float()[None, :, None, None].expand(*shape, 1)
        lead = torch.arange(1, horizon + 1).float()[:, None].expand(*shape, 1)
        parts = [node, lead, steady(known[..., -RECENT:])]
        means = [known[..., -span:].nanmean(-1) for span in (day // 4, day) if span > RECENT]
        means.append(batch["level"][..., 1])
        if self.frames.seasonal:
            means.append(batch["level"][..., 0])
            kept = [
                c for c, name in enumerate(CALENDAR) if self.frames.annual or name != "day_of_year"
            ]
            calendar = batch["future_calendar"][:, None, :, kept].float()
            parts.append(calendar.expand(-1, nodes, -1, -1))
            parts += [lags, batch["base"][..., None]]
        parts.append(steady(torch.stack(means, -1)))
        if self.frames.profile:
            parts.append(same_phase(known, horizon, day)[..., None])
        if self.diffusion:
            turns = torch.stack([past[..., -1], past[..., -4:].mean(-1), past[..., -RECENT]], -1)
            parts.append(steady(self.diffusion(turns)))
        if spec.forcings:
            binned = torch.einsum("bmtf,tj->bmjf", batch["past_forcings"], self.bins)
            parts.append(steady(binned.flatten(2)))
        if spec.known_future:
            coming = batch["future_forcings"]
            parts.append(coming.expand(-1, nodes, -1, -1))
            parts.append(steady(coming.mean(2)))
        return torch.cat(parts, -1).numpy()


def same_phase(known: Tensor, horizon: int, day: int) -> Tensor:
    """Mean [B, N, H] of the past [B, N, T] at each lead's time of day, NaN where there is none."""
    steps = known.shape[-1]
    rows = []
    for lead in range(1, horizon + 1):
        at = [i for i in range(steps - 1 + lead - day, -1, -day) if i < steps]
        rows.append(known[..., at].nanmean(-1) if at else torch.full_like(known[..., 0], torch.nan))
    return torch.stack(rows, -1)
