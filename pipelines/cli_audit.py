"""``felsina audit``: whom a forecaster serves badly. Imports wait until a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.contracts import FelsinaError
from pipelines.cli_options import Areas, Config, Dataset, Json, Like, Profile, Seed, Set

audit = typer.Typer(
    help="Whom the forecaster serves badly: every group beside the others, with intervals.",
    invoke_without_command=True,
)

SomeRelease = Annotated[
    str | None, typer.Option("--release", help="A sealed release to replay: its name or folder.")
]


@audit.callback()
def audit_one(
    context: typer.Context,
    dataset: Annotated[Path | None, typer.Option("--dataset", help="Dataset folder.")] = None,
    release: SomeRelease = None,
    areas: Areas = None,
    left_out: Annotated[
        Path | None, typer.Option(help="left_out.json of audit left-out, to show in the record.")
    ] = None,
    scenarios: Annotated[
        list[Path] | None,
        typer.Option("--scenario", help="A file of audit scenario, to show; may be repeated."),
    ] = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    like: Like = None,
    json: Json = False,
) -> None:
    """Judge every group; without a release, of the forecaster that is trained and backtested."""
    if context.invoked_subcommand is not None:
        return
    if dataset is None:
        raise FelsinaError("--dataset is missing; name a dataset folder")
    from pipelines.commands import audit as commands

    if release is not None:
        commands.audit_sealed(dataset, release, areas, left_out, scenarios or [], json)
    elif left_out is not None or scenarios:
        raise FelsinaError("--left-out and --scenario are shown beside a release; add --release")
    else:
        commands.audit_one(dataset, areas, profile, seed, config, assignments, like, json)


@audit.command("watch")
def watch_one(
    dataset: Dataset,
    release: SomeRelease = None,
    areas: Areas = None,
    json: Json = False,
) -> None:
    """Watch groups week by week: an alarm once it is sure that one is served worse."""
    from pipelines.commands.audit import watch_one

    watch_one(dataset, release, areas, json)


@audit.command("left-out")
def leave_out(
    dataset: Dataset,
    areas: Areas = None,
    folds: Annotated[int, typer.Option(help="Parts of the city, each left out once.", min=2)] = 5,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write; left_out/DATASET at home when left out.")
    ] = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    json: Json = False,
) -> None:
    """What silence hides: leave whole areas out, and score forecasts where no sensor is."""
    from pipelines.commands.left_out import leave_out_one

    leave_out_one(dataset, areas, folds, out, profile, seed, assignments, json)


@audit.command("scenario")
def scenario(
    folder: Annotated[Path, typer.Argument(help="Folder of scenario run.")],
    figure: Annotated[
        str, typer.Option(help="Of its areas, such as people_wet, or a difference: A - B.")
    ],
    dataset: Dataset,
    areas: Areas = None,
    before: Annotated[
        Path | None, typer.Option(help="Folder of another run, to take its figure away.")
    ] = None,
    more: Annotated[bool, typer.Option("--more", help="More of it is better.")] = False,
    out: Annotated[Path | None, typer.Option(help="File to write.")] = None,
    json: Json = False,
) -> None:
    """Who gains and who loses by a scenario: its figure of areas, by who lives there."""
    from pipelines.commands.scenario_audit import audit_one

    audit_one(folder, figure, dataset, areas, before, more, out, json)
