"""What makes a reader doubt what an outlook's file says of its gauge: refused, or said aloud."""

from __future__ import annotations

from pathlib import Path

from models.contracts import FelsinaError, FloatArray, ForecastSpec
from pipelines.domains.flood.outlook_file import GaugeKeys

FAR_M = 2.0
"""A crest that lies so much and the range of all alert levels over the highest is no stage."""


def check_series(folder: Path, own: ForecastSpec, release: str, spec: ForecastSpec) -> None:
    """Refuse a folder whose series are not what the release speaks of, such as cm for m."""
    for key in ("target", "unit", "step"):
        found, wanted = getattr(own, key), getattr(spec, key)
        if found != wanted:
            raise FelsinaError(
                f"{folder}: its {key} is {found}, that of {release} is {wanted}; release it anew:"
                f" felsina run --dataset {folder}"
            )


def check_crest(keys: GaugeKeys, levels_m: FloatArray) -> None:
    """Refuse a crest far over every alert level: it would never be reached, and all be clear.

    Args:
        keys: with ``crest_m``.
        levels_m: [L] the gauge's known alert levels, rising.
    """
    if len(levels_m) and keys.crest_m > levels_m[-1] + _range_m(levels_m) + FAR_M:
        raise FelsinaError(
            f"gauge.crest_m = {keys.crest_m:g} lies {keys.crest_m - levels_m[-1]:.1f} m over the"
            f" highest alert level of {keys.node}, {levels_m[-1]:g} m; give the stage of the"
            " gauge's own zero, not metres above sea level"
        )


def crest_doubt(keys: GaugeKeys, levels_m: FloatArray) -> str | None:
    """A sentence where the crest lies oddly to the alert levels, or there are none to compare."""
    ask = "is it of the gauge's own zero?"
    if not len(levels_m):
        return (
            f"no alert level of {keys.node} is known: whether crest_m = {keys.crest_m:g} is of the"
            " gauge's own zero was not checked"
        )
    low, high = float(levels_m[0]), float(levels_m[-1])
    if keys.crest_m < low:
        return (
            f"crest_m = {keys.crest_m:g} lies under the gauge's first alert level, {low:g} m: {ask}"
        )
    if keys.crest_m > high + _range_m(levels_m):
        return (
            f"crest_m = {keys.crest_m:g} lies {keys.crest_m - high:.1f} m over the gauge's highest"
            f" alert level, {high:g} m: {ask}"
        )
    return None


def _range_m(levels_m: FloatArray) -> float:
    """Of all alert levels; of the only one, from the gauge's zero."""
    return abs(float(levels_m[-1] - (levels_m[0] if len(levels_m) > 1 else 0)))
