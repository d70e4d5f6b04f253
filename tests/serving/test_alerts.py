"""Alerts as they are raised, kept up and ended, issue by issue."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.alerts import schemas
from serving.alerts.rules import Rule
from serving.store import OBSERVED, Store
from tests.fixtures.alarmed import City
from tests.fixtures.tiny import Tiny

DAY = 24


@pytest.fixture
def city(tiny: Tiny, tmp_path: Path) -> City:
    return City(tiny, tmp_path / "home", Store(tmp_path / "observations.db"))


@pytest.fixture(scope="module")
def lived(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> City:
    """Two days, each issue evaluated as it came."""
    place = tmp_path_factory.mktemp("lived")
    city = City(tiny, place / "home", Store(place / "observations.db"))
    city.engine.tick()
    city.run(city.first + 1, city.first + 1 + 2 * DAY)
    return city


def rule(**changes) -> Rule:
    values = {"id": "r", "dataset": "tiny", "threshold": 2, "within": 6}
    return Rule(**values | changes)


def by_hand(probabilities: list[float], rule: Rule) -> list[bool]:
    """Whether an alert is up after each issue, told by looking back over all of them."""
    up, states = False, []
    for i, p in enumerate(probabilities):
        if not up:
            up = p >= rule.raise_at
            since = i
        else:
            last = probabilities[max(since + 1, i - rule.clear_after + 1) : i + 1]
            up = not (len(last) == rule.clear_after and max(last) < rule.clear_at)
        states.append(up)
    return states


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.29, 0.3, 0.35, 0.4, 0.9]), max_size=40),
    st.integers(1, 4),
)
def test_hysteresis_is_what_one_would_say_by_hand(series: list[float], clear_after: int) -> None:
    chosen = rule(clear_after=clear_after)
    active, below, states = np.zeros(1, bool), np.zeros(1, np.int64), []
    for p in series:
        active, below = chosen.hold(active, below, np.array([p]))
        states.append(bool(active[0]))
    assert states == by_hand(series, chosen)


def test_what_is_unknown_changes_nothing() -> None:
    active, below = rule().hold(
        np.array([True, False]), np.array([1, 0]), np.array([np.nan, np.nan])
    )
    assert active.tolist() == [True, False]
    assert below.tolist() == [1, 0]


@pytest.mark.parametrize("pair", [(0.4, 0.4), (0.3, 0.4), (0.4, 0.0)])
def test_a_rule_must_end_below_where_it_begins(city: City, pair: tuple[float, float]) -> None:
    body = {"dataset": "tiny", "threshold": 2, "within": 6}
    body |= {"raise_at": pair[0], "clear_at": pair[1]}
    assert city.client.post("/v1/alerts/rules", json=body).status_code == 422
    fine = city.client.post("/v1/alerts/rules", json=body | {"raise_at": 0.5, "clear_at": 0.3})
    assert fine.status_code == 200


def test_the_default_rule_is_threshold_2_within_six_hours(city: City) -> None:
    (found,) = city.get("/v1/alerts/rules")["rules"]
    schemas.Rule.model_validate(found)
    assert found == {
        "id": "default-tiny",
        "dataset": "tiny",
        "threshold": 2,
        "within": 6,
        "within_text": "6 h",
        "raise_at": 0.4,
        "clear_at": 0.3,
        "clear_after": 2,
        "nodes": None,
        "unit": "veh/h",
        "level_range": [95.0, 330.0],
        "problem": None,
        "backtest": None,
    }


def test_alerts_are_those_of_the_forecasts_probabilities(lived: City, tiny: Tiny) -> None:
    """What the engine did live is what anybody would do with the API's own numbers."""
    limits = [("a", 95.0), ("b", 120.0), ("d", 330.0)]
    raised = {node: 0 for node, _ in limits}
    for node, _ in limits:
        series = []
        for row in range(lived.first, lived.first + 1 + 2 * DAY):
            init = tiny.times(row, row + 1)[0]
            answer = lived.get("/v1/forecasts/tiny", nodes=node, init_time=init)
            series.append(answer["features"][0]["exceedance"]["threshold_2"]["within_lead"][5])
        states = by_hand(series, rule())
        raised[node] = int((np.diff([False, *states]) & np.array(states)).sum())
    found = lived.alerts()
    assert {node: sum(a["node"] == node for a in found) for node in raised} == raised
    assert sum(raised.values()) >= 3
    assert {alert["state"] for alert in found} == {"active", "ended"} or raised


def test_an_alert_says_what_was_agreed(lived: City) -> None:
    for alert in lived.alerts():
        schemas.Alert.model_validate(alert)
        assert set(alert) == set(schemas.Alert.model_fields)
        assert alert["rule"] == "default-tiny"
        assert alert["valid_from"] <= alert["onset"] <= alert["valid_to"]
        assert (alert["ended_at"] is None) == (alert["state"] == "active")
        assert alert["release"] == lived.release.name


def test_there_is_one_alert_a_rule_and_node_at_a_time(lived: City) -> None:
    active = lived.alerts("active")
    assert len({(a["rule"], a["node"]) for a in active}) == len(active)
    everything = lived.alerts()
    assert len(active) + len(lived.alerts("ended")) == len(everything)
    messages = lived.engine.held.messages([alert["id"] for alert in everything])
    for alert in everything:
        kinds = [m.kind for m in messages if m.alert == alert["id"]]
        assert kinds[0] == "raised"
        assert kinds.count("raised") == 1
        assert ("ended" in kinds) == (alert["state"] == "ended")


def test_a_new_process_raises_nothing_twice(lived: City) -> None:
    before, last = lived.alerts(), lived.engine.events.last()
    lived.engine.lease.release()
    lived.restart()
    assert lived.engine.tick()
    assert lived.alerts() == before
    assert lived.engine.events.last() == last


def test_a_correction_of_the_past_changes_nothing_that_was_told(lived: City, tiny: Tiny) -> None:
    def told():
        names = [alert["id"] for alert in lived.alerts()]
        return lived.engine.held.messages(names)

    before = told()
    time = tiny.builder.times(np.arange(lived.first + 3, lived.first + 4))
    lived.store.write("tiny", OBSERVED, time, ["a"], np.array([[0.0]]))
    lived.engine.tick()
    after = told()
    assert after[: len(before)] == before or set(map(repr, before)) <= set(map(repr, after))
