"""``felsina audit scenario``: who gains and who loses by a scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from fairness.areas import read_areas
from fairness.groups import own_areas
from models.record import canonical_json, write_atomic
from pipelines.commands.terminal import answer, out, plain_table, say
from pipelines.scenario_audit import audit_scenario
from pipelines.train import open_registered


def audit_one(
    folder: Path,
    figure: str,
    dataset: Path,
    areas_file: Path | None,
    before: Path | None,
    more: bool,
    file: Path | None,
    json: bool,
) -> None:
    """Tell a scenario's figure by who lives where."""
    graph = open_registered(dataset).graph
    areas = own_areas(graph) if areas_file is None else read_areas(areas_file, graph)
    record = audit_scenario(folder, figure, areas, before, more)
    if file is not None:
        write_atomic(file, canonical_json(record))
        say(f"record in {file}")
    if json:
        answer(record)
        return
    for grouping in record["groupings"]:
        out.print(_table(record, grouping))
    if worst := record["worst"]:
        each = f"{worst['per_1000']:,.4g} for 1 000 residents"
        out.print(f"Worst off: {worst['attribute']} {worst['name']}, {each}.")


def _table(record: dict[str, Any], grouping: dict[str, Any]) -> Table:
    title = f"{record['scenario']}, {record['figure']} by {grouping['attribute']}"
    columns = ("group", "residents", "change", "for 1 000 residents", "areas gain", "lose")
    table = plain_table(title, columns)
    for group in grouping["groups"]:
        people, each = group["residents"], group["per_1000"]
        table.add_row(
            group["name"],
            "-" if people is None else f"{people:,}",
            f"{group['change']:,.6g}",
            "-" if each is None else f"{each:,.4g}",
            str(group["gain"]),
            str(group["lose"]),
        )
    return table
