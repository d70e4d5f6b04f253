"""The OpenAPI document, beyond what the routes say of themselves: keys, examples, host's routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from serving.gate.rules import role_for

DESCRIPTION = """Forecasts with bands that say how sure they are, from sealed releases.

All times are UTC. Who has no key may read, at a lower rate; a key goes into
`Authorization: Bearer fel_...`. Errors are problem details (RFC 9457), whose `detail` says what was
wrong, with which value, and what to do. Answers 429 and 503 say in `Retry-After` when to come back.
"""
TAGS = {
    "datasets": "What is forecast: target, unit, nodes, release.",
    "forecasts": "Quantiles, joint members, sums, thresholds; of what is held or of a window.",
    "observations": "What was observed, and forcings such as weather forecasts.",
    "scenarios": "What if, answered by surrogates of simulators.",
    "alerts": "Thresholds that are likely to be reached, by rule; CAP 1.2.",
    "events": "New forecasts and changes of alerts as they come: a stream, and webhooks.",
    "tensors": "The graph of a release by itself: Open Inference Protocol, JSON or Arrow.",
    "operations": "For those who run the service.",
}
_HOST = {
    "/healthz": "The process is alive",
    "/readyz": "Releases are loaded",
    "/metrics": "Prometheus metrics",
}
_GATE = {
    "401": "The key is unknown, expired or revoked.",
    "403": "The key does not allow this.",
    "429": "Too many requests; `Retry-After` says when to come back.",
    "503": "Too busy, or about to end; `Retry-After` says when to come back.",
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/observations/{dataset}": {
        "times": ["2026-05-01T10:00:00Z", "2026-05-01T10:30:00Z"],
        "values": {"alta": [0.42, 0.44], "valle": [0.61, None]},
    },
    "/v1/forcings/{dataset}": {
        "times": ["2026-05-01T11:00:00Z", "2026-05-01T11:30:00Z"],
        "values": {"rain_mm": [0.0, 1.2], "rain_mm@alta": [0.2, 2.6]},
        "issued_at": "2026-05-01T06:00:00Z",
    },
    "/v1/forecasts/{dataset}": {
        "init_time": "2026-05-01T10:00:00Z",
        "past": {"alta": [0.38, 0.39, 0.42]},
        "forcings": {"rain_mm": {"past": [0.0, 0.4, 1.2], "future": [2.0, 1.1, 0.3]}},
    },
    "/v1/scenarios/{release}": {
        "inputs": {"wall_w_m2k": 0.28},
        "scenarios": [{}, {"roof_w_m2k": 0.2}],
    },
}
"""Bodies that may be posted, by path."""


def operation_id(route: APIRoute) -> str:
    """The route's function: what generators of clients name theirs after."""
    return route.name


def describe(app: FastAPI) -> None:
    """Complete the document of an app; routes may still be added."""
    generated = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        schema = generated()
        schema["info"] |= {
            "description": DESCRIPTION,
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        }
        schema["tags"] = [{"name": tag, "description": text} for tag, text in TAGS.items()]
        schema["components"]["securitySchemes"] = {
            "bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "Key of an app, `fel_...`.",
            }
        }
        for path, verbs in schema["paths"].items():
            for method, operation in verbs.items():
                _complete(path, method, operation)
        for path, summary in _HOST.items():
            schema["paths"].setdefault(path, {"get": _hosted(summary)})
        return schema

    app.openapi = complete  # pyright: ignore[reportAttributeAccessIssue]


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    said = operation.get("description", operation["summary"])
    operation["summary"] = said.partition("\n")[0].rstrip(".")
    key: dict[str, list[str]] = {"bearer": []}
    operation["security"] = [{}, key] if role_for(method.upper(), path) == "read" else [key]
    for status, text in _GATE.items():
        content = {"schema": {"$ref": "#/components/schemas/Problem"}}
        answer = {"description": text, "content": {"application/problem+json": content}}
        operation["responses"].setdefault(status, answer)
    if method == "post" and path in EXAMPLES:
        operation["requestBody"]["content"]["application/json"]["example"] = EXAMPLES[path]


def _hosted(summary: str) -> dict[str, Any]:
    """A route that the process serves before the API."""
    content = {"text/plain": {"schema": {"type": "string"}}}
    answers = {"200": {"description": "OK", "content": content}}
    return {"summary": summary, "tags": ["operations"], "security": [{}], "responses": answers}
