"""Joint members and threshold crossings as tables, from the reports of ``felsina backtest --json``.

    felsina backtest --dataset DATASET_FOLDER --json REPORT.json
    python -m benchmarks.joint REPORT.json ...

Prints the Markdown tables of ``benchmarks/joint.md``, and what members cost a server.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tables import head, row
from models.contracts import QUANTILES
from models.joint import exceedance, members, sum_quantiles, within

SUMS = ("city_sum", "area_sum", "period_sum")
VARIANTS = ("template", "independent", "comonotone")


def sums(reports: list[dict[str, Any]]) -> None:
    """Sums and pairs by variant."""
    head("dataset", "what", "members", "CRPS", "50 %", "80 %", "90 %", "80 % width")
    for report in reports:
        for kind in SUMS:
            for variant in VARIANTS if report["joint"][kind] else ():
                s = report["joint"][kind][variant]
                cover = [f"{s[f'coverage_{inside}']:.1%}" for inside in (50, 80, 90)]
                crps, width = f"{s['crps']:.4g}", f"{s['width_80']:.4g}"
                row(report["dataset"], kind.replace("_", " "), variant, crps, *cover, width)
    head("dataset", "variogram score over pairs of", *VARIANTS)
    for report in reports:
        for kind, found in report["joint"]["variogram"].items():
            row(report["dataset"], kind, *(f"{found[v]:.4g}" for v in VARIANTS))


def crossings(reports: list[dict[str, Any]]) -> None:
    """Brier scores and skills by lead, then warnings."""
    names = ("cases", "came", "Brier", "90 %", "climatology", "persistence")
    head("dataset", "threshold", "lead", *names, "skill on each")
    for report in reports:
        for name, level in report["threshold_events"].items():
            for lead, s in sorted(level["leads"].items(), key=lambda item: item[0].zfill(9)):
                interval = "-".join(f"{v:.4f}" for v in s["brier_90"] or ())
                brier = f"{s['brier']:.4f}", interval
                others = [f"{s[f'brier_{to}']:.4f}" for to in ("climatology", "persistence")]
                skill = [s[f"skill_{to}"] for to in ("climatology", "persistence")]
                last = ", ".join("-" if v is None else f"{v:.2f}" for v in skill)
                what = (lead.replace("_", " "), s["cases"], s["observed"])
                row(report["dataset"], name, *what, *brier, *others, last)
    names = ("events", "warned", "POD", "warnings", "false", "FAR", "warned ahead (h)")
    head("dataset", "threshold", *names, "within horizon: template, independent, comonotone leads")
    for report in reports:
        for name, level in report["threshold_events"].items():
            w, s = level["warnings"], level["leads"]["within_horizon"]
            keys = ("brier", "brier_independent_leads", "brier_comonotone_leads")
            brier = ", ".join(f"{s[key]:.4f}" for key in keys)
            far, ahead = ("-" if w[k] is None else f"{w[k]:.2f}" for k in ("far", "lead_time_h"))
            pod = "-" if w["pod"] is None else f"{w['pod']:.2f}"
            cells = w["events"], w["warned"], pod, w["issued"], w["false"], far, ahead
            row(report["dataset"], name, *cells, brier)


def cost(nodes: int = 45, horizon: int = 24, count: int = 100, repeats: int = 50) -> None:
    """Milliseconds of each step for one forecast, every node with three thresholds."""
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.normal(size=(horizon, nodes, 11)).astype(np.float32), axis=-1)
    template = np.argsort(rng.random((count, horizon, nodes)), axis=0).astype(np.uint8)
    limits = np.tile([0.0, 1.0, 2.0], (nodes, 1))
    joint = members(quantiles, QUANTILES, template, False)
    at_lead = exceedance(quantiles, QUANTILES, limits, False)
    city = np.ones((1, nodes), bool)
    steps: dict[str, Callable[[], object]] = {
        "members": lambda: members(quantiles, QUANTILES, template, False),
        "sum over the city": lambda: sum_quantiles(joint, city, QUANTILES),
        "probability at each lead": lambda: exceedance(quantiles, QUANTILES, limits, False),
        "probability within the horizon": lambda: within(at_lead, template),
    }
    head(f"{nodes} nodes x {horizon} leads, {count} members", "ms (median)")
    for name, step in steps.items():
        taken = []
        for _ in range(repeats):
            began = time.perf_counter()
            step()
            taken.append(1000 * (time.perf_counter() - began))
        row(name, f"{np.median(taken):.1f}")


def main() -> None:
    """Read every report named and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("reports", nargs="*", type=Path)
    reports = [json.loads(path.read_bytes()) for path in parser.parse_args().reports]
    sums(reports)
    crossings(reports)
    cost()


if __name__ == "__main__":
    main()
