"""``felsina partner``: check what joining would mean, and join."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from pipelines.commands.terminal import answer, out
from pipelines.federate import read_plan
from pipelines.settings import home
from pipelines.train import open_registered
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.deployment.house import House, check_bundle
from privacy.deployment.invitation import read_invitation
from privacy.deployment.plan import Plan, Terms, narrowed, read_policy
from privacy.dp import PrivateSettings
from privacy.units import UnitWindows
from training.dataset import CityDataset


def check(
    dataset: Path,
    invitation: Path | None,
    plan: Path | None,
    policy: Path | None,
    json: bool,
) -> None:
    """What joining would mean, from files alone: nothing is sent, no connection is opened."""
    opened = open_registered(dataset)
    own = read_policy(policy)
    terms: Terms | None = None
    if invitation is not None:
        invited = read_invitation(invitation)
        check_bundle(invited)
        agreed, terms = invited.plan, invited.terms
    elif plan is not None:
        agreed = read_plan(plan, opened)
    else:
        agreed = None
    told: dict[str, Any] = {
        "dataset": opened.spec.dataset,
        "nodes": opened.graph.nodes,
        "steps": len(opened.values),
        "digests": dict(opened.digests),
    }
    if agreed is not None:
        agreed.check(opened)
        private = agreed.private
        if terms is not None:
            terms, private = narrowed(terms, agreed, own)
        told |= _meaning(opened, agreed, private, terms)
    if json:
        answer(told)
        return
    out.print(f"{dataset}: valid, {told['nodes']} nodes x {told['steps']} steps")
    if agreed is None:
        out.print("name an invitation with --invitation to see what joining it would mean")
    for line in _lines(told):
        out.print(line, markup=False)
    out.print("nothing was sent")


def join(
    invitation: Path,
    dataset: Path,
    policy: Path | None,
    folder: Path | None,
    agree: bool,
    runs: int,
) -> None:
    """Show the agreement, agree, and answer the city until told to stop."""
    opened = open_registered(dataset)
    own = read_policy(policy)
    invited = read_invitation(invitation)
    place = folder or home() / "partner" / f"{invited.city}-{invited.partner}"
    house = House(place, invitation, opened, own)
    out.print(invited.agreement.strip(), markup=False)
    out.print()
    for line in _lines(_meaning(opened, house.plan, house.private, house.terms)):
        out.print(line, markup=False)
    _agreed(invited.partner, agree)
    stopping = [False]

    def stop(number: int, frame: object) -> None:
        if stopping[0]:
            raise KeyboardInterrupt
        stopping[0] = True
        out.print("stops after this round; once more to stop at once")

    def told(text: str) -> None:
        out.print(text, markup=False)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    if not house.join(told, lambda: stopping[0]):
        return
    _log_to(place / "partner.log")
    out.print(f"{invited.partner} joined {invited.city}; keys, account and models are in {place}")
    out.print("answering the city; Ctrl-C stops, the same command goes on")
    house.serve(told, lambda: stopping[0], runs)


def _log_to(path: Path) -> None:
    """What libraries say, and why a round failed here, is this partner's own."""
    logging.basicConfig(
        filename=path,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )
    flower = logging.getLogger("flwr")
    flower.handlers.clear()
    flower.setLevel(logging.INFO)
    flower.propagate = True
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _agreed(partner: str, agree: bool) -> None:
    if agree:
        return
    if not sys.stdin.isatty():
        raise FelsinaError("read the agreement above and say --agree, or answer at a terminal")
    if input(f"Type {partner} to agree: ").strip() != partner:
        raise FelsinaError("not agreed; nothing was sent")


def _meaning(
    dataset: CityDataset, plan: Plan, private: PrivateSettings | None, terms: Terms | None
) -> dict[str, Any]:
    """What would leave, and what it would spend."""
    arrays = plan.initial(dataset.graph)
    numbers = sum(int(values.size) for values in arrays.values())
    told: dict[str, Any] = {
        "federation": plan.federation,
        "rounds": plan.rounds.rounds,
        "leaves": {
            "arrays": {name: list(values.shape) for name, values in arrays.items()},
            "numbers": numbers,
            "kib_a_round": round(numbers * 4 / 1024, 1),
        },
        "private": None,
        "reason": plan.reason,
    }
    if terms is not None:
        told["terms"] = terms.model_dump(mode="json")
    if private is None:
        return told
    builder = dataset.builder(dataset.spec.with_lags(private.lags))
    units = UnitWindows(dataset, builder, private.unit, private.most_windows, private.seed)
    noise, steps = private.noise_multiplier, private.steps
    assert noise is not None or terms is None
    preview: dict[str, Any] = {
        "unit": private.unit,
        "units_here": len(units),
        "nominal_units": private.nominal_units,
        "most_windows": private.most_windows,
        "clip_norm": private.clip_norm,
        "sampling_rate": private.sampling_rate,
        "noise_multiplier": noise,
        "steps": steps,
        "delta": private.delta,
    }
    if noise is not None:
        whole = SampledGaussian(private.sampling_rate, noise, steps)
        preview["epsilon"] = epsilon_of([whole], private.delta).pld
    return told | {"private": preview}


def _lines(told: dict[str, Any]) -> list[str]:
    """For a person."""
    if "federation" not in told:
        return []
    leaves = told["leaves"]
    lines = [
        f"federation {told['federation']}, {told['rounds']} rounds",
        f"leaves the house a round: {leaves['numbers']} numbers, {leaves['kib_a_round']} KiB: how "
        f"training here moves {len(leaves['arrays'])} arrays of the city's network",
        "also leaves, once: name and file digests of the dataset"
        + ("" if told["private"] else ", how many values it holds"),
        "stays: rows, node ids, scales, profiles, node embeddings, errors, logs",
    ]
    private = told["private"]
    if private is None:
        lines.append(f"no noise is added, since: {told['reason']}")
        return lines
    lines += [
        f"protects each {private['unit']}: {private['units_here']} here, counted as about "
        f"{private['nominal_units']}; each gives at most {private['most_windows']} windows to a "
        f"step, clipped to {private['clip_norm']:g}",
    ]
    if "epsilon" in private:
        lines.append(
            f"a whole run spends epsilon {private['epsilon']:.3f} at delta {private['delta']:.2g} "
            f"({private['steps']} steps, rate {private['sampling_rate']:g}, noise "
            f"{private['noise_multiplier']:.3f})"
        )
    if "terms" in told:
        terms = told["terms"]
        lines.append(f"most that may ever be spent: epsilon {terms['epsilon']:g}; {terms['until']}")
    return lines
