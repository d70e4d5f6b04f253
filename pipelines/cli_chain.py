"""``felsina run`` and ``up``: the chain of stages. Imports wait until a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli_options import Config, Json, Like, Port, Profile, Seed, Set, SomeDataset


def up(
    dataset: SomeDataset = None,
    port: Port = 3000,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
) -> None:
    """Make what is missing, approve it by a demo board, serve: by default the embedded city."""
    from pipelines.commands.chain import make_missing
    from pipelines.commands.run import serve_demo
    from pipelines.stages import Asked

    make_missing(dataset, Asked(profile, seed, config, tuple(assignments or ())))
    serve_demo(port)


def run(
    dataset: SomeDataset = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    like: Like = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would run, why.")] = False,
    json: Json = False,
) -> None:
    """The whole chain, dataset folder to a release that the board can decide on, then exit.

    What is done already is not done again; a killed one goes on where it stopped.
    """
    from pipelines.commands.chain import plan_all, run_all
    from pipelines.stages import Asked

    asked = Asked(profile, seed, config, tuple(assignments or ()), like)
    (plan_all if dry_run else run_all)(dataset, asked, json)
