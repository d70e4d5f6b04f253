"""``felsina privacy epsilon``."""

from __future__ import annotations

import math

from models.contracts import FelsinaError
from pipelines.commands.terminal import answer, err, out
from privacy.accounting import Epsilon, SampledGaussian, epsilon_of


def show_epsilon(
    rates: list[float], noises: list[float], steps: list[int], delta: float, json: bool
) -> None:
    """Compose runs, given as one rate, noise and number of steps each."""
    if len({len(rates), len(noises), len(steps)}) > 1:
        raise FelsinaError(
            f"{len(rates)} sampling rates, {len(noises)} noise multipliers and {len(steps)} steps: "
            "give each once a run"
        )
    runs = [SampledGaussian(*run) for run in zip(rates, noises, steps, strict=True)]
    with err.status("Composing"):
        epsilon = epsilon_of(runs, delta)
    if json:
        answer({"pld": epsilon.pld, "prv": epsilon.prv, "rdp": epsilon.rdp})
    else:
        out.print(_sentence(epsilon))


def _sentence(epsilon: Epsilon) -> str:
    """What an epsilon means, with the numbers behind it."""
    times = math.exp(epsilon.pld)
    return (
        f"epsilon {epsilon.pld:.3f} at delta {epsilon.delta:g}: whatever is seen of the results, "
        f"one unit's presence makes it at most {times:.3g} times as likely, but for a chance of "
        f"{epsilon.delta:g}. Privacy loss distribution; numerical composition says "
        f"{epsilon.prv:.3f}, Renyi at most {epsilon.rdp:.3f}. It holds for the unit that was "
        "sampled (a household, meter, vehicle or day), never for a window of its series."
    )
