"""``felsina privacy canary``: whether private settings keep their claim."""

from __future__ import annotations

from pathlib import Path

from pipelines.commands.terminal import Stages, answer, out
from pipelines.private import private_settings
from pipelines.train import open_registered
from privacy.audit_run import PrivateAudit, audit_private
from privacy.dp import planned
from privacy.stand_in import stand_ins

MOST_STAND_INS = 10_000
"""Synthetic households that are made at most; more change nothing that is guessed."""


def audit_settings(
    file: Path,
    assignments: list[str] | None,
    dataset: Path | None,
    public: Path | None,
    canaries: int,
    seed: int,
    json: bool,
) -> None:
    """Train on stand-ins and canaries, guess who was in; exit 1 where the claim is refuted."""
    shared = open_registered(public) if public else None
    opened = open_registered(dataset) if dataset else None
    settings = private_settings(opened or stand_ins(1), file, assignments)
    units = opened or stand_ins(max(1, min(settings.nominal_units, MOST_STAND_INS)), seed)
    mechanism = planned(settings)
    with Stages() as stages:
        stages.begin(
            units.spec.dataset,
            f"{canaries} canaries among stand-ins, {mechanism.steps} steps with noise "
            f"{mechanism.noise_multiplier:g}, sampling rate {mechanism.sampling_rate:g}",
        )
        found = audit_private(settings, units, stages, canaries, seed=seed, public=shared)
    if json:
        answer(found.to_dict())
    else:
        for line in _lines(found):
            out.print(line)
    if found.contradicts:
        raise SystemExit(1)


def _lines(found: PrivateAudit) -> list[str]:
    """Claim, bounds, verdict, and what was audited."""
    white, black = found.white_box, found.black_box
    noise = found.noise_multiplier
    if found.contradicts:
        verdict = "CONTRADICTED: release nothing that was trained so; look for what took noise off"
    elif white.ceiling <= white.claim:
        verdict = (
            f"not contradicted, which says nothing: {white.canaries} canaries at delta "
            f"{white.delta:g} and this sampling rate could refute epsilon {white.ceiling:.3g} at "
            "most; take more canaries or a smaller delta"
        )
    else:
        verdict = (
            "not contradicted (a bound from below proves nothing; had all guesses been right it "
            f"would be {white.ceiling:.3g})"
        )
    return [
        f"claim        epsilon {white.claim:.4g} at delta {white.delta:g}, noise {noise:g}",
        f"lower bound  epsilon {white.epsilon:.4g} at {white.confidence:.0%} confidence: "
        f"{white.right} of {white.guesses} guesses right, {white.canaries} canaries",
        f"membership   AUC {white.auc:.3f} by all noisy sums, {black.auc:.3f} by the loss alone "
        f"(lower bound {black.epsilon:.4g})",
        f"verdict      {verdict}",
        f"audited      code and settings on {found.units} units of {found.stand_in} and canaries "
        f"(nominal {found.settings.nominal_units}); no private row was read, none is vouched for",
    ]
