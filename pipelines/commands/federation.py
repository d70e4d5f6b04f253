"""``felsina privacy federate``: a federation rehearsed in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

from rich.table import Table

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes
from pipelines.commands.terminal import Stages, answer, out
from pipelines.settings import home
from pipelines.train import open_registered, settings_for
from privacy.drop_codes import CODES
from privacy.federation import By, Standing, study
from privacy.rounds import RoundSettings
from privacy.strategy import Rule


def rounds_of(rounds: int, rule: str, most_share: float) -> RoundSettings:
    """Settings of the rounds from the command's words."""
    if rule not in get_args(Rule):
        raise FelsinaError(f"--rule {rule}: use {' or '.join(get_args(Rule))}")
    return RoundSettings(rounds, rule=cast(Rule, rule), most_share=most_share)


def federate(
    dataset: Path,
    partners: int,
    by: str,
    rounds: RoundSettings,
    profile: str,
    seed: int,
    config: Path | None,
    assignments: list[str] | None,
    json: bool,
) -> None:
    """Cut a dataset into partners; train them alone, together, and all rows in one place.

    What was finished of the rounds is kept under the home's ``work``: the same command goes on.
    """
    if by not in get_args(By):
        raise FelsinaError(f"--by {by}: use one of {', '.join(get_args(By))}")
    opened = open_registered(dataset)
    settings = settings_for(opened, profile, seed, config, assignments)
    asked = [opened.digests, settings.model_dump(mode="json"), partners, by, vars(rounds)]
    work = home() / "work" / f"federation-{sha256_bytes(canonical_json(asked))[:12]}"
    told: dict[int, dict[str, Any]] = {}
    with Stages() as stages:
        stages.begin(opened.spec.dataset, f"{partners} partners by {by}, {rounds.rounds} rounds")
        standings, ended = study(
            opened,
            settings,
            rounds,
            partners,
            cast(By, by),
            work,
            stages.progress,
            told.__setitem__,
        )
    dropped = [{"round": number, **one} for number, body in told.items() for one in body["dropped"]]
    if json:
        rows = [vars(standing) for standing in standings]
        answer(
            {
                "partners": rows,
                "mean": _mean(standings),
                "rounds": ended.rounds,
                "stopped": ended.reason,
                "dropped": dropped,
            }
        )
        return
    table = Table(title=f"MAE over the test span, {opened.spec.unit}", title_justify="left")
    for name in ("partner", "nodes", "alone", "together", "all rows in one place"):
        table.add_column(name, justify="left" if name == "partner" else "right")
    for one in standings:
        figures = (f"{value:.4g}" for value in (one.alone, one.together, one.pooled))
        table.add_row(one.partner, str(one.nodes), *figures)
    mean = _mean(standings)
    table.add_row("a node, mean", str(mean["nodes"]), *(f"{mean[k]:.4g}" for k in _KINDS))
    out.print(table)
    if ended.reason:
        out.print(f"stopped after {ended.rounds} rounds: {ended.reason}")
    for one in dropped:
        out.print(f"round {one['round']}: {one['partner']} dropped, {CODES[one['code']]}")


_KINDS = ("alone", "together", "pooled")


def _mean(standings: list[Standing]) -> dict[str, float]:
    """Over nodes."""
    nodes = sum(one.nodes for one in standings)
    sums = {kind: sum(getattr(one, kind) * one.nodes for one in standings) for kind in _KINDS}
    return {"nodes": nodes} | {kind: value / nodes for kind, value in sums.items()}
