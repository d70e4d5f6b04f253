"""What gradients of units cost beside ordinary ones: process time, side by side, step after step.

    python -m benchmarks.unit_gradients [--homes 10000] [--a-step 300] [--rounds 40]

Both take the same windows in turn, so that what else the machine does meets both alike. A whole
step adds members, noise and optimiser to the one, the optimiser to the other. Run it with
OMP_NUM_THREADS=1: process time adds up over threads. Markdown on stdout.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.tables import head, row
from models.contracts import FloatArray, IntArray
from privacy.audit_run import untrained_gradients
from privacy.dp import PrivateSettings, PrivateTraining
from privacy.draws import KEY_BYTES, SecretDraws
from privacy.stand_in import stand_ins
from training.dataset import CityDataset

WARM_UP = 2


@dataclass(frozen=True)
class Costs:
    """Process seconds [rounds] of single steps.

    Attributes:
        units: gradients, clipped and summed.
        ordinary: the gradient of the mean loss of the same windows.
        private_step: of private training.
        ordinary_step: gradient and optimiser.
    """

    units: FloatArray
    ordinary: FloatArray
    private_step: FloatArray
    ordinary_step: FloatArray


def costs(dataset: CityDataset, settings: PrivateSettings, rounds: int) -> Costs:
    """Of ``rounds`` steps, after two to warm up."""
    private, plain = (untrained_gradients(dataset, settings) for _ in range(2))
    training = PrivateTraining(private, SecretDraws(bytes(KEY_BYTES)), settings, 1.0)
    optimiser = torch.optim.Adam(plain.parameters, lr=settings.learning_rate)
    found: dict[str, list[float]] = {name: [] for name in Costs.__annotations__}

    def units(step: int, numbers: IntArray) -> None:
        private.clipped_sum(numbers, step)

    def ordinary(step: int, numbers: IntArray) -> None:
        optimiser.zero_grad()
        window, _ = plain.windows.batch(numbers, step)
        plain.losses(window).mean().backward()

    def private_step(step: int, numbers: IntArray) -> None:
        training.take(step)

    def ordinary_step(step: int, numbers: IntArray) -> None:
        ordinary(step, numbers)
        optimiser.step()

    for step in range(WARM_UP + rounds):
        members = training.draws.members(step, dataset.graph.nodes, settings.sampling_rate)
        numbers = members.nonzero()[0]
        for work in (units, ordinary, private_step, ordinary_step):
            began = time.process_time()
            work(step, numbers)
            found[work.__name__].append(time.process_time() - began)
    return Costs(**{name: np.array(spent[WARM_UP:]) for name, spent in found.items()})


def ratio(above: FloatArray, below: FloatArray) -> str:
    """Median and quartiles of paired ratios."""
    low, middle, high = np.percentile(above / below, [25, 50, 75])
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--homes", type=int, default=10_000)
    parser.add_argument("--a-step", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    dataset = stand_ins(args.homes)
    head("width", "windows", "ordinary (ms)", "per unit (ms)", "ratio", "whole step, ratio")
    for width, windows in ((16, 2), (32, 2), (32, 8)):
        shape = {"width": width, "blocks": 1, "dropout": 0, "inductive": True, "graph": False}
        settings = PrivateSettings.model_validate(
            {
                "unit": "household",
                "nominal_units": args.homes,
                "sampling_rate": args.a_step / args.homes,
                "delta": 1 / (10 * args.homes),
                "most_windows": windows,
                "lags": (168, 336),
                "architecture": shape,
            }
        )
        found = costs(dataset, settings, args.rounds)
        row(
            width,
            windows,
            f"{1e3 * np.median(found.ordinary):.0f}",
            f"{1e3 * np.median(found.units):.0f}",
            ratio(found.units, found.ordinary),
            ratio(found.private_step, found.ordinary_step),
        )


if __name__ == "__main__":
    main()
