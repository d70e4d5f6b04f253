"""How much wider bands must be when inputs are missing, measured on calibration windows.

Each window is forecast as it was, and again with values taken away as a city loses them: a feed
that is late, a station that is dark, gaps here and there. A cell of the table holds the factor by
which the second forecast's bands must be multiplied to cover as often as those of the first do on
the same targets, so that neither the month's luck nor the conformal offsets count twice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.contracts import BoolArray, FloatArray, ForecastSpec, IntArray, Window
from models.exported import Predict
from models.missing import Widening
from models.windows import WindowBuilder

FRACTIONS = (0.9, 0.75, 0.5, 0.25, 0.0)
"""Observed shares of the past from which a column of the table holds."""
LEAST = 20
"""Windows without which a cell takes what a cell of less missing has."""
_WINDOWS = 200
"""Calibration windows that are tried, where there are as many."""
_CELLS = 4_000_000
"""Targets of all windows together; a large city tries fewer windows."""
_NARROWEST = 0.01
"""Share of a node's mean 80 % band that half of a band is taken for at least: of a target that
cannot be negative a band may have no width, and no factor makes one that covers."""
MOST = 100.0
"""Largest factor."""
_BATCH = 32
_SEED = 7
_METHOD = (
    "bands about the median are multiplied by factor[age][observed share][lead], each from the "
    "bounds given; measured on calibration windows with inputs taken away, so that they cover as "
    "often as with all inputs"
)


def doubling(least: int, most: int) -> tuple[int, ...]:
    """``least``, 1, 2, 4 and so on, as far as they lie below ``most``."""
    powers = [2**k for k in range(most.bit_length()) if least < 2**k < most]
    return (least, *powers)


def empty_table(spec: ForecastSpec) -> Widening:
    """The table's bounds, and factors of 1."""
    ages = (*doubling(0, spec.lookback), spec.lookback)
    leads = doubling(1, spec.horizon + 1)
    return Widening(ages, FRACTIONS, leads, np.ones((len(ages), len(FRACTIONS), len(leads))))


def hidden(builder: WindowBuilder, window: Window, origins: IntArray, mask: BoolArray) -> Window:
    """Windows of ``origins`` without the values of the past where ``mask`` [B, T, N] is true.

    Lags are read from the same series, so that what is hidden of the past is hidden there too.
    """
    steps = mask.shape[1]
    rows = builder.lag_rows(origins) - (origins - steps + 1)[:, None, None]
    known = (rows < 0) | (rows >= steps)
    batch = np.arange(len(mask))[:, None, None]
    gone = mask[batch, np.clip(rows, 0, steps - 1)] & ~known[..., None]
    past = np.where(mask, np.float32(np.nan), window.past)
    return replace(window, past=past, lags=np.where(gone, np.float32(np.nan), window.lags))


def drawn_mask(age: int, steps: int, nodes: int, rng: np.random.Generator) -> BoolArray:
    """What is lost [T, N]: the last ``age`` steps, and of those before none or any share.

    By lot of the whole city or of a third of its nodes, earlier ones in one piece or scattered; the
    last value before the lost steps stays, or the age would be another.
    """
    share, in_one_piece = rng.random() * rng.integers(0, 2), rng.random() < 0.5
    lost = np.zeros((steps, nodes), bool)
    older = steps - age - 1
    if older > 0:
        if in_one_piece:
            size = round(share * older)
            first = rng.integers(0, older - size + 1)
            lost[first : first + size] = True
        else:
            lost[:older] = rng.random((older, nodes)) < share
    lost[steps - age :] = True
    return lost & (rng.random(nodes) < (1.0 if rng.random() < 0.5 else 1 / 3))


def reach(
    quantiles: FloatArray, target: FloatArray, levels: tuple[float, ...], least: FloatArray
) -> FloatArray:
    """By what factor the 80 % band must be multiplied to hold a target just so; NaN where none.

    Args:
        quantiles: [B, H, N, Q].
        target: [B, H, N].
        levels: Q levels.
        least: [N] what half of a band is taken for at least, 0 where bands have no width at all.
    """
    low, middle, high = (quantiles[..., levels.index(level)] for level in (0.1, 0.5, 0.9))
    error = target - middle
    side = np.maximum(np.where(error > 0, high - middle, middle - low), least)
    return np.divide(np.abs(error), side, out=np.full_like(error, np.nan), where=side > 0)


def least_side(quantiles: FloatArray, levels: tuple[float, ...]) -> FloatArray:
    """For ``reach`` [N], of forecasts [B, H, N, Q] with all inputs."""
    width = quantiles[..., levels.index(0.9)] - quantiles[..., levels.index(0.1)]
    return _NARROWEST * width.mean(axis=(0, 1))


@dataclass(frozen=True)
class _Tried:
    """Targets of complete windows, and what became of their forecasts.

    Attributes:
        window: [K] number of the window.
        row: [K] of the table.
        column: [K] of the table.
        complete: [K, H] reach with all inputs, NaN where nothing came true.
        lacking: [K, H] reach with inputs taken away.
    """

    window: IntArray
    row: IntArray
    column: IntArray
    complete: FloatArray
    lacking: FloatArray


def missing_record(predict: Predict, builder: WindowBuilder, origins: IntArray) -> dict[str, Any]:
    """The table as a manifest holds it, with how it was made, or why there is none.

    Args:
        predict: the calibrated forecaster.
        builder: of the dataset.
        origins: of the calibration windows.
    """
    spec, table = builder.spec, empty_table(builder.spec)
    tried = _try(predict, builder, origins, table) if len(origins) else None
    found = 0 if tried is None else len(np.unique(tried.window))
    if tried is None or found < LEAST:
        return {
            "method": "none",
            "left_out": f"{found} calibration windows with a complete past are fewer than {LEAST}",
        }
    factor = np.full(table.factor.shape, np.nan)
    ends = (*table.leads[1:], spec.horizon + 1)
    for layer, (first, end) in enumerate(zip(table.leads, ends, strict=True)):
        complete, lacking = (
            tried.complete[:, first - 1 : end - 1],
            tried.lacking[:, first - 1 : end - 1],
        )
        for row, column in np.ndindex(factor.shape[:2]):
            of = (tried.row == row) & (tried.column == column)
            if len(np.unique(tried.window[of])) >= LEAST:
                factor[row, column, layer] = _ratio(complete[of], lacking[of])
    factor[0, 0] = 1
    factor = np.fmin(np.fmax(factor, 1), MOST)
    factor = np.fmax.accumulate(np.fmax.accumulate(factor, axis=0), axis=1)
    return {"method": _METHOD, "windows": found} | replace(table, factor=factor).to_dict()


def _ratio(complete: FloatArray, lacking: FloatArray) -> float:
    """The factor with which as many targets are covered as with all inputs; NaN where none is."""
    known = ~np.isnan(complete) & ~np.isnan(lacking)
    if not known.any():
        return np.nan
    share = np.clip(np.mean(complete[known] <= 1), 0.5, 0.95)
    usual = np.quantile(complete[known], share)
    return float(np.quantile(lacking[known], share) / usual) if usual > 0 else np.nan


def _try(predict: Predict, builder: WindowBuilder, origins: IntArray, table: Widening) -> _Tried:
    """Forecast windows with and without losses of each age."""
    spec, nodes = builder.spec, builder.values.shape[1]
    rng = np.random.default_rng(_SEED)
    most = _CELLS // (spec.horizon * nodes * len(table.ages))
    count = min(len(origins), _WINDOWS, max(LEAST, most))
    chosen = origins[np.linspace(0, len(origins) - 1, count).astype(int)]
    parts = []
    for start in range(0, count, _BATCH):
        batch = chosen[start : start + _BATCH]
        window = builder.batch(batch, with_target=True)
        assert window.target is not None
        row, column = table.cells(window.past)
        whole = (row == 0) & (column == 0)
        usual = predict(window)
        least = least_side(usual, spec.quantiles)
        complete = reach(usual, window.target, spec.quantiles, least)
        number = np.broadcast_to(start + np.arange(len(batch))[:, None], whole.shape)
        for ages in zip(table.ages, (*table.ages[1:], spec.lookback + 1), strict=True):
            lost = rng.integers(*ages, len(batch))
            masks = [drawn_mask(age, spec.lookback, nodes, rng) for age in lost]
            less = hidden(builder, window, batch, np.array(masks))
            lacking = reach(predict(less), window.target, spec.quantiles, least)
            row, column = table.cells(less.past)
            reaches = (r.transpose(0, 2, 1)[whole] for r in (complete, lacking))
            parts.append((number[whole], row[whole], column[whole], *reaches))
    return _Tried(*(np.concatenate(column) for column in zip(*parts, strict=True)))
