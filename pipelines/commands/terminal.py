"""What the commands show: stages with progress and time left, tables of scores, JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from io import StringIO
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_STAGES = {
    "validate": "Check the dataset",
    "backbone": "Fit the backbone (ridge on profile, lags, weather)",
    "train": "Train the network",
    "export": "Export to ONNX and compare with torch",
    "backtest": "Backtest beside the baselines",
    "replay": "Replay the release over its test span",
    "audit": "Audit by canaries, on no private row",
    "twin": "Train the twin without noise, which is not kept",
    "errors": "Compare errors with and without noise",
    "release": "Seal the release and load observations",
    "evaluate": "Replay it beside what it would replace",
    "report": "Audit the release and write the board's report",
    "propose": "Put the release before the board",
}


class Stages:
    """Progress on stderr, one bar a stage; a plain line a stage where there is no terminal.

    Args:
        shown: false in a process that works beside the one that tells.
    """

    def __init__(self, shown: bool = True) -> None:
        console = err if shown else Console(file=StringIO())
        self._progress = Progress(
            TextColumn("  {task.description:<52}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}

    def __enter__(self) -> Stages:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def begin(self, dataset: str, text: str) -> None:
        """Say what is worked on."""
        for task in self._tasks.values():
            self._progress.update(task, visible=False)
        self._tasks.clear()
        self._began.clear()
        self._progress.console.print(f"[bold]{dataset}[/bold]: {text}")

    def progress(self, stage: str, share: float) -> None:
        """``share`` of ``stage`` is done."""
        text = _STAGES.get(stage, stage)
        if stage not in self._began:
            self._began[stage] = time.monotonic()
            self._tasks[stage] = self._progress.add_task(text, total=1.0)
            if not self._progress.console.is_terminal:
                self._progress.console.print(f"  {text} ...")
        self._progress.update(self._tasks[stage], completed=min(share, 1.0))

    def say(self, text: str) -> None:
        """A line of its own, above the bars."""
        self._progress.console.print(f"  {text}", markup=False)

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Losses are MLflow's; the bar is enough here."""


def say(text: str) -> None:
    """A line on stderr, where progress goes."""
    err.print(text)


def answer(record: Any) -> None:
    """A JSON document on stdout."""
    sys.stdout.write(json.dumps(record, indent=2, ensure_ascii=False) + "\n")


_EVENTS = {
    "rise": "rises (top 5 %)",
    "high": "high (top 5 %)",
    "holiday": "holidays",
    "heat_wave": "heat waves",
}
_NAIVE = ("persistence", "seasonal_naive_day", "seasonal_naive_week")


def plain_table(title: str, columns: Sequence[str], texts: Sequence[str] = ()) -> Table:
    """A table without lines; the first column and those of ``texts`` stand left."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        table.add_column(name, justify="left" if name in (columns[0], *texts) else "right")
    return table


def events(report: dict[str, Any]) -> Table | None:
    """Scores on the events of a backtest, with the best naive model; None where none came."""
    models = report["models"]
    found = models["felsina"]["events"]
    if not found:
        return None
    naive = min(_NAIVE, key=lambda name: models[name]["mae"] or 0)
    shown = ("felsina", "ridge", naive)
    title = f"MAE ({report['unit']}) on events; limits are the train span's, naive is {naive}"
    columns = ("targets", "events", "felsina", "its bias", "covered", "ridge", "naive")
    table = plain_table(title, ("event", *columns))
    mae = [f"{models[m]['mae']:.4g}" for m in shown]
    covered = f"{models['felsina']['coverage_80']:.1%}"
    table.add_row("all", str(report["targets"]), "", mae[0], "", covered, *mae[1:])
    for name, own in found.items():
        mae = [f"{models[m]['events'][name]['mae']:.4g}" for m in shown]
        cells = [str(own["targets"]), str(own["events"])]
        cells += [mae[0], f"{own['bias']:+.3g}", f"{own['coverage_80']:.1%}", *mae[1:]]
        table.add_row(_EVENTS.get(name, name), *cells)
    return table


def scores(report: dict[str, Any]) -> Table:
    """A backtest's models side by side, best MAE first."""
    title = f"{report['dataset']}: {report['targets']} targets, {report['origins']} origins"
    columns = (f"MAE ({report['unit']})", "WAPE", "CRPS", "80 % coverage", "80 % width")
    table = plain_table(title, ("model", *columns))
    models = sorted(report["models"].items(), key=lambda item: item[1]["mae"] or 0)
    for name, m in models:
        wape = "-" if m["wape"] is None else f"{m['wape']:.2%}"
        cells = [f"{m['mae']:.4g}", wape, f"{m['crps']:.4g}"]
        cells += [f"{m['coverage_80']:.1%}", f"{m['width_80']:.4g}"]
        table.add_row(name, *cells, style="bold" if name == "felsina" else "")
    return table


def protocol_scores(report: dict[str, Any]) -> Table:
    """The rows of the dataset's published protocol, as the backtest lists them."""
    rows = report["protocol"]["rows"]
    title = f"{report['dataset']}: published protocol ({report['protocol']['name']})"
    table = plain_table(title, [name.replace("_", " ") for name in rows[0]])
    for row in rows:
        shown = ("-" if value is None else value for value in row.values())
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in shown]
        table.add_row(*cells, style="bold" if row["model"] == "felsina" else "")
    return table


def percent(value: float | None, sign: bool = False) -> str:
    """A share of one in percent; a dash where it is not known."""
    if value is None:
        return "-"
    return f"{value:+.1%}" if sign else f"{value:.1%}"
