"""``felsina monitor``: has what is served aged, has a sensor failed?"""

from __future__ import annotations

from pathlib import Path

from pipelines.commands.board import board_key
from pipelines.commands.terminal import answer, out
from pipelines.monitor import UNLIKE, WORSE, monitor, served_release, suspend
from pipelines.prepare import open_registered
from pipelines.settings import home, store_place
from serving.drift import Alarm, Drift
from serving.store import Store


def monitor_one(dataset: Path, key: Path | None, descriptor: int | None, json: bool) -> None:
    """Look, tell, and suspend where that is asked for."""
    opened, place = open_registered(dataset), home()
    signer = None if key is None else board_key(key, descriptor)
    release = served_release(place, opened.spec.dataset)
    found = monitor(place, Store(store_place()), opened)
    done = None if signer is None else suspend(place, signer, release, found)
    if json:
        answer(found.model_dump() | ({} if done is None else {"done": done}))
        return
    for line in _lines(found, opened.spec.unit, dataset):
        out.print(line, markup=False)
    if done is not None:
        out.print(done, markup=False)


def _lines(found: Drift, unit: str, dataset: Path) -> list[str]:
    """What was found, for people."""
    lines = [f"{found.release}: no whole day has come since the data that it was made from"]
    if found.days:
        error, coverage = found.error, found.coverage
        lines = [
            f"{found.release}: {found.days} days to {found.through}; error {error.now:.4g} {unit} "
            f"(tested {error.usual:.4g}), 80 % band held {coverage.now:.0%} ({coverage.usual:.0%})"
        ]
    lines += [_sentence(alarm) for alarm in found.alarms] or ["nothing has changed for good"]
    unlike = found.stability is not None and found.stability > UNLIKE
    if unlike:
        lines.append(f"last week's values are unlike training's (stability {found.stability:.2f})")
    if unlike or any(alarm.kind in WORSE for alarm in found.alarms):
        lines.append(f"to train anew: felsina run --dataset {dataset}, once it holds these days")
    return lines


def _sentence(alarm: Alarm) -> str:
    since, by = alarm.since[:10], alarm.by
    text = {
        "silent": f"silent for {by:.0f} h",
        "flat": f"the same value for {by:.0f} h",
        "level": f"level {by:+.0%} beside the other sensors",
        "missing": f"{by:+.0%} of values missing",
        "residual": f"forecasts too {'low' if by > 0 else 'high'}, by {abs(by):.2g} deviations",
        "coverage": f"80 % band holds {100 * by:+.0f} points of what it did",
    }
    return f"alarm: {alarm.node or 'the city'}: {text[alarm.kind]}, since {since}"
