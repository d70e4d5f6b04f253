"""A forecast as NGSI-LD entities (ETSI GS CIM 009), in the vocabulary of Smart Data Models.

One entity a node and lead, after their WeatherForecast: ``dateIssued`` and, for the step that it
speaks of, ``validFrom`` and ``validTo``. Its id says node and lead and no date, so that an upsert
replaces the issue before. What quantiles say hangs below the median, each a property of its own
(``q05``), since brokers can filter by those and not by keys inside a value.

The array is plain JSON; its ``@context`` is named by a Link header (clause 6.3.5), which keeps the
bytes the same whatever address the service is reached by.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import orjson
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from models.contracts import FloatArray, IntArray
from models.joint import THRESHOLDS
from serving.catalogue import Answer
from serving.formats import envelope, node_entry
from serving.release import Release
from serving.schemas import JsonLdContext, iso
from serving.selection import Selection

MEDIA = "application/json"
CONTEXT_PATH = "/v1/context.jsonld"
LINK = f'<{CONTEXT_PATH}>; rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'
"""Header of an answer; relative to the answer's own address (RFC 8288)."""
UNIT_CODES = {
    "%": "P1",
    "1": "C62",
    "GW": "A90",
    "J/m2": "B13",
    "K": "KEL",
    "MW": "MAW",
    "MWh": "MWH",
    "Pa": "PAL",
    "W/m2": "D54",
    "Wh": "WHR",
    "cm": "CMT",
    "dB": "2N",
    "deg": "DD",
    "degC": "CEL",
    "hPa": "A97",
    "kPa": "KPA",
    "kW": "KWT",
    "kWh": "KWH",
    "km/h": "KMH",
    "l/s": "G51",
    "m": "MTR",
    "m/s": "MTS",
    "m3/s": "MQS",
    "mg/m3": "GP",
    "mm": "MMT",
    "mm/h": "H67",
    "mph": "HM",
    "persons": "IE",
    "ppb": "61",
    "ppm": "59",
    "ug/m3": "GQ",
}
"""UN/CEFACT Recommendation 20; a unit that has no code, such as veh/h, stays a ``unitText``."""
_OURS, _MODELS = "urn:felsina:terms:", "https://smartdatamodels.org/"
_LEVELS = (
    *(f"{percent:02d}" for percent in range(1, 100)),
    "001",
    "005",
    "025",
    "975",
    "995",
    "999",
)

TERMS = {
    "Forecast": f"{_OURS}Forecast",
    "dateIssued": f"{_MODELS}dataModel.Weather/dateIssued",
    "validFrom": f"{_MODELS}validFrom",
    "validTo": f"{_MODELS}dataModel.Weather/validTo",
    "name": f"{_MODELS}name",
    "areaServed": f"{_MODELS}areaServed",
    "dataProvider": f"{_MODELS}dataProvider",
    "unitText": "https://schema.org/unitText",
    **{
        term: _OURS + term
        for term in (
            *("forecast", "target", "lead", "datasetName", "domain", "release", "approval"),
            *("manifestSha256", "decision"),
            *("synthetic", "stale", "dataAsOf", "observedFraction", "level"),
            *(f"exceedance_{threshold}" for threshold in THRESHOLDS),
            *(f"q{digits}" for digits in _LEVELS),
        )
    },
}
"""Every name that an entity uses and that the core context lacks; the same at every city."""


def add_context(app: FastAPI) -> None:
    """Add the route of the JSON-LD context."""

    @app.get(CONTEXT_PATH, response_model=JsonLdContext, response_class=_JsonLd, tags=["forecasts"])
    def context() -> Any:
        """What the names in NGSI-LD answers mean; give its address to your broker."""
        return _JsonLd({"@context": TERMS}, headers={"Cache-Control": "public, max-age=86400"})


class _JsonLd(JSONResponse):
    media_type = "application/ld+json"


def as_ngsi_ld(release: Release, answer: Answer, chosen: Selection) -> bytes:
    """An array for a broker's ``entityOperations/upsert``, by node and then by lead."""
    spec, head = release.spec, envelope(release, answer)
    whole = _properties(
        {
            "datasetName": spec.dataset,
            "domain": spec.domain,
            "release": release.id,
            "manifestSha256": release.sha256,
            "approval": head["approval"],
            "synthetic": head["synthetic"],
            "stale": head["stale"],
            "dataProvider": "Felsina",
        }
    )
    if decision := release.approval.decision:
        whole["decision"] = _property(decision)
    whole |= {"dateIssued": _moment(head["issued_at"]), "dataAsOf": _moment(head["data_as_of"])}
    ends = [iso(t + np.timedelta64(spec.seconds, "s")) for t in answer.forecast.valid_times]
    entities = []
    for n in chosen.nodes.tolist():
        node = whole | _place(release, n)
        node["observedFraction"] = _property(round(float(answer.forecast.observed_fraction[n]), 4))
        urn = f"urn:ngsi-ld:Forecast:{quote(spec.dataset, safe='')}:"
        for h in chosen.leads.tolist():
            start = head["valid_times"][h]
            entities.append(
                {
                    "id": f"{urn}{quote(release.graph.ids[n], safe='')}:{h + 1}",
                    "type": "Forecast",
                    **node,
                    "lead": _property(h + 1),
                    "validFrom": _moment(start),
                    "validTo": _moment(ends[h]),
                    **_said(release, answer, n, h, chosen.levels),
                }
            )
    return orjson.dumps(entities)


def _said(
    release: Release, answer: Answer, node: int, lead: int, levels: IntArray
) -> dict[str, Any]:
    """The median with some quantiles, and the thresholds' probabilities, at a node and lead."""
    spec, forecast = release.spec, answer.forecast
    unit, at = _unit(spec.unit), iso(forecast.valid_times[lead])
    values = forecast.quantiles[lead, node].tolist()
    shown = {*levels.tolist(), forecast.levels.index(0.5)}
    found = {forecast.levels[q]: values[q] for q in sorted(shown)}
    said: dict[str, Any] = {
        "forecast": _property(found.pop(0.5))
        | unit
        | {"observedAt": at, "target": _property(spec.target)}
        | {_quantile(level): _property(value) | unit for level, value in found.items()}
    }
    if forecast.exceedance is None:
        return said
    limits: FloatArray = release.graph.thresholds[node]
    for name, limit, share in zip(
        THRESHOLDS, limits.tolist(), forecast.exceedance[lead, node].tolist(), strict=True
    ):
        if not np.isnan(limit):
            said[f"exceedance_{name}"] = _property(round(share, 4)) | {
                "unitCode": "C62",
                "observedAt": at,
                "level": _property(limit) | unit,
            }
    return said


def _place(release: Release, node: int) -> dict[str, Any]:
    """Name, area and location of a node, as far as they are known."""
    entry = node_entry(release, node)
    found = _properties({"name": entry["name"], "areaServed": entry["area"]})
    found = {term: part for term, part in found.items() if part["value"]}
    place = [entry["lon"], entry["lat"]]
    if None not in place:
        point = {"type": "Point", "coordinates": place}
        found["location"] = {"type": "GeoProperty", "value": point}
    return found


def _quantile(level: float) -> str:
    """A level as a name: 0.05 is q05, 0.5 would be q50, 0.025 is q025."""
    return "q" + f"{level:.3f}"[2:].removesuffix("0")


def _property(value: Any) -> dict[str, Any]:
    return {"type": "Property", "value": value}


def _properties(values: dict[str, Any]) -> dict[str, Any]:
    return {term: _property(value) for term, value in values.items()}


def _moment(stamp: str) -> dict[str, Any]:
    return _property({"@type": "DateTime", "@value": stamp})


def _unit(unit: str) -> dict[str, Any]:
    code = UNIT_CODES.get(unit)
    return {"unitText": _property(unit)} if code is None else {"unitCode": code}
