"""A page as a tagged PDF, by WeasyPrint; it needs Pango, a library of the system."""

from __future__ import annotations

import logging

from models.contracts import FelsinaError

VARIANT = "pdf/ua-1"
"""Tagged for screen readers (ISO 14289-1)."""


def to_pdf(html: str) -> bytes:
    """Typeset one page of ``fairness.report``.

    Raises:
        FelsinaError: if the library that shapes text is not on this machine.
    """
    try:
        from weasyprint import HTML
    except OSError as error:
        raise FelsinaError(
            f"no PDF without Pango ({error}); on Debian: apt-get install libpango-1.0-0 "
            "libpangoft2-1.0-0, or leave out --pdf"
        ) from error
    logging.getLogger("weasyprint").setLevel(logging.ERROR)  # it tells of rules for screens
    logging.getLogger("fontTools").setLevel(logging.ERROR)

    return HTML(string=html, url_fetcher=refuse).write_pdf(pdf_variant=VARIANT) or b""


def refuse(url: str) -> dict[str, str]:
    """What a page gets that asks for something from elsewhere."""
    raise ValueError(f"a page asks for {url}; nothing comes from elsewhere")
