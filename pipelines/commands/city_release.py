"""``felsina city release``: from a federation's last model to a sealed release."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.commands.city import city_folder
from pipelines.commands.terminal import Stages, answer, out, say, scores
from pipelines.federated import train_federated
from pipelines.federated_release import check_there
from pipelines.private_evidence import make_evidence
from pipelines.private_release import CLAIM
from pipelines.release import build_release
from pipelines.settings import home
from pipelines.train import FEDERATION, Trained, open_registered, score
from privacy.deployment.city import City
from serving.release import load_release


def release(folder: Path | None, run: str, dataset: Path, json: bool) -> None:
    """Make what is missing of trained folder, backtest, evidence and release, and say what is."""
    city, opened = City(city_folder(folder)), open_registered(dataset)
    with Stages() as stages:
        stages.begin(
            opened.spec.dataset, f"release of run {run}, federation {city.plan.federation}"
        )
        trained = train_federated(city, run, opened, home(), stages)
        report = score(trained, home(), lambda share: stages.progress("backtest", share))
        if not (trained.folder / CLAIM).is_file():
            check_there(trained, city.ledger())  # before minutes are spent on an audit
        if trained.noise is not None:
            make_evidence(trained, home(), stages, attribute=None)
        sealed = build_release(trained, home(), city.ledger())
    record = _record(trained, sealed)
    if json:
        answer(record)
        return
    out.print(scores(report))
    names = ", ".join(seen["partner"] for seen in trained.run[FEDERATION]["partners"])
    out.print(f"run {run}: {record['rounds']} rounds with {names}")
    for one in record["claims"]:
        out.print(
            f"  each {one['unit']} of {one['partner']}: epsilon {one['epsilon']:.4g} at delta "
            f"{one['delta']:g}, everything together that the ledger lists",
            markup=False,
        )
    out.print(str(sealed))
    say(f"next: felsina report build --release {sealed.name} --dataset {dataset}")


def _record(trained: Trained, sealed: Path) -> dict[str, Any]:
    """What was made, and what is claimed of whom."""
    promised = load_release(sealed).manifest["privacy"]["differential_privacy"] or {}
    names = ("partner", "dataset", "unit", "epsilon", "delta")
    partners = promised.get("partners", [])
    return {
        "release": str(sealed),
        "trained": str(trained.folder),
        "run": trained.run[FEDERATION]["run"],
        "rounds": trained.run[FEDERATION]["rounds"],
        "mae": trained.report["models"]["felsina"]["mae"],
        "claims": [{name: one[name] for name in names} for one in partners],
    }
