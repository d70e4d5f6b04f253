"""Scores on the targets that matter: rises, high values, public holidays, heat waves.

A mean over all hours hides the few for which a forecast is made. What counts as an event is fixed
by the train span and the calendar, before a test target is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import FloatArray, IntArray
from models.scaling import DAY_KIND, DAY_OF_YEAR, HOLIDAY
from models.windows import WindowBuilder
from training.dataset import CityDataset
from training.detectors import runs_of
from training.metrics import Score

TOP = 0.95
"""Quantile of the train span beyond which a rise, a value, a day's temperature is an event."""
HEAT_DAYS = 3
"""Days in a row that make a heat wave."""
_MOST_ROWS = 5000

Masks = dict[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Events:
    """What counts as an event; every threshold is from the train span.

    Attributes:
        rise: [H, N] the 95 % quantile of the change over each lead.
        high: [N] the 95 % quantile of the values.
        rows: [S] masks by name of events of the whole city: ``holiday``, and ``heat_wave`` where a
            forcing in degC is given.
    """

    rise: FloatArray
    high: FloatArray
    rows: Masks

    def masks(self, values: FloatArray, origins: IntArray, target: FloatArray) -> Masks:
        """Which targets [B, H, N] fall in which event.

        Args:
            values: [S, N] the series; a rise is counted from the value at ``origins``.
            origins: [B] rows of ``init_time``.
            target: [B, H, N], NaN where nothing came true, which is in no event.
        """
        valid = origins[:, None] + np.arange(1, target.shape[1] + 1)
        seen = ~np.isnan(target)
        named = {
            "rise": target - values[origins][:, None] > self.rise,
            "high": target > self.high,
        }
        return named | {name: rows[valid][..., None] & seen for name, rows in self.rows.items()}


def find_events(dataset: CityDataset, builder: WindowBuilder) -> Events:
    """Thresholds of the train span, and the holidays and heat waves of all rows."""
    end, horizon = dataset.splits.train_end, dataset.spec.horizon
    past = dataset.values[:end]
    rows = np.arange(0, end - horizon, max(1, (end - horizon) // _MOST_ROWS))
    rise = np.stack([_top(past[rows + lead] - past[rows]) for lead in range(1, horizon + 1)])
    calendar = builder.calendar(0, len(dataset.values))
    named = {"holiday": calendar[:, DAY_KIND] == HOLIDAY}
    units = [forcing.unit for forcing in dataset.spec.forcings]
    if dataset.forcings is not None and "degC" in units:
        temperature = dataset.forcings[: len(calendar), :, units.index("degC")]
        day = np.cumsum(np.diff(calendar[:, DAY_OF_YEAR], prepend=calendar[0, DAY_OF_YEAR]) != 0)
        named["heat_wave"] = _heat_waves(temperature, day, end)
    return Events(rise, _top(past), named)


def _top(values: FloatArray) -> FloatArray:
    """Quantile [N] of what exists; infinite, and so never exceeded, where nothing does."""
    top = np.full(values.shape[1], np.inf)
    some = ~np.isnan(values).all(axis=0)
    top[some] = np.nanquantile(values[:, some], TOP, axis=0)
    return top


def _heat_waves(temperature: FloatArray, day: IntArray, train_end: int) -> NDArray[np.bool_]:
    """Rows [S] of days that are hot, three or more in a row, by the mean over the city."""
    seen = ~np.isnan(temperature)
    total = np.bincount(day, weights=np.where(seen, temperature, 0).sum(axis=1))
    count = np.bincount(day, weights=seen.sum(axis=1))
    mean = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
    last = day[train_end - 1]  # this day may run on beyond the train span: it is left out
    hot = mean > _top(mean[:last, None])[0]
    wave = np.zeros(len(hot), bool)
    for start in range(len(hot) - HEAT_DAYS + 1):
        if hot[start : start + HEAT_DAYS].all():
            wave[start : start + HEAT_DAYS] = True
    return wave[day]


class EventScores:
    """Scores of several models on the events among the same targets, batch by batch.

    Args:
        dataset: its train span sets the thresholds.
        builder: its windows, for the calendar.
        models: names.
        levels: Q quantile levels.
    """

    def __init__(
        self,
        dataset: CityDataset,
        builder: WindowBuilder,
        models: tuple[str, ...],
        levels: tuple[float, ...],
    ) -> None:
        self.events = find_events(dataset, builder)
        self.values = dataset.values
        names = ("rise", "high", *self.events.rows)
        self.scores = {model: {name: Score(1, levels) for name in names} for model in models}
        self.errors = {model: dict.fromkeys(names, 0.0) for model in models}
        self.hit = {name: np.zeros(dataset.values.shape, bool) for name in names}

    def masks(self, origins: IntArray, target: FloatArray) -> Masks:
        """Which targets [B, H, N] fall in which event; remembers when and where."""
        masks = self.events.masks(self.values, origins, target)
        for name, mask in masks.items():
            for lead in range(mask.shape[1]):
                self.hit[name][origins + lead + 1] |= mask[:, lead]
        return masks

    def update(
        self,
        model: str,
        masks: Masks,
        quantiles: FloatArray,
        target: FloatArray,
        point: FloatArray | None = None,
    ) -> None:
        """Add a batch of a model; shapes as in ``Score.update``."""
        if point is None:
            point = quantiles[..., self.scores[model]["rise"].levels.index(0.5)]
        for name, mask in masks.items():
            guess, truth = point[mask], target[mask]
            self.scores[model][name].update(
                quantiles[mask][None, None], truth[None, None], guess[None, None]
            )
            self.errors[model][name] += float((guess.astype(float) - truth).sum())

    def result(self, model: str) -> dict[str, Any]:
        """By event: MAE, bias (forecast less truth), CRPS, 80 % coverage, and how much was scored.

        ``targets`` counts pairs of origin, lead and node; ``events`` the runs of time steps, of
        each node for rises and high values, of the city for the rest. Events without a target are
        left out.
        """
        record = {}
        for name, score in self.scores[model].items():
            targets = int(score.count.sum())
            if not targets:
                continue
            total = score.result()
            hit = self.hit[name]
            if name in self.events.rows:
                hit = np.logical_or.reduce(hit, axis=1)[:, None]
            record[name] = {
                "mae": total["mae"],
                "bias": self.errors[model][name] / targets,
                "crps": total["crps"],
                "coverage_80": total["coverage_80"],
                "targets": targets,
                "events": len(runs_of(hit)[0]),
            }
        return record
