"""Which buildings get which works under a budget, and the stock that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from models.contracts import FloatArray
from pipelines.domains.energy.measures import Measure
from pipelines.domains.energy.stock import Stock


@dataclass(frozen=True)
class Works:
    """What is done where.

    Attributes:
        measures: M of them, in the order in which they are done.
        chosen: [M, B] whether the building gets it.
        cost_eur: [M, B] zero where it is not done.
    """

    measures: tuple[Measure, ...]
    chosen: NDArray[np.bool_]
    cost_eur: FloatArray

    def done(self, stock: Stock) -> Stock:
        """The stock of B buildings after the works."""
        for measure, rows in zip(self.measures, self.chosen, strict=True):
            after = measure.done(stock)
            changed = {
                f.name: np.where(rows, getattr(after, f.name), getattr(stock, f.name))
                for f in fields(Stock)
                if getattr(after, f.name) is not getattr(stock, f.name)
            }
            stock = replace(stock, **changed)
        return stock

    def by_building(self) -> list[str]:
        """[B] the kinds of works, joined by +."""
        kinds = np.array([measure.kind for measure in self.measures], dtype=str)
        return ["+".join(kinds[column]) for column in self.chosen.T]


def choose(
    measures: tuple[Measure, ...], stock: Stock, saved: FloatArray, budget_eur: float | None
) -> Works:
    """Decide what is done where.

    Without a budget all that is eligible, the first of a slot; with one what saves most per euro
    first, as long as the money lasts. Works that save nothing are not bought.

    Args:
        measures: M of them.
        stock: B buildings.
        saved: [M, B] what each measure alone would save there, NaN where it is not eligible.
        budget_eur: what may be spent.
    """
    costs = np.array([measure.cost_eur(stock) for measure in measures]).reshape(saved.shape)
    pairs = np.argwhere(~np.isnan(saved))
    left = np.inf
    if budget_eur is not None:
        left = budget_eur
        pairs = pairs[saved[tuple(pairs.T)] > 0]
        worth = saved[tuple(pairs.T)] / np.maximum(costs[tuple(pairs.T)], 1e-9)
        pairs = pairs[np.argsort(-worth, kind="stable")]
    chosen = np.zeros(saved.shape, bool)
    taken: set[tuple[str, int]] = set()
    for m, b in pairs:
        if (measures[m].slot, b) not in taken and costs[m, b] <= left:
            taken.add((measures[m].slot, b))
            chosen[m, b] = True
            left -= costs[m, b]
    return Works(measures, chosen, np.where(chosen, costs, 0.0))
