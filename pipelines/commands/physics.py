"""``felsina physics verify``."""

from __future__ import annotations

import json as encoding
import os
from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from models.contracts import FelsinaError
from pipelines.commands.terminal import err, out
from pipelines.domains.registry import Check, registered


def verify_all(json: Path | None) -> None:
    """Run every domain's checks and show them; a missed one is an error."""
    data = os.environ.get("FELSINA_DATA")
    if not data:
        raise FelsinaError("FELSINA_DATA is not set; it names the folder of the reference data")
    checks: list[Check] = []
    for domain in registered().values():
        if domain.verify is not None:
            with err.status(f"{domain.title}: published cases"):
                checks += domain.verify(Path(data, "data"))
    if json is not None:
        records = [{**asdict(check), "ok": check.ok} for check in checks]
        json.write_text(encoding.dumps(records, indent=2) + "\n")
    out.print(_table(checks))
    missed = [f"{check.case} {check.quantity}" for check in checks if not check.ok]
    if missed:
        raise FelsinaError(f"{len(missed)} of {len(checks)} checks missed: {', '.join(missed)}")
    out.print(f"{len(checks)} of {len(checks)} checks hold")


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("domain", "case", "quantity"):
        table.add_column(name, overflow="fold")
    for name in ("value", "low", "high"):
        table.add_column(name, justify="right")
    table.add_column("holds")
    for check in checks:
        numbers = (f"{number:.5g}" for number in (check.value, check.low, check.high))
        holds = "yes" if check.ok else "NO"
        table.add_row(check.domain, check.case, check.quantity, *numbers, holds)
    return table
