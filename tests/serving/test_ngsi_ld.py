import copy
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pyld import jsonld
from starlette.testclient import TestClient

from models.contracts import KNOWN_UNITS, QUANTILES
from serving.ngsi_ld import TERMS, UNIT_CODES

STANDARD = Path(__file__).parents[1] / "fixtures" / "ngsi_ld"
CORE = json.loads((STANDARD / "core-context-v1.8.jsonld").read_text())
CORE_URL = "https://uri.etsi.org/ngsi-ld/v1/ngsi-ld-core-context-v1.8.jsonld"
DEFAULT = CORE["@context"]["@vocab"]
QUERY = "/v1/forecasts/tiny?format=ngsi-ld"
SCHEMA = Draft202012Validator(
    json.loads((STANDARD / "entity.schema.json").read_text()), format_checker=FormatChecker()
)


@pytest.fixture
def entities(client: TestClient) -> list[dict[str, Any]]:
    answer = client.get(QUERY)
    assert answer.status_code == 200
    return answer.json()


@pytest.fixture
def expanded(client: TestClient, entities) -> list[dict[str, Any]]:
    """The entities as a broker reads them: by the Link header's context, then the core one."""
    answer = client.get(QUERY)
    assert answer.headers["content-type"] == "application/json"
    link = answer.links["http://www.w3.org/ns/json-ld#context"]
    assert link["type"] == "application/ld+json"
    context = client.get(str(answer.url.join(link["url"])))
    assert context.headers["content-type"] == "application/ld+json"

    def load(url: str, _: Any) -> dict[str, Any]:
        assert url == CORE_URL
        return {
            "contextUrl": None,
            "documentUrl": url,
            "document": CORE,
            "contentType": "application/ld+json",
        }

    both = [context.json()["@context"], CORE_URL]
    documents = [entity | {"@context": both} for entity in entities]
    return [jsonld.expand(one, {"documentLoader": load})[0] for one in documents]


def faults(entity: dict[str, Any]) -> list[str]:
    return [error.json_path for error in SCHEMA.iter_errors(entity)]


def test_entities_fit_the_public_schema(entities) -> None:
    assert [faults(entity) for entity in entities] == [[]] * (4 * 6)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("id",), 7),
        (("location", "type"), "Property"),
        (("location", "value", "coordinates"), [11.3]),
        (("forecast", "observedAt"), "yesterday"),
        (("forecast", "q05"), 3.5),
        (("dateIssued", "value", "@value"), "soon"),
        (("lead",), 1),
    ],
)
def test_the_schema_refuses_what_is_no_entity(entities, path, value) -> None:
    spoiled = copy.deepcopy(entities[0])
    part = spoiled
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    assert faults(spoiled) != []


def test_every_name_has_a_meaning_of_its_own(expanded) -> None:
    names: set[str] = set()

    def walk(part: Any) -> None:
        if isinstance(part, dict):
            names.update(part)
            names.update(part.get("@type", []))
            for inner in part.values():
                walk(inner)
        elif isinstance(part, list):
            for inner in part:
                walk(inner)

    walk(expanded)
    assert [name for name in names if name.startswith(DEFAULT)] == []
    assert {"urn:felsina:terms:q05", "https://smartdatamodels.org/validFrom"} < names
    stray = jsonld.expand({"@context": CORE["@context"], "rainbow": 1})
    assert list(stray[0]) == [DEFAULT + "rainbow"]


def test_what_is_expanded_is_what_was_forecast(expanded, client: TestClient) -> None:
    ngsi, ours = "https://uri.etsi.org/ngsi-ld/", "urn:felsina:terms:"
    features = client.get("/v1/forecasts/tiny").json()["features"]
    for number, entity in enumerate(expanded):
        feature, lead = features[number // 6], number % 6
        (forecast,) = entity[ours + "forecast"]
        assert forecast["@type"] == [ngsi + "Property"]
        found = {0.5: forecast} | {
            level: forecast[f"{ours}q{round(100 * level):02d}"][0]
            for level in QUANTILES
            if level != 0.5
        }
        values = {q: part[ngsi + "hasValue"][0]["@value"] for q, part in found.items()}
        told = {q: feature["quantiles"][f"{q:g}"][lead] for q in QUANTILES}
        assert values == pytest.approx(told, rel=1e-6)
        place = entity[ngsi + "location"][0][ngsi + "hasValue"][0]
        (point,) = place["https://purl.org/geojson/vocab#coordinates"]
        assert [v["@value"] for v in point["@list"]] == [feature["lon"], feature["lat"]]


def test_an_entity_says_when_and_of_what(entities, client: TestClient) -> None:
    head = client.get("/v1/forecasts/tiny").json()
    first = entities[0]
    moments = {term: first[term]["value"] for term in ("dateIssued", "validFrom", "validTo")}
    assert {value["@type"] for value in moments.values()} == {"DateTime"}
    assert moments["dateIssued"]["@value"] == head["issued_at"]
    assert moments["validFrom"]["@value"] == head["valid_times"][0]
    assert moments["validTo"]["@value"] == head["valid_times"][1]
    assert first["forecast"]["observedAt"] == head["valid_times"][0]
    assert first["forecast"]["unitText"]["value"] == head["unit"] == "veh/h"
    said = {term: first[term]["value"] for term in ("approval", "synthetic", "stale", "release")}
    told = {term: head[term] for term in ("approval", "synthetic", "stale")}
    assert said == told | {"release": head["model"]["version"]}


def test_an_upsert_replaces_the_issue_before(entities, client: TestClient, tiny) -> None:
    ids = [entity["id"] for entity in entities]
    assert len(set(ids)) == 4 * 6
    before = tiny.times(*tiny.origins[[0, -1]])[0]
    older = client.get(QUERY, params={"init_time": before, "format": "ngsi-ld"}).json()
    assert [entity["id"] for entity in older] == ids
    assert older[0]["validFrom"] != entities[0]["validFrom"]
    assert all(re.fullmatch(r"urn:ngsi-ld:Forecast:tiny:[\w.~%-]+:[1-6]", name) for name in ids)


def test_nodes_can_be_chosen(client: TestClient) -> None:
    node = client.get("/v1/datasets/tiny").json()["node_list"][2]["id"]
    some = client.get(QUERY, params={"format": "ngsi-ld", "nodes": node}).json()
    assert {unquote(entity["id"].split(":")[4]) for entity in some} == {node}
    assert [entity["lead"]["value"] for entity in some] == [1, 2, 3, 4, 5, 6]


def test_our_terms_leave_the_core_alone() -> None:
    assert set(TERMS) & set(CORE["@context"]) == set()
    assert all(term.replace("_", "a").isalnum() for term in TERMS)
    assert len({*TERMS.values()}) == len(TERMS)


def test_units_are_known_and_their_codes_differ() -> None:
    assert set(UNIT_CODES) < KNOWN_UNITS
    assert KNOWN_UNITS - set(UNIT_CODES) == {"veh/h", "veh", "kWh/m2", "EUR", "EUR/MWh"}
    assert len(set(UNIT_CODES.values())) == len(UNIT_CODES)
    assert np.all([len(code) <= 3 for code in UNIT_CODES.values()])
