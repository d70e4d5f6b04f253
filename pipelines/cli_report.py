"""``felsina report``: what an ethics board reads. Imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import Areas, Json

report = typer.Typer(help="The ethics board's report: build, verify.", no_args_is_help=True)

Release = Annotated[
    str, typer.Option("--release", help="A release: its name or folder.", show_default=False)
]
Dataset = Annotated[
    Path | None,
    typer.Option(
        help="Dataset folder of a forecaster; a surrogate needs none.", show_default=False
    ),
]
About = Annotated[
    Path | None,
    typer.Option(help="The human-written parts; else about.toml beside the data, or its domain's."),
]
Champion = Annotated[
    str | None,
    typer.Option(help="Release to compare with; else the one served now, or that it names."),
]
LeftOut = Annotated[
    Path | None, typer.Option(help="What felsina audit left-out wrote: errors without sensors.")
]


@report.command()
def build(
    release: Release,
    dataset: Dataset = None,
    areas: Areas = None,
    about: About = None,
    champion: Champion = None,
    left_out: LeftOut = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="PDF beside each page.")] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also where the board has ruled on another report.")
    ] = False,
    json: Json = False,
) -> None:
    """Audit a release and write its report, model card and Annex IV draft in two languages."""
    from pipelines.commands.report import Asked, build_one

    build_one(Asked(release, dataset, areas, about, champion, left_out), pdf, again, json)


@report.command()
def verify(
    release: Release,
    dataset: Dataset = None,
    areas: Areas = None,
    about: About = None,
    champion: Champion = None,
    left_out: LeftOut = None,
    json: Json = False,
) -> None:
    """Regenerate a report and compare it byte for byte: exit 2 names what differs."""
    from pipelines.commands.report import Asked, verify_one

    verify_one(Asked(release, dataset, areas, about, champion, left_out), json)
