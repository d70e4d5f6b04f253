"""``felsina NOUN VERB``: the only face on the command line. Imports wait until a command runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve a shared machine

import typer

from models.contracts import FelsinaError
from pipelines.cli_audit import audit
from pipelines.cli_board import board, promote, response, rollback
from pipelines.cli_cases import cases
from pipelines.cli_chain import run, up
from pipelines.cli_federation import city, partner
from pipelines.cli_keys import keys
from pipelines.cli_living import backup, effect, monitor, restore
from pipelines.cli_options import (
    CityKey,
    Config,
    Dataset,
    Json,
    LedgerToWrite,
    Like,
    Port,
    Profile,
    Seed,
    Set,
)
from pipelines.cli_privacy import privacy
from pipelines.cli_report import report
from pipelines.cli_tracking import tracking
from pipelines.domains.registry import published, sources

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
app.add_typer(tracking, name="tracking")
physics = typer.Typer(help="Simulators: compare with published cases.", no_args_is_help=True)
app.add_typer(physics, name="physics")
scenario = typer.Typer(help="What if: run, sample and search scenarios.", no_args_is_help=True)
app.add_typer(scenario, name="scenario")
app.add_typer(audit, name="audit")
app.add_typer(privacy, name="privacy")
app.add_typer(city, name="city")
app.add_typer(partner, name="partner")
app.add_typer(keys, name="keys")
app.add_typer(board, name="board")
app.add_typer(response, name="response")
for one in (up, run, promote, rollback, backup, restore, effect, monitor):
    app.command()(one)
app.add_typer(report, name="report")
app.add_typer(cases, name="cases")


@app.command()
def serve(
    port: Port = 3000,
    workers: Annotated[int, typer.Option(help="Processes that serve.", min=1, max=64)] = 1,
    anonymous: Annotated[bool, typer.Option(help="Whether reading needs no key.")] = True,
    board: Annotated[
        Path | None, typer.Option(help="The ethics board's charter, from where only you write.")
    ] = None,
) -> None:
    """Serve what the ethics board has approved and its operator has promoted."""
    from pipelines.commands.run import serve_home

    serve_home(port, workers, anonymous, board)


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
    days: Annotated[
        int | None, typer.Option(help="Length of the record, other than the usual.", min=90)
    ] = None,
) -> None:
    """Write a domain's part of the embedded, synthetic city."""
    from pipelines.commands.data import synthesise

    synthesise(domain, folder, seed, days)


_SOURCES = [f"{name}: {one.what}" for name, one in sources().items()]
_BENCHMARKS = [f"{name}: {domain.published[name]}" for name, domain in published().items()]


@data.command(epilog="\n\n".join(["Sources", *_SOURCES, "Benchmarks", *_BENCHMARKS]))
def ingest(
    source: Annotated[str, typer.Argument(help="A source or public benchmark of those below.")],
    dataset: Annotated[Path, typer.Option("--dataset", help="Dataset folder to write.")],
    path: Annotated[
        Path | None,
        typer.Argument(help="A file on this machine: mapping (csv), streets, or a benchmark's."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="First day wanted; else goes on from what is held.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Day after the last; else today's.")] = None,
    assignments: Set = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked.")] = False,
    json: Json = False,
    graph: Annotated[
        Path | None, typer.Option(help="Benchmark: CSV of distances: from, to, cost.")
    ] = None,
    nodes: Annotated[
        Path | None, typer.Option(help="Benchmark: node ids, where --graph goes by them.")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option(help="Benchmark: steps to forecast, not the usual.", min=1)
    ] = None,
) -> None:
    """Bring open data into a dataset folder: new and revised values of a source, politely.

    Or turn a public benchmark into one, with its published splits and protocol.
    """
    from pipelines.commands.ingest import ingest_benchmark, ingest_source

    if source in published():
        given = {"--since": since, "--until": until, "--set": assignments, "--dry-run": dry_run}
        ingest_benchmark(source, path, graph, nodes, horizon, dataset, given)
    else:
        given = {"--graph": graph, "--nodes": nodes, "--horizon": horizon}
        ingest_source(source, path, dataset, since, until, assignments, dry_run, json, given)


@data.command()
def retention(
    apply: Annotated[bool, typer.Option("--apply", help="Delete what is due.")] = False,
    json: Json = False,
) -> None:
    """What the rules in retention.toml delete, and who answers for the data."""
    from pipelines.commands.retention import retain

    retain(apply, json)


@data.command()
def forget(
    dataset: Annotated[str, typer.Option("--dataset", help="Name of the dataset.")],
    nodes: Annotated[str, typer.Option(help="Node ids, comma separated.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the record of the deletion.")],
) -> None:
    """Delete what is held of nodes: observations, own forcings, alerts, forecasts as issued."""
    from pipelines.commands.retention import forget_nodes

    forget_nodes(dataset, nodes, reason)


@release.command()
def build(
    dataset: Dataset,
    profile: Profile = "quick",
    seed: Seed = 0,
    assignments: Set = None,
    config: Config = None,
    like: Like = None,
    trained: Annotated[
        Path | None, typer.Option(help="Trained folder to seal, as it is; nothing is trained.")
    ] = None,
    ledger: LedgerToWrite = None,
    key: CityKey = None,
    json: Json = False,
) -> None:
    """Seal a trained and backtested model as a release folder; ``run`` also holds observations.

    One that was trained privately is written into the ledger that paid for it.
    """
    from pipelines.commands.model import build_one
    from pipelines.commands.private import build_trained

    if trained is None and ledger is None and key is None:
        build_one(dataset, profile, seed, config, assignments, json, like)
        return
    plain = profile == "quick" and not (seed or config or assignments or like)
    build_trained(dataset, trained, ledger, key, plain, json)


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
