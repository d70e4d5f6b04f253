"""``felsina privacy federate``: a federation rehearsed in one process."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from rich.table import Table

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes
from pipelines.commands.terminal import Stages, answer, out
from pipelines.private import private_settings
from pipelines.settings import home
from pipelines.train import open_registered, settings_for
from privacy.drop_codes import CODES
from privacy.federation import By, Standing, study
from privacy.private_federation import private_study
from privacy.rounds import RoundSettings
from privacy.strategy import Rule


def rounds_of(
    rounds: int, rule: str, most_share: float, server_rate: float | None = None
) -> RoundSettings:
    """Settings of the rounds from the command's words."""
    if rule not in get_args(Rule):
        raise FelsinaError(f"--rule {rule}: use {' or '.join(get_args(Rule))}")
    return RoundSettings(
        rounds, rule=cast(Rule, rule), most_share=most_share, server_rate=server_rate
    )


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
    private: Path | None = None,
) -> None:
    """Cut a dataset into partners; train them alone, together, and all rows in one place.

    With ``private``, settings of a private training as TOML, all add noise and the rounds are
    charged on a ledger. What was finished of the rounds is kept under the home's ``work``: the same
    command goes on.
    """
    if by not in get_args(By):
        raise FelsinaError(f"--by {by}: use one of {', '.join(get_args(By))}")
    opened = open_registered(dataset)
    if private is not None and (config or assignments):
        raise FelsinaError(f"--private {private} holds all settings; leave --config and --set out")
    if private is None:
        settings = settings_for(opened, profile, seed, config, assignments)
        run = partial(study, opened, settings)
    else:
        settings = private_settings(opened, private)
        run = partial(private_study, opened, settings)
    asked = [opened.digests, settings.model_dump(mode="json"), partners, by, vars(rounds)]
    work = home() / "work" / f"federation-{sha256_bytes(canonical_json(asked))[:12]}"
    told: dict[int, dict[str, Any]] = {}
    with Stages() as stages:
        stages.begin(opened.spec.dataset, f"{partners} partners by {by}, {rounds.rounds} rounds")
        standings, ended = run(
            rounds, partners, cast(By, by), work, stages.progress, told.__setitem__
        )
    dropped = [{"round": number, **one} for number, body in told.items() for one in body["dropped"]]
    if json:
        rows = [vars(standing) | {"gained": standing.gained} for standing in standings]
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
    out.print(_table(standings, opened.spec.unit))
    if ended.reason:
        out.print(f"stopped after {ended.rounds} rounds: {ended.reason}")
    for one in dropped:
        out.print(f"round {one['round']}: {one['partner']} dropped, {CODES[one['code']]}")


_KINDS = ("alone", "together", "pooled")


def _table(standings: list[Standing], unit: str) -> Table:
    """A partner a line, the mean over nodes below."""
    title = f"MAE over the test span, {unit}; pooled is all rows in one place"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    private = standings[0].epsilon is not None
    mixes = standings[0].mixed is not None
    kinds = (*_KINDS, "mixed") if mixes else _KINDS
    names = ["partner", "nodes", *kinds, "gained"]
    names += ["contribution", *(["epsilon"] if private else [])]
    for name in names:
        table.add_column(name, justify="left" if name == "partner" else "right")
    for one in standings:
        figures = [f"{getattr(one, kind):.4g}" for kind in kinds]
        shares = [f"{one.gained:+.1%}", f"{one.contribution:.3f}"]
        spent = [] if one.epsilon is None else [f"{one.epsilon:.3f}"]
        table.add_row(one.partner, str(one.nodes), *figures, *shares, *spent)
    mean = _mean(standings)
    gained = f"{1 - mean[kinds[-1] if mixes else 'together'] / mean['alone']:+.1%}"
    figures = [f"{mean[kind]:.4g}" for kind in kinds]
    table.add_row("a node, mean", str(mean["nodes"]), *figures, gained)
    return table


def _mean(standings: list[Standing]) -> dict[str, float]:
    """Over nodes."""
    nodes = sum(one.nodes for one in standings)
    kinds = _KINDS if standings[0].mixed is None else (*_KINDS, "mixed")
    sums = {kind: sum(getattr(one, kind) * one.nodes for one in standings) for kind in kinds}
    return {"nodes": nodes} | {kind: value / nodes for kind, value in sums.items()}
