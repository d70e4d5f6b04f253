"""A road network's surrogate beside simpler answers and SUMO's own floor, by test set.

    python -m benchmarks.road EXPERIMENTS RELEASE [--ablate FOLDER]

``EXPERIMENTS`` is what ``felsina scenario sample`` made, ``RELEASE`` what ``felsina release build``
made of it. Prints Markdown tables; with ``--ablate`` also of the network without messages, trained
in that folder.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import lightgbm
import numpy as np
import torch

from benchmarks.tables import head, row
from models.contracts import FloatArray, IntArray
from models.exported import open_session
from models.scenario import TRAIN
from models.surrogates.edge_graph import EdgeGraph
from pipelines.domains.traffic.road_surrogate import streets_of
from pipelines.surrogates import surrogate_settings
from serving.release import MODEL
from training.experiments import Experiments, open_experiments
from training.surrogate import answers, fit_surrogate

OUTPUTS = ("flow (veh/h)", "speed (m/s)")


class Silent:
    """A listener that is told and says nothing."""

    def progress(self, stage: str, share: float) -> None:
        """Nothing."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Nothing."""


def features(made: Experiments, rows: IntArray) -> FloatArray:
    """What a street's own inputs and the network's means say, [B * E, F]: no turns, no routes."""
    asked, usual = made.fields[rows], made.fields[0]
    count, edges = asked.shape[:2]
    own = np.stack(
        [asked[..., 0] / usual[:, 0], asked[..., 1], asked[..., 2] / usual[:, 2]], axis=-1
    )
    everywhere = np.concatenate(
        [own.mean(1), asked[..., 1].sum(1, keepdims=True), made.scalars[rows]], axis=-1
    )
    streets = np.concatenate([np.nan_to_num(made.target[0]), np.arange(edges)[:, None]], axis=-1)
    parts = [
        own,
        np.repeat(everywhere[:, None], edges, axis=1),
        np.broadcast_to(streets, (count, edges, 3)),
    ]
    return np.concatenate(parts, axis=-1).reshape(count * edges, -1)


def boosted(made: Experiments, rows: IntArray) -> FloatArray:
    """LightGBM on ``features``: differences to today, [B, E, 2]."""
    train, usual = made.rows(TRAIN), np.nan_to_num(made.target[0], nan=0.0)
    found = []
    for o in range(2):
        change = (made.target[train, :, o] - usual[:, o]).ravel()
        known = ~np.isnan(change)
        model = lightgbm.LGBMRegressor(
            objective="l1",
            n_estimators=400,
            learning_rate=0.05,
            num_leaves=31,
            verbose=-1,
            n_jobs=1,
        )
        model.fit(features(made, train)[known], change[known], categorical_feature=[10])
        change = np.asarray(model.predict(features(made, rows))).reshape(len(rows), -1)
        found.append(np.maximum(usual[:, o] + change, 0))
    return np.stack(found, axis=-1)


def ablated(made: Experiments, work: Path) -> EdgeGraph:
    """A network without messages: each street sees what the queues say of it alone."""

    def build(of: Experiments) -> EdgeGraph:
        return EdgeGraph(streets_of(of), of.spec.quantiles, rounds=0)

    fitted = fit_surrogate(made, build, surrogate_settings(made), work, Silent())
    network = fitted.surrogate.network
    assert isinstance(network, EdgeGraph)
    return network


def answered(release: Path, made: Experiments, rows: IntArray) -> FloatArray:
    """Quantiles [B, E, 2, Q] of the released graph."""
    session = open_session(release / MODEL)
    arrays = {"scalars": made.scalars[rows], "fields": made.fields[rows]}
    return np.asarray(session.run(None, arrays)[0])


def kinds(made: Experiments, rows: IntArray) -> list[str]:
    """What the measures of each run are: closure, lane, limit, demand."""
    asked, usual = made.fields[rows], made.fields[0]
    named = [
        ("closure", (asked[..., 1] > 0).any(1)),
        ("limit", (asked[..., 0] < usual[:, 0] - 0.1).any(1)),
        ("lane", (asked[..., 2] < usual[:, 2]).any(1)),
        ("demand", made.scalars[rows, 0] != 1),
    ]
    return [" + ".join(name for name, there in named if there[k]) for k in range(len(rows))]


def errors(made: Experiments, answers_by_name: dict[str, FloatArray], rows: IntArray) -> None:
    """Mean absolute errors over runs and edges, in units of the floor too."""
    for name in made.tests:
        of_set = np.flatnonzero(made.split[rows] == name)
        floors = list(made.record["floors"][name].values())
        for o, output in enumerate(OUTPUTS):
            truth = made.target[rows[of_set], :, o]
            cells = []
            for median in answers_by_name.values():
                error = float(np.nanmean(np.abs(median[of_set][..., o] - truth)))
                cells.append(f"{error:.2f} ({error / floors[o]:.2f})")
            row(name, output, len(of_set), f"{floors[o]:.2f}", *cells)


def by_run(made: Experiments, quantiles: FloatArray, rows: IntArray) -> None:
    """A line for each test scenario."""
    middle = made.spec.median
    head("test set", "measures", "moves flow", "error", "moves speed", "error")
    for k, (r, kind) in enumerate(zip(rows, kinds(made, rows), strict=True)):
        moved = np.nanmean(np.abs(made.target[r] - made.target[0]), axis=0)
        error = np.nanmean(np.abs(quantiles[k, ..., middle] - made.target[r]), axis=0)
        row(
            made.split[r],
            kind,
            f"{moved[0]:.1f}",
            f"{error[0]:.1f}",
            f"{moved[1]:.2f}",
            f"{error[1]:.2f}",
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiments", type=Path)
    parser.add_argument("release", type=Path)
    parser.add_argument(
        "--ablate", type=Path, help="folder to train the network without messages in"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    made = open_experiments(asked.experiments)
    rows = np.concatenate([made.rows(name) for name in made.tests])
    middle = made.spec.median
    quantiles = answered(asked.release, made, rows)
    by_name = {
        "today": np.broadcast_to(made.target[0], made.target[rows].shape),
        "LightGBM": boosted(made, rows),
    }
    if asked.ablate:
        network = ablated(made, asked.ablate)
        with torch.inference_mode():
            inputs = (torch.as_tensor(x[rows]) for x in (made.scalars, made.fields))
            by_name["queues"] = network.backbone(*inputs).numpy()
        by_name["no messages"] = answers(network, made, rows)[..., middle]
    by_name["surrogate"] = quantiles[..., middle]
    head("test set", "output", "runs", "floor", *by_name)
    errors(made, by_name, rows)
    head("test set", "output", "inside the 80 % band", "its width")
    low, high = made.spec.quantiles.index(0.1), made.spec.quantiles.index(0.9)
    for name in made.tests:
        of_set = np.flatnonzero(made.split[rows] == name)
        for o, output in enumerate(OUTPUTS):
            truth = made.target[rows[of_set], :, o]
            known, band = ~np.isnan(truth), quantiles[of_set][:, :, o]
            inside = (truth >= band[..., low]) & (truth <= band[..., high])
            width = float((band[..., high] - band[..., low])[known].mean())
            row(name, output, f"{inside[known].mean():.0%}", f"{width:.3g}")
    by_run(made, quantiles, rows)
    print()
    for size in (1, 32):
        batch = np.resize(rows, size)
        began = time.perf_counter()
        answered(asked.release, made, batch)
        loaded = time.perf_counter()
        session = open_session(asked.release / MODEL)
        arrays = {"scalars": made.scalars[batch], "fields": made.fields[batch]}
        session.run(None, arrays)
        ready = time.perf_counter()
        for _ in range(5):
            session.run(None, arrays)
        one = (time.perf_counter() - ready) / 5
        print(
            f"{size} scenarios: {1000 * one:.0f} ms, the first with loading {loaded - began:.1f} s"
        )


if __name__ == "__main__":
    main()
