"""``felsina audit``: whom a forecaster serves badly."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from fairness.audit import FAIL, HARMS, INSUFFICIENT, PASS
from fairness.intervals import LEAST_DAYS, LEAST_WEEKS
from fairness.watching import watch_groups
from models.contracts import FelsinaError
from pipelines.audit import audit_release, audit_trained, check_groups, tell_apart
from pipelines.commands.model import scored, trained_for
from pipelines.commands.terminal import Stages, answer, out, percent, plain_table
from pipelines.present import find_release, served_now
from pipelines.replay import score_release
from pipelines.settings import home
from pipelines.train import open_registered
from serving.release import load_release

_HARM_NAMES = {
    "error": "error",
    "relative_error": "of its level",
    "under_coverage": "band",
    "peak_shortfall": "peaks",
}
_SHORT = {PASS: "pass", FAIL: "FAIL", INSUFFICIENT: "?"}
_LEGEND = (
    "How much worse than the others: error beside a seasonal naive forecast's, error beside what "
    "is observed, how much less often the 90 % band holds, what is lacking in peaks. "
    "?: insufficient evidence, which is no good evidence."
)

_LACKING = {
    "few_days": f"fewer than {LEAST_DAYS} days, so no interval",
    "part_of_a_year": "less than a year, so no pass",
    "few_sensors": "few sensors",
}


def audit_one(
    dataset: Path,
    areas: Path | None,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    like: Path | None,
    json: bool,
) -> None:
    """Train and backtest what is missing, then judge every group."""
    with Stages() as stages:
        trained = trained_for(dataset, profile, seed, config, assignments, stages, like)
        scored(trained, stages)
        found = audit_trained(trained, areas)
    _show(found, json)


def audit_sealed(
    dataset: Path,
    release: str,
    areas: Path | None,
    left_out: Path | None,
    scenarios: list[Path],
    json: bool,
) -> None:
    """Replay a sealed release, then judge every group."""
    opened, folder = open_registered(dataset), find_release(home(), release)
    check_groups(opened, tell_apart(opened, areas)[1])
    with Stages() as stages:
        stages.begin(opened.spec.dataset, f"audit of {folder.name}")
        progress = partial(stages.progress, "replay")
        found = audit_release(folder, opened, areas, progress, left_out, scenarios)
    _show(found, json)


def watch_one(dataset: Path, release: str | None, areas: Path | None, json: bool) -> None:
    """Replay a release, the one that is served when none is named, and watch its weeks."""
    opened = open_registered(dataset)
    folder = find_release(home(), release) if release else _served(opened.spec.dataset)
    found = tell_apart(opened, areas)
    check_groups(opened, found[1])
    with Stages() as stages:
        stages.begin(opened.spec.dataset, f"weeks of {folder.name}")
        scored = score_release(
            load_release(folder), opened, lambda share: stages.progress("replay", share)
        )
    watched = watch_groups(scored.daily, scored.days, found[1], found[0])
    if json:
        answer({"release": folder.name, "dataset": opened.spec.dataset} | watched)
        return
    out.print(_watched(opened.spec.dataset, watched))
    if watched["weeks"] < LEAST_WEEKS:
        out.print(f"{watched['weeks']} weeks are fewer than {LEAST_WEEKS}: nothing is sure yet.")


def _served(dataset: str) -> Path:
    """Folder of the release of a dataset that is served."""
    folder = served_now(home(), dataset)
    if folder is None:
        raise FelsinaError(f"no release of {dataset} lies in {home()}; name one with --release")
    return folder


def _show(found: dict[str, Any], json: bool) -> None:
    if json:
        answer(found)
        return
    for record in found["groupings"]:
        out.print(_table(found, record))
    out.print(_LEGEND)
    if "coverage" in found:
        out.print(_coverage(found["coverage"]))
    if found["evidence"]["thin"]:
        reasons = ", ".join(_LACKING[code] for code in found["evidence"]["why"])
        out.print(f"The evidence is thin: {reasons}.")


def _table(found: dict[str, Any], record: dict[str, Any]) -> Table:
    """One grouping's groups with their harms, by residents where those are known."""
    weighted = "residents" if "residents" in record["weighted"] else "area"
    judged = record["weighted"][weighted]
    title = (
        f"{found['dataset']} by {record['attribute']}, {found['from']} to {found['to']} "
        f"({found['days']} days), weighted by {weighted}"
    )
    columns = ("group", "sensors", "residents", "skill", "band holds")
    table = plain_table(title, (*columns, *(_HARM_NAMES[harm.name] for harm in HARMS)))
    for g, group in enumerate(record["groups"]):
        figures = judged["figures"][g]
        silent = f", {group['silent']} silent" if group["silent"] else ""
        cells = [
            group["name"] + (f" (merged: {', '.join(group['merged'])})" if group["merged"] else ""),
            f"{group['sensors']}{silent}",
            "-" if group["residents"] is None else f"{group['residents']:,}",
            percent(figures["skill"]),
            percent(figures["coverage_90"]),
        ]
        harms = [judged["harms"][harm.name][g] for harm in HARMS]
        cells += [f"{percent(h['worse_by'], True)} {_SHORT[h['verdict']]}" for h in harms]
        failed = any(h["verdict"] == FAIL for h in harms)
        table.add_row(*cells, style="bold" if failed else "")
    return table


def _watched(dataset: str, watched: dict[str, Any]) -> Table:
    """Every group's regret, and when an alarm was raised."""
    title = f"{dataset}, {watched['weeks']} weeks: error beside the others', week by week"
    columns = ("by", "group", "weeks", "worse by", "surely between", "alarm")
    table = plain_table(title, columns, ("group", "alarm"))
    for record in watched["groupings"]:
        for group in record["groups"]:
            alarm = group["alarm"]
            sure = [percent(group[side], True) for side in ("low", "high")]
            cells = [record["attribute"], group["name"], str(group["weeks"])]
            cells += [percent(group["worse_by"], True), " and ".join(sure)]
            if alarm:
                cells.append(
                    f"{alarm['on']}, {percent(alarm['worse_by'], True)} since {alarm['since']}"
                )
            table.add_row(*cells, style="bold" if alarm else "")
    return table


def _coverage(found: dict[str, Any]) -> str:
    """Who lives where no sensor is, in a sentence or two."""
    text = f"{found['areas_without']} of {found['areas']} areas have no sensor that is heard"
    if found["residents_without"] is not None:
        text += f"; {found['residents_without']:.1%} of residents live there"
    ranks = [
        f"{rank['attribute']} {rank['rho']:+.2f} (chance alone: {rank['chance']:.2f})"
        for rank in found["ranks"]
        if rank["rho"] is not None
    ]
    return text + (f". Sensors for each resident go with: {', '.join(ranks)}" if ranks else "")
