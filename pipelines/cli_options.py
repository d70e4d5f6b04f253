"""Options that several commands share, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Dataset = Annotated[Path, typer.Option("--dataset", help="Dataset folder.", show_default=False)]
SomeDataset = Annotated[
    Path | None, typer.Option("--dataset", help="Dataset folder; the embedded city when left out.")
]
Profile = Annotated[
    str, typer.Option(help="quick (a first look) or full (a release that matters).")
]
Seed = Annotated[int, typer.Option(help="Seed of weights, batches and dropout.", min=0)]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="A setting as key=value; may be repeated.")
]
Config = Annotated[Path | None, typer.Option("--config", help="Settings as a TOML file.")]
Like = Annotated[
    Path | None,
    typer.Option(help="Train nothing: take the inductive model of this trained folder."),
]
Areas = Annotated[
    Path | None, typer.Option(help="A TOML file that says what is known of each area.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
Port = Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)]
LedgerToWrite = Annotated[
    Path | None, typer.Option("--ledger", help="Privacy ledger that pays for the training.")
]
CityKey = Annotated[
    Path | None, typer.Option("--key", help="The city's private key, which signs the ledger.")
]
