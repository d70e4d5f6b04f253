"""Whether the canary audit sees that noise is missing, and leaves a sound training alone.

    python -m benchmarks.canary [--homes 3000] [--rate .2] [--steps 30] [--seeds 3]

Audits private training on synthetic households at each claimed epsilon, delta 1/(10 x homes), once
with the noise that the claim counts and once with none, for each seed and pattern of canaries.
Markdown on stdout, a row a run as it ends.
"""

from __future__ import annotations

import argparse

from benchmarks.tables import head, row
from privacy.audit_run import audit_private
from privacy.dp import PrivateSettings
from privacy.stand_in import stand_ins

EPSILONS = (1.0, 2.0, 4.0)


class Quiet:
    """A listener that is told of a minute or two, and says nothing."""

    def progress(self, stage: str, share: float) -> None: ...

    def metrics(self, step: int, values: dict[str, float]) -> None: ...


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--homes", type=int, default=3000)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--canaries", type=int, default=1000)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--epsilons", type=float, nargs="+", default=EPSILONS)
    parser.add_argument("--noise", nargs="+", choices=("claimed", "none"), default=None)
    parser.add_argument("--patterns", nargs="+", default=["gaps"])
    args = parser.parse_args()
    shape = {"width": args.width, "blocks": 1, "dropout": 0.0, "inductive": True, "graph": False}
    head("canaries", "claim", "noise", "seed", "lower bound", "right", "AUC", "by loss", "refuted")
    for seed in range(args.seeds):
        homes = stand_ins(args.homes, seed)
        for epsilon in args.epsilons:
            settings = PrivateSettings.model_validate(
                {
                    "unit": "household",
                    "nominal_units": args.homes,
                    "sampling_rate": args.rate,
                    "delta": 1 / (10 * args.homes),
                    "epsilon": epsilon,
                    "steps": args.steps,
                    "most_windows": 2,
                    "lags": (168, 336),
                    "seed": seed,
                    "architecture": shape,
                }
            )
            for pattern in args.patterns:
                for noise in args.noise or ("claimed", "none"):
                    show(settings, homes, pattern, noise, args.canaries, seed)


def show(settings, homes, pattern, noise, canaries, seed) -> None:  # noqa: ANN001
    """A row."""
    found = audit_private(
        settings, homes, Quiet(), canaries, 0.0 if noise == "none" else None, seed, pattern=pattern
    )
    white = found.white_box
    row(
        pattern,
        f"{white.claim:.3g}",
        f"{found.noise_multiplier:.3f}",
        seed,
        f"{white.epsilon:.2f}",
        f"{white.right}/{white.guesses}",
        f"{white.auc:.3f}",
        f"{found.black_box.auc:.3f}",
        "yes" if found.contradicts else "no",
    )


if __name__ == "__main__":
    main()
