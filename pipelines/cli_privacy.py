"""``felsina privacy``: what noise spends, private training, claims and the ledger.

Imports wait until a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import Config, Dataset, Json, Profile, Seed, Set

privacy = typer.Typer(
    help="Private training, what noise spends, and what is promised.", no_args_is_help=True
)
ledger = typer.Typer(help="Who agreed, and what was spent: verify, show.", no_args_is_help=True)
privacy.add_typer(ledger, name="ledger")

LedgerFile = Annotated[Path, typer.Argument(help="Privacy ledger.", metavar="LEDGER")]
Key = Annotated[str, typer.Option(help="Public key of the city: its file, or 64 hex digits.")]
Receipts = Annotated[
    list[Path] | None, typer.Option("--receipt", help="Receipt that a partner kept; repeatable.")
]


@privacy.command("epsilon")
def epsilon(
    sampling_rate: Annotated[
        list[float], typer.Option(help="Chance of a unit in a step; once a run.")
    ],
    noise_multiplier: Annotated[
        list[float], typer.Option(help="Noise over clip norm; once a run.")
    ],
    steps: Annotated[list[int], typer.Option(help="Noisy steps; once a run.")],
    delta: Annotated[float, typer.Option(help="At most 1/(10 x units).")] = 1e-5,
    json: Json = False,
) -> None:
    """What training with noise spends; repeat the first three options for several runs."""
    from pipelines.commands.privacy import show_epsilon

    show_epsilon(sampling_rate, noise_multiplier, steps, delta, json)


@privacy.command("train")
def train_private(
    dataset: Dataset,
    ledger: Annotated[Path, typer.Option(help="Privacy ledger that pays for every step.")],
    key: Annotated[Path, typer.Option(help="The city's private key, which signs the ledger.")],
    partner: Annotated[str, typer.Option(help="Who holds the data, as the ledger calls them.")],
    settings: Annotated[
        Path | None, typer.Option(help="TOML file: unit, nominal_units, delta, epsilon and so on.")
    ] = None,
    assignments: Set = None,
    public: Annotated[
        Path | None, typer.Option(help="Dataset folder of public series, for the backbone.")
    ] = None,
    json: Json = False,
) -> None:
    """Train with noise within a partner's budget; a killed training goes on, and pays once."""
    from pipelines.commands.private import train_one

    train_one(dataset, settings, assignments, ledger, key, partner, public, json)


@privacy.command("claim")
def show_claim(
    ledger: Annotated[Path, typer.Option(help="Privacy ledger.")],
    key: Key = "",
    partner: Annotated[str, typer.Option(help="Of this partner alone.")] = "",
    json: Json = False,
) -> None:
    """What the ledger promises, in plain words, English and Italian."""
    from pipelines.commands.ledger import show_claim

    show_claim(ledger, key, partner, json)


@privacy.command("federate")
def federate_dataset(
    dataset: Dataset,
    partners: Annotated[int, typer.Option(help="How many.", min=3)] = 5,
    by: Annotated[str, typer.Option(help="area, nodes (unequal parts) or random.")] = "nodes",
    rounds: Annotated[int, typer.Option(help="Rounds of training.", min=1)] = 20,
    rule: Annotated[str, typer.Option(help="mean or trimmed.")] = "mean",
    most_share: Annotated[float, typer.Option(help="Largest share of a partner.")] = 1.0,
    server_rate: Annotated[
        float | None, typer.Option(help="Of the city's own Adam; none when left out.")
    ] = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    private: Annotated[
        Path | None, typer.Option(help="Settings of a private training, as TOML: add noise.")
    ] = None,
    json: Json = False,
) -> None:
    """Rehearse a federation in one process: each partner alone, together, and pooled."""
    from pipelines.commands.federation import federate, rounds_of

    shape = rounds_of(rounds, rule, most_share, server_rate)
    federate(dataset, partners, by, shape, profile, seed, config, assignments, json, private)


@privacy.command("canary")
def audit_settings(
    settings: Annotated[Path, typer.Option(help="Settings of the private training, as TOML.")],
    dataset: Annotated[
        Path | None, typer.Option(help="Stand-in units, public; synthetic homes when left out.")
    ] = None,
    public: Annotated[Path | None, typer.Option(help="Public dataset of the backbone.")] = None,
    canaries: Annotated[int, typer.Option(help="Coins to flip, at least 1000.")] = 1000,
    seed: Seed = 0,
    assignments: Set = None,
    json: Json = False,
) -> None:
    """Audit private training by canaries, on no private row: exit 1 where its claim is refuted."""
    from pipelines.commands.canary import audit_settings

    audit_settings(settings, assignments, dataset, public, canaries, seed, json)


@privacy.command("evidence")
def make_evidence(
    trained: Annotated[Path, typer.Option(help="Privately trained folder.")],
    dataset: Dataset,
    attribute: Annotated[
        str, typer.Option(help="Column of nodes.csv that errors are grouped by.")
    ] = "area",
    stand_in: Annotated[
        Path | None, typer.Option(help="Public units to audit on; synthetic homes when left out.")
    ] = None,
    public: Annotated[
        Path | None, typer.Option(help="Public dataset of the backbone, where it had one.")
    ] = None,
    canaries: Annotated[int, typer.Option(help="Coins to flip, at least 1000.")] = 1000,
    seed: Annotated[int, typer.Option(help="Seed of the audit.", min=0)] = 0,
    errors: Annotated[
        bool,
        typer.Option("--errors/--no-errors", help="Whether errors of private rows are shown."),
    ] = True,
    json: Json = False,
) -> None:
    """Audit a trained folder and weigh its noise, for its release: exit 1 where its claim fails."""
    from pipelines.commands.evidence import make_one

    by = attribute if errors else None
    make_one(trained, dataset, by, stand_in, public, canaries, seed, json)


@ledger.command("verify")
def verify_ledger(
    file: LedgerFile, key: Key = "", receipts: Receipts = None, json: Json = False
) -> None:
    """Replay a ledger: exit 0 with every account, 2 with the entry that is wrong."""
    from pipelines.commands.ledger import verify_ledger

    verify_ledger(file, key, receipts or [], json)


@ledger.command("show")
def show_ledger(
    file: LedgerFile, key: Key = "", receipts: Receipts = None, json: Json = False
) -> None:
    """Every entry of a ledger, its signatures and chain verified."""
    from pipelines.commands.ledger import show_ledger

    show_ledger(file, key, receipts or [], json)
