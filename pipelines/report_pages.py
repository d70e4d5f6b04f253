"""The pages of an ethics board's report, rendered from its record alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fairness.report import PAGES, render


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


def rendered(record: dict[str, Any], pdf: bool = False) -> dict[str, bytes]:
    """``pages`` of any record; none of one that was edited or lacks what a page says."""
    try:
        return pages(record, pdf)
    except Exception:  # whatever a template runs into: the record is no whole report
        return {}


def changed_pages(folder: Path, record: dict[str, Any]) -> list[str]:
    """Names of the pages in a report's folder that its record does not say."""
    lying = {path.name: path for path in folder.glob("*.html")}
    said = rendered(record) if lying else {}
    return sorted(name for name, path in lying.items() if path.read_bytes() != said.get(name))
