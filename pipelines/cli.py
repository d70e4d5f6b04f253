"""``felsina NOUN VERB``: the only face on the command line. Imports wait until a command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve a shared machine

import typer

from models.contracts import FelsinaError
from pipelines.cli_canary import audit_settings
from pipelines.domains.registry import published

app = typer.Typer(
    name="felsina",
    help="Forecasts of traffic, energy demand and flood risk for the Bologna Digital Twin.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
data = typer.Typer(
    help="Dataset folders: check, describe, synthesise, ingest.", no_args_is_help=True
)
release = typer.Typer(help="Sealed releases: build, verify, list.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(release, name="release")
tracking = typer.Typer(help="MLflow's runs: bring offline ones home.", no_args_is_help=True)
app.add_typer(tracking, name="tracking")
physics = typer.Typer(help="Simulators: compare with published cases.", no_args_is_help=True)
app.add_typer(physics, name="physics")
scenario = typer.Typer(help="What if: run, sample and search scenarios.", no_args_is_help=True)
app.add_typer(scenario, name="scenario")
privacy = typer.Typer(help="How private a model is: what noise spends.", no_args_is_help=True)
app.add_typer(privacy, name="privacy")
ledger = typer.Typer(help="Who agreed, and what was spent: verify, show.", no_args_is_help=True)
privacy.add_typer(ledger, name="ledger")

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
Json = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]
Port = Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)]


@app.command()
def up(
    dataset: SomeDataset = None,
    port: Port = 3000,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
) -> None:
    """Make what is missing, then serve: with no dataset, the embedded city in all its domains."""
    from pipelines.commands.run import run_all, serve_home

    run_all(dataset, profile, seed, config, assignments, only_missing=True)
    serve_home(port)


@app.command()
def run(
    dataset: SomeDataset = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    like: Like = None,
    json: Json = False,
) -> None:
    """The whole chain, dataset folder to served release, then exit."""
    from pipelines.commands.run import run_all

    run_all(dataset, profile, seed, config, assignments, only_missing=False, json=json, like=like)


@app.command()
def serve(port: Port = 3000) -> None:
    """Serve every verified release."""
    from pipelines.commands.run import serve_home

    serve_home(port)


@app.command()
def train(
    dataset: Dataset,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    json: Json = False,
    trials: Annotated[
        int,
        typer.Option(
            help="Search for better settings until the study holds so many trials.", min=0
        ),
    ] = 0,
    slurm: Annotated[
        str,
        typer.Option(
            help="Submit instead: nodes=2,gpus=4,time=02:00:00[,partition|account|array]."
        ),
    ] = "",
) -> None:
    """Train on a dataset folder; a killed training goes on where it stopped.

    Under torchrun or srun, the processes train together.
    """
    from pipelines.commands.model import search_one, submit_one, train_one

    if slurm:
        submit_one(dataset, profile, seed, config, assignments, slurm, trials)
    elif trials:
        search_one(dataset, profile, seed, config, assignments, trials)
    else:
        train_one(dataset, profile, seed, config, assignments, json)


@app.command()
def backtest(
    dataset: Dataset,
    json: Annotated[Path | None, typer.Option("--json", help="Write the metrics here.")] = None,
    forecasts: Annotated[
        Path | None, typer.Option(help="Write every forecast here, as parquet.")
    ] = None,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    like: Like = None,
) -> None:
    """Fit on train, stop and calibrate on validation, score on test beside the baselines."""
    from pipelines.commands.model import backtest_one

    backtest_one(dataset, json, forecasts, profile, seed, config, assignments, like)


@data.command()
def validate(
    dataset: Dataset,
    json: Json = False,
    flags: Annotated[Path | None, typer.Option(help="Write every flag here, as CSV.")] = None,
) -> None:
    """Check a folder: exit 2 with file, rows and remedy where it is wrong; flag odd values."""
    from pipelines.commands.data import validate_one

    validate_one(dataset, json, flags)


@data.command()
def describe(dataset: Dataset, json: Json = False) -> None:
    """What a dataset folder holds: spans, gaps, units, graph."""
    from pipelines.commands.data import describe_one

    describe_one(dataset, json)


@data.command()
def synth(
    domain: Annotated[str, typer.Argument(help="A registered domain.")],
    folder: Annotated[Path, typer.Argument(help="Where to write the dataset folder.")],
    seed: Seed = 0,
) -> None:
    """Write a domain's part of the embedded, synthetic city."""
    from pipelines.commands.data import synthesise

    synthesise(domain, folder, seed)


_SOURCES = [f"{name}: {domain.published[name]}" for name, domain in published().items()]


@data.command(epilog="\n\n".join(["Sources", *_SOURCES]))
def ingest(
    source: Annotated[str, typer.Argument(help="A public benchmark, of those below.")],
    path: Annotated[Path, typer.Argument(help="Its file or folder, as published.")],
    dataset: Annotated[Path, typer.Option("--dataset", help="Dataset folder to write.")],
    graph: Annotated[
        Path | None, typer.Option(help="CSV of distances between its nodes: from, to, cost.")
    ] = None,
    nodes: Annotated[
        Path | None, typer.Option(help="Its node ids, one a line, where --graph goes by them.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Steps to forecast, other than the usual.", min=1)
    ] = None,
) -> None:
    """Turn a public benchmark into a dataset folder with its published splits and protocol."""
    from pipelines.commands.data import ingest_one
    from pipelines.domains.published import Published

    ingest_one(source, Published(path, graph, nodes, horizon), dataset)


@release.command()
def build(
    dataset: Dataset,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    like: Like = None,
    json: Json = False,
) -> None:
    """Seal a trained and backtested model as a release folder; ``run`` also holds observations."""
    from pipelines.commands.model import build_one

    build_one(dataset, profile, seed, config, assignments, json, like)


@release.command()
def verify(folder: Annotated[Path, typer.Argument(help="Release folder.")]) -> None:
    """Recompute every digest: exit 0 when intact, 2 with the name of a changed file."""
    from pipelines.commands.release import verify_one

    verify_one(folder)


@release.command("list")
def list_(json: Json = False) -> None:
    """The releases at hand and which of them are served."""
    from pipelines.commands.release import list_all

    list_all(json)


@tracking.command()
def sync(json: Json = False) -> None:
    """Copy runs that were tracked offline into the tracking store; what is there stays."""
    from pipelines.commands.tracking import sync_all

    sync_all(json)


@physics.command("verify")
def verify_physics(
    json: Annotated[Path | None, typer.Option("--json", help="Write the checks here.")] = None,
) -> None:
    """Hold every simulator to its published references: exit 2 where one is missed."""
    from pipelines.commands.physics import verify_all

    verify_all(json)


@scenario.command("run")
def run_scenario(
    file: Annotated[Path, typer.Argument(help="Scenario: name, domain or chain, keys, as TOML.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    engine: Annotated[
        str, typer.Option(help="physics (the domain's simulator) or surrogate; else a hop's own.")
    ] = "physics",
    release: Annotated[
        str, typer.Option(help="Which surrogate: its name or release; else the domain's.")
    ] = "",
    json: Json = False,
) -> None:
    """Answer a what-if: a report, tables and a plot in a new folder."""
    from pipelines.commands.scenario import run_one

    run_one(file, engine, out, json, release)


@scenario.command("search")
def search_scenario(
    file: Annotated[Path, typer.Argument(help="Scenario with measures and [search], as TOML.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    engine: Annotated[
        str, typer.Option(help="What tries the options: surrogate, or physics where none is.")
    ] = "surrogate",
    release: Annotated[
        str, typer.Option(help="Which surrogate: its name or release; else the domain's.")
    ] = "",
    json: Json = False,
) -> None:
    """Find the measures that save most under a budget and constraints; simulated before shown."""
    from pipelines.commands.scenario import search_one

    search_one(file, engine, out, json, release)


@scenario.command("sample")
def sample_scenarios(
    file: Annotated[Path, typer.Argument(help="Design: name, domain and its keys, as TOML.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of experiments to write.")],
) -> None:
    """Run drawn scenarios through a simulator, for a surrogate to learn; a killed one goes on."""
    from pipelines.commands.surrogate import sample_one

    sample_one(file, out)


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


@privacy.command("federate")
def federate_dataset(
    dataset: Dataset,
    partners: Annotated[int, typer.Option(help="How many.", min=3)] = 5,
    by: Annotated[str, typer.Option(help="area, nodes (unequal parts) or random.")] = "nodes",
    rounds: Annotated[int, typer.Option(help="Rounds of training.", min=1)] = 20,
    rule: Annotated[str, typer.Option(help="mean or trimmed.")] = "mean",
    most_share: Annotated[float, typer.Option(help="Largest share of a partner.")] = 1.0,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    json: Json = False,
) -> None:
    """Rehearse a federation in one process: each partner alone, together, and pooled."""
    from pipelines.commands.federation import federate, rounds_of

    federate(
        dataset,
        partners,
        by,
        rounds_of(rounds, rule, most_share),
        profile,
        seed,
        config,
        assignments,
        json,
    )


privacy.command("canary")(audit_settings)
LedgerFile = Annotated[Path, typer.Argument(help="Privacy ledger.", metavar="LEDGER")]
Key = Annotated[str, typer.Option(help="Public key of the city: its file, or 64 hex digits.")]
Receipts = Annotated[
    list[Path] | None, typer.Option("--receipt", help="Receipt that a partner kept; repeatable.")
]


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


def main() -> None:
    """Run the command line; bad input is one line on stderr and exit code 2."""
    try:
        app(standalone_mode=True)
    except FelsinaError as error:
        sys.stderr.write(f"felsina: {error}\n")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
