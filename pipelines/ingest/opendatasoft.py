"""Opendatasoft portals: the addresses of whole and filtered exports (Explore API v2.1).

``records`` gives pages of 100 and refuses offset + limit above 10 000; ``exports`` has no such
limit, so tables are taken by it, a month at a time. An export that fails midway ends in a sentence
in place of its rows, with status 200. Both are documented or reported by users of the API.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode

INTERRUPTED = b"Streaming interrupted due to the following error"
SEPARATOR = ";"


def export_url(host: str, dataset: str, kind: str, where: str = "", labels: bool = False) -> str:
    """Address of an export.

    Args:
        host: of the portal, with its scheme.
        dataset: its identifier.
        kind: ``csv`` or ``geojson``.
        where: an ODSQL condition.
        labels: whether columns are named for people, not by field.
    """
    asked = {"lang": "it", "timezone": "Europe/Rome", "use_labels": str(labels).lower()}
    if kind == "csv":
        asked |= {"delimiter": SEPARATOR, "with_bom": "false"}
    if where:
        asked["where"] = where
    place = f"{host.rstrip('/')}/api/explore/v2.1/catalog/datasets/{quote(dataset)}/exports/{kind}"
    return f"{place}?{urlencode(asked)}"
