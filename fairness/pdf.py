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

    def nothing(url: str) -> dict[str, str]:
        raise ValueError(f"a report asks for {url}; nothing comes from elsewhere")

    return HTML(string=html, url_fetcher=nothing).write_pdf(pdf_variant=VARIANT) or b""
