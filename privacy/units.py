"""Whom the guarantee protects: one item of private training is one unit, whole and once.

A window is no unit. A household is in every window, so a guarantee for windows says little about
it: epsilon 1.83 for a window is 44 for a household in 24 of them (Schuchardt et al. 2025, arXiv
2502.02410). Here an item holds at most a few windows of one unit's own series and of nothing else,
so adding or removing a unit adds or removes one item and leaves the others as they were.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from models.calendar import utc_offsets
from models.contracts import FelsinaError, FloatArray, IntArray, Window
from models.windows import WindowBuilder
from training.dataset import CityDataset

NODE_UNITS = ("household", "meter", "vehicle")
"""Units of which each is one node of the dataset."""
UNITS = (*NODE_UNITS, "day")
LATER = -1
"""What the builder gives for a lag that lies after the origin: it is not read."""


def check_unit_of_privacy(unit: str) -> None:
    """Refuse what is nobody, a window above all."""
    if unit == "window":
        raise FelsinaError(
            "unit window protects nobody: a household is in every window, and epsilon 1.83 for a "
            f"window is 44 for a household in 24 of them; use one of {', '.join(UNITS)}"
        )
    if unit not in UNITS:
        raise FelsinaError(f"unit {unit!r} is unknown; use one of {', '.join(UNITS)}")


class UnitWindows:
    """Training windows of units, at most ``most_windows`` of each in a step.

    Which windows a unit shows in a step follows from seed, unit and step alone: it does not depend
    on who else is there, and a resumed run draws what an unbroken one would.

    Args:
        dataset: an opened dataset folder; only its train span is read.
        builder: of its windows, with the lags that the model reads.
        unit: ``household``, ``meter`` or ``vehicle``, each a node; or ``day``, a civil day of all
            nodes. A day's windows lie within it, past, lags and target.
        most_windows: m, windows of a unit in a step, at most.
        seed: of the draw. It may be known: only who takes part in a step is secret.

    Raises:
        FelsinaError: for a unit that protects nobody, or data that would be in more than one item.
    """

    def __init__(
        self,
        dataset: CityDataset,
        builder: WindowBuilder,
        unit: str,
        most_windows: int,
        seed: int = 0,
    ) -> None:
        check_unit_of_privacy(unit)
        if most_windows < 1:
            raise FelsinaError(f"{most_windows} windows a unit: give at least 1")
        self.builder, self.unit, self.most_windows, self.seed = builder, unit, most_windows, seed
        if builder.forcings.shape[1] > 1:
            names = ", ".join(forcing.name for forcing in builder.spec.forcings)
            raise FelsinaError(
                f"{dataset.folder}: forcings ({names}) are given at each node, so they may tell of "
                f"one {unit} and set the scale of all; give city-wide ones, which are public"
            )
        origins = dataset.splits.train(builder.spec)
        if unit == "day":
            self._origins = _whole_days(builder, origins)
            if not self._origins:
                raise FelsinaError(
                    f"{dataset.folder}: no window of lookback {builder.spec.lookback}, horizon "
                    f"{builder.spec.horizon} and its lags lies within a civil day, so a day would "
                    "be in the windows of others; shorten them, or protect households or meters"
                )
            self.ids = tuple(self._origins)
        else:
            self._origins = dict.fromkeys(dataset.graph.ids, origins)
            self.ids = tuple(dataset.graph.ids)

    def __len__(self) -> int:
        """How many units there are; not to be published."""
        return len(self.ids)

    def draw(self, number: int, step: int) -> IntArray:
        """Origins [k], k at most m, of unit ``number`` in ``step``: spread, none twice."""
        own = self._origins[self.ids[number]]
        wanted = min(self.most_windows, len(own))
        text = f"{self.seed}|{self.unit}|{self.ids[number]}|{step}".encode()
        key = np.frombuffer(hashlib.sha256(text).digest()[:16], np.uint64)
        share = np.random.Generator(np.random.Philox(key=key)).random(wanted)
        first, width = _parts(len(own), wanted)
        return own[first + (share * width).astype(np.int64)]

    def batch(self, numbers: IntArray, step: int) -> tuple[Window, IntArray]:
        """Windows of units in a step.

        Args:
            numbers: [U] rows of ``ids``.
            step: of the training.

        Returns:
            Windows with targets, B in all, one after the other unit; and [B], which of ``numbers``
            each belongs to. N is 1 where a unit is a node.
        """
        drawn = [self.draw(int(number), step) for number in numbers]
        owner = np.repeat(np.arange(len(drawn)), [len(origins) for origins in drawn])
        origins = np.concatenate([*drawn, np.empty(0, np.int64)]).astype(np.int64)
        if self.unit == "day":
            window = self.builder.batch(origins, with_target=True)
        else:
            window = self._of_nodes(origins, np.asarray(numbers, np.int64)[owner])
        return window, owner

    def _of_nodes(self, origins: IntArray, nodes: IntArray) -> Window:
        """The builder's windows [B, ..., 1] of one node each, without cutting all nodes first."""
        builder = self.builder
        spec, values = builder.spec, builder.values
        past = origins[:, None] + np.arange(-spec.lookback + 1, 1)
        future = origins[:, None] + np.arange(1, spec.horizon + 1)
        calendar = builder.calendar(0, len(values))
        lags = builder.lag_rows(origins)

        def own(rows: IntArray) -> FloatArray:
            column = nodes.reshape(-1, *[1] * (rows.ndim - 1))
            inside = (rows >= 0) & (rows < len(values))
            held = values[np.where(inside, rows, 0), column]
            return np.where(inside, held, np.float32(np.nan))[..., None]

        return Window(
            past=own(past),
            lags=own(lags),
            past_forcings=builder.forcings[past],
            future_forcings=builder.future_forcings(future),
            past_calendar=calendar[past],
            future_calendar=calendar[future],
            target=own(future),
        )


@lru_cache(maxsize=1024)
def _parts(count: int, parts: int) -> tuple[IntArray, IntArray]:
    """First places and widths [parts] of a row of ``count``, cut as evenly as can be."""
    edges = np.linspace(0, count, parts + 1).astype(np.int64)
    return edges[:-1], np.diff(edges)


def _whole_days(builder: WindowBuilder, origins: IntArray) -> dict[str, IntArray]:
    """Civil day to those ``origins`` whose past, lags and targets all lie within it."""
    spec = builder.spec
    seconds = builder.times(np.arange(len(builder.values))).astype(np.int64)
    day = (seconds + utc_offsets(seconds, spec.timezone)) // 86400
    lags = builder.lag_rows(origins).reshape(len(origins), -1)
    lags = np.where(lags == LATER, origins[:, None], lags)
    first = np.minimum(origins - spec.lookback + 1, lags.min(1, initial=len(seconds)))
    last = origins + spec.horizon
    whole = (first >= 0) & (day[np.maximum(first, 0)] == day[last])
    kept, days = origins[whole], day[last[whole]]
    return {str(np.datetime64(int(d), "D")): kept[days == d] for d in np.unique(days)}
