"""Stages that are done once: each knows what it was made from, and what it made.

A stage that is done leaves a record, ``STAGE.json``: its own inputs (digests of data and code,
settings), the outputs of the stages that it takes up, and its outputs. It is skipped while all of
them are the same and what it made is still there. The record is written after what it tells of,
whole: a stage that was killed has none, and is done again. One that is done again and makes the
same leaves those after it alone, so that a change is followed no further than it reaches.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.record import canonical_json, write_atomic

Values = dict[str, Any]
"""JSON by name."""
Made = Mapping[str, Values]
"""Name of a stage to its outputs, of those that are done."""
_DIGEST = 64
_MOST_TOLD = 3


def _nothing_lost(outputs: Values) -> str:
    return ""


@dataclass(frozen=True)
class Stage:
    """One step of a chain.

    Attributes:
        name: of the stage and its record.
        after: the stages whose outputs it takes up.
        inputs: what else decides what it makes; quick, and it loads no model.
        work: does it and returns its outputs, which say in few words what was made.
        lost: from outputs to what of them is not there any more; empty where all is.
    """

    name: str
    after: tuple[str, ...]
    inputs: Callable[[Made], Values]
    work: Callable[[Made], Values]
    lost: Callable[[Values], str] = _nothing_lost


@dataclass(frozen=True)
class Step:
    """What is to be said of a stage before anything is done.

    Attributes:
        stage: its name.
        runs: ``yes``, ``no``, or ``perhaps``: where one before it may make the same again.
        why: in a few words.
    """

    stage: str
    runs: str
    why: str


@dataclass(frozen=True)
class Done:
    """A stage that was done.

    Attributes:
        stage: its name.
        why: it was not skipped.
        seconds: that it took.
        outputs: what it made.
    """

    stage: str
    why: str
    seconds: float
    outputs: Values


def plan(stages: Sequence[Stage], records: Path) -> list[Step]:
    """What ``go`` would do, and why; nothing is done or written."""
    made: dict[str, Values] = {}
    steps = []
    for stage in stages:
        record = _read(records, stage)
        why = _changed(stage, record, made)
        waits = [name for name in stage.after if name not in made]
        if why:
            steps.append(Step(stage.name, "yes", why))
        elif waits:
            steps.append(Step(stage.name, "perhaps", f"if {waits[0]} makes something else"))
        else:
            steps.append(Step(stage.name, "no", "nothing changed"))
            made[stage.name] = record["outputs"]
    return steps


def go(
    stages: Sequence[Stage], records: Path, begins: Callable[[str, str], None]
) -> Iterator[tuple[str, Values, Done | None]]:
    """Go through a chain, stage by stage.

    Args:
        stages: in an order in which none takes up what comes later.
        records: folder of their records.
        begins: told of each stage that is done, and why, before it is.

    Yields:
        Each stage's name, its outputs, and what was done for them: None where it was skipped.
    """
    made: dict[str, Values] = {}
    for stage in stages:
        record = _read(records, stage)
        why, done = _changed(stage, record, made), None
        if why:
            begins(stage.name, why)
            began = time.perf_counter()
            inputs = _inputs(stage, made)
            record = inputs | {"outputs": stage.work(made)}
            write_atomic(_place(records, stage), canonical_json(record))
            done = Done(stage.name, why, time.perf_counter() - began, record["outputs"])
        made[stage.name] = record["outputs"]
        yield stage.name, record["outputs"], done


def outputs_of(records: Path, name: str) -> Values:
    """What a stage's record says that it made; nothing where there is none."""
    try:
        return json.loads((records / f"{name}.json").read_bytes())["outputs"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _place(records: Path, stage: Stage) -> Path:
    return records / f"{stage.name}.json"


def _read(records: Path, stage: Stage) -> Values:
    """A stage's record; empty where there is none that can be read."""
    try:
        record = json.loads(_place(records, stage).read_bytes())
        _ = [record[key] for key in ("inputs", "after", "outputs")]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return record


def _inputs(stage: Stage, made: Made) -> Values:
    """Of a stage: its own, and the outputs that it takes up, where these are known."""
    after = {name: made[name] for name in stage.after if name in made}
    return json.loads(canonical_json({"inputs": stage.inputs(made), "after": after}))


def _changed(stage: Stage, record: Values, made: Made) -> str:
    """Why a stage is to be done, as far as is known; empty where nothing is."""
    if not record:
        return "not done yet"
    now = _inputs(stage, made)
    before = record["after"]
    after = [
        text for name in now["after"] for text in _told(before.get(name), now["after"][name], name)
    ]
    changes = _told(record["inputs"], now["inputs"]) + after
    if changes:
        more = len(changes) - _MOST_TOLD
        return ", ".join(changes[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
    return stage.lost(record["outputs"])


def _told(before: Any, now: Any, name: str = "") -> list[str]:
    """Each value that differs, in a few words: ``seed 0, now 1``."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            text
            for key in sorted(before.keys() | now.keys())
            for text in _told(before.get(key), now.get(key), f"{name} {key}".strip())
        ]
    if before == now:
        return []
    shown = [str(value) for value in (before, now)]
    if any(value is None for value in (before, now)):
        return [f"{name} {'is gone' if now is None else 'is new'}"]
    if any(len(text) >= _DIGEST for text in shown):
        return [f"{name} changed"]
    return [f"{name} {shown[0]}, now {shown[1]}"]
