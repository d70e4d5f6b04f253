"""``felsina privacy train``, and ``release build`` of a trained folder that is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from models.signing import load_key
from pipelines.commands.terminal import Stages, answer, out, say, scores
from pipelines.private import private_settings, train_private
from pipelines.release import build_release
from pipelines.settings import home
from pipelines.train import PRIVATE, Trained, open_registered, open_trained, score
from privacy.dp import planned
from privacy.ledger import Ledger
from privacy.population import BudgetKey


def train_one(
    dataset: Path,
    settings: Path | None,
    assignments: list[str] | None,
    ledger: Path,
    key: Path,
    partner: str,
    public: Path | None,
    json: bool,
) -> None:
    """Train privately, backtest, and say what was spent, what is left and what comes next."""
    paying = Ledger(ledger, load_key(key))
    opened = open_registered(dataset)
    shared = open_registered(public) if public else None
    resolved = private_settings(opened, settings, assignments)
    mechanism = planned(resolved)
    with Stages() as stages:
        stages.begin(
            opened.spec.dataset,
            f"at most {mechanism.steps} steps with noise {mechanism.noise_multiplier:g}, sampling "
            f"rate {mechanism.sampling_rate:g}, on the budget of {partner}",
        )
        trained = train_private(opened, resolved, paying, partner, home(), stages, shared)
        report = score(trained, home(), lambda share: stages.progress("backtest", share))
    record = _record(trained, paying)
    if json:
        answer(record | {"not_covered": report["privacy"]})
        return
    out.print(scores(report))
    out.print(f"{report['privacy']['note']}")
    if not record["whole"]:
        out.print(
            f"stopped after {record['steps']} of {resolved.steps} steps: the budget was reached"
        )
    out.print(
        f"run {record['run']}: {record['steps']} steps spend epsilon {record['epsilon']:.4g} at "
        f"delta {resolved.delta:g}; {partner} has now spent {record['spent']:.4g} of "
        f"{record['budget']:.4g} on {opened.spec.dataset} at delta {record['delta']:g}"
    )
    say(
        f"trained {trained.folder}; next: felsina privacy evidence --trained {trained.folder} "
        f"--dataset {dataset}{f' --public {public}' if public else ''}"
    )


def _record(trained: Trained, ledger: Ledger) -> dict[str, Any]:
    """What a trained folder cost, and the account that paid."""
    private = trained.run[PRIVATE]
    key = BudgetKey(private["partner"], trained.dataset.spec.dataset, private["settings"]["unit"])
    with ledger.held() as accounts:
        claim, limit = ledger.claim(key), accounts.budget(key)
    return {
        "trained": str(trained.folder),
        **{name: private[name] for name in ("run", "steps", "whole", "epsilon")},
        "noise_multiplier": private["noise_multiplier"],
        "spent": claim.epsilon,
        "budget": limit.epsilon,
        "delta": claim.delta,
    }


def build_trained(
    dataset: Path,
    trained: Path | None,
    ledger: Path | None,
    key: Path | None,
    plain: bool,
    json: bool,
) -> None:
    """Seal a trained folder; of a private one, write the release into its ledger."""
    if trained is None:
        raise FelsinaError(
            "--ledger and --key are for a model that was trained privately; name its folder with "
            "--trained, as felsina privacy train says it"
        )
    if not plain:
        raise FelsinaError(
            f"--trained {trained} is sealed as it is; leave out --profile, --seed, --config, --set "
            "and --like"
        )
    if (ledger is None) != (key is None):
        raise FelsinaError("--ledger and --key go together: the key signs the ledger's entry")
    paying = Ledger(ledger, load_key(key)) if ledger and key else None
    made = open_trained(trained, open_registered(dataset))
    with Stages() as stages:
        stages.begin(made.dataset.spec.dataset, f"release of {trained.name}")
        score(made, home(), lambda share: stages.progress("backtest", share))
        folder = build_release(made, home(), paying)
    if json:
        answer({"release": str(folder)})
    else:
        out.print(str(folder))
