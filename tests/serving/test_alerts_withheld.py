"""Alerts of a dataset whose forecasts the board stops: ended, told as such, told no more."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from serving.alerts import cap, schemas
from serving.alerts.engine import Engine
from serving.api import create_app
from serving.approvals import Approvals
from serving.catalogue import Catalogue
from serving.events import webhooks
from serving.events.webhooks import Webhooks
from serving.store import Store
from tests.fixtures.alarmed import City
from tests.fixtures.boards import Seats, seats, terms_of
from tests.fixtures.housed import at
from tests.fixtures.listening import Receiver
from tests.fixtures.tiny import Tiny, reseal
from tests.serving.test_alerts import Clock, live
from tests.serving.test_alerts_cap import parsed, texts

LAST_DAY = "2030-06-01"


@dataclass
class Ruled(City):
    """The city on real data, its release approved by a board until ``LAST_DAY``."""

    board: Seats = field(init=False)

    def restart(self) -> None:
        if not hasattr(self, "board"):
            self.board = seats(self.home / "board")
            self.release = reseal(
                self.release, self.home, lambda manifest: manifest["data"].update(synthetic=False)
            )
            self.terms = terms_of(self.home, self.release, expires=LAST_DAY)
            self.decision = self.board.approve(self.terms)
            self.board.promote(self.terms, self.decision)
        approvals = Approvals(self.home, self.home / "board" / "board.json", self.store)
        self.catalogue = Catalogue(self.home, self.store, approvals)
        self.client = TestClient(create_app(self.catalogue))
        self.engine = Engine(self.catalogue)

    def alarm(self) -> None:
        of = self.terms
        self.board.register("c").alarm(of.dataset, of.release, of.manifest_sha256, "misses floods")

    def messages(self) -> list:
        return self.engine.held.messages([alert["id"] for alert in self.alerts("all")])


@pytest.fixture
def ruled(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ruled:
    """An alert of it is up, and ``FELSINA_CAP_SENDER`` is set."""
    monkeypatch.setenv("FELSINA_CAP_SENDER", "felsina.example.org")
    monkeypatch.setattr("serving.served._RESCAN_SECONDS", 0.0)
    monkeypatch.setattr("serving.approvals._AGAIN_SECONDS", 0.0)
    city = Ruled(tiny, tmp_path / "home", Store(tmp_path / "alarmed.db"))
    live(city, Clock(monkeypatch))
    assert city.alerts("active")
    return city


@pytest.mark.parametrize("why", ["alarm", "expired", "restarted"])
def test_an_alert_ends_when_the_board_stops_its_forecasts(
    ruled: Ruled, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    before = ruled.alerts("active")
    assert {(a["approval"], a["decision"]) for a in before} == {("approved", ruled.decision)}
    ruled.engine.tick()
    assert ruled.alerts("active") == before  # nothing ends while the board approves
    if why == "expired":
        at(monkeypatch, "2030-06-02")
    else:
        ruled.alarm()
    if why == "restarted":
        ruled.engine.lease.release()
        ruled.restart()
    for _ in range(2):
        ruled.engine.tick()
    assert ruled.alerts("active") == []
    ended = ruled.alerts("ended")
    assert {a["id"] for a in ended} == {a["id"] for a in before}
    words = "until 2030-06-01, which is over" if why == "expired" else "misses floods"
    for alert in ended:
        schemas.Alert.model_validate(alert)
        assert (alert["approval"], alert["decision"], alert["withdrawn"]) == ("none", None, True)
        assert "the board has stopped the forecasts of tiny" in alert["note"]
        assert words in alert["note"]
    kinds = [m.kind for m in ruled.messages() if m.alert == before[0]["id"]]
    assert kinds.count("ended") == 1


def test_who_was_told_of_it_is_told_that_it_is_withdrawn_and_not_that_all_is_clear(
    ruled: Ruled,
) -> None:
    path = f"/v1/alerts/{ruled.alerts('active')[0]['id']}.cap"
    raised = parsed(ruled.client.get(path).content)
    ruled.alarm()
    ruled.engine.tick()
    gone = parsed(ruled.client.get(path).content)
    for root, kind in ((raised, "Alert"), (gone, "Cancel")):
        assert texts(root, "c:msgType") == [kind]
        assert texts(root, "c:status") == ["Actual"]
        assert texts(root, "c:scope") == ["Public"]
        assert texts(root, "c:sender") == ["felsina.example.org"]
    assert texts(raised, "c:identifier")[0] in texts(gone, "c:references")[0]
    assert "misses floods" in texts(gone, "c:note")[0]
    assert texts(gone, "c:info/c:urgency") == ["Unknown"] * 2
    assert texts(gone, "c:info/c:certainty") == ["Unknown"] * 2
    assert texts(gone, "c:info/c:responseType") == ["Monitor"] * 2
    italian, english = texts(gone, "c:info/c:headline")
    assert "non è un cessato allarme" in italian
    assert "not an all-clear" in english
    assert ruled.decision in texts(raised, "c:info/c:parameter/c:value")
    assert ruled.decision not in texts(gone, "c:info/c:parameter/c:value")


@pytest.mark.parametrize(
    ("sender", "status"), [("felsina.example.org", "Actual"), (cap.NO_SENDER, "Exercise")]
)
def test_a_withdrawal_goes_to_whom_the_message_before_went(
    ruled: Ruled, monkeypatch: pytest.MonkeyPatch, sender: str, status: str
) -> None:
    said = ruled.messages()[-1].said | {"sender": sender, "status": status}
    monkeypatch.setenv("FELSINA_CAP_SENDER", "new.example.org")
    stopped = said | {"approval": "none", "decision": None}
    gone = cap.signed(stopped | {"withdrawn": True}, said)
    assert (gone["sender"], gone["status"]) == (sender, status)
    other = cap.signed(stopped, said)
    assert (other["sender"], other["status"]) == ("new.example.org", "Exercise")


@pytest.mark.parametrize("stopped", [False, True])
def test_what_was_not_delivered_before_is_not_delivered_after(
    ruled: Ruled, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    monkeypatch.setenv("FELSINA_WEBHOOK_LOCAL", "1")
    monkeypatch.setattr(webhooks, "FIRST_WAIT", 0.0)
    receiver = Receiver()
    hooks = Webhooks(ruled.engine.events)
    made = hooks.add(f"http://127.0.0.1:{receiver.port}/", None, ["alert"])
    hooks._set(made, position=0)  # it had not answered since before the alert
    if stopped:
        ruled.alarm()
    ruled.engine.tick()
    hooks.deliver()
    receiver.close()
    told = [json.loads(body) for _, body in receiver.got]
    assert {one["type"] for one in told} == ({"alert.ended"} if stopped else {"alert.raised"})
    assert {one["data"]["approval"] for one in told} == {"none" if stopped else "approved"}


def allowed_again(ruled: Ruled) -> None:
    ruled.board.vote(ruled.terms, "a", "c")


def nothing(ruled: Ruled) -> None:
    """The alarm stands."""


@pytest.mark.parametrize(("then", "up"), [(allowed_again, True), (nothing, False)])
def test_it_starts_anew_when_the_board_allows_it_again(
    ruled: Ruled, then: Callable[[Ruled], None], up: bool
) -> None:
    """Without newer data: what is held is evaluated as if it had just come."""
    before = {alert["id"]: alert["node"] for alert in ruled.alerts("active")}
    ruled.alarm()
    ruled.engine.tick()
    then(ruled)
    ruled.engine.tick()
    after = {alert["id"]: alert for alert in ruled.alerts("active")}
    assert sorted(a["node"] for a in after.values()) == (sorted(before.values()) if up else [])
    assert not before.keys() & after.keys()
    for alert in after.values():
        assert alert["approval"] == "approved"
        assert alert["decision"] != ruled.decision
        assert not alert["withdrawn"]
