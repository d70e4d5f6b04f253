"""``felsina effect``: what an event did."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.contracts import FelsinaError
from pipelines.commands.terminal import answer, say
from pipelines.effect import Event, daily, tell, write
from pipelines.prepare import open_registered


def effect_one(
    dataset: Path, event: str, treated: str, out: Path, until: str, away: int, json: bool
) -> None:
    """Estimate, tell and draw."""
    opened = open_registered(dataset)
    first, days = daily(opened)
    end = _day(until, "--until") if until else first + len(days.values)
    nodes = tuple(node.strip() for node in treated.split(",") if node.strip())
    if not nodes:
        raise FelsinaError("--treated names no node; give ids of nodes.csv, as in a,b,c")
    told = tell(opened, Event(_day(event, "--event"), end, nodes, away))
    write(told, out)
    if json:
        answer(told.record)
        return
    for name, what in (("treated", "on the treated nodes"), ("beside", "on those next to them")):
        found = told.record[name]
        if found is not None:
            sure = "surely" if found["low"] > 0 or found["high"] < 0 else "perhaps none"
            say(
                f"{what}: {found['effect']:+.1%}, {told.record['confidence']:.0%} between "
                f"{found['low']:+.1%} and {found['high']:+.1%} ({sure}; p = {found['p_value']:.3f})"
            )
    say(f"{out / 'effect.png'} shows both, {out / 'effect.json'} says how it was found")


def _day(text: str, option: str) -> np.datetime64:
    try:
        return np.datetime64(text, "D")
    except ValueError as error:
        raise FelsinaError(f"{option} {text!r} is no day; write it as 2024-01-16") from error
