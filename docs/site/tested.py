"""The page that says which commands of the pages a test runs, and which it cannot."""

from __future__ import annotations

from pathlib import Path

from docs.site.blocks import Block, blocks, commands_of, run_pages

ROOT = Path(__file__).parents[2]
_HEAD = """\
# Which commands are run

Of the tutorials and how-to pages below every command runs in a test, in the order of the page, in a
folder like a fresh clone. What a page shows is compared word by word, numbers and digests apart:
the test trains twenty steps on a hundred days, and runs `felsina up`, which `make up` ends with, in
its place. On all other pages, the first one of the repository
included, every `felsina` command is held to the options that exist and every address to the routes
that are served.

| page | commands run | not run, and why |
| --- | --- | --- |
"""


def not_run(page: Path) -> list[Block]:
    """Blocks of a page that cannot run in a test."""
    return [one for one in blocks(page.read_text(encoding="utf-8")) if one.reason]


def tested_page() -> str:
    """Counted from the pages themselves."""
    rows = []
    for page in run_pages():
        text = page.read_text(encoding="utf-8")
        found = [one for one in blocks(text) if one.runs or one.mark == "serves"]
        count = sum(1 if one.language == "python" else len(list(commands_of(one))) for one in found)
        why = "; ".join(f"`{next(commands_of(one))}`: {one.reason}" for one in not_run(page))
        title = text.partition("\n")[0].removeprefix("# ")
        rows.append(f"| [{title}](../{page.relative_to(ROOT / 'docs')}) | {count} | {why or '-'} |")
    return _HEAD + "\n".join(rows) + "\n"
