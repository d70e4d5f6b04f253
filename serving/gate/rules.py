"""Which role a request needs and which datasets it is about, by method, path and query alone."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import parse_qsl

from starlette.routing import BaseRoute, Mount

from serving.neighbourhoods.words import PATHS

SAFE = ("GET", "HEAD", "OPTIONS")
_ASKING = ("/v1/forecasts/", "/v1/scenarios/")
_WRITING = ("/v1/observations/", "/v1/forcings/")
_OPERATING = ("/v1/webhooks", "/v1/cases")
"""Where reading too tells what is only an operator's to know."""
FORMS = tuple(path for page in ("write", "follow") for path in PATHS[page])
"""Where anyone may post: the forms of contested cases, which say themselves what was wrong."""
_LIMITED = ("/v1/", "/v2/", "/reports/", *PATHS["page"])
_OF_A_DATASET = ("datasets", "forecasts", "observations", "forcings")
_OF_NONE = (
    *("/v1/datasets", "/v1/decisions", "/v1/context.jsonld"),
    *("/v2", "/v2/health/live", "/v2/health/ready"),
)
_CHOSEN_BY = {"/v1/alerts": "dataset", "/v1/alerts/rules": "dataset", "/v1/events": "datasets"}
"""What is about all datasets unless the query names some."""
_ITS_OWN = ("/docs.json", "/schema.json", "/static_content/", "/assets/")


def role_for(method: str, path: str) -> str:
    """The role that a request needs; what is not known to be harmless needs the highest."""
    if method in SAFE:
        return "operate" if path.startswith(_OPERATING) else "read"
    if method == "POST":
        if path.startswith(_ASKING) or path in FORMS:
            return "read"
        if path.startswith("/v2/models/") and path.endswith("/infer"):
            return "read"
        if path.startswith(_WRITING):
            return "write"
    return "operate"


def limited(path: str) -> bool:
    """Whether rates and keys concern a path: all that tells of data, not the page's own files."""
    return path.startswith(_LIMITED)


def methods_of(routes: Iterable[BaseRoute]) -> dict[str, set[str]]:
    """The path of each route, such as ``/v1/datasets/{dataset}``, with the methods it knows."""
    found: dict[str, set[str]] = {}
    for route in routes:
        path = getattr(route, "path", "")
        if isinstance(route, Mount):
            path += "/{path:path}"
        methods = found.setdefault(path, set())
        methods.update(getattr(route, "methods", None) or {"GET"})
        if "GET" in methods:
            methods.add("HEAD")
    return found


def dataset_of(path: str) -> str | None:
    """The dataset that a path names, None where it names none."""
    parts = path.split("/", 4)
    if len(parts) > 3 and parts[1] == "v1" and parts[2] in _OF_A_DATASET:
        return parts[3]
    if len(parts) > 3 and parts[1:3] == ["v2", "models"]:
        return parts[3]
    return None


def datasets_of(path: str, query: bytes) -> set[str] | None:
    """The datasets that a request is about, none for a list of their names; None for all."""
    if path in _OF_NONE:
        return set()
    if (named := dataset_of(path)) is not None:
        return {named}
    if path.startswith("/v1/scenarios/"):
        return {path.split("/")[3].rpartition("-")[0]}
    if (parameter := _CHOSEN_BY.get(path)) is None:
        return None
    given = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    chosen = [value.split(",") for name, value in given if name == parameter]
    return {name for names in chosen for name in names} or None


def hidden(path: str) -> bool:
    """Whether a route is the host's own (BentoML's documents of itself) and nobody's here."""
    return path.startswith(_ITS_OWN)
