"""Alerts as CAP 1.2 messages, and the feed that lists them.

OASIS Common Alerting Protocol 1.2 (urn:oasis:names:tc:emergency:cap:1.2), which is ITU-T X.1303 bis
and what Italian civil protection exchanges. docs/alerts.md has the tables of codes.
"""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from typing import Any
from xml.etree import ElementTree as Xml
from zoneinfo import ZoneInfo

from serving.alerts.cap_texts import TEXTS
from serving.alerts.held import ENDED, RAISED, Alert, Message

CAP = "urn:oasis:names:tc:emergency:cap:1.2"
ATOM = "http://www.w3.org/2005/Atom"
CAP_MEDIA, FEED_MEDIA = "application/cap+xml", "application/atom+xml"
NO_SENDER = "felsina.invalid"
UNAPPROVED = ("none", "demo")
"""Approvals that no board of the city stands behind."""

_TYPES = {RAISED: "Alert", ENDED: "Cancel"}
_SEVERITY = {1: "Moderate", 2: "Severe", 3: "Extreme"}
"""The usual match of Europe's yellow, orange and red."""
_CATEGORIES = {
    "Met": ("m", "cm", "m3/s", "l/s", "mm", "mm/h", "degC"),
    "Transport": ("veh/h", "veh", "km/h", "mph", "persons"),
    "Infra": ("kW", "MW", "GW", "Wh", "kWh", "MWh", "EUR/MWh"),
    "Env": ("ug/m3", "mg/m3", "ppm", "ppb", "dB"),
}
"""By the unit of what is forecast; floods are ``Met`` in CAP."""
_SOON = timedelta(hours=1)
"""CAP's ``Expected`` is within the next hour."""


def sender() -> str:
    """Who sends: a name of the operator's own domain, set by ``FELSINA_CAP_SENDER``."""
    return os.environ.get("FELSINA_CAP_SENDER") or NO_SENDER


def status(said: dict[str, Any]) -> str:
    """``Actual`` only where a board approved the release, its data are real, a sender is set.

    Of what is said now: what was told keeps the status that it was told with.
    """
    if said["synthetic"]:
        return "Test"
    approved = said["approval"] not in UNAPPROVED and sender() != NO_SENDER
    return "Actual" if approved else "Exercise"


def signed(said: dict[str, Any], before: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a message is to say, with what must stay as it was sent when the settings change.

    Args:
        said: by the message.
        before: what the message before it said. A withdrawal has its sender and status, so that it
            reaches all who got it.
    """
    if before is not None and said.get("withdrawn"):
        return said | {key: before[key] for key in ("sender", "status")}
    return said | {"sender": sender(), "status": status(said)}


def message(told: list[Message], number: int, web: str) -> bytes:
    """One message of an alert.

    Args:
        told: all messages of the alert, in order.
        number: which.
        web: where people read more.
    """
    chosen = told[number - 1]
    said, zone = chosen.said, ZoneInfo(chosen.said["timezone"])
    state = said["status"]
    alert = Xml.Element("alert", xmlns=CAP)
    _add(alert, "identifier", identifier(chosen))
    _add(alert, "sender", said["sender"])
    _add(alert, "sent", stamp(chosen.sent, zone))
    _add(alert, "status", state)
    _add(alert, "msgType", _TYPES.get(chosen.kind, "Update"))
    _add(alert, "source", f"Felsina, release {said['release']}")
    _add(alert, "scope", "Public" if state == "Actual" else "Restricted")
    if state != "Actual":
        _add(alert, "restriction", "Evaluation of the forecasting service")
    notes = ([TEXTS["en-GB"][state]] if state != "Actual" else []) + [said["note"] or ""]
    if any(notes):
        _add(alert, "note", ". ".join(filter(None, notes)))
    if earlier := told[: number - 1]:
        texts = (f"{m.said['sender']},{identifier(m)},{stamp(m.sent, zone)}" for m in earlier)
        _add(alert, "references", " ".join(texts))
    for language in TEXTS:
        _info(alert, language, chosen, web)
    return Xml.tostring(alert, encoding="utf-8", xml_declaration=True)


def codes(said: dict[str, Any], ended: bool = False) -> dict[str, str]:
    """Urgency, severity and certainty by lead, threshold and probability."""
    severity = _SEVERITY[said["threshold"]]
    if said.get("withdrawn") or (said["stale"] and not ended):
        return {"urgency": "Unknown", "severity": severity, "certainty": "Unknown"}
    soon = _time(said["onset"]) - _time(said["last_seen"]) <= _SOON
    urgency = "Immediate" if said["reached"] else "Expected" if soon else "Future"
    likely, possible = said["probability"] > 0.5, said["probability"] >= 0.05
    certainty = "Likely" if likely else "Possible" if possible else "Unlikely"
    return {
        "urgency": "Past" if ended else urgency,
        "severity": severity,
        "certainty": "Observed" if said["reached"] else certainty,
    }


def category(unit: str) -> str:
    """CAP's category of what is measured in a unit."""
    return next((name for name, units in _CATEGORIES.items() if unit in units), "Other")


def identifier(message: Message) -> str:
    """Name of a message, the same for ever."""
    return f"felsina-{message.alert}-{message.number}"


def stamp(seconds: int, zone: ZoneInfo) -> str:
    """A time as CAP wants it: local, with its offset, and UTC as ``-00:00``."""
    text = datetime.fromtimestamp(seconds, zone).isoformat(timespec="seconds")
    return f"{text.removesuffix('+00:00')}-00:00" if text.endswith("+00:00") else text


def feed(alerts: list[Alert], told: dict[str, list[Message]], base: str, updated: int) -> bytes:
    """An Atom feed (RFC 4287) with the latest message of each alert.

    Args:
        alerts: to list.
        told: alert to all its messages.
        base: where the service answers, without a slash at its end.
        updated: seconds since 1970, where no alert is listed.
    """
    utc = ZoneInfo("UTC")
    root = Xml.Element("feed", xmlns=ATOM)
    latest = [told[alert.id][-1] for alert in alerts]
    _add(root, "id", f"urn:felsina:{sender()}:alerts")
    _add(root, "title", "Felsina: CAP 1.2")
    _add(root, "updated", _atom_time(max((m.sent for m in latest), default=updated), utc))
    _add(_add(root, "author"), "name", sender())
    _add(root, "link", rel="self", type=FEED_MEDIA, href=f"{base}/v1/alerts.cap")
    for one in latest:
        entry = _add(root, "entry")
        _add(entry, "id", f"urn:felsina:{one.said['sender']}:{identifier(one)}")
        _add(entry, "title", headline(one, "it-IT"))
        _add(entry, "updated", _atom_time(one.sent, utc))
        _add(entry, "summary", headline(one, "en-GB"))
        href = f"{base}/v1/alerts/{one.alert}.cap?message={one.number}"
        _add(entry, "link", rel="alternate", type=CAP_MEDIA, href=href)
    return Xml.tostring(root, encoding="utf-8", xml_declaration=True)


def headline(message: Message, language: str) -> str:
    """One line for people."""
    texts, said = TEXTS[language], message.said
    values = said | {
        "target": texts["targets"].get(said["target"], said["target"]),
        "place": said["name"] or said["node"],
        "chance": _chance(said["probability"]),
    }
    ended = "withdrawn" if said.get("withdrawn") else "ended"
    line = texts[ended if message.kind == ENDED else "headline"].format(**values)
    prefix = texts["prefix"].get(said["status"], "")
    return prefix + line


def _info(alert: Xml.Element, language: str, message: Message, web: str) -> None:
    said, texts, ended = message.said, TEXTS[language], message.kind == ENDED
    zone = ZoneInfo(said["timezone"])
    coded = codes(said, ended)
    info = _add(alert, "info")
    _add(info, "language", language)
    _add(info, "category", category(said["unit"]))
    target = texts["targets"].get(said["target"], said["target"])
    _add(info, "event", texts["event"].format(**said | {"target": target}))
    response = "Monitor" if said.get("withdrawn") else "None"  # it is no all-clear
    _add(info, "responseType", response if ended else texts["response"][said["threshold"]])
    for name in ("urgency", "severity", "certainty"):
        _add(info, name, coded[name])
    if not ended:
        _add(info, "onset", stamp(int(_time(said["onset"]).timestamp()), zone))
        _add(info, "expires", stamp(int(_time(said["valid_to"]).timestamp()), zone))
    _add(info, "senderName", texts["sender"])
    _add(info, "headline", headline(message, language))
    _add(info, "description", _description(said, texts, zone))
    _add(info, "web", web)
    for key in ("rule", "release", "probability", "level", "unit", "last_seen"):
        _pair(info, "parameter", f"felsina:{key}", str(said[key]))
    for key in ("manifest_sha256", "decision"):  # alerts told by older versions lack them
        if said.get(key):
            _pair(info, "parameter", f"felsina:{key}", said[key])
    area = _add(info, "area")
    places = (said["name"] or said["node"], said["area"])
    _add(area, "areaDesc", ", ".join(filter(None, places)))
    if said["lat"] is not None and said["lon"] is not None:
        _add(area, "circle", f"{said['lat']:g},{said['lon']:g} 0")
    _pair(area, "geocode", "felsina:node", said["node"])


def _description(said: dict[str, Any], texts: dict[str, Any], zone: ZoneInfo) -> str:
    times = {key: _time(said[key]).astimezone(zone) for key in ("last_seen", "onset", "valid_to")}
    clock = {key: f"{time:%d/%m/%Y %H:%M}" for key, time in times.items()}
    parts = [texts["reached"] if said["reached"] else texts["expected"]]
    parts += [texts["as_of"]] + ([texts["stale"]] if said["stale"] else [])
    if said.get("withdrawn"):
        parts = [texts["void"]]
    values = said | clock | {"chance": _chance(said["probability"])}
    return " ".join(part.format(**values) for part in parts)


def _chance(probability: float) -> str:
    """A probability for people; the outer ones rest on fitted tails."""
    if probability < 0.05:
        return "< 5 %"
    return "> 95 %" if probability > 0.95 else f"{100 * probability:.0f} %"


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _atom_time(seconds: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(seconds, zone).isoformat(timespec="seconds")


def _add(parent: Xml.Element, name: str, text: str = "", **also: str) -> Xml.Element:
    element = Xml.SubElement(parent, name, also)
    element.text = "".join(c for c in text if c.isprintable()) or None  # XML has no place for more
    return element


def _pair(parent: Xml.Element, name: str, key: str, value: str) -> None:
    pair = _add(parent, name)
    _add(pair, "valueName", key)
    _add(pair, "value", value)
