"""Whether the audit's statistics hold: alarms where nothing is, power where something is.

    python -m benchmarks.accountability [--runs 2000] [--days 365]

Worlds of two groups with autoregressive days (``tests.fixtures.worlds``): how often the interval of
the first group's error holds the truth, how often any group fails although none is worse, and how
often a gap of 20 % is found; a block bootstrap beside it on every tenth world; then how often a
sequence that is watched for four years ever misses. Markdown on stdout, a row as it ends.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.tables import head, row
from fairness.audit import FAIL, HARMS, audit, worse
from fairness.intervals import block_bootstrap, jackknife, watch
from fairness.metrics import Units
from tests.fixtures.worlds import autoregressive, two_groups

GAP = 0.2
WATCHED = 208


def main() -> None:
    """Run the simulations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--days", type=int, default=365)
    asked = parser.parse_args()
    names = ["AR", "days", "jackknife-t holds (95 %)", "weekly bootstrap holds"]
    head(*names, "false alarms", f"{GAP:.0%} gap found")
    for phi in (0.5, 0.8):
        row(phi, asked.days, *_audits(phi, asked.days, asked.runs))
    print()
    head("AR", "weeks watched", "sequences that ever miss (5 %)")
    for phi in (0.0, 0.5, 0.8):
        row(phi, WATCHED, f"{_missing(phi, asked.runs):.1%}")


def _audits(phi: float, days: int, runs: int) -> list[str]:
    rng = np.random.default_rng(int(10 * phi))
    held, bootstrapped, alarms, found = [], [], [], []
    for run in range(runs):
        daily, groupings, areas = two_groups(phi, days, rng)
        units = Units.of(groupings[0], areas, np.ones(daily.shape[1]))
        by_unit = np.einsum("un,dnls->dus", units.of_node, daily)

        def error(sums: np.ndarray, weights: np.ndarray = units.equal) -> np.ndarray:
            return worse(sums, weights, HARMS[0])[..., :1]

        held.append(_holds(jackknife(by_unit, error)))
        if run % 10 == 0:
            bootstrapped.append(_holds(block_bootstrap(by_unit, error, rng)))
        alarms.append(_fails(audit(daily, groupings, areas)) != [])
        gap = audit(*two_groups(phi, days, rng, GAP))
        found.append("first" in _fails(gap))
    return [f"{np.mean(part):.1%}" for part in (held, bootstrapped, alarms, found)]


def _holds(interval) -> bool:  # noqa: ANN001
    return bool(interval.low[0] <= 0 <= interval.high[0])


def _fails(records: list) -> list[str]:
    """Names of the groups whose error fails."""
    return [
        group["name"]
        for record in records
        for group, judged in zip(
            record["groups"], record["weighted"]["area"]["harms"]["error"], strict=True
        )
        if judged["verdict"] == FAIL
    ]


def _missing(phi: float, runs: int) -> float:
    days = autoregressive(phi, (runs, WATCHED * 7), np.random.default_rng(1))
    found = watch(days.reshape(runs, WATCHED, 7).mean(axis=-1).T)
    return float(((found.low > 0) | (found.high < 0)).any(axis=0).mean())


if __name__ == "__main__":
    main()
