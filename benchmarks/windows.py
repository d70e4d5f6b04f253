"""Windows a second: the numpy builder beside the windows that are resident on the device.

    python -m benchmarks.windows [--device cuda] DATASET_FOLDER ...

Both cut the same batches of 64 origins with the settings' lags, by turns; the median of the rounds
is shown. What is measured is all that a training step waits for: tensors on the device.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.contracts import IntArray
from models.windows import WindowBuilder
from pipelines.train import open_registered, settings_for
from training.resident import ResidentWindows
from training.ridge import tensors

BATCH, BATCHES, ROUNDS = 64, 20, 7


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print("| dataset | nodes | numpy windows/s | resident windows/s | ratio |")
    print("| --- | --- | --- | --- | --- |")
    for folder in options.folders:
        dataset = open_registered(folder)
        spec = dataset.spec.with_lags(settings_for(dataset).lags)
        builder = dataset.builder(spec)
        resident = ResidentWindows(builder, options.device)
        rng = np.random.default_rng(0)
        draws = list(rng.choice(dataset.splits.train(spec), (BATCHES, BATCH)))

        def by_numpy(origins: IntArray, builder: WindowBuilder = builder) -> dict[str, Tensor]:
            return tensors(builder.batch(origins, with_target=True), options.device)

        rates: dict[str, list[float]] = {"numpy": [], "resident": []}
        for _ in range(ROUNDS):
            for name, cut in (("numpy", by_numpy), ("resident", resident.batch)):
                rates[name].append(_rate(cut, draws))
        numpy, held = (float(np.median(rates[name])) for name in ("numpy", "resident"))
        row = [folder.name, dataset.graph.nodes, f"{numpy:.0f}", f"{held:.0f}"]
        print(f"| {' | '.join(map(str, row))} | {held / numpy:.2f} |", flush=True)


def _rate(cut: Callable[[IntArray], dict[str, Tensor]], draws: list[IntArray]) -> float:
    began = time.perf_counter()
    for origins in draws:
        cut(origins)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return len(draws) * BATCH / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
