"""Alerts as they are raised, kept up and ended, issue by issue."""

from types import SimpleNamespace

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from serving.alerts import schemas
from serving.alerts.rules import Rule
from serving.erasure import Eraser
from serving.events.lease import Lease, LeaseLost
from serving.store import OBSERVED
from tests.fixtures.alarmed import City
from tests.fixtures.tiny import Tiny

DAY = 24


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


def test_the_default_rule_is_threshold_2_within_six_hours(lived: City) -> None:
    (found,) = lived.get("/v1/alerts/rules")["rules"]
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


def test_an_alert_says_what_was_agreed(lived: City) -> None:
    for alert in lived.alerts():
        schemas.Alert.model_validate(alert)
        assert set(alert) == set(schemas.Alert.model_fields)
        assert alert["rule"] == "default-tiny"
        assert alert["valid_from"] <= alert["onset"] <= alert["valid_to"]
        assert (alert["ended_at"] is None) == (alert["state"] == "active")
        assert alert["release"] == lived.release.name


def test_nothing_is_told_of_a_node_that_was_forgotten_meanwhile(
    lived: City, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forecast was made before, and would raise an alert after."""

    def of_b(city: City) -> set[str]:
        return {alert["id"] for alert in city.alerts() if alert["node"] == "b"}

    city, row = lived.twin(tmp_path / "first.db"), lived.first + 1 + 2 * DAY
    before = of_b(city)
    while not of_b(city) - before:
        city.run(row, row + 1)
        row += 1
    city = lived.twin(tmp_path / "second.db")
    city.run(lived.first + 1 + 2 * DAY, row - 1)
    made = city.catalogue.forecast

    def slow(*given, **named):
        answer = made(*given, **named)
        Eraser(city.store, "test").forget("tiny", ["b"], "asked")
        monkeypatch.undo()
        return answer

    monkeypatch.setattr(city.catalogue, "forecast", slow)
    city.run(row - 1, row)
    assert not of_b(city)


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


def test_a_new_process_raises_nothing_twice(changeable: City) -> None:
    before, last = changeable.alerts(), changeable.engine.events.last()
    changeable.engine.lease.release()
    changeable.restart()
    assert changeable.engine.tick()
    assert changeable.alerts() == before
    assert changeable.engine.events.last() == last


def test_a_correction_of_the_past_changes_nothing_that_was_told(
    changeable: City, tiny: Tiny
) -> None:
    def told() -> dict[tuple[str, int], str]:
        names = [alert["id"] for alert in changeable.alerts()]
        messages = changeable.engine.held.messages(names)
        return {(m.alert, m.number): repr(m) for m in messages}

    before, last = told(), changeable.engine.events.last()
    ended = {alert["id"]: alert for alert in changeable.alerts("ended")}
    assert ended
    time = tiny.builder.times(np.arange(changeable.first + 3, changeable.first + 4))
    changeable.store.write("tiny", OBSERVED, time, list("abd"), np.array([[0.0, 0.0, 0.0]]))
    assert changeable.engine.tick()
    assert changeable.engine.events.last() > last  # the correction was seen
    assert before.items() <= told().items()
    assert ended.items() <= {alert["id"]: alert for alert in changeable.alerts()}.items()


def test_acknowledging_is_kept_once_with_who_and_when(changeable: City) -> None:
    alert = changeable.alerts()[0]["id"]
    path = f"/v1/alerts/{alert}/acknowledge"
    answer = changeable.client.post(path, json={"by": "control room", "note": "pumps are out"})
    assert answer.status_code == 200
    schemas.Alert.model_validate(answer.json())
    record = answer.json()["acknowledged"]
    assert (record["by"], record["note"]) == ("control room", "pumps are out")
    again = changeable.client.post(path, json={})
    assert again.status_code == 422
    assert "control room" in again.json()["detail"]
    changeable.engine.tick()
    assert [a["acknowledged"] for a in changeable.alerts() if a["id"] == alert] == [record]
    assert changeable.client.post("/v1/alerts/nosuch/acknowledge", json={}).status_code == 404


def test_data_that_stopped_leave_an_alert_up_and_marked(changeable: City) -> None:
    """The series is years old, so each of its alerts is told as stale, and none ends for that."""
    assert all(alert["stale"] for alert in changeable.alerts())
    before = changeable.alerts("active")
    changeable.engine.tick()
    assert changeable.alerts("active") == before


class Clock:
    """A clock that stands where it is put."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = np.datetime64(0, "s")
        for module in ("serving.alerts.issue", "serving.alerts.engine"):
            monkeypatch.setattr(f"{module}.now", lambda: self.now)
        seconds = SimpleNamespace(time=lambda: float(self.now.astype(int)))
        monkeypatch.setattr("serving.catalogue.time", seconds)


def live(city: City, clock: Clock, late: int = 0) -> None:
    """Feed until an alert is up, a day at most, each hour so many hours ``late``."""
    for row in range(city.first + 1, city.first + 1 + DAY):
        city.feed(row, row + 1)
        latest = city.store.state("tiny")[1]
        assert latest is not None
        clock.now = latest + np.timedelta64(late, "h")
        city.engine.tick()
        if city.alerts("active"):
            break


@pytest.mark.parametrize(
    ("synthetic", "late", "raised"),
    [(False, 5, True), (False, 6, False), (True, 6, True), (True, 9999, True)],
)
def test_no_alert_is_raised_for_a_time_that_is_over(
    city: City, monkeypatch: pytest.MonkeyPatch, synthetic: bool, late: int, raised: bool
) -> None:
    """A history of real data that is posted alarms nobody; of synthetic data there is no other."""
    data = city.catalogue.runtime("tiny").release.manifest["data"]
    monkeypatch.setitem(data, "synthetic", synthetic)
    live(city, Clock(monkeypatch), late)
    assert bool(city.alerts()) == raised


@pytest.mark.parametrize("lost", ["release", "data"])
def test_an_alert_whose_forecasts_ended_is_told_as_stale(
    city: City, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    live(city, Clock(monkeypatch))
    before = city.alerts("active")
    city.engine.tick()
    assert before
    assert city.alerts("active") == before
    if lost == "release":
        city.release.rename(city.home / "withdrawn")
    else:
        with city.store.engine.begin() as connection:
            connection.execute(sa.text("UPDATE revisions SET latest = NULL"))
    for _ in range(2):
        city.engine.tick()
    after = city.alerts("active")
    assert [a["id"] for a in after] == [a["id"] for a in before]
    assert all(a["stale"] and "no release of the dataset" in a["note"] for a in after)
    messages = city.engine.held.messages([after[0]["id"]])
    assert [m.said["stale"] for m in messages].count(True) == 1


def test_a_feed_that_dies_is_told_once(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fresh while the clock stands at the last observation; stale when it has gone on."""
    clock = Clock(monkeypatch)
    live(city, clock)
    (first, *_) = before = city.alerts("active")
    assert not any(alert["stale"] for alert in before)
    clock.now += np.timedelta64(3, "h")
    city.engine.tick()
    assert city.alerts("active") == before  # three steps are not too many
    clock.now += np.timedelta64(1, "h")
    for _ in range(3):
        city.engine.tick()
    after = city.alerts("active")
    assert [a["id"] for a in after] == [a["id"] for a in before]
    assert all(alert["stale"] for alert in after)
    messages = city.engine.held.messages([first["id"]])
    assert [m.said["stale"] for m in messages].count(True) == 1
    assert messages[-1].kind == "updated"


def test_a_rule_of_its_own_takes_the_default_ones_place(city: City) -> None:
    city.run(city.first + 1, city.first + 1 + DAY)
    assert {a["rule"] for a in city.alerts()} == {"default-tiny"}
    body = {"dataset": "tiny", "threshold": 3, "within": 3, "raise_at": 0.9, "nodes": ["d"]}
    answer = city.client.post("/v1/alerts/rules", json=body)
    assert answer.status_code == 200
    made = answer.json()
    assert city.get("/v1/alerts/rules")["rules"] == [made]
    assert made["level_range"] == [1e5, 1e5]
    up = {alert["id"] for alert in city.alerts("active")}
    city.engine.tick()
    assert city.alerts("active") == []
    ended = {a["id"]: a["note"] for a in city.alerts("ended")}
    assert all("rule was removed" in ended[name] for name in up)
    assert city.client.delete(f"/v1/alerts/rules/{made['id']}").json() == {"id": made["id"]}
    assert [r["id"] for r in city.get("/v1/alerts/rules")["rules"]] == ["default-tiny"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"within": 7}, "7 leads is more than the 6"),
        ({"nodes": ["a", "nosuch"]}, "unknown node nosuch"),
        ({"nodes": ["c"]}, "threshold 2: no node"),
        ({"raise_at": 0.3, "clear_at": 0.3}, "clear_at 0.3 must lie"),
        ({"threshold": 4}, "threshold"),
        ({"raise_at": "0.4"}, "raise_at"),
        ({"clear_after": 0}, "clear_after"),
    ],
)
def test_rules_that_mean_nothing_are_refused(changeable: City, change: dict, words: str) -> None:
    body = {"dataset": "tiny", "threshold": 2, "within": 6} | change
    answer = changeable.client.post("/v1/alerts/rules", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_what_is_not_there_is_said(changeable: City) -> None:
    assert changeable.client.delete("/v1/alerts/rules/nosuch").status_code == 404
    assert changeable.client.delete("/v1/alerts/rules/default-tiny").status_code == 422
    body = {"dataset": "nosuch", "threshold": 2, "within": 6}
    assert changeable.client.post("/v1/alerts/rules", json=body).status_code == 404
    for path in ("/v1/alerts/a%00b.cap", "/v1/alerts?dataset=a%00b", "/v1/alerts?state=up"):
        assert changeable.client.get(path).status_code == 422
    alert = changeable.alerts()[0]["id"]
    odd = {"by": "\x00\u202e", "note": "'; drop table alerts; --"}
    answer = changeable.client.post(f"/v1/alerts/{alert}/acknowledge", json=odd)
    assert answer.json()["acknowledged"]["note"] == odd["note"]
    half = '{"note": "\\ud800"}'
    path = f"/v1/alerts/{changeable.alerts()[1]['id']}/acknowledge"
    head = {"content-type": "application/json"}
    assert changeable.client.post(path, content=half, headers=head).status_code == 422


def test_one_of_two_processes_evaluates_and_the_other_takes_over(city: City) -> None:
    first = city.engine
    assert first.tick()
    city.restart()
    second = city.engine
    assert not second.tick()
    city.feed(city.first + 1, city.first + 2)
    assert first.tick()
    first.lease.release()
    assert second.tick()
    with pytest.raises(LeaseLost), first.lease.transaction():
        pass


def test_a_process_that_lost_its_lease_writes_nothing(city: City) -> None:
    """It computed an issue, was suspended, and wakes up when another has taken over."""
    slow = city.engine
    assert slow.tick()
    last = slow.events.last()
    city.feed(city.first + 1, city.first + 2)
    thief = Lease(slow.lease.engine, "alerts")
    with slow.lease.engine.begin() as connection:
        connection.execute(sa.text("UPDATE leases SET until = 0"))
    assert thief.acquire()
    assert not slow.tick()
    assert slow.events.last() == last


def test_an_issue_that_could_not_be_kept_is_evaluated_again(
    city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert city.engine.tick()
    last = city.engine.events.last()
    city.feed(city.first + 1, city.first + 2)
    with monkeypatch.context() as broken:

        def full(*_: object) -> None:
            raise OperationalError("write", {}, Exception("disk is full"))

        broken.setattr(city.engine.held, "set_mark", full)
        assert city.engine.tick()
    assert city.engine.events.last() == last
    assert city.engine.tick()
    assert city.engine.events.last() > last
