"""The stage that looks at a dataset before anything is learnt from it: flags, and no change."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

from models.record import write_atomic
from pipelines.domains.registry import registered
from training.dataset import CityDataset, open_dataset
from training.quality import Flag, find_flags, summary


def open_registered(folder: Path) -> CityDataset:
    """Open a dataset folder whose domain is registered."""
    return open_dataset(folder, registered())


def quality_of(dataset: CityDataset) -> dict[str, Any]:
    """What ``quality.json`` holds: the ``summary`` of the flags, and the ``flags``."""
    flags = find_flags(dataset)
    return {"summary": summary(flags), "flags": [flag.to_dict() for flag in flags]}


def counted(kinds: dict[str, int]) -> str:
    """Counts by kind in a line: ``3 spike, 6 dead``; ``none``."""
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items()) or "none"


def write_flags(path: Path, flags: list[dict[str, Any]]) -> None:
    """Write flags as CSV, a row each, for the owner of the dataset to act on."""
    text = io.StringIO()
    rows = csv.DictWriter(text, [field.name for field in fields(Flag)], lineterminator="\n")
    rows.writeheader()
    rows.writerows(flags)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue().encode())
