"""``felsina privacy canary``, its options; imports wait until the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def audit_settings(
    settings: Annotated[Path, typer.Option(help="Settings of the private training, as TOML.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Stand-in units, public; synthetic homes when left out.")
    ] = None,
    public: Annotated[Path | None, typer.Option(help="Public dataset of the backbone.")] = None,
    canaries: Annotated[int, typer.Option(help="Coins to flip, at least 1000.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of coins, sampling and noise.", min=0)] = 0,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="A setting as key=value; may be repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Answer as JSON.")] = False,
) -> None:
    """Audit private training by canaries, on no private row: exit 1 where its claim is refuted."""
    from pipelines.commands.canary import audit_settings

    audit_settings(settings, assignments, dataset, public, canaries, seed, json)
