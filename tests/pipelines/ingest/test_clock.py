"""The hours that a civil clock skips and repeats."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from pipelines.ingest.clock import utc_of

ROME = "Europe/Rome"


def test_a_year_of_civil_hours_is_regular_but_for_three() -> None:
    civil = pd.date_range("2024-01-01", periods=366 * 24, freq="h")
    utc = utc_of(civil, ROME)
    assert list(civil[utc.isna()]) == [
        pd.Timestamp("2024-03-31 02:00"),
        pd.Timestamp("2024-10-27 02:00"),
    ]
    known = utc[utc.notna()]
    gaps = pd.Series(known).diff().dropna().value_counts()
    assert gaps.to_dict() == {pd.Timedelta("1h"): len(known) - 2, pd.Timedelta("3h"): 1}


def test_a_repeated_hour_that_is_there_twice_is_told_apart() -> None:
    truth = pd.date_range("2024-10-26 22:00", periods=8, freq="15min", tz="UTC").append(
        pd.date_range("2024-10-27 00:00", periods=8, freq="15min", tz="UTC")
    )
    civil = truth.tz_convert(ROME).tz_localize(None)
    assert civil.has_duplicates
    assert utc_of(civil, ROME).equals(truth)


def test_nodes_are_told_apart_each_by_its_own_rows() -> None:
    hour = pd.Timestamp("2024-10-27 02:00")
    civil = pd.DatetimeIndex([hour, hour, hour])
    utc = utc_of(civil, ROME, np.array(["a", "b", "a"]))
    assert list(utc[[0, 2]].hour) == [0, 1]
    assert utc[1] is pd.NaT


@given(st.integers(0, 20 * 365 * 96))
def test_what_is_told_is_right(quarter: int) -> None:
    truth = pd.Timestamp("2010-01-01", tz="UTC") + quarter * pd.Timedelta("15min")
    civil = pd.DatetimeIndex([truth.tz_convert(ROME).tz_localize(None)])
    (found,) = utc_of(civil, ROME)
    assert found is pd.NaT or found == truth
