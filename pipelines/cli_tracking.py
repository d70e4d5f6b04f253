"""``felsina tracking``: the store of runs and models."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli_options import Json

tracking = typer.Typer(
    help="MLflow's runs: bring offline ones home, find what is wrong, move.", no_args_is_help=True
)


@tracking.command()
def sync(json: Json = False) -> None:
    """Copy runs that were tracked offline into the tracking store; what is there stays."""
    from pipelines.commands.tracking import sync_all

    sync_all(json)


@tracking.command()
def doctor(json: Json = False) -> None:
    """Find what is wrong with the tracking store, and what to do: exit 1 where something is."""
    from pipelines.commands.tracking import diagnose_all

    diagnose_all(json)


@tracking.command()
def relocate(
    apply: Annotated[bool, typer.Option("--apply", help="Rewrite; else it only tells.")] = False,
    json: Json = False,
) -> None:
    """Let a home folder that was moved or copied find the files of its runs again."""
    from pipelines.commands.tracking import relocate_one

    relocate_one(apply, json)
