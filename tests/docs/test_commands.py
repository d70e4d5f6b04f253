"""Each command of the tutorials and how-to pages, run in order as a reader types it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.site.blocks import Block, blocks, run_pages
from tests.fixtures.clone import Clone, same_words
from tests.fixtures.tiny import SET_FLAGS

PAGES = {f"{page.parent.name}/{page.name}": page for page in run_pages()}
RELEASED = ("tutorials/app-developer.md", "tutorials/board.md")
"""Pages that begin with `make up` or `make run`: the embedded city is released, and has reports."""


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the embedded city: a hundred days of it, trained for twenty steps.

    The river's takes more, so that the promotion gate lets it pass as it does the whole city's.
    """
    clone = Clone(tmp_path_factory.mktemp("city") / "clone")
    try:
        for domain in ("traffic", "energy", "flood"):
            folder = f"mlruns/data/embedded-{domain}"
            did(clone, f"felsina data synth {domain} {folder} --seed 2023 --days 100")
            more = ["--set", "steps=300"] if domain == "flood" else []
            did(clone, f"felsina run --dataset {folder} {' '.join([*SET_FLAGS, *more])}")
    finally:
        clone.stop()
    return clone.place / "mlruns"


@pytest.fixture
def clone(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Clone]:
    page = request.node.callspec.params["page"]
    home = request.getfixturevalue("city") if page in RELEASED else None
    made = Clone(tmp_path / "clone", home)
    yield made
    made.stop()


def did(clone: Clone, command: str) -> str:
    status, said = clone.run(command)
    assert status == 0, f"$ {command}\n{said}"
    return said


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_command_does_what_the_page_shows(page: str, clone: Clone) -> None:
    said = ""
    for block in blocks(PAGES[page].read_text(encoding="utf-8")):
        if block.file:
            path = clone.place / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.mark == "serves":
            clone.serve(block.text.removeprefix("$ ").strip())
        elif block.mark == "says":
            assert same_words(block.text, said), f"{page}:{block.line}: said\n{said}"
        elif block.language == "python" and block.runs:
            (clone.place / "block.py").write_text(clone.local(block.text), encoding="utf-8")
            said = did(clone, "python block.py")
        elif block.runs:
            typed(page, block, clone)


def typed(page: str, block: Block, clone: Clone) -> None:
    """Type a block's commands and compare what they print."""
    for command, expected in block.dialogue():
        status, said = clone.run(command)
        where = f"{page}:{block.line}: $ {command}\n{said}"
        refused = re.search("^felsina: ", expected, re.M)
        assert (status == 2) if refused else (status == 0), where
        assert same_words(expected, said), f"{where}\ninstead of\n{expected}"


@pytest.mark.parametrize(
    ("expected", "said", "same"),
    [
        ("a  12.5 %\nb\n", "a 7 %\n\nb\n", True),
        ("x 0a1b2c3d4e5f\n", "x ffffffffffff\n", True),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a ... z\n", "a b c z\n", True),
        ("a\nz\n", "a\nb\nz\n", False),
        ("served by all\n", "served by none\n", False),
        ("", "", True),
        ("", "something\n", False),
    ],
)
def test_the_comparison_sees_words_and_passes_over_numbers(
    expected: str, said: str, same: bool
) -> None:
    assert same_words(expected, said) is same
