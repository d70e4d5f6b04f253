"""``felsina city`` and ``felsina partner``: the two ends of a federation.

Imports wait until a command runs.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import Dataset, Json

for _name, _value in (("FLWR_TELEMETRY_ENABLED", "0"), ("FLWR_DISABLE_UPDATE_CHECK", "1")):
    os.environ.setdefault(_name, _value)

city = typer.Typer(help="A federation, the city's side.", no_args_is_help=True)
partner = typer.Typer(help="A federation, a partner's side.", no_args_is_help=True)

CityFolder = Annotated[Path | None, typer.Option("--city", help="Folder; the home's city/.")]
PolicyFile = Annotated[
    Path | None, typer.Option("--policy", help="Own limits as TOML; only stricter ones.")
]
PartnerName = Annotated[str, typer.Argument(help="Partner's name.", metavar="PARTNER")]


@city.command("init")
def init(
    name: Annotated[str, typer.Option(help="Of the city.")],
    address: Annotated[str, typer.Option(help="HOST:PORT that partners reach.")],
    plan: Annotated[Path, typer.Option(help="What is trained, as TOML.")],
    like: Annotated[Path, typer.Option(help="Dataset that shows the task; public or made up.")],
    folder: CityFolder = None,
) -> None:
    """Make the city's keys, certificates, ledger and bundle."""
    from pipelines.commands.city import init

    init(folder, name, address, plan, like)


@city.command("invite")
def invite(
    partner: PartnerName,
    agreement: Annotated[Path, typer.Option(help="Text that is agreed to.")],
    units: Annotated[int, typer.Option(help="About how many units; a public figure.", min=1)],
    purposes: Annotated[list[str], typer.Option("--purpose", help="What for; repeatable.")],
    until: Annotated[str, typer.Option(help="Last day, such as 2027-12-31.")],
    epsilon: Annotated[
        float | None, typer.Option(help="Most that may ever be spent; the plan's.", min=0)
    ] = None,
    delta: Annotated[float | None, typer.Option(help="1/(10 x units) when left out.")] = None,
    file: Annotated[Path | None, typer.Option("--out", help="PARTNER.invitation.")] = None,
    folder: CityFolder = None,
) -> None:
    """Write the one file that a partner needs."""
    from pipelines.commands.city import invite

    invite(folder, partner, agreement, units, purposes, until, epsilon, delta, file)


@city.command("run")
def run(
    name: Annotated[str, typer.Argument(help="Of the run.", metavar="RUN")],
    wait: Annotated[float, typer.Option(help="Seconds that partners are waited for.")] = 600.0,
    listen: Annotated[str, typer.Option(help="HOST:PORT here; the city's address.")] = "",
    after: Annotated[
        str, typer.Option(help="Earlier run: begin at its last model without who withdrew.")
    ] = "",
    folder: CityFolder = None,
    json: Json = False,
) -> None:
    """Open the door, let partners in, run the rounds; the same command goes on after a kill."""
    from pipelines.commands.city import run_rounds

    run_rounds(folder, name, wait, listen, after, json)


@city.command("release")
def release(
    name: Annotated[str, typer.Argument(help="Of the run.", metavar="RUN")],
    dataset: Dataset,
    folder: CityFolder = None,
    json: Json = False,
) -> None:
    """Seal a run's last model for nodes of the city's own, as a release like any other."""
    from pipelines.commands.city_release import release

    release(folder, name, dataset, json)


@city.command("status")
def status(folder: CityFolder = None, json: Json = False) -> None:
    """Partners, what was spent, runs."""
    from pipelines.commands.city import show_status

    show_status(folder, json)


@city.command("ledger")
def show_ledger(folder: CityFolder = None, json: Json = False) -> None:
    """The city's ledger, replayed: every account."""
    from pipelines.commands.city import city_folder
    from pipelines.commands.ledger import verify_ledger

    place = city_folder(folder)
    verify_ledger(place / "ledger.jsonl", str(place / "city.key.pub"), [], json)


@city.command("withdraw")
def withdraw(
    partner: PartnerName,
    reason: Annotated[str, typer.Option(help="As far as it wants it known.")] = "",
    folder: CityFolder = None,
) -> None:
    """Record that a partner leaves."""
    from pipelines.commands.city import withdraw

    withdraw(folder, partner, reason)


@city.command("demo")
def demo(
    folder: Annotated[Path | None, typer.Option(help="New folder; a temporary one.")] = None,
) -> None:
    """Watch a federation of three partners on this machine, each in its own process."""
    from pipelines.commands.city import demo

    demo(folder)


@partner.command("check")
def check(
    dataset: Dataset,
    invitation: Annotated[Path | None, typer.Option(help="The city's file.")] = None,
    plan: Annotated[Path | None, typer.Option(help="Or a plan as TOML.")] = None,
    policy: PolicyFile = None,
    json: Json = False,
) -> None:
    """What joining would mean: schema, units, bounds, epsilon, what leaves. Sends nothing."""
    from pipelines.commands.partner import check

    check(dataset, invitation, plan, policy, json)


@partner.command("join")
def join(
    invitation: Annotated[Path, typer.Argument(help="The city's file.", metavar="INVITATION")],
    dataset: Dataset,
    policy: PolicyFile = None,
    folder: Annotated[Path | None, typer.Option("--house", help="Folder of keys, account.")] = None,
    agree: Annotated[bool, typer.Option("--agree", help="The agreement was read.")] = False,
    runs: Annotated[int, typer.Option(help="Stop after so many runs; 0 for never.", min=0)] = 0,
) -> None:
    """Agree, join, and answer the city's rounds until stopped."""
    from pipelines.commands.partner import join

    join(invitation, dataset, policy, folder, agree, runs)
