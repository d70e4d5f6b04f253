"""The model card page: what each dataset's full-profile forecaster does, with its pictures.

    FELSINA_DATA=DIR python -m benchmarks.cards [--dataset NAME ...] [--seed 0]

Takes the backtests that ``benchmarks.forecasting`` left in the home folder, or makes them, and
writes ``docs/models.md`` and the pictures beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.contenders import Quiet, say
from benchmarks.forecasting import DATASETS
from pipelines.settings import home
from pipelines.train import Trained, open_registered, score, settings_for, train

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
PICTURES = ("bands", "error_by_lead", "reliability")
RIVALS = ("ridge", "seasonal_naive_week", "persistence")
HEAD = """# Model cards

What the forecaster does on each dataset: full profile, seed {seed}, the exported graph on every
test origin, observed weather over the horizon. Made by `python -m benchmarks.cards`; peers stand in
[benchmarks/forecasting.md](../benchmarks/forecasting.md). These are benchmarks on public data, not
approved releases: a release carries its own figures in its manifest, and no model here has been
read by an ethics board.
"""


def card(trained: Trained, report: dict[str, Any]) -> str:
    """Markdown of one dataset."""
    spec, dataset = trained.fitted.spec, trained.dataset
    architecture = trained.fitted.settings.architecture
    kind = "inductive" if architecture.inductive else "one embedding a node"
    lines = [
        f"## {spec.dataset}",
        "",
        f"{spec.target} ({spec.unit}) of {dataset.graph.nodes} nodes every {spec.step}, "
        f"{spec.horizon} steps ahead. {report['parameters']} parameters ({kind}, members: "
        f"{architecture.members}), {report['origins']} test origins, {report['targets']} targets. "
        f"Source: {dataset.attribution or 'not stated'}.",
        "",
        f"| model | MAE ({spec.unit}) | WAPE | CRPS | 50 % | 80 % | 90 % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    rows = {name: report["models"][name] for name in ("felsina", *RIVALS)}
    if report.get("adaptive"):
        rows["felsina, adaptive bands"] = report["adaptive"] | {
            "mae": None,
            "wape": None,
        }
    for name, scores in rows.items():
        point = (
            "as above | "
            if scores["mae"] is None
            else f"{scores['mae']:.4g} | {scores['wape']:.2%}"
        )
        covered = " | ".join(f"{scores[f'coverage_{band}']:.1%}" for band in (50, 80, 90))
        lines.append(f"| {name.replace('_', ' ')} | {point} | {scores['crps']:.4g} | {covered} |")
    lines += ["", f"Where it is wrong: {_weak(report)}", ""]
    lines += [
        f"![{spec.dataset}: {p.replace('_', ' ')}](models/{spec.dataset}-{p}.png)" for p in PICTURES
    ]
    return "\n".join([*lines, ""])


def _weak(report: dict[str, Any]) -> str:
    """One sentence on events, where they were seen."""
    events = report["models"]["felsina"].get("events") or {}
    mae = report["models"]["felsina"]["mae"]
    parts = [
        f"{name.replace('_', ' ')} {scores['mae']:.4g} (bias {scores['bias']:+.3g}, 80 % band "
        f"covers {scores['coverage_80']:.0%})"
        for name, scores in events.items()
        if scores.get("targets")
    ]
    if not parts:
        return "no events."
    return f"MAE is {mae:.4g} over all targets, on " + "; ".join(parts) + "."


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dataset", action="append", help="a name; all seven when left out")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(os.environ.get("FELSINA_DATA", "../shared")) / "datasets"
    pictures = PAGE.parent / "models"
    pictures.mkdir(exist_ok=True)
    cards = []
    for name in options.dataset or DATASETS:
        dataset = open_registered(folder / name)
        trained = train(dataset, settings_for(dataset, "full", options.seed), home(), Quiet())
        cards.append(card(trained, score(trained, home(), lambda share: None)))
        for picture in PICTURES:
            with Image.open(trained.folder / "plots" / f"{picture}.png") as image:
                small = image.convert("RGB").quantize(64)
                small.save(pictures / f"{name}-{picture}.png", optimize=True)
        say(f"{name}: {trained.folder}")
    PAGE.write_text("\n".join([HEAD.format(seed=options.seed), *cards]))
    sys.stdout.write(f"{PAGE}\n")


if __name__ == "__main__":
    main()
