"""What is served beside what came true: planted faults are named, and nothing is made up."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import FelsinaError
from models.signing import PrivateKey
from pipelines import cli
from pipelines.monitor import monitor, served_release, suspend
from pipelines.run import hold_observations
from serving.drift import FIGURES, Drift, record_path
from serving.store import FORCED, OBSERVED, Store
from tests.factories import NODES, make_series
from tests.fixtures.aged import drift_of, silent, worse
from tests.fixtures.housed import House
from tests.fixtures.tiny import Tiny

KNOWN, LIVED, DAY = 70, 60, 24
Change = Callable[[np.ndarray], None]


def lived(tiny: Tiny, store: Store, change: Change = lambda values: None) -> Store:
    """What came true in the weeks after the tiny dataset, as sensors told it."""
    hold_observations(tiny.dataset, tiny.spec.reach, store)
    series, forcings = make_series(KNOWN + LIVED, seed=5)
    values = series.to_numpy()[KNOWN * DAY :].copy()
    change(values)
    times = tiny.builder.times(np.arange(KNOWN * DAY, (KNOWN + LIVED) * DAY))
    store.write("tiny", OBSERVED, times, list(NODES), values)
    names = [forcing.name for forcing in tiny.spec.forcings]
    store.write("tiny", FORCED, times, names, forcings[names].to_numpy()[KNOWN * DAY :])
    return store


@pytest.fixture
def house(tiny: Tiny, tmp_path: Path, empty_store: Store) -> House:
    """Two releases, promoted one after the other."""
    house = House(tiny, tmp_path, empty_store)
    house.promote(house.first)
    house.promote(house.second)
    return house


def looked(tiny: Tiny, house: House, change: Change = lambda values: None) -> Drift:
    return monitor(house.home, lived(tiny, house.store, change), tiny.dataset)


def kinds(drift: Drift) -> list[tuple[str, str | None]]:
    return [(alarm.kind, alarm.node) for alarm in drift.alarms]


def test_where_nothing_changed_nothing_is_told(tiny: Tiny, house: House) -> None:
    found = looked(tiny, house)
    assert found.alarms == []
    residual, coverage, missing, error = (found.model_dump()[name] for name in FIGURES)
    assert (found.release, found.days, found.through) == (house.second.name, 56, "2024-06-13")
    assert abs(coverage["now"] - coverage["usual"]) < 0.05
    assert 0.8 < error["now"] / error["usual"] < 1.2
    assert 0.005 < missing["now"] < 0.04
    assert abs(residual["now"]) < 0.3
    assert max(found.near.values()) < 1
    assert found.stability is not None
    assert found.stability < 0.25
    assert json.loads(record_path(house.home, "tiny").read_bytes()) == found.model_dump()


def test_a_dead_sensor_is_named(tiny: Tiny, house: House) -> None:
    def dies(values: np.ndarray) -> None:
        values[-3 * DAY :, 2] = np.nan

    (alarm,) = looked(tiny, house, dies).alarms
    assert (alarm.kind, alarm.node) == ("silent", NODES[2])
    assert alarm.since == "2024-06-11T00:00:00Z"
    assert alarm.by == 72


def test_a_sensor_that_reports_zeros_is_named(tiny: Tiny, house: House) -> None:
    def sticks(values: np.ndarray) -> None:
        values[-2 * DAY :, 1] = 0

    assert ("flat", NODES[1]) in kinds(looked(tiny, house, sticks))


def test_a_sensor_off_its_level_is_named(tiny: Tiny, house: House) -> None:
    def shifts(values: np.ndarray) -> None:
        values[-3 * DAY :, 3] *= 1.3

    (alarm,) = [one for one in looked(tiny, house, shifts).alarms if one.kind == "level"]
    assert (alarm.node, alarm.since) == (NODES[3], "2024-06-11T00:00:00Z")
    assert alarm.by == pytest.approx(0.3, abs=0.08)


def test_a_city_that_changed_makes_forecasts_worse(tiny: Tiny, house: House) -> None:
    def grows(values: np.ndarray) -> None:
        values[-3 * DAY :] *= 1.4

    found = looked(tiny, house, grows)
    (alarm,) = [one for one in found.alarms if one.kind == "residual"]
    assert (alarm.node, alarm.since) == (None, "2024-06-11T00:00:00Z")
    assert alarm.by > 0.5
    assert found.near["residual"] >= 1


def test_gaps_everywhere_are_told(tiny: Tiny, house: House) -> None:
    def fails(values: np.ndarray) -> None:
        values[-3 * DAY :][np.random.default_rng(0).random((3 * DAY, 4)) < 0.3] = np.nan

    assert ("missing", None) in kinds(looked(tiny, house, fails))


def test_a_release_whose_days_are_to_come_says_so(tiny: Tiny, house: House) -> None:
    hold_observations(tiny.dataset, tiny.spec.reach, house.store)
    found = monitor(house.home, house.store, tiny.dataset)
    assert (found.days, found.through, found.alarms) == (0, None, [])
    assert found.error.now is None
    assert found.error.usual is not None


def test_a_dataset_that_has_grown_says_the_same(tiny: Tiny, house: House) -> None:
    found = looked(tiny, house)
    series, forcings = make_series(KNOWN + 9, seed=5)
    known = tiny.dataset
    assert known.forcings is not None
    tail = forcings.to_numpy(np.float32)[len(known.forcings) :, None]
    grown = replace(
        known,
        values=np.concatenate([known.values, series.to_numpy()[len(known.values) :]]),
        forcings=np.concatenate([known.forcings, tail]),
    )
    again = monitor(house.home, house.store, grown)
    assert again.model_dump(exclude={"checked_at"}) == found.model_dump(exclude={"checked_at"})
    shorter = replace(known, values=known.values[:-DAY])
    with pytest.raises(FelsinaError, match="does not hold 2024-02-05"):
        monitor(house.home, house.store, shorter)


def test_a_release_worse_than_tested_gives_way_to_the_one_before(tiny: Tiny, house: House) -> None:
    hold_observations(tiny.dataset, tiny.spec.reach, house.store)
    assert house.served() == house.second.name
    key, release = house.board.keys["op"], served_release(house.home, "tiny")
    well = drift_of(release.id, silent(NODES[0]))
    assert "no worse than tested" in suspend(house.home, key, release, well)
    assert house.served() == house.second.name
    told = suspend(house.home, key, release, drift_of(release.id, worse()))
    assert told.startswith(f"{house.second.name} is suspended; servers fall back")
    assert house.served() == house.first.name
    (alarm,) = house.board.board().alarms
    assert alarm.reason == "felsina monitor: coverage since 2024-06-11"
    last = served_release(house.home, "tiny")
    assert last.id == house.first.name
    assert "no other approved release" in suspend(house.home, key, last, drift_of(last.id, worse()))
    assert house.served() == house.first.name


def test_a_stranger_suspends_nothing(tiny: Tiny, house: House) -> None:
    release = served_release(house.home, "tiny")
    with pytest.raises(FelsinaError, match="is that of no member"):
        suspend(house.home, PrivateKey.generate(), release, drift_of(release.id, worse()))
    assert house.board.board().alarms == []


def test_the_command_says_it_in_words_and_as_json(
    tiny: Tiny, house: House, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(values: np.ndarray) -> None:
        values[-3 * DAY :, 2] = np.nan

    lived(tiny, house.store, dies)
    monkeypatch.setenv("FELSINA_HOME", str(house.home))
    monkeypatch.setenv("FELSINA_STORE", str(house.store.engine.url))

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["felsina", "monitor", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return out

    text = run("--dataset", str(tiny.folder))
    assert f"alarm: {NODES[2]}: silent for 72 h, since 2024-06-11" in text
    assert "56 days to 2024-06-13" in text
    record = json.loads(run("--dataset", str(tiny.folder), "--json"))
    assert Drift(**record).alarms[0].node == NODES[2]
