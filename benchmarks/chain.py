"""The chain on each dataset, in a fresh home: wall time, peak memory, scores beside the baselines.

    python -m benchmarks.chain [--profile quick|full] [--seed N] [--home DIR] DATASET_FOLDER ...

Prints two Markdown tables for ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MODELS = (
    "felsina",
    "backbone",
    "ridge",
    "profile_level",
    "seasonal_naive_week",
    "seasonal_naive_day",
    "persistence",
)


def run(folder: Path, home: Path, profile: str, seed: int) -> dict[str, Any]:
    """Run ``felsina run`` on one folder; its JSON with seconds and peak memory."""
    command = [sys.executable, "-m", "pipelines.cli", "run", "--dataset", str(folder), "--json"]
    command += ["--profile", profile, "--seed", str(seed)]
    began = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | {"FELSINA_HOME": str(home)}, stdout=subprocess.PIPE, check=True
    )
    record = json.loads(done.stdout)[0]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return record | {"wall": time.perf_counter() - began, "peak_gib": peak}


def main() -> None:
    """Run every folder named and print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--home", type=Path, help="keep what is made here, a fresh folder")
    options = parser.parse_args()
    costs, scores = [], []
    for folder in options.folders:
        with tempfile.TemporaryDirectory() as passing:
            home = options.home or Path(passing)
            record = run(folder.resolve(), home, options.profile, options.seed)
        report = record["backtest"]
        models = report["models"]
        costs.append(
            f"| {report['dataset']} | {record['wall']:.0f} | {report['fit_seconds']:.0f} | "
            f"{record['peak_gib']:.2f} | {report['parameters']} | {report['origins']} | "
            f"{report['targets']} |"
        )
        for name in MODELS:
            m = models[name]
            mark = "**" if name == "felsina" else ""
            scores.append(
                f"| {report['dataset']} ({report['unit']}) | {mark}{name}{mark} | {m['mae']:.4g} | "
                f"{m['rmse']:.4g} | {m['wape']:.2%} | {m['crps']:.4g} | {m['coverage_80']:.1%} |"
            )
    print(
        "| dataset | wall s | fit s | peak GiB (largest so far) | parameters | origins | targets |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |", *costs, "", sep="\n")
    print("| dataset | model | MAE | RMSE | WAPE | CRPS | 80 % coverage |")
    print("| --- | --- | --- | --- | --- | --- | --- |", *scores, sep="\n")


if __name__ == "__main__":
    main()
