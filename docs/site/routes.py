"""The reference of the routes over HTTP, made of the OpenAPI document that a server gives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from docs.site.markdown import flat, table

Part = dict[str, Any]
_HEAD = """\
# Over HTTP

{about}

This page is made of the document that a server gives at `/openapi.json` (OpenAPI 3.1), which
generators of clients take. [Asking for forecasts](../asking.md) and [keys, limits](../gate.md) say
more in prose.
"""


def openapi() -> Part:
    """What a server describes at ``/openapi.json``, of a home without releases."""
    from serving.api import create_app
    from serving.catalogue import Catalogue
    from serving.store import Store

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        return create_app(Catalogue(place, Store(place / "observations.db"))).openapi()


def route_page() -> str:
    """The routes by subject, then what goes in and comes out."""
    document = openapi()
    parts = [_HEAD.format(about=document["info"]["description"].strip())]
    for subject in document["tags"]:
        name = subject["name"]
        parts.append(f"## {name.capitalize()}\n\n{subject['description']}\n")
        for path, verbs in document["paths"].items():
            parts += [_route(path, v, r) for v, r in verbs.items() if name in r.get("tags", [])]
    parts.append("## What goes in and comes out\n")
    parts += [_schema(name, one) for name, one in document["components"]["schemas"].items()]
    return "\n".join(parts)


def _route(path: str, verb: str, route: Part) -> str:
    given = [one for one in route.get("parameters", []) if one["in"] == "query"]
    rows = [(f"`{one['name']}`", _type(one["schema"]), _said(one)) for one in given]
    lines = [
        f"### `{verb.upper()} {path}`\n",
        f"{route.get('description') or route.get('summary', '')}\n",
        table(("parameter", "type", "what"), rows),
    ]
    if body := route.get("requestBody"):
        lines.append(f"Takes {_content(body)}.\n")
    for status, answer in route.get("responses", {}).items():
        if status.startswith("2"):
            told = _content(answer) or answer.get("description", "")
            lines.append(f"Answers {status}: {told}.\n")
    return "\n".join(lines)


def _said(parameter: Part) -> str:
    return flat(parameter.get("description") or parameter["schema"].get("description"))


def _content(body: Part) -> str:
    kinds = body.get("content", {}).items()
    return "; ".join(f"`{kind}` {_type(one.get('schema', {}))}".rstrip() for kind, one in kinds)


def _schema(name: str, schema: Part) -> str:
    needed = set(schema.get("required", []))
    rows = [
        (f"`{key}`", _type(one), "" if key in needed else "yes", flat(one.get("description")))
        for key, one in schema.get("properties", {}).items()
    ]
    members = table(("member", "type", "optional", "what"), rows) or f"{_type(schema)}\n"
    return f"### {name}\n\n{flat(schema.get('description'))}\n\n{members}"


def _type(schema: Part) -> str:
    """A JSON schema in a few words, with a link to one that has a name."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if parts := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(part) for part in parts))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_type(schema.get('items', {})) or 'values'}"
    rest = schema.get("additionalProperties")
    if kind == "object" and isinstance(rest, dict):
        return f"object of {_type(rest) or 'values'}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind
