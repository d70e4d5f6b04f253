"""What private rounds bring: each partner alone, all by rounds, all in one place.

    python -m benchmarks.private_rounds [--homes 2000] [--rate .1] [--rounds 60]
        [--optimiser sgd|adam] [--learning-rate 1] [--server-rate .01]

Five unequal partners of synthetic households, noise at each, epsilon 4 at delta 1/(10 x homes). A
Markdown table on stdout.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from privacy.dp import PrivateSettings
from privacy.private_federation import private_study
from privacy.rounds import RoundSettings
from privacy.stand_in import stand_ins


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--homes", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--optimiser", default="sgd")
    parser.add_argument("--learning-rate", type=float, default=1.0)
    parser.add_argument("--server-rate", type=float)
    args = parser.parse_args()
    homes = stand_ins(args.homes)
    shape = {"width": 16, "blocks": 1, "dropout": 0.0, "inductive": True, "graph": False}
    settings = PrivateSettings.model_validate(
        {
            "unit": "household",
            "nominal_units": args.homes,
            "sampling_rate": args.rate,
            "delta": 1 / (10 * args.homes),
            "steps": args.steps,
            "most_windows": 2,
            "optimiser": args.optimiser,
            "learning_rate": args.learning_rate,
            "lags": (7 * homes.spec.steps_per_day,),
            "architecture": shape,
        }
    )
    rounds = RoundSettings(args.rounds, server_rate=args.server_rate)
    with tempfile.TemporaryDirectory() as folder:
        standings, _ = private_study(
            homes, settings, rounds, 5, "random", Path(folder), lambda text, share: None
        )
    write = sys.stdout.write
    write("| partner | homes | alone | together | all in one place | epsilon |\n")
    write("| --- | ---: | ---: | ---: | ---: | ---: |\n")
    for one in standings:
        figures = f"{one.alone:.4f} | {one.together:.4f} | {one.pooled:.4f} | {one.epsilon:.3f}"
        write(f"| {one.partner} | {one.nodes} | {figures} |\n")
    nodes = [one.nodes for one in standings]
    means = (
        np.average([getattr(one, kind) for one in standings], weights=nodes)
        for kind in ("alone", "together", "pooled")
    )
    write(f"| a home, mean | {sum(nodes)} | {' | '.join(f'{m:.4f}' for m in means)} | |\n")


if __name__ == "__main__":
    main()
