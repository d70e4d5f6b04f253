"""Whether the audit's statistics hold: alarms where nothing is, power where something is.

    python -m benchmarks.accountability [--runs 2000] [--days 365]

Worlds of two groups with autoregressive days (``tests.fixtures.worlds``): how often the interval of
the first group's error holds the truth, how often any group fails although none is worse, and how
often a gap of 20 % is found; a block bootstrap beside it on every tenth world. Then many cells at
once, as of two attributes crossed: how often any interval misses. Then how often a sequence that is
watched for four years ever misses. Markdown on stdout, a row as it ends.
"""

from __future__ import annotations

import argparse
from unittest.mock import patch

import numpy as np

from benchmarks.tables import head, row
from fairness.audit import FAIL, HARMS, audit, verdict, worse
from fairness.intervals import block_bootstrap, jackknife, watch
from fairness.metrics import Units
from fairness.watching import first_alarm, weekly_regret
from tests.fixtures.worlds import autoregressive, many_cells, two_groups

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
    head("AR", "days", "cells", "any interval misses (5 %)", "any cell fails")
    for phi in (0.5, 0.8):
        for days in (120, asked.days):
            for cells in (4, 9, 25, 80):
                row(phi, days, cells, *_cells(phi, days, cells, asked.runs))
    print()
    head("AR", "weeks watched", "sequences that ever miss (5 %)")
    for phi in (0.0, 0.5, 0.8):
        row(phi, WATCHED, f"{_missing(phi, asked.runs):.1%}")
    print()
    names = ["AR", "larger from week", "by", "found in four years", "median weeks later"]
    head(*names, "nine in ten within")
    for phi in (0.5, 0.8):
        regret = _regret(phi, asked.runs // 4)
        alarms = np.mean([first_alarm(week, 2) is not None for week in regret])
        row(phi, "never", "0 %", f"{alarms:.1%} (false alarms)", "", "")
        for begin in (13, 26, 52, 104):
            for gap in (GAP, 0.5):
                row(phi, begin, f"{gap:.0%}", *_delay(regret, begin, gap))
        with patch("fairness.watching.RESTART_WEEKS", WATCHED):
            row(phi, 104, f"{GAP:.0%}, one sequence alone", *_delay(regret, 104, GAP))


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


def _cells(phi: float, days: int, cells: int, runs: int) -> list[str]:
    rng = np.random.default_rng(int(10 * phi))
    missed, alarms = [], []
    for _ in range(runs):
        by_unit, weights = many_cells(phi, days, cells, rng)

        def error(sums: np.ndarray, weights: np.ndarray = weights) -> np.ndarray:
            return worse(sums, weights, HARMS[0])

        found = jackknife(by_unit, error, comparisons=cells)
        missed.append(((found.low > 0) | (found.high < 0)).any())
        told = zip(found.estimate, found.low, found.high, strict=True)
        alarms.append(any(verdict(*one, HARMS[0].tolerated, days) == FAIL for one in told))
    return [f"{np.mean(part):.1%}" for part in (missed, alarms)]


def _regret(phi: float, runs: int) -> np.ndarray:
    """[R, W] the first group's regret in worlds where none is worse."""
    rng = np.random.default_rng(2)
    days = np.datetime64("2024-01-01") + np.arange(7 * WATCHED)
    found = []
    for _ in range(runs):
        daily, groupings, areas = two_groups(phi, len(days), rng)
        units = Units.of(groupings[0], areas, np.ones(daily.shape[1]))
        found.append(weekly_regret(daily, days, units)[:, 0])
    return np.array(found)


def _delay(regret: np.ndarray, begin: int, gap: float) -> list[str]:
    """How often an error that grows in one week is found, and how many weeks later."""
    weeks = []
    for week in regret:
        worse_from = week + np.where(np.arange(WATCHED) >= begin, np.log1p(gap), 0)
        alarm = first_alarm(worse_from, 2)
        weeks.append(np.inf if alarm is None else alarm.week - begin)
    late = np.quantile(weeks, 0.9, method="higher")
    return [f"{np.isfinite(weeks).mean():.1%}", f"{np.median(weeks):.0f}", f"{late:.0f}"]


def _holds(interval) -> bool:  # noqa: ANN001
    return bool(interval.low[0] <= 0 <= interval.high[0])


def _fails(records: list) -> list[str]:
    """Names of the groups that fail by any harm."""
    return [
        group["name"]
        for record in records
        for g, group in enumerate(record["groups"])
        if any(harm[g]["verdict"] == FAIL for harm in record["weighted"]["area"]["harms"].values())
    ]


def _missing(phi: float, runs: int) -> float:
    days = autoregressive(phi, (runs, WATCHED * 7), np.random.default_rng(1))
    found = watch(days.reshape(runs, WATCHED, 7).mean(axis=-1).T)
    return float(((found.low > 0) | (found.high < 0)).any(axis=0).mean())


if __name__ == "__main__":
    main()
