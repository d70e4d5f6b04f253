"""Quality control of a dataset's series: what looks wrong is flagged, never changed.

A flag says what a person should look at. Whether a value is dropped is the decision of the owner of
the dataset: nothing here, in training or in serving masks or mends one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from models.contracts import FloatArray, IntArray
from training.dataset import CityDataset
from training.detectors import Run, interpolated, profile, runs_of, spikes, stuck, zeros
from training.level_shifts import SHIFT_DAYS, shifts

KINDS = ("spike", "stuck", "interpolated", "shift", "zeros", "late", "dead")
"""Kinds of flags; the last two are for information: no value is in doubt."""


@dataclass(frozen=True)
class Flag:
    """Something in the series that a person should look at.

    Attributes:
        node: id of the node.
        kind: one of ``KINDS``.
        start: first stamp, UTC, as ISO text.
        end: last stamp, UTC.
        count: observed values from ``start`` to ``end`` that are in doubt; for a shift those of the
            fortnight after it, for a silence the missing ones.
        value: the value in doubt: a spike's furthest, the level after a shift; None in a silence.
        reason: what was found, with its numbers.
    """

    node: str
    kind: str
    start: str
    end: str
    count: int
    value: float | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def find_flags(dataset: CityDataset) -> list[Flag]:
    """Everything that the detectors find in a dataset, by node, then time."""
    spec, values = dataset.spec, dataset.values
    builder = dataset.builder()
    slot, step_of_day, day = _clock(builder.calendar(0, len(values)), spec.steps_per_day)
    usual = profile(values, slot, step_of_day)
    unit = f" {spec.unit}" if spec.unit != "1" else ""
    found: list[tuple[str, Run, str]] = []
    for run in spikes(values, usual, slot):
        before, after, height, limit = run.numbers
        text = (
            f"{run.value:.5g}{unit} between {before:.5g} and {after:.5g}: stands out by "
            f"{height:.3g}, {height / limit:.0f} times what 99.5 % of this node's excursions reach"
        )
        found.append(("spike", run, text))
    for run in stuck(values, spec.nonnegative):
        text = (
            f"{run.value:.5g}{unit} for {run.stop - run.start} steps; 99 % of this node's time is "
            f"in repeats of at most {run.numbers[0]:.0f}"
        )
        found.append(("stuck", run, text))
    for run in interpolated(values):
        text = (
            f"a straight line from {run.value:.5g} to {run.numbers[1]:.5g}{unit} over "
            f"{run.stop - run.start} steps: a gap filled in?"
        )
        found.append(("interpolated", run, text))
    for run in shifts(values, usual, slot, day, spec.nonnegative):
        before, after = run.numbers
        text = (
            f"level of {SHIFT_DAYS} days goes from {before:.5g} to {after:.5g}{unit} within a day, "
            "more than it varies on either side, and few other nodes do"
        )
        found.append(("shift", run, text))
    if spec.nonnegative:
        for run in zeros(values, slot, usual, spec.steps_per_day):
            expected, share = run.numbers
            text = (
                f"{run.stop - run.start} zeros where {expected:.4g}{unit} is usual and {share:.1%} "
                "of other values then are zero: a gap?"
            )
            found.append(("zeros", run, text))
    found += _silences(values, spec.steps_per_day)
    found.sort(key=lambda item: (item[1].node, item[1].start, KINDS.index(item[0])))
    flags = []
    for kind, run, reason in found:
        start, end = (f"{t}Z" for t in builder.times(np.array([run.start, run.stop - 1])))
        silent = kind in ("late", "dead")
        seen = int((~np.isnan(values[run.start : run.stop, run.node])).sum())
        flags.append(
            Flag(
                dataset.graph.ids[run.node],
                kind,
                start,
                end,
                run.stop - run.start if silent else seen,
                None if silent else float(f"{run.value:.6g}"),
                reason,
            )
        )
    return flags


def _clock(calendar: IntArray, steps_per_day: int) -> tuple[IntArray, IntArray, IntArray]:
    """Slot of the week (working day, Saturday, Sunday or holiday), step of day and day number."""
    step_of_day, weekday, kind = calendar[:, 0], calendar[:, 1], calendar[:, 2]
    free = np.where((weekday == 6) | (kind == 1), 2, (weekday == 5).astype(int))
    day = np.cumsum(np.diff(calendar[:, 3], prepend=calendar[0, 3]) != 0)
    return free * steps_per_day + step_of_day, step_of_day, day


def _silences(values: FloatArray, steps_per_day: int) -> list[tuple[str, Run, str]]:
    """Nodes that start late or end early, by more than a day (and two steps)."""
    least = max(steps_per_day, 2)
    steps = len(values)
    out: list[tuple[str, Run, str]] = []
    for n, start, stop in zip(*runs_of(np.isnan(values)), strict=True):
        run = Run(int(n), int(start), int(stop), np.nan)
        if stop - start < least:
            continue
        if stop == steps:
            text = "never observed" if start == 0 else "not observed from here to the end"
            out.append(("dead", run, text))
        elif start == 0:
            out.append(("late", run, "not observed before"))
    return out


def summary(flags: list[Flag]) -> dict[str, Any]:
    """How many flags of each kind, and of each node: what a manifest carries."""
    kinds = Counter(flag.kind for flag in flags)
    nodes: dict[str, Counter[str]] = {}
    for flag in flags:
        nodes.setdefault(flag.node, Counter())[flag.kind] += 1
    return {
        "flags": len(flags),
        "kinds": {kind: kinds[kind] for kind in KINDS if kinds[kind]},
        "nodes": {node: dict(sorted(counts.items())) for node, counts in sorted(nodes.items())},
    }
