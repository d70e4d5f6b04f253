"""Pieces of Markdown that made pages are put together from."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, or nothing where there are no rows."""
    lines = [_row(row) for row in rows]
    return "\n".join([_row(columns), _row(["---"] * len(columns)), *lines, ""]) if lines else ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def flat(text: str | None) -> str:
    """Prose as one line that fits into a table's cell."""
    text = re.sub(r"\s+", " ", inspect.cleandoc(text or ""))
    return text.replace("|", "\\|").replace("<", "&lt;")
