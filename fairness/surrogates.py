"""What a surrogate's report says first, and the pieces that its pages show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

INCOMPLETE, UNTESTED, BLIND, LOOSE, SOUND = "incomplete", "untested", "blind", "loose", "sound"
"""What a board is told first: the first of these that holds."""
NOMINAL, TOLERATED = 0.8, 0.05
"""What an interval promises, and by how much less it may hold."""
LEAST_RUNS = 30
"""Of a test set, under which its shares are little known."""
_MOST_LISTED = 8
"""Members of a list that are shown one by one."""


def surrogate_verdict(record: dict[str, Any]) -> dict[str, Any]:
    """Facts and codes of page one, from a record's ``missing``, ``about`` and ``tests``."""
    tests = record["tests"]
    blind = [at for at, errors in _each(tests) if errors["r2"] is not None and errors["r2"] <= 0]
    loose = [
        at
        for at, errors in _each(tests)
        if errors["coverage_80"] is not None and errors["coverage_80"] < NOMINAL - TOLERATED
    ]
    shares = [at | {"share": e["share"]} for at, e in _each(tests) if e["share"] is not None]
    few = [name for name, test in tests.items() if test["runs"] < LEAST_RUNS]
    states = (
        (INCOMPLETE, record["missing"]),
        (UNTESTED, not tests),
        (BLIND, blind),
        (LOOSE, loose),
    )
    return {
        "state": next((state for state, holds in states if holds), SOUND),
        "runs": sum(test["runs"] for test in tests.values()),
        "farthest": max(shares, key=lambda one: one["share"], default=None),
        "blind": blind,
        "loose": loose,
        "few": few,
        "unknown": [
            "city",
            "together",
            *(["few_runs"] if few else []),
            *([] if "electricity" in record["about"] else ["electricity"]),
        ],
    }


def leaves(record: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of a nested record; a long list is told by its length."""
    if isinstance(record, dict):
        for key, value in record.items():
            yield from leaves(value, f"{name}.{key}" if name else key)
    elif not isinstance(record, list):
        yield name, record
    elif len(record) > _MOST_LISTED or any(isinstance(one, dict | list) for one in record):
        yield name, f"[{len(record)}]"
    else:
        yield name, ", ".join(map(str, record))


def _each(tests: dict[str, Any]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    for name, test in tests.items():
        for output, errors in test["outputs"].items():
            yield {"test": name, "output": output}, errors
