"""What an event did: planted effects are found, and nothing is read of what came after."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.effects import world
from models.contracts import Forcing
from models.errors import FelsinaError
from pipelines import cli
from pipelines.counterfactual import counterfactual, effect_of
from pipelines.effect import Event, daily, tell
from tests.factories import header
from training.dataset import open_dataset, write_dataset

DAYS, EVENT, TREATED, CONTROLS = 365, 305, np.arange(4), np.arange(4, 24)


@pytest.mark.parametrize("effect", [-0.2, 0.0, 0.15])
def test_a_planted_effect_lies_in_its_interval(effect: float) -> None:
    days = world(np.random.default_rng(1), 0.5)
    days.values[EVENT:, TREATED] *= 1 + effect
    found = effect_of(days, TREATED, CONTROLS, EVENT, DAYS, placebos=59)
    assert found.low <= effect <= found.high
    assert found.high - found.low < 0.15
    assert (found.low <= 0 <= found.high) == (effect == 0)
    assert (found.p_value <= 0.05) == (effect != 0)


def test_nothing_of_the_treated_nodes_after_the_event_is_read() -> None:
    days = world(np.random.default_rng(2), 0.5)
    before = counterfactual(days, TREATED, CONTROLS, EVENT, DAYS)
    days.values[EVENT:, TREATED] *= np.random.default_rng(3).uniform(0.1, 9, (DAYS - EVENT, 4))
    after = counterfactual(days, TREATED, CONTROLS, EVENT, DAYS)
    np.testing.assert_array_equal(before.expected, after.expected)
    days.values[EVENT:, CONTROLS] *= 1.1  # but of the others it is
    other = counterfactual(days, TREATED, CONTROLS, EVENT, DAYS)
    assert (other.expected[EVENT:] > after.expected[EVENT:]).all()
    np.testing.assert_allclose(other.expected[:EVENT], after.expected[:EVENT])


@pytest.mark.filterwarnings("error")
def test_a_control_that_came_late_is_no_placebo_of_earlier_days() -> None:
    days, few = world(np.random.default_rng(1), 0.5), np.arange(1, 8)
    whole = effect_of(days, TREATED[:1], few, EVENT, DAYS, placebos=59)
    days.values[:240, 5] = np.nan
    found = effect_of(days, TREATED[:1], few, EVENT, DAYS, placebos=59)
    assert 40 < len(found.placebos) < len(whole.placebos) == 59
    assert found.low <= 0 <= found.high


def test_the_order_of_nodes_is_nothing() -> None:
    days = world(np.random.default_rng(4), 0.5)
    one = counterfactual(days, TREATED, CONTROLS, EVENT, DAYS)
    two = counterfactual(days, TREATED[::-1], CONTROLS[::-1], EVENT, DAYS)
    np.testing.assert_allclose(one.expected, two.expected, rtol=1e-9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up city by the hour, its nodes a ring; -15 % at n0 and +15 % at n1 from day 305 on."""
    days = world(np.random.default_rng(5), 0.5, noise=0.03)
    days.values[EVENT:, 0] *= 0.85
    days.values[EVENT:, 1] *= 1.15
    names = [f"n{i}" for i in range(days.values.shape[1])]
    start = pd.Timestamp("2023-06-01", tz="Europe/Rome")
    hours = pd.date_range(start, periods=24 * DAYS, freq="h").tz_convert("UTC")
    shape = 1 + 0.5 * np.sin(np.arange(24) / 24 * 2 * np.pi)
    hourly = np.repeat(days.values, 24, axis=0) * np.tile(shape, DAYS)[:, None]
    series = pd.DataFrame(hourly, hours, names)
    edges = pd.DataFrame({"source": names, "target": np.roll(names, -1), "weight": 1.0})
    place = tmp_path_factory.mktemp("city") / "city"
    write_dataset(place, header(forcings=[]), pd.DataFrame({"id": names}), series, edges)
    return place


def test_days_are_those_of_the_city_s_own_clock(folder: Path) -> None:
    dataset = open_dataset(folder)
    first, days = daily(dataset)
    assert first == np.datetime64("2023-06-01")
    local = pd.Series(dataset.builder().times(np.arange(len(dataset.values)))).dt.tz_localize("UTC")
    date = local.dt.tz_convert("Europe/Rome").dt.date
    for day, hours in ((3, 24), (150, 25), (304, 23)):  # clocks go back on 29 October
        inside = (date == (first + day).astype(object)).to_numpy()
        assert inside.sum() == hours
        np.testing.assert_allclose(days.values[day], np.mean(dataset.values[inside], axis=0), 1e-5)
    assert days.weekday[3] == 6  # a Sunday
    assert days.weekday[1] == 6  # Festa della Repubblica


@pytest.mark.filterwarnings("error")
def test_hours_without_weather_are_left_out_of_their_day(folder: Path) -> None:
    dataset = open_dataset(folder)
    weather = np.ones((len(dataset.values), 1, 1), np.float32)
    weather[:30] = np.nan  # the first day, and six hours of the second
    weather[30:48] = 3.0
    spec = replace(dataset.spec, forcings=(Forcing("temp_c", "degC", known_future=False),))
    _, days = daily(replace(dataset, spec=spec, forcings=weather))
    mean = (3 + (len(days.values) - 2)) / (len(days.values) - 1)
    np.testing.assert_allclose(days.common[:3, -2], [mean, 3, 1], 1e-6)


def test_what_cannot_be_told_is_refused_in_a_line(folder: Path) -> None:
    dataset = open_dataset(folder)
    first, days = daily(dataset)
    end = first + len(days.values)

    def told(match: str, **changes) -> None:
        asked = {"first": end - 20, "until": end, "treated": ("n0",), "away": 0} | changes
        with pytest.raises(FelsinaError, match=match) as refused:
            tell(dataset, Event(**asked))
        assert "\n" not in str(refused.value)

    told("unknown node nowhere", treated=("nowhere",))
    told("56 days before an event are needed", first=first + 20)
    told("56 days before an event are needed", until=end + 1)
    told("3 are needed, see --away", treated=dataset.graph.ids[:-2])


def test_the_command_tells_draws_and_keeps_neighbours_apart(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def felsina(*words: str | Path) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["felsina", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    first, _ = daily(open_dataset(folder))
    event, out = str(first + EVENT), tmp_path / "out"
    words = ("effect", "--dataset", folder, "--event", event, "--treated", "n0", "--out", out)
    code, text, err = felsina(*words, "--json")
    assert code == 0, err
    record = json.loads(text)
    assert json.loads((out / "effect.json").read_bytes()) == record
    assert (out / "effect.png").read_bytes().startswith(b"\x89PNG")
    assert record["treated"]["low"] <= -0.15 <= record["treated"]["high"] < 0
    assert record["beside"]["nodes"] == ["n1", "n23"]
    assert record["beside"]["effect"] > 0
    assert record["controls"] == 21
    for changed, match in ((words, "exists"), ((*words[:4], "16/1/2024", *words[5:]), "is no day")):
        code, _, err = felsina(*changed)
        assert code == 2
        assert match in err
