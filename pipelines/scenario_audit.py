"""The audit of a scenario: its folder's figures of areas, beside who lives there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from fairness.groups import Areas
from fairness.scenarios import gains
from models.contracts import FelsinaError

AREAS, REPORT = "areas.parquet", "report.json"


def audit_scenario(
    folder: Path, figure: str, areas: Areas, before: Path | None = None, more: bool = False
) -> dict[str, Any]:
    """Tell by group who gains and who loses.

    Args:
        folder: of ``felsina scenario run``.
        figure: a column of its ``areas.parquet``, or a path in ``areas`` of its ``report.json``
            such as ``after.bill_eur``; ``A - B`` is the difference of two.
        areas: of the city; named as in the scenario.
        before: a folder to compare with; the figure itself is the change, when None.
        more: whether more of it is better.

    Returns:
        ``scenario``, ``figure``, ``unmatched``: areas of the scenario that the city has not; and
        what ``fairness.scenarios.gains`` gives.

    Raises:
        FelsinaError: if there is no such figure, or no area is known by its name.
    """
    after = figures_of(folder, figure)
    base = {} if before is None else figures_of(before, figure)
    change = {name: value - base.get(name, 0.0) for name, value in after.items()}
    names = next(iter(areas.levels.values()), ())
    found = np.array([change.get(name, np.nan) for name in names], float)
    if not np.isfinite(found).any():
        raise FelsinaError(
            f"{folder}: its areas ({', '.join(sorted(change)[:3])}) are none of the city's "
            f"({', '.join(names[:3])}); name areas alike in both"
        )
    report = json.loads((folder / REPORT).read_bytes())
    return {
        "scenario": str(report.get("name", folder.name)),
        "figure": figure,
        "unmatched": sorted(set(change) - set(names)),
    } | gains(areas, found, less_is_better=not more)


def read_scenario(path: Path) -> dict[str, Any]:
    """A record of ``audit_scenario`` that was written to a file."""
    try:
        record = json.loads(path.read_bytes())
        _ = record["scenario"], record["groupings"], record["figure"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FelsinaError(
            f"{path}: no audit of a scenario ({type(error).__name__}); felsina audit scenario "
            "writes one"
        ) from error
    return record


def figures_of(folder: Path, figure: str) -> dict[str, float]:
    """Area to a figure, or to the difference of two."""
    rows = _rows(folder)
    parts = [part.strip() for part in figure.split(" - ")]
    known = sorted({key for row in rows.values() for key in row})
    if len(parts) > 2 or not set(parts) <= set(known):
        raise FelsinaError(f"{folder}: no figure {figure!r}; areas have {', '.join(known)}")
    return {name: _value(row, parts) for name, row in rows.items()}


def _value(row: dict[str, float], parts: list[str]) -> float:
    values = [row.get(part, float("nan")) for part in parts]
    return values[0] - sum(values[1:])


def _rows(folder: Path) -> dict[str, dict[str, float]]:
    """Area to its numbers, from the table of areas or from the report."""
    if (folder / AREAS).is_file():
        table = pq.read_table(folder / AREAS).to_pylist()
        return {str(row["area"]): _flat(row) for row in table}
    try:
        areas: Any = json.loads((folder / REPORT).read_bytes())["areas"]
        pairs = areas.items() if isinstance(areas, dict) else ((r["area"], r) for r in areas)
        return {str(name): _flat(row) for name, row in pairs}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FelsinaError(
            f"{folder}: neither {AREAS} nor areas in {REPORT}; run a scenario that counts by area, "
            "such as one with homes"
        ) from error


def _flat(row: dict[str, Any], above: str = "") -> dict[str, float]:
    """Numbers of a record, those of records inside it as ``outer.inner``."""
    out: dict[str, float] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            out |= _flat(value, f"{above}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            out[above + key] = float(value)
    return out
