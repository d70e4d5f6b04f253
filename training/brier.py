"""Brier scores of probabilities, with intervals from resampled blocks of time, and reliability."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from models.contracts import FloatArray, IntArray

EDGES = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
"""Of the reliability table; the outer bins are what fitted tails say."""
_RESAMPLES, _LEAST_BLOCKS, _SEED = 1000, 5, 56


def brier_scores(
    probability: FloatArray,
    outcome: FloatArray,
    references: dict[str, FloatArray],
    blocks: IntArray,
) -> dict[str, Any]:
    """Score probabilities of yes and no beside two references.

    Args:
        probability: [B, X] of yes.
        outcome: [B, X] 1 or 0, NaN where unknown.
        references: ``climatology`` and ``persistence``, probabilities that broadcast to [B, X].
        blocks: [B] the block of time that each row lies in, from 0.

    Returns:
        Brier scores, skills (1 is perfect, 0 no better than the reference; None where the reference
        never errs), 90 % intervals and the reliability table; ``cases`` alone where none is known.
    """
    seen = ~np.isnan(outcome)
    squares = {
        name: np.where(seen, (guess - outcome) ** 2, 0).sum(axis=1)
        for name, guess in ({"felsina": probability} | references).items()
    }
    count = int(seen.sum())
    if not count:
        return {"cases": 0}
    parts = (*squares.values(), seen.sum(axis=1), np.nansum(outcome, axis=1))
    sums = np.array([np.bincount(blocks, part) for part in parts], float)
    brier = {name: float(part.sum() / count) for name, part in squares.items()}
    return {
        "cases": count,
        "observed": int(np.nansum(outcome)),
        "brier": brier["felsina"],
        "brier_climatology": brier["climatology"],
        "brier_persistence": brier["persistence"],
        "skill_climatology": _skill(brier["felsina"], brier["climatology"]),
        "skill_persistence": _skill(brier["felsina"], brier["persistence"]),
        "blocks_with_events": int((sums[-1] > 0).sum()),
        **_intervals(sums),
        "reliability": _reliability(probability[seen], outcome[seen]),
    }


def _skill(score: float, reference: float) -> float | None:
    return 1 - score / reference if reference > 0 else None


def _intervals(sums: FloatArray) -> dict[str, list[float] | None]:
    """90 % intervals of the Brier score and its skills when blocks are drawn anew.

    Skills have one only where several blocks hold an event: drawing one flood again and again would
    look like certainty.

    Args:
        sums: [5, blocks]: squares of the forecast, climatology, persistence; cases; events.
    """
    names = ("brier_90", "skill_climatology_90", "skill_persistence_90")
    if sums.shape[1] < _LEAST_BLOCKS:
        return dict.fromkeys(names)
    blocks = sums.shape[1]
    drawn = np.random.default_rng(_SEED).integers(blocks, size=(_RESAMPLES, blocks))
    own, climatology, persistence, cases, _ = sums[:, drawn].sum(axis=-1)
    found: dict[str, list[float] | None] = dict.fromkeys(names)
    parts = [(own, cases, 0), (own, climatology, 1), (own, persistence, 1)]
    few = (sums[-1] > 0).sum() < _LEAST_BLOCKS
    for name, (upper, lower, one) in zip(names, parts, strict=True):
        if one and few:
            continue
        ratio = upper[lower > 0] / lower[lower > 0]
        ratio = 1 - ratio if one else ratio
        found[name] = [float(v) for v in np.quantile(ratio, (0.05, 0.95))] if len(ratio) else None
    return found


def _reliability(probability: FloatArray, outcome: FloatArray) -> list[dict[str, Any]]:
    """Per bin: its edges, count, mean forecast, observed frequency."""
    bins = np.clip(np.searchsorted(EDGES, probability, side="right") - 1, 0, len(EDGES) - 2)
    table = []
    for i, (low, high) in enumerate(pairwise(EDGES)):
        inside = bins == i
        entry: dict[str, Any] = {"from": low, "to": high, "count": int(inside.sum())}
        entry["forecast"] = float(probability[inside].mean()) if inside.any() else None
        entry["observed"] = float(outcome[inside].mean()) if inside.any() else None
        table.append(entry)
    return table
