"""The pages of an ethics board's report, rendered from its record alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairness.report import PAGES, render
from models.record import sha256_bytes


def pages(record: dict[str, Any], pdf: bool) -> dict[str, bytes]:
    """File name to content of all that is rendered from a record."""
    html = {
        f"{page}.{language}": render(record, page, language)
        for page in PAGES
        for language in ("it", "en")
    }
    found = {f"{name}.html": text.encode() for name, text in html.items()}
    if pdf:
        from fairness.pdf import to_pdf

        found |= {f"{name}.pdf": to_pdf(text) for name, text in html.items()}
    return found


def with_pages(record: dict[str, Any]) -> dict[str, Any]:
    """A whole record that names its pages by digest, so that who signs it signs their words."""
    digests = {name: sha256_bytes(content) for name, content in pages(record, pdf=False).items()}
    return record | {"pages": digests}


def rendered(record: dict[str, Any], pdf: bool = False) -> dict[str, bytes]:
    """``pages`` of any record; none of one that was edited or lacks what a page says."""
    try:
        return pages(record, pdf)
    except Exception:  # whatever a template runs into: the record is no whole report
        return {}


def changed_pages(folder: Path, record: dict[str, Any]) -> list[str]:
    """Names of the pages in a report's folder that its record does not say, or does not name."""
    found = {path.name: path.read_bytes() for path in folder.glob("*.html")}
    said = rendered(record) if found else {}
    named = record.get("pages", {})
    return sorted(
        name
        for name, content in found.items()
        if content != said.get(name) or sha256_bytes(content) != named.get(name)
    )
