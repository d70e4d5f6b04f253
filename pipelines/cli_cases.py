"""``felsina cases``: what people contest, on the server's machine. Imports wait for a command."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli_options import Json

cases = typer.Typer(help="Contested cases: list, answer, close, erase.", no_args_is_help=True)

Number = Annotated[str, typer.Argument(help="Of the case, such as 2026-0007.")]


@cases.command("list")
def list_cases(
    state: Annotated[str, typer.Option(help="open, answered, closed or all.")] = "open",
    dataset: Annotated[str | None, typer.Option(help="All, when left out.")] = None,
    json: Json = False,
) -> None:
    """Show cases with what people wrote, the oldest first."""
    from pipelines.commands.cases import list_all

    list_all(state, dataset, json)


@cases.command("answer")
def answer_case(
    number: Number,
    italian: Annotated[str, typer.Option("--it", help="The answer in Italian.")],
    english: Annotated[str, typer.Option("--en", help="The answer in English.")],
) -> None:
    """Answer a case; the answer is published on the citizens' page and in the next report."""
    from pipelines.commands.cases import answer_one

    answer_one(number, italian, english)


@cases.command("close")
def close_case(number: Number) -> None:
    """Close an answered case: its writer can add nothing more."""
    from pipelines.commands.cases import close_one

    close_one(number)


@cases.command("erase")
def erase_case(number: Number) -> None:
    """Delete what was written in a case at once, such as somebody's name; the case stays."""
    from pipelines.commands.cases import erase_one

    erase_one(number)
