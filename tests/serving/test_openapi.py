from typing import Any

import pytest
from fastapi.routing import APIRoute
from openapi_spec_validator import validate
from openapi_spec_validator.validation.exceptions import OpenAPIValidationError
from starlette.testclient import TestClient

from serving.openapi import EXAMPLES
from tests.fixtures.tiny import Tiny


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    return client.get("/openapi.json").json()


def faults(
    value: Any, schema: dict[str, Any], document: dict[str, Any], at: str = "$"
) -> list[str]:
    """Where a value does not fit a JSON schema; a property that the schema lacks is a fault too."""
    if "$ref" in schema:
        part: Any = document
        for key in schema["$ref"].removeprefix("#/").split("/"):
            part = part[key]
        return faults(value, part, document, at)
    if "anyOf" in schema:
        tried = [faults(value, option, document, at) for option in schema["anyOf"]]
        return min(tried, key=len)
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "number": (int, float),
        "integer": int,
        "boolean": bool,
        "null": type(None),
    }
    kind = schema["type"]
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return [f"{at}: {value!r} is no {kind}"]
    if kind == "array":
        pairs = enumerate(value)
        return [f for i, v in pairs for f in faults(v, schema["items"], document, f"{at}[{i}]")]
    if kind != "object":
        return []
    properties, rest = schema.get("properties", {}), schema.get("additionalProperties", False)
    found = [f"{at}.{key} is missing" for key in schema.get("required", []) if key not in value]
    for key, part in value.items():
        inner = properties.get(key, rest)
        if inner is False:
            found.append(f"{at}.{key} is not in the schema")
        elif inner is not True:
            found += faults(part, inner, document, f"{at}.{key}")
    return found


def test_every_route_is_documented(document, client: TestClient) -> None:
    assert document["openapi"].startswith("3.1")
    routes = [r for r in client.app.routes if isinstance(r, APIRoute) and r.include_in_schema]
    operations = {(r.path, method.lower()) for r in routes for method in r.methods}
    expected = {
        ("/v1/datasets", "get"),
        ("/v1/datasets/{dataset}", "get"),
        ("/v1/forecasts/{dataset}", "get"),
        ("/v1/forecasts/{dataset}", "post"),
        ("/v1/forecasts/{dataset}/members", "get"),
        ("/v1/forecasts/{dataset}/areas", "get"),
        ("/v1/observations/{dataset}", "get"),
        ("/v1/observations/{dataset}", "post"),
        ("/v1/forcings/{dataset}", "post"),
        ("/v1/scenarios", "get"),
        ("/v1/scenarios/{release}", "get"),
        ("/v1/scenarios/{release}", "post"),
    }
    assert expected <= operations
    host = {("/healthz", "get"), ("/readyz", "get"), ("/metrics", "get")}
    documented = {(path, method) for path, verbs in document["paths"].items() for method in verbs}
    assert documented == operations | host


def test_the_document_is_valid(document) -> None:
    validate(document)
    del document["paths"]["/v1/datasets"]["get"]["responses"]
    document["info"].pop("title")
    with pytest.raises(OpenAPIValidationError):
        validate(document)


def test_examples_may_be_posted(document) -> None:
    for path, example in EXAMPLES.items():
        content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert content["example"] == example
        assert faults(example, content["schema"], document) == []
    given = document["paths"]["/v1/forecasts/{dataset}"]["post"]["requestBody"]["content"]
    assert faults({"past": {}}, given["application/json"]["schema"], document) != []


def test_names_are_of_one_operation_each_and_tags_are_explained(document) -> None:
    operations = [one for verbs in document["paths"].values() for one in verbs.values()]
    names = [one["operationId"] for one in operations if "operationId" in one]
    assert len(names) == len(set(names)) == len(operations) - len(("healthz", "readyz", "metrics"))
    explained = {tag["name"] for tag in document["tags"]}
    assert {tag for one in operations for tag in one["tags"]} <= explained


def test_who_needs_a_key_is_said(document) -> None:
    optional, needed = [{}, {"bearer": []}], [{"bearer": []}]
    said = {
        (method, path): operation["security"]
        for path, verbs in document["paths"].items()
        for method, operation in verbs.items()
        if path.startswith("/v")
    }
    assert said["get", "/v1/datasets"] == optional
    assert said["post", "/v1/forecasts/{dataset}"] == optional
    assert said["post", "/v1/observations/{dataset}"] == needed
    rules = pytest.importorskip("serving.gate.rules")
    for (method, path), security in said.items():
        read = rules.role_for(method.upper(), path.replace("{dataset}", "some")) == "read"
        assert security == (optional if read else needed)


def test_every_operation_says_what_it_answers(document) -> None:
    names = {"json", "geo+json", "csv", "vnd.apache.arrow.stream"}
    for path, verbs in document["paths"].items():
        for operation in verbs.values():
            assert operation["summary"]
            assert operation["tags"]
            assert operation["responses"]["200"]["content"]
            if path == "/v1/forecasts/{dataset}":
                media = operation["responses"]["200"]["content"]
                assert {name.partition("/")[2] for name in media} == names
            if path.startswith("/v1/"):
                for status in ("404", "413", "422"):
                    content = operation["responses"][status]["content"]
                    assert "application/problem+json" in content


def test_every_answer_fits_its_schema(document, client: TestClient, tiny: Tiny) -> None:
    end = len(tiny.dataset.values)
    window = tiny.window(int(tiny.origins[0]), with_lags=True)
    asked = [
        ("get", "/v1/datasets", None),
        ("get", "/v1/datasets/{dataset}", None),
        ("get", "/v1/forecasts/{dataset}", None),
        ("get", "/v1/forecasts/{dataset}?format=ngsi-ld", None),
        ("post", "/v1/forecasts/{dataset}", window),
        ("get", "/v1/forecasts/{dataset}/members", None),
        ("get", "/v1/forecasts/{dataset}/areas", None),
        ("get", "/v1/observations/{dataset}", None),
        ("post", "/v1/observations/{dataset}", tiny.observed(end - 3, end)),
        ("post", "/v1/forcings/{dataset}", tiny.forced(end - 3, end)),
    ]
    for method, path, body in asked:
        operation = document["paths"][path.partition("?")[0]][method]
        answer = client.request(method, path.format(dataset="tiny"), json=body)
        assert answer.status_code == 200
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert faults(answer.json(), schema, document) == []
        if body is not None:
            given = operation["requestBody"]["content"]["application/json"]["schema"]
            assert faults(body, given, document) == []
    context = document["paths"]["/v1/context.jsonld"]["get"]["responses"]["200"]["content"]
    schema = context["application/ld+json"]["schema"]
    assert faults(client.get("/v1/context.jsonld").json(), schema, document) == []
    missing = client.get("/v1/forecasts/nosuch")
    problem = {"$ref": "#/components/schemas/Problem"}
    assert faults(missing.json(), problem, document) == []


def test_an_empty_store_fits_the_schema_too(
    document, empty_client: TestClient, client: TestClient
) -> None:
    answer = empty_client.get("/v1/datasets/tiny").json()
    assert answer["data_as_of"] is None
    assert faults(answer, {"$ref": "#/components/schemas/DatasetDetail"}, document) == []


def test_the_check_itself_finds_faults(document, client: TestClient) -> None:
    schema = {"$ref": "#/components/schemas/DatasetList"}
    answer = client.get("/v1/datasets").json()
    entry = answer["datasets"][0]
    entry["nodes"] = "four"
    entry["surprise"] = entry.pop("unit")
    assert faults(answer, schema, document) == [
        "$.datasets[0].unit is missing",
        "$.datasets[0].nodes: 'four' is no integer",
        "$.datasets[0].surprise is not in the schema",
    ]
