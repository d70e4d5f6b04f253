"""From what a gauge measures to its stage in metres, by its unit and its rating."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from models.contracts import BoolArray, FelsinaError, FloatArray
from pipelines.domains.flood.outlook_file import RatingKeys

_RATING = ("stage_m", "flow_m3_s")


def stage_of(
    values: FloatArray,
    unit: str,
    rating: RatingKeys | None,
    base: Path,
    top_m: float = np.inf,
) -> FloatArray:
    """Stage in m of a gauge's values; past a rating table's end its last stage.

    Args:
        values: in ``unit``.
        unit: of the gauge.
        rating: where that is one of discharge.
        base: folder that its file is relative to.
        top_m: no stage above is told from another; a table that ends below must hold all values.

    Raises:
        FelsinaError: if it is no gauge of stage and has no rating, or one that ends too low.
    """
    if unit in ("m", "cm"):
        if rating is not None:
            raise FelsinaError(f"gauge.rating: the gauge speaks of stage, in {unit}; leave it out")
        return values * (0.01 if unit == "cm" else 1.0)
    if unit != "m3/s":
        raise FelsinaError(f"gauge: its unit is {unit}; an outlook needs m, cm or m3/s")
    if rating is None:
        raise FelsinaError(
            "gauge: it speaks of discharge, in m3/s; give rating = {file = 'RATING.csv'} with"
            " stage_m and flow_m3_s, or {a = ..., b = ...} of Q = a (h - h0_m)^b"
        )
    if rating.file is not None:
        return _by_table(values, base / rating.file, top_m)
    if rating.a is None or rating.b is None:
        raise FelsinaError("gauge.rating: give file, or both a and b")
    return rating.h0_m + (np.maximum(values, 0) / rating.a) ** (1 / rating.b)


def levels_of(
    thresholds: FloatArray, unit: str, rating: RatingKeys | None, base: Path
) -> FloatArray:
    """[L] those alert levels that are known, as rising stages in m; none beyond a table's end."""
    known = np.sort(thresholds[np.isfinite(thresholds)]).astype(float)
    if unit == "m3/s" and rating is not None and rating.file is not None:
        known = known[known <= _table(base / rating.file)[1][-1]]
    return stage_of(known, unit, rating, base)


def _table(path: Path) -> tuple[FloatArray, FloatArray]:
    """Stages [R] in m and their flows [R] in m3/s, both rising."""
    try:
        table = pd.read_csv(path, skipinitialspace=True)
        stage, known = (table[name].to_numpy(float) for name in _RATING)
    except (OSError, ValueError, KeyError) as error:
        raise FelsinaError(
            f"gauge.rating {path}: {str(error).splitlines()[0]}; name a CSV with numbers under"
            f" {' and '.join(_RATING)}"
        ) from None
    rises = len(known) > 1 and (np.diff(known) > 0).all() and (np.diff(stage) > 0).all()
    if not rises:
        raise FelsinaError(f"gauge.rating {path}: {' and '.join(_RATING)} must rise row by row")
    return stage, known


def beyond_table(values: FloatArray, rating: RatingKeys | None, base: Path) -> BoolArray:
    """[M] whether a member of values [M, H] passes the rating table's end."""
    if rating is None or rating.file is None:
        return np.zeros(len(values), bool)
    return np.any(values > _table(base / rating.file)[1][-1], axis=1, keepdims=True)[:, 0]


def _by_table(flow: FloatArray, path: Path, top_m: float) -> FloatArray:
    stage, known = _table(path)
    if (flow > known[-1]).any() and stage[-1] < top_m:
        upto = f" up to crest_m + most_over_m = {top_m:g} m" if np.isfinite(top_m) else ""
        raise FelsinaError(
            f"gauge.rating {path} ends at {known[-1]:g} m3/s ({stage[-1]:g} m), the forecast at"
            f" {flow.max():.4g}; extend it{upto}"
        )
    return np.interp(flow, known, stage)
