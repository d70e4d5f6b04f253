"""``felsina privacy evidence``: what goes with a private release, made before it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.commands.terminal import Stages, answer, out, say
from pipelines.evidence_folder import FOLDER
from pipelines.private_evidence import make_evidence
from pipelines.settings import home
from pipelines.train import open_registered, open_trained
from privacy.evidence_text import verdict
from serving.release import EVIDENCE_PAGE

_VERDICTS = {
    "refuted": "CONTRADICTED: this folder cannot be released; look for what took noise off",
    "weak": "not contradicted, which says nothing: even right guesses alone could not have been "
    "enough; take more canaries, or train with a smaller delta",
    "kept": "not contradicted (a bound from below proves nothing)",
}


def make_one(
    trained: Path,
    dataset: Path,
    attribute: str | None,
    stand_in: Path | None,
    public: Path | None,
    canaries: int,
    seed: int,
    json: bool,
) -> None:
    """Make or find the evidence of a trained folder; exit 1 where the audit refutes its claim."""
    opened = open_registered(dataset)
    made = open_trained(trained, opened)
    units = open_registered(stand_in) if stand_in else None
    shared = open_registered(public) if public else None
    with Stages() as stages:
        stages.begin(opened.spec.dataset, f"evidence for {made.folder.name}, {canaries} canaries")
        record = make_evidence(made, home(), stages, units, shared, canaries, seed, attribute)
    page = made.folder / FOLDER / EVIDENCE_PAGE
    if json:
        answer(record | {"folder": str(page.parent)})
    else:
        for line in _lines(record):
            out.print(line, markup=False)
        out.print(f"page         {page}", markup=False)
    if record["audit"]["contradicts"]:
        raise SystemExit(1)
    say(
        f"next: felsina release build --dataset {dataset} --trained {trained} --ledger LEDGER "
        "--key CITY.key"
    )


def _lines(record: dict[str, Any]) -> list[str]:
    """Claim, bound, verdict and cost."""
    white, auc, errors = record["audit"]["white_box"], record["membership_auc"], record["errors"]
    lines = [
        f"claim        epsilon {record['epsilon']['pld']:.4g} at delta {white['delta']:g}, noise "
        f"{record['mechanism']['noise_multiplier']:g}",
        f"lower bound  epsilon {white['epsilon']:.4g} at {white['confidence']:.0%} confidence: "
        f"{white['right']} of {white['guesses']} guesses right, {white['canaries']} canaries",
        f"membership   AUC {auc['white_box']:.3f} by all noisy sums, {auc['black_box']:.3f} by the "
        "loss alone",
        f"verdict      {_VERDICTS[verdict(record['audit'])]}",
    ]
    if errors is None:
        return [*lines, "errors       not shown"]
    if (whole := errors["overall"]) is None:
        return [*lines, f"errors       not shown: no group of {errors['least_group']} or more"]
    cost = f"{whole['with_noise']:g} with noise, {whole['without_noise']:g} without"
    return [*lines, f"errors       {cost} ({errors['unit']}; of private rows, not covered)"]
