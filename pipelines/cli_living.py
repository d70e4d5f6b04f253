"""``felsina backup``, ``restore``, ``effect`` and ``monitor``: living with what was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import Dataset, Json


def effect(
    dataset: Dataset,
    event: Annotated[str, typer.Option(help="First day that may be touched: 2024-01-16.")],
    treated: Annotated[str, typer.Option(help="Nodes that it touched: a,b,c.")],
    out: Annotated[Path, typer.Option(help="Folder to be made, for effect.json and effect.png.")],
    until: Annotated[str, typer.Option(help="Day after the last one judged; the data's end.")] = "",
    away: Annotated[
        int, typer.Option(help="Edges that must lie between controls and treated nodes.", min=0)
    ] = 1,
    json: Json = False,
) -> None:
    """What an event did, beside what would have been by nodes that it did not touch."""
    from pipelines.commands.effect import effect_one

    effect_one(dataset, event, treated, out, until, away, json)


def backup(
    archive: Annotated[Path, typer.Argument(help="A tar file that does not exist.")],
    json: Json = False,
) -> None:
    """Keep what cannot be made again: store, releases, decisions, reports, the city's ledger."""
    from pipelines.commands.backup import backup_all

    backup_all(archive, json)


def restore(
    archive: Annotated[Path, typer.Argument(help="Made by felsina backup.")],
    json: Json = False,
) -> None:
    """Bring a backup back into an empty home folder and store; sqlite or PostgreSQL."""
    from pipelines.commands.backup import restore_all

    restore_all(archive, json)


def monitor(
    dataset: Dataset,
    suspend: Annotated[
        Path | None,
        typer.Option(
            help="A member's or the operator's key: suspend a release that is worse than tested."
        ),
    ] = None,
    passphrase_fd: Annotated[
        int | None, typer.Option(help="File descriptor to read the key's passphrase from.")
    ] = None,
    json: Json = False,
) -> None:
    """Has what is served aged, has a sensor failed? Compares held observations since its data."""
    from pipelines.commands.monitor import monitor_one

    monitor_one(dataset, suspend, passphrase_fd, json)
