"""``felsina keys``: who may read, write and operate. Imports wait until a command runs."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli_options import Json

keys = typer.Typer(help="Keys of the apps that call: create, list, revoke.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The app that holds it, such as route-planner.")]


@keys.command("create")
def create_key(
    name: Name,
    role: Annotated[
        str, typer.Option(help="read, write (observations and forcings too) or operate (all).")
    ] = "read",
    rate: Annotated[float, typer.Option(help="Requests a second, of each worker.")] = 100.0,
    quota: Annotated[
        int | None, typer.Option(help="Requests a day (UTC); no limit when left out.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Last day, such as 2027-12-31 (UTC).")] = None,
    datasets: Annotated[
        str | None,
        typer.Option(
            help="The only datasets it opens, comma separated; it still sees the names of all."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Make a key and print its secret, once: only its sha256 is held."""
    from pipelines.commands.keys import create_one

    create_one(name, role, rate, quota, expires, datasets, json)


@keys.command("list")
def list_keys(json: Json = False) -> None:
    """Every key that was made, with what it may do and whether it still opens."""
    from pipelines.commands.keys import list_all

    list_all(json)


@keys.command("revoke")
def revoke_key(name: Name) -> None:
    """End a key for good; running servers see it within two seconds."""
    from pipelines.commands.keys import revoke_one

    revoke_one(name)
