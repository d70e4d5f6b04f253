"""CAP messages against the standard's own schema."""

from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from lxml import etree

from serving.alerts import cap
from serving.alerts.held import MOST_LISTED, Message
from serving.catalogue import now
from tests.fixtures.alarmed import City

SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parents[1] / "fixtures/cap/CAP-v1.2.xsd"))
NAMES = {"c": cap.CAP, "a": cap.ATOM}


def said(**changes):
    values = {
        "rule": "r1",
        "node": "alta",
        "name": "Reno at Casalecchio <1> & more",
        "area": "Casalecchio",
        "lon": 11.28,
        "lat": 44.47,
        "target": "stage",
        "threshold": 2,
        "level": 0.8,
        "unit": "m",
        "probability": 0.62,
        "within_lead": 12,
        "within_text": "6 h",
        "valid_from": "2026-11-01T10:30:00Z",
        "onset": "2026-11-01T12:00:00Z",
        "valid_to": "2026-11-01T16:00:00Z",
        "timezone": "Europe/Rome",
        "last_seen": "2026-11-01T10:00:00Z",
        "reached": False,
        "stale": False,
        "release": "river-0123456789ab",
        "approval": "approved",
        "synthetic": False,
        "note": None,
    }
    return values | changes


def told(*kinds: str, **changes) -> list[Message]:
    return [
        Message("ab12", n, kind, 1_793_527_200 + 1800 * n, cap.signed(said(**changes)))
        for n, kind in enumerate(kinds, 1)
    ]


def parsed(content: bytes) -> etree._Element:
    root = etree.fromstring(content)
    SCHEMA.assertValid(root)
    return root


def texts(root: etree._Element, path: str) -> list[str]:
    return [element.text for element in root.iterfind(path, NAMES)]


@pytest.fixture(autouse=True)
def from_the_city(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FELSINA_CAP_SENDER", "felsina.example.org")


def test_every_message_that_was_told_fits_the_schema(lived: City) -> None:
    seen = set()
    for alert in lived.alerts():
        messages = lived.engine.held.messages([alert["id"]])
        for number in range(1, len(messages) + 1):
            path = f"/v1/alerts/{alert['id']}.cap"
            answer = lived.client.get(path, params={"message": number})
            assert answer.headers["content-type"] == cap.CAP_MEDIA
            assert answer.headers["felsina-release"] == lived.release.name
            root = parsed(answer.content)
            seen |= set(texts(root, "c:msgType"))
            assert texts(root, "c:status") == ["Test"]
            assert texts(root, "c:info/c:language") == ["it-IT", "en-GB"]
        latest = lived.client.get(f"/v1/alerts/{alert['id']}.cap").content
        assert latest == answer.content
        beyond = lived.client.get(path, params={"message": len(messages) + 1})
        assert beyond.status_code == 404
    assert seen == {"Alert", "Update", "Cancel"}
    assert lived.client.get("/v1/alerts/nosuch.cap").status_code == 404


def test_the_schema_itself_finds_faults() -> None:
    root = etree.fromstring(cap.message(told("raised"), 1, "http://felsina.example.org/"))
    SCHEMA.assertValid(root)
    root.find("c:status", NAMES).text = "Real"
    assert not SCHEMA.validate(root)


def test_updates_and_ends_refer_to_all_that_was_told_before() -> None:
    messages = told("raised", "updated", "ended")
    roots = [parsed(cap.message(messages, n, "http://x/")) for n in (1, 2, 3)]
    assert [texts(r, "c:msgType")[0] for r in roots] == ["Alert", "Update", "Cancel"]
    assert texts(roots[0], "c:references") == []
    names = [
        ",".join(texts(r, f"c:{part}")[0] for part in ("sender", "identifier", "sent"))
        for r in roots
    ]
    assert texts(roots[2], "c:references") == [" ".join(names[:2])]
    assert len(set(names)) == 3


def test_what_was_sent_stays_as_it_was_when_the_sender_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exercise of nobody's stays one; what is told after it is the city's and refers to it."""
    monkeypatch.delenv("FELSINA_CAP_SENDER")
    first = told("raised")
    before = cap.message(first, 1, "http://x/")
    assert texts(parsed(before), "c:sender") == ["felsina.invalid"]
    monkeypatch.setenv("FELSINA_CAP_SENDER", "felsina.example.org")
    messages = [*first, told("raised", "updated")[1]]
    assert cap.message(messages, 1, "http://x/") == before
    second = parsed(cap.message(messages, 2, "http://x/"))
    assert texts(second, "c:sender") == ["felsina.example.org"]
    assert (texts(parsed(before), "c:status"), texts(second, "c:status")) == (
        ["Exercise"],
        ["Actual"],
    )
    assert texts(second, "c:references")[0].startswith("felsina.invalid,felsina-ab12-1,")


def test_what_the_service_sent_stays_when_the_sender_changes(
    lived: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/v1/alerts/{lived.alerts()[0]['id']}.cap?message=1"
    before = lived.client.get(path).content
    assert texts(parsed(before), "c:sender") != ["other.example.org"]
    monkeypatch.setenv("FELSINA_CAP_SENDER", "other.example.org")
    assert lived.client.get(path).content == before


@pytest.mark.parametrize(
    ("level", "text"), [(1_234_567.0, "(1234567 m)"), (0.1 + 0.2, "(0.3 m)"), (0.8, "(0.8 m)")]
)
def test_a_level_is_told_in_full(level: float, text: str) -> None:
    root = parsed(cap.message(told("raised", level=level), 1, "http://x/"))
    assert all(text in line for line in texts(root, "c:info/c:headline"))


def test_only_an_approved_release_on_real_data_of_a_named_sender_is_actual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert cap.status(said()) == "Actual"
    assert cap.status(said(synthetic=True)) == "Test"
    assert cap.status(said(approval="none")) == "Exercise"
    assert cap.status(said(approval="demo")) == "Exercise"
    for state, changes in (("Actual", {}), ("Exercise", {"approval": "demo"})):
        root = parsed(cap.message(told("raised", **changes), 1, "http://x/"))
        assert texts(root, "c:status") == [state]
        assert texts(root, "c:scope") == ["Public" if state == "Actual" else "Restricted"]
        assert bool(texts(root, "c:restriction")) == (state != "Actual")
    monkeypatch.delenv("FELSINA_CAP_SENDER")
    assert cap.status(said()) == "Exercise"


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({}, ("Future", "Severe", "Likely")),
        ({"onset": "2026-11-01T11:00:00Z"}, ("Expected", "Severe", "Likely")),
        ({"reached": True}, ("Immediate", "Severe", "Observed")),
        ({"probability": 0.5, "threshold": 1}, ("Future", "Moderate", "Possible")),
        ({"probability": 0.04, "threshold": 3}, ("Future", "Extreme", "Unlikely")),
        ({"stale": True}, ("Unknown", "Severe", "Unknown")),
        ({"withdrawn": True, "reached": True}, ("Unknown", "Severe", "Unknown")),
    ],
)
def test_codes_follow_the_table(changes: dict, codes: tuple[str, str, str]) -> None:
    root = parsed(cap.message(told("raised", **changes), 1, "http://x/"))
    for name, code in zip(("urgency", "severity", "certainty"), codes, strict=True):
        assert texts(root, f"c:info/c:{name}") == [code, code]


def test_people_read_both_languages_and_the_local_clock() -> None:
    root = parsed(cap.message(told("raised"), 1, "http://x/"))
    italian, english = texts(root, "c:info/c:headline")
    name = "Reno at Casalecchio <1> & more"
    assert italian == (
        f"{name}: 62 % di probabilità che il livello idrometrico raggiunga la soglia 2 (0.8 m) "
        "entro 6 h"
    )
    assert english.startswith(f"{name}: 62 % chance that the river stage reaches threshold 2")
    assert texts(root, "c:info/c:onset") == ["2026-11-01T13:00:00+01:00"] * 2
    assert "01/11/2026 13:00" in texts(root, "c:info/c:description")[0]
    assert texts(root, "c:info/c:area/c:circle") == ["44.47,11.28 0"] * 2
    assert texts(root, "c:info/c:category") == ["Met", "Met"]
    assert cap.stamp(0, ZoneInfo("UTC")) == "1970-01-01T00:00:00-00:00"


def test_a_name_of_any_characters_makes_good_xml() -> None:
    content = cap.message(told("raised", name="a\x00\x0b]]><b>\ud7ff&"), 1, "http://x/")
    parsed(content)


def test_the_feed_lists_what_is_up_and_what_just_ended(lived: City) -> None:
    answer = lived.client.get("/v1/alerts.cap")
    assert answer.headers["content-type"] == cap.FEED_MEDIA
    root = etree.fromstring(answer.content)
    assert root.tag == f"{{{cap.ATOM}}}feed"
    for path in ("a:id", "a:title", "a:updated", "a:author/a:name"):
        assert len(texts(root, path)) == 1
    entries = root.findall("a:entry", NAMES)
    assert len(entries) == len(lived.alerts()) > 0
    for entry in entries:
        (link,) = entry.findall("a:link", NAMES)
        assert link.get("type") == cap.CAP_MEDIA
        message = parsed(lived.client.get(link.get("href")).content)
        names = (texts(message, f"c:{part}")[0] for part in ("sender", "identifier"))
        assert texts(entry, "a:id") == [f"urn:felsina:{':'.join(names)}"]


def test_an_alert_that_is_up_is_listed_however_many_ended_after_it(changeable: City) -> None:
    """With a positive control: of those that ended a while ago only the latest are listed."""
    held, count = changeable.engine.held, MOST_LISTED + 1
    like, hour_ago = held.alerts()[0], int(now().astype(np.int64)) - 3600
    with held.engine.begin() as connection:
        for n in range(-1, count):
            name, ended = ("up", None) if n < 0 else (f"late{n}", 1 if n < 5 else hour_ago)
            alert = replace(like, id=name, raised_at=hour_ago + n, ended_at=ended)
            held.raise_alert(connection, alert)
            held.tell(connection, Message(name, 1, "raised", hour_ago, cap.signed(like.said)))
    feed = etree.fromstring(changeable.client.get("/v1/alerts.cap").content)
    names = " ".join(texts(feed, "a:entry/a:id"))
    for state in ("active", "all"):
        assert "up" in {alert["id"] for alert in changeable.alerts(state)}
    assert "felsina-up-1" in names
    assert names.count("felsina-late") == count - 5
    assert len(changeable.alerts("ended")) == MOST_LISTED


def test_an_empty_feed_is_a_feed(city: City) -> None:
    root = etree.fromstring(city.client.get("/v1/alerts.cap").content)
    assert texts(root, "a:updated")
    assert root.findall("a:entry", NAMES) == []
