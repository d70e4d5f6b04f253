"""Fenced blocks of pages: what a test runs, what it writes as a file, what cannot run and why.

A page says so by a comment before a block, which readers do not see:

* ``<!-- not run: REASON -->``: nothing here can run in a test;
* ``<!-- serves -->``: a server that goes on until the next one, or the page's end;
* ``<!-- file: NAME -->``: the reader saves the block under this name;
* ``<!-- says -->``: what the block before it prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUNNABLE = ("console", "python", "sh")
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n\n)?^```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: where it begins in its page.
        language: behind the fence.
        text: its lines, each with a newline.
        mark: what the comment before it says, or nothing.
    """

    line: int
    language: str
    text: str
    mark: str

    @property
    def reason(self) -> str:
        """Why it cannot run; empty where it can."""
        return self.mark.partition("not run: ")[2]

    @property
    def file(self) -> str:
        """Under which name it is saved; empty where it is no file."""
        return self.mark.partition("file: ")[2]

    def dialogue(self) -> Iterator[tuple[str, str]]:
        """Commands with what is shown below each; an ``sh`` block is one, that shows nothing."""
        if self.language == "sh":
            yield self.text, "..."
            return
        for part in re.split(r"^\$ ", self.text, flags=re.M)[1:]:
            command, end = [], part.splitlines(keepends=True)
            while end and (not command or command[-1].endswith("\\\n")):
                command.append(end.pop(0))
            yield "".join(command).rstrip("\n"), "".join(end)

    @property
    def runs(self) -> bool:
        """Whether a test runs it."""
        return self.language in RUNNABLE and not self.reason and not self.file


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page in their order."""
    return [
        Block(
            text.count("\n", 0, found.start("language")) + 1,
            found["language"],
            found["text"],
            found["mark"] or "",
        )
        for found in _BLOCK.finditer(text)
    ]


def run_pages() -> list[Path]:
    """Pages of which each command is run: tutorials and how-to pages."""
    return [
        *sorted((ROOT / "docs" / "tutorials").glob("*.md")),
        *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    ]


def all_pages() -> list[Path]:
    """Every page for people: the first one, those of ``docs/`` and those of ``benchmarks/``."""
    return [
        ROOT / "README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "benchmarks").glob("*.md")),
    ]


def commands_of(block: Block) -> Iterator[str]:
    """The commands of a block, continued lines joined."""
    if block.language == "console":
        yield from (command.replace("\\\n", " ") for command, _ in block.dialogue())
    elif block.language == "sh":
        lines = block.text.replace("\\\n", " ").splitlines()
        yield from (line for line in lines if line.strip() and not line.startswith("#"))
