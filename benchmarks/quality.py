"""Quality control on real data: what is flagged, and how many planted faults are found.

    python -m benchmarks.quality [--seed N] [--each N] DATASET_FOLDER ...

Prints the Markdown tables of ``benchmarks/quality.md``. Faults are planted on copies of the series,
one a node and at most ``--each`` a kind and size. ``(+N)``: flags more than a day from any fault.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from models.contracts import FloatArray
from training.dataset import CityDataset, open_dataset
from training.quality import KINDS, Flag, find_flags

FAULTS = {
    "spike of 1 step": ("spike", 1),
    "spike of 3 steps": ("spike", 3),
    "stuck for 6 steps": ("stuck", 6),
    "stuck for 24 steps": ("stuck", 24),
    "stuck for 3 days": ("stuck", -3),
    "zeros for 3 steps": ("zeros", 3),
    "zeros for 24 steps": ("zeros", 24),
    "level shifted for good": ("shift", 0),
}
"""Name to kind and steps, negative for days."""
MARGIN_DAYS = 20
"""Faults keep away from the ends, where a shift has no fortnight on either side."""


def plant(
    dataset: CityDataset, kind: str, steps: int, each: int, rng: np.random.Generator
) -> tuple[CityDataset, list[tuple[str, int, int]]]:
    """A copy with one fault on each of some nodes: node, first row, row after the last.

    A spike adds the node's 1-99 % range, or takes it where the target may be negative; zeros begin
    and end where the node is above its median; a shift halves what follows, or lowers a target that
    may be negative by the node's 10-90 % range.
    """
    values = dataset.values.copy()
    day = dataset.spec.steps_per_day
    margin = min(MARGIN_DAYS * day, len(values) // 4)
    length = -steps * day if steps < 0 else max(steps, 1)
    planted = []
    for n in rng.permutation(values.shape[1]):
        if len(planted) == each:
            break
        own = values[:, n]
        start = _place(own, kind, length, margin, rng)
        if start is None:
            continue
        stop = start + length
        _spoil(own, kind, start, stop, dataset.spec.nonnegative, rng)
        planted.append((dataset.graph.ids[n], start, stop))
    return replace(dataset, values=values), planted


def _place(
    own: FloatArray, kind: str, length: int, margin: int, rng: np.random.Generator
) -> int | None:
    """A row from which the node was observed for ``length`` steps, or None."""
    level = np.nanmedian(own) if not np.isnan(own).all() else np.nan
    for start in rng.integers(margin, max(margin + 1, len(own) - margin - length), 200):
        around = own[start - 4 : start + length + 4]
        cut = own[start - 1] > level and own[start + length] > level
        if not np.isnan(around).any() and (kind != "zeros" or cut):
            return int(start)
    return None


def _spoil(
    own: FloatArray, kind: str, start: int, stop: int, nonnegative: bool, rng: np.random.Generator
) -> None:
    low, high = np.nanpercentile(own, [1, 99])
    if kind == "spike":
        up = nonnegative or rng.random() < 0.5
        own[start:stop] += (high - low) * (1 if up else -1)
    elif kind == "stuck":
        own[start:stop] = own[start]
    elif kind == "zeros":
        own[start:stop] = 0
    elif nonnegative:
        own[start:] *= 0.5
    else:
        own[start:] -= np.subtract(*np.nanpercentile(own, [90, 10]))


def meeting(flag: Flag, dataset: CityDataset, fault: tuple[str, int, int], margin: int) -> bool:
    """Whether a flag meets a fault, give or take ``margin`` rows."""
    node, start, stop = fault
    step = np.timedelta64(dataset.spec.seconds, "s")
    first, last = (f"{dataset.start + r * step}Z" for r in (start - margin, stop - 1 + margin))
    return flag.node == node and flag.start <= last and flag.end >= first


def found(flags: list[Flag], dataset: CityDataset, kind: str, fault: tuple[str, int, int]) -> bool:
    """Whether a flag of the kind meets the fault; a shift is dated within a day."""
    margin = dataset.spec.steps_per_day if kind == "shift" else 0
    return any(f.kind == kind and meeting(f, dataset, fault, margin) for f in flags)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=40)
    options = parser.parse_args()
    flagged, recall = [], []
    for folder in options.folders:
        dataset = open_dataset(folder)
        began = time.perf_counter()
        flags = find_flags(dataset)
        seconds = time.perf_counter() - began
        kinds = Counter(flag.kind for flag in flags)
        days = int((~np.isnan(dataset.values)).sum()) / dataset.spec.steps_per_day
        counts = " | ".join(str(kinds[kind] or "-") for kind in KINDS)
        doubted = len({(f.node, f.start[:10]) for f in flags if f.kind not in ("late", "dead")})
        name = dataset.spec.dataset
        flagged.append(f"| {name} | {counts} | {doubted} of {days:.0f} | {seconds:.1f} |")
        known = {(f.node, f.kind, f.start) for f in flags}
        cells = []
        for kind, steps in FAULTS.values():
            if kind == "zeros" and not dataset.spec.nonnegative:
                cells.append("-")
                continue
            rng = np.random.default_rng(options.seed)
            trial, planted = plant(dataset, kind, steps, options.each, rng)
            seen = find_flags(trial)
            hits = sum(found(seen, dataset, kind, fault) for fault in planted)
            margin = dataset.spec.steps_per_day
            fresh = [f for f in seen if (f.node, f.kind, f.start) not in known]
            alarms = sum(
                not any(meeting(f, dataset, fault, margin) for fault in planted) for f in fresh
            )
            cells.append(f"{hits}/{len(planted)}" + (f" (+{alarms})" if alarms else ""))
        recall.append(f"| {name} | {' | '.join(cells)} |")
    print(f"| dataset | {' | '.join(KINDS)} | node-days with a flag | s |")
    print("| --- |" + " --- |" * (len(KINDS) + 2), *flagged, "", sep="\n")
    print(f"| dataset | {' | '.join(FAULTS)} |")
    print("| --- |" + " --- |" * len(FAULTS), *recall, sep="\n")


if __name__ == "__main__":
    main()
