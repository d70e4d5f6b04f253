"""``felsina data retention`` and ``data forget``."""

from __future__ import annotations

import getpass
from typing import Any

import numpy as np
from rich.table import Table

from models.contracts import FelsinaError
from pipelines.commands.terminal import answer, err, out
from pipelines.settings import home, store_place
from serving.erasure import Eraser
from serving.release import champions, load_release
from serving.retention import RULES, Due, due, load_rules, not_served
from serving.store import Store


def _eraser() -> Eraser:
    return Eraser(Store(store_place()), getpass.getuser())


def retain(apply: bool, json: bool) -> None:
    """Say what the rules delete of each dataset, and delete it with ``apply``."""
    place, eraser, now = home(), _eraser(), np.datetime64("now", "s")
    rules = load_rules(place)
    served = {dataset: load_release(folder) for dataset, folder in champions(place).items()}
    if alone := not_served(place, rules, served, eraser.store):
        err.print(
            f"{RULES}: {', '.join(alone)}: no release of that dataset is served; by age alone"
        )
    records: list[dict[str, Any]] = []
    refused = []
    for dataset, release in (served | dict.fromkeys(alone)).items():
        rule = rules.get(dataset)
        record = {
            "dataset": dataset,
            "rule": None if rule is None else rule.model_dump(),
            "due": [],
        }
        records.append(record)
        try:
            for item in due(eraser, dataset, release, rule, now):
                record["due"].append(_told(item) | ({"deleted": item.delete()} if apply else {}))
        except FelsinaError as error:
            record["refused"] = str(error)
            refused.append(str(error))
    if json:
        answer(records)
    else:
        _show(records, apply)
        _history(eraser)
    if refused:
        raise FelsinaError("; ".join(refused))


def _told(item: Due) -> dict[str, Any]:
    before = None if item.before is None else f"{item.before}Z"
    return {"what": item.what, "before": before, "rows": item.rows}


def _show(records: list[dict[str, Any]], apply: bool) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("dataset", "responsible", "what", "older than", "deleted" if apply else "to go"):
        table.add_column(name)
    for record in records:
        rule = record["rule"]
        who = f"{rule['responsible']}, {rule['contact']}" if rule else f"nobody in {RULES}"
        for item in record["due"]:
            rows = item["deleted"] if apply else item["rows"]
            table.add_row(record["dataset"], who, item["what"], item["before"] or "-", str(rows))
    out.print(table)
    if not apply:
        out.print("Nothing was deleted; --apply deletes it, and so does the server once a day.")


def _history(eraser: Eraser) -> None:
    if not (found := eraser.deletions()[:20]):
        return
    out.print("Latest deletions:")
    for d in found:
        out.print(f"  {d.at}Z {d.dataset}: {d.rows} rows, {d.what}; {d.reason} ({d.by})")


def forget_nodes(dataset: str, nodes: str, reason: str) -> None:
    """Delete all that the store holds of nodes."""
    wanted = [node.strip() for node in nodes.split(",") if node.strip()]
    if not wanted or not reason.strip():
        raise FelsinaError("name the nodes with --nodes a,b and why with --reason")
    gone = _eraser().forget(dataset, wanted, reason.strip())
    out.print(
        f"{dataset}: {gone} rows of {', '.join(wanted)} and of kept forecasts are deleted, and the "
        "database's files are written anew"
    )
    out.print("Backups, and a PostgreSQL server's own log, have to be dealt with where they lie.")
