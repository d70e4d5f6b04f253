"""What all pages say is held to the code: commands, options, addresses, settings."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from starlette.routing import Match
from typer.main import get_command

from docs.site.blocks import all_pages, blocks, commands_of, run_pages
from docs.site.tested import not_run
from pipelines.cli import app
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.retention import KeepDays
from serving.store import Store
from tests.fixtures.tiny import ROOT

PAGES = {str(page.relative_to(ROOT)): page for page in all_pages()}
ADDRESS = re.compile(
    r"(?:\$F|https?://(?:127\.0\.0\.1:3000|CITY|felsina:3000))(/[^\s\"'`)|;<>\\]*)"
)
VARIABLE = re.compile(r"\bFELSINA_[A-Z_]+\b")
NOT_RUN = {
    "tutorials/app-developer.md": 1,
    "tutorials/board.md": 1,
    "tutorials/ml-engineer.md": 3,
    "tutorials/partner.md": 1,
}
"""Blocks that no test runs, by page; each page says why."""


def fault(line: str) -> str:
    """What is wrong with a ``felsina`` line, by the options and arguments that exist."""
    words = shlex.split(re.sub(r"[\[\]]", " ", line.replace(";", " ;")), comments=True)
    command: click.Command = get_command(app)
    while isinstance(command, click.Group):
        if not words or words[0].startswith("-"):
            return "" if words else "no command"
        name = words.pop(0)
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    ends = [k for k, word in enumerate(words) if word in ("|", ">", "<", "&&", ";", "&", "2>&1")]
    try:
        command.make_context(command.name, words[: ends[0]] if ends else words)
    except click.exceptions.Exit:
        return ""
    except click.UsageError as error:
        return error.format_message()
    return ""


def lines(page: Path) -> Iterator[str]:
    """The ``felsina`` lines of a page's fenced blocks, without what stands before ``felsina``."""
    for block in blocks(page.read_text(encoding="utf-8")):
        for command in commands_of(block):
            for found in re.finditer(r"(?:^|[\s(]|\.venv/bin/)felsina ((?![a-z-]+\]).*)", command):
                yield found[1]
                break


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_exists(page: str) -> None:
    wrong = {line: said for line in lines(PAGES[page]) if (said := fault(line))}
    assert wrong == {}


def test_there_are_lines_to_look_at() -> None:
    assert sum(len(list(lines(page))) for page in PAGES.values()) > 150


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("data validate --dataset DIR      # refuses", ""),
        ("report build --release NAME --dataset DIR [--pdf]", ""),
        ("keys create a --role write | tee b", ""),
        ("data validate --datasets DIR", "No such option"),
        ("data validate", "Missing option '--dataset'"),
        ("data valid", "no command valid"),
        ("train --dataset DIR --seed no", "Invalid value"),
    ],
)
def test_the_look_at_lines_sees(line: str, said: str) -> None:
    found = fault(line)
    assert said in found if said else not found


def test_every_address_is_served(tmp_path: Path) -> None:
    routes = create_app(Catalogue(tmp_path, Store(tmp_path / "observations.db"))).routes
    wrong = []
    for name, page in PAGES.items():
        for found in ADDRESS.finditer(page.read_text(encoding="utf-8")):
            path = found[1].partition("?")[0].rstrip(".,")
            scope = {"type": "http", "path": path, "method": "GET"}
            served = any(route.matches(scope)[0] != Match.NONE for route in routes)
            wrong += (
                [] if served or path in ("/healthz", "/readyz", "/metrics") else [f"{name}: {path}"]
            )
    assert wrong == []


def test_the_settings_page_lists_every_variable() -> None:
    told = set(VARIABLE.findall((ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")))
    rooms = ("models", "training", "serving", "privacy", "fairness", "pipelines")
    files = [path for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]
    texts = [
        path.read_text(encoding="utf-8") for path in files if path.suffix in (".py", ".yaml", ".sh")
    ]
    assert {name for text in texts for name in VARIABLE.findall(text)} == told


def test_what_is_not_run_is_counted_and_says_why() -> None:
    found = Counter({f"{p.parent.name}/{p.name}": len(not_run(p)) for p in run_pages()})
    assert +found == NOT_RUN
    assert all(len(one.reason) > 8 for page in run_pages() for one in not_run(page))


def test_the_law_page_says_how_long_each_kind_is_kept() -> None:
    law = (ROOT / "docs/law.md").read_text(encoding="utf-8")
    told = law.partition("## What is kept")[2].partition("\n## ")[0]
    assert [name for name in KeepDays.model_fields if f"`{name}` days" not in told] == [
        "observations"
    ]
    assert "`observations`, `forcings` days" in told
    assert f"{KeepDays().cases} days from the answer" in told
