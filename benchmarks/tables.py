"""Markdown tables on stdout, line by line as they are made."""

from __future__ import annotations


def row(*cells: object) -> None:
    """Print a line of a table."""
    print(f"| {' | '.join(str(cell) for cell in cells)} |", flush=True)


def head(*names: str) -> None:
    """Print the first two lines of a table, and a blank one before."""
    print()
    row(*names)
    row(*("---" for _ in names))
