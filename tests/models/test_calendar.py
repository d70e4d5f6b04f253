"""The civil clock over both changes of the hour, and the holidays of a place."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calendar import (
    CALENDAR,
    DAY_KINDS,
    calendar_columns,
    country_of,
    utc_offsets,
    zone,
)
from models.contracts import FelsinaError

ROME, BOLOGNA = "Europe/Rome", "IT-BO"


def grid(start: str, steps: int, seconds: int = 3600) -> np.ndarray:
    return np.datetime64(start, "s") + np.arange(steps) * np.timedelta64(seconds, "s")


def column(name: str, times, step=3600, timezone=ROME, country=BOLOGNA) -> list[int]:
    return calendar_columns(times, step, timezone, country)[:, CALENDAR.index(name)].tolist()


def kind_of(day: str, country: str = BOLOGNA) -> str:
    return DAY_KINDS[column("day_kind", grid(f"{day}T12:00", 1), country=country)[0]]


def test_in_spring_the_civil_clock_skips_two_o_clock():
    hours = column("step_of_day", grid("2024-03-30T23:00", 23))
    assert hours == [0, 1, *range(3, 24)]


def test_in_autumn_the_civil_clock_has_two_o_clock_twice():
    hours = column("step_of_day", grid("2024-10-26T22:00", 25))
    assert hours == [0, 1, 2, 2, *range(3, 24)]


def test_a_changed_day_is_one_day_on_the_calendar():
    for start, steps, number in (("2024-03-30T23:00", 23, 31), ("2024-10-26T22:00", 25, 27)):
        times = grid(start, steps)
        month = times[0].astype("datetime64[Y]")
        first = np.datetime64("2024-03-01" if number == 31 else "2024-10-01")
        expected = int((first - month.astype("datetime64[D]")).astype(int)) + number - 1
        assert set(column("day_of_year", times)) == {expected}
        assert set(column("day_of_week", times)) == {6}


def test_quarter_hours_follow_the_change():
    quarters = column("step_of_day", grid("2024-03-31T00:30", 4, 900), step=900)
    assert quarters == [6, 7, 12, 13]
    quarters = column("step_of_day", grid("2024-10-27T00:45", 3, 900), step=900)
    assert quarters == [11, 8, 9]


def test_daily_steps_have_one_slot_and_step_through_the_week():
    times = grid("2024-03-29T00:00", 5, 86400)
    assert column("step_of_day", times, step=86400) == [0] * 5
    assert column("day_of_week", times, step=86400) == [4, 5, 6, 0, 1]


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 4_000_000_000 // 900),
    st.sampled_from(
        [ROME, "Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Sydney"]
    ),
)
def test_offsets_are_those_of_the_standard_library(quarter, timezone):
    seconds = np.arange(quarter, quarter + 200, 7) * 900
    clock = ZoneInfo(timezone)
    expected = [
        int(datetime.fromtimestamp(int(s), UTC).astimezone(clock).utcoffset().total_seconds())
        for s in seconds
    ]
    assert utc_offsets(seconds, timezone).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 30_000))
def test_columns_are_those_of_the_standard_library(days):
    times = grid("1971-01-01T00:00", 30) + np.timedelta64(days, "D")
    columns = calendar_columns(times, 3600, ROME, "")
    clock = ZoneInfo(ROME)
    for row, second in zip(columns, times.astype(np.int64), strict=True):
        local = datetime.fromtimestamp(int(second), UTC).astimezone(clock)
        assert row[:2].tolist() == [local.hour, local.weekday()]
        assert row[3] == local.timetuple().tm_yday - 1


@pytest.mark.parametrize(
    "day", ["2024-01-01", "2024-04-01", "2024-04-25", "2024-06-02", "2024-08-15", "2024-12-26"]
)
def test_italian_holidays_are_holidays(day):
    assert kind_of(day) == "holiday"
    assert kind_of(day, "") == "ordinary"


def test_san_petronio_is_a_holiday_in_bologna_alone():
    assert kind_of("2024-10-04") == "holiday"
    assert kind_of("2024-10-04", "IT-MI") != "holiday"
    assert kind_of("2024-12-07", "IT-MI") == "holiday"
    assert kind_of("2024-12-07") != "holiday"


def test_the_day_before_a_holiday_is_an_eve():
    assert kind_of("2024-04-24") == "eve"
    assert kind_of("2024-10-03") == "eve"
    assert kind_of("2024-12-31") == "eve"


def test_a_working_day_wedged_beside_a_holiday_is_a_bridge():
    assert kind_of("2024-04-26") == "bridge"  # a Friday, after Thursday 25 April
    assert kind_of("2023-04-24") == "bridge"  # a Monday, before Tuesday 25 April
    assert kind_of("2024-05-02") == "ordinary"  # a Thursday, after Wednesday 1 May
    assert kind_of("2024-04-29") == "ordinary"  # a Monday, two days before 1 May


def test_the_kind_of_yesterday_and_a_week_ago_are_remembered():
    times = grid("2024-04-26T12:00", 1)
    assert column("kind_yesterday", times) == [DAY_KINDS.index("holiday")]
    times = grid("2024-05-02T12:00", 1)
    assert column("kind_week_ago", times) == [DAY_KINDS.index("holiday")]
    assert column("kind_yesterday", times) == [DAY_KINDS.index("holiday")]


def test_the_holiday_begins_at_civil_midnight():
    kinds = column("day_kind", grid("2024-04-24T21:00", 3))
    assert kinds == [DAY_KINDS.index("eve"), *[DAY_KINDS.index("holiday")] * 2]


@pytest.mark.parametrize("name", ["Europe/Bologna", "", "../etc/passwd", "/etc/passwd", "CEST+2"])
def test_an_unknown_zone_is_refused_in_one_line(name):
    with pytest.raises(FelsinaError) as caught:
        zone(name)
    assert repr(name) in str(caught.value)
    assert "Europe/Rome" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_country_without_calendar_is_refused():
    for country in ("ZZ", "IT-ZZ"):
        with pytest.raises(FelsinaError) as caught:
            kind_of("2024-04-25", country)
        assert country in str(caught.value)


def test_countries_are_found_by_zone():
    assert country_of(ROME) == BOLOGNA
    assert country_of("Europe/London") == "GB-ENG"
    assert country_of("Europe/Paris") == "FR"


@pytest.mark.parametrize("name", ["Etc/GMT-1", "UTC"])
def test_a_zone_of_no_country_has_a_clock_and_no_holidays(name):
    assert country_of(name) == ""
    columns = calendar_columns(grid("2024-04-24T23:00", 3), 3600, name, "")
    shift = 1 if name == "Etc/GMT-1" else 0
    assert columns[:, 0].tolist() == [(23 + shift + h) % 24 for h in range(3)]
    assert not columns[:, CALENDAR.index("day_kind")].any()
