"""``felsina data validate``, ``describe`` and ``synth``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from models.contracts import FelsinaError
from pipelines.commands.terminal import answer, out
from pipelines.domains.registry import domain_of
from pipelines.prepare import open_registered, quality_of, write_flags

_EXAMPLES = 3
"""Flags of a kind that are shown."""


def validate_one(dataset: Path, json: bool, flags: Path | None) -> None:
    """Open a dataset folder, which refuses what is wrong with it, and flag what looks wrong."""
    opened = open_registered(dataset)
    quality = quality_of(opened)
    if flags is not None:
        write_flags(flags, quality["flags"])
    if json:
        size = {"nodes": opened.graph.nodes, "steps": len(opened.values)}
        answer({"dataset": opened.spec.dataset, **size, **quality})
        return
    out.print(f"{dataset}: valid, {opened.graph.nodes} nodes x {len(opened.values)} steps")
    if quality["flags"]:
        out.print("To look at (flagged by rule; no value was changed):")
        _show_flags(quality["flags"], quality["summary"]["kinds"])
    else:
        out.print("Nothing looks wrong: no spikes, stuck values, shifts or zeros for gaps found")
    if flags is not None:
        out.print(f"flags in {flags}")


def _show_flags(flags: list[dict[str, Any]], kinds: dict[str, int]) -> None:
    """Kinds with their counts, and of each the longest, from different nodes."""
    for kind, count in kinds.items():
        longest = sorted((f for f in flags if f["kind"] == kind), key=lambda f: -f["count"])
        worst = {flag["node"]: flag for flag in reversed(longest)}
        out.print(f"  {kind}: {count} on {len(worst)} node{'s' if len(worst) > 1 else ''}, such as")
        for flag in sorted(worst.values(), key=lambda f: -f["count"])[:_EXAMPLES]:
            steps = f"{flag['count']} step{'s' if flag['count'] > 1 else ''}"
            out.print(f"    {flag['node']} from {flag['start']}, {steps}: {flag['reason']}")


def describe_one(dataset: Path, json: bool) -> None:
    """Say what a dataset folder holds."""
    opened = open_registered(dataset)
    spec, splits, graph = opened.spec, opened.splits, opened.graph
    rows = np.array([0, splits.train_end, splits.validation_end, splits.steps - 1])
    start, train_end, validation_end, end = (f"{t}Z" for t in opened.builder().times(rows))
    missing = np.isnan(opened.values)
    silent = missing[splits.validation_end :].all(axis=0)
    record = {
        "name": spec.dataset,
        "domain": spec.domain,
        "target": f"{spec.target} ({spec.unit})",
        "nodes": graph.nodes,
        "edges": len(graph.source),
        "steps": len(opened.values),
        "step": spec.step,
        "lookback": spec.lookback,
        "horizon": spec.horizon,
        "timezone": spec.timezone,
        "holidays": spec.country or "none",
        "start": start,
        "train_end": train_end,
        "validation_end": validation_end,
        "end": end,
        "test_origins": len(splits.test(spec, opened.start)),
        "missing": round(float(missing.mean()), 4),
        "never_seen_in_test": [graph.ids[n] for n in np.flatnonzero(silent)],
        "forcings": [
            f"{f.name} ({f.unit}, {'known ahead' if f.known_future else 'past only'})"
            for f in spec.forcings
        ],
        "synthetic": opened.synthetic,
        "attribution": opened.attribution,
        "sha256": opened.digests,
    }
    if json:
        answer(record)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for key, value in record.items():
        if key == "sha256":
            continue
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        table.add_row(key.replace("_", " "), shown or "none")
    out.print(table)


def synthesise(domain: str, folder: Path, seed: int, days: int | None = None) -> None:
    """Write a domain's part of the embedded city."""
    synth = domain_of(domain).synthesise
    if synth is None:
        raise FelsinaError(f"domain {domain!r} has no synthetic dataset")
    if folder.exists():
        raise FelsinaError(f"{folder} exists; name a folder that does not")
    synth(folder, seed, *([] if days is None else [days]))
    out.print(f"{folder}: synthetic {domain} data, seed {seed}")
