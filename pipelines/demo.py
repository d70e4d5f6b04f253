"""A federation on one machine, made to be watched: a city and three partners, each a process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import httpx
import numpy as np
import pandas as pd

from models.contracts import FelsinaError
from pipelines.domains.registry import registered
from pipelines.train import open_registered
from privacy.deployment import certificates
from privacy.deployment.city import City
from privacy.deployment.node import Identity
from privacy.deployment.plan import Terms
from privacy.deployment.results import ENDED
from privacy.deployment.superlink import free_port
from privacy.federation import split_nodes
from training.dataset import CityDataset, write_dataset

PARTNERS = ("aster", "brenta", "corvo")
PLAN = """\
federation = "demo"

[rounds]
rounds = 5
server_rate = 0.01
deadline_s = 120

[private]
unit = "meter"
nominal_units = 6
sampling_rate = 0.5
delta = 0.01
epsilon = 4.0
steps = 5
most_windows = 4
optimiser = "sgd"
learning_rate = 1.0
architecture = { width = 16, blocks = 1, dropout = 0.0, inductive = true, graph = false }
"""
AGREEMENT = """\
The partner trains the city's network on its own meters and sends only noised changes of it.
No row leaves the partner's house. Epsilon 4 is the most that may ever be spent on a meter.
"""
_PATIENCE_S = 600
Told = Callable[[str], None]


def watch(folder: Path, told: Told) -> None:
    """Make a city and partners, run their rounds, try the door, let a partner leave.

    Args:
        folder: that does not exist; all of it lies there afterwards.
        told: of each step, one line.

    Raises:
        FelsinaError: if a process ends early; its log has the reason.
    """
    folder.mkdir(parents=True)
    whole = _synthetic(folder)
    told(f"1. data: a synthetic city's {whole.graph.nodes} meters, dealt to three partners")
    for name, nodes in zip(PARTNERS, split_nodes(whole, 3, "nodes"), strict=True):
        _write_part(whole, nodes, folder / name / "data")
    (folder / "plan.toml").write_text(PLAN + f"lags = [{7 * whole.spec.steps_per_day}]\n")
    (folder / "agreement.md").write_text(AGREEMENT)

    told("2. felsina city init, invite: keys, authority, ledger, bundle; one file a partner")
    address = f"localhost:{free_port()}"
    like = folder / PARTNERS[0] / "data"
    _call(
        folder,
        *("city", "init", "--name", "bologna", "--address", address),
        *("--plan", folder / "plan.toml", "--like", like, "--city", folder / "city"),
    )
    city = City(folder / "city")
    for name in PARTNERS:
        terms = Terms(
            unit="meter",
            units=6,
            epsilon=4.0,
            delta=0.01,
            purposes=("a demonstration",),
            until=date.today() + timedelta(days=365),
        )
        path = folder / name / "invitation"
        path.write_bytes(city.invite(name, AGREEMENT, terms))

    told(f"3. felsina city run: SuperLink on loopback, door at {address}")
    processes = {"city": _start(folder, "city", *_run_words(folder, "first"))}
    told("4. felsina partner join, three times: agree, certificate, train, answer")
    try:
        for name in PARTNERS:
            processes[name] = _start(folder, name, *_join_words(folder, name))
        _until_ended(folder, processes, told)
        told("5. the door, with all that a partner holds")
        for line in _tried(city, folder / PARTNERS[0] / "house", folder, processes):
            told(line)
        told(f"6. felsina city withdraw {PARTNERS[2]}")
        city.withdraw(PARTNERS[2], "the demonstration is over")
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait(60)


def _synthetic(folder: Path) -> CityDataset:
    """The first part of the embedded city whose weather is the same at all nodes."""
    for domain in registered().values():
        if domain.synthesise is not None:
            domain.synthesise(folder / domain.name, 0)
            whole = open_registered(folder / domain.name)
            if whole.forcings is None or whole.forcings.shape[1] == 1:
                return whole
    raise FelsinaError("no registered domain has city-wide weather; watch needs one that has")


def _write_part(whole: CityDataset, nodes: np.ndarray, folder: Path) -> None:
    """A partner's dataset folder of some nodes."""
    ids = [whole.graph.ids[n] for n in nodes]
    source = whole.folder
    header = tomllib.loads((source / "dataset.toml").read_text())
    tables = {name: pd.read_parquet(source / f"{name}.parquet") for name in ("series", "forcings")}
    series, forcings = (
        table.set_index("time") if "time" in table.columns else table for table in tables.values()
    )
    listed = pd.read_csv(source / "nodes.csv", dtype={"id": str}).set_index("id").loc[ids]
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_dataset(folder, header, listed.reset_index(), series.loc[:, ids], forcings=forcings)


def _run_words(folder: Path, run: str) -> list[str | Path]:
    return ["city", "run", run, "--city", folder / "city"]


def _join_words(folder: Path, name: str) -> list[str | Path]:
    own = folder / name
    place = ["--dataset", own / "data", "--house", own / "house"]
    return ["partner", "join", own / "invitation", *place, "--agree", "--runs", "1"]


def _command(words: tuple[str | Path, ...]) -> list[str]:
    return [sys.executable, "-m", "pipelines.cli", *map(str, words)]


def _call(folder: Path, *words: str | Path) -> None:
    done = subprocess.run(_command(words), capture_output=True, text=True, check=False)
    if done.returncode:
        raise FelsinaError(f"felsina {words[0]} {words[1]}: {done.stderr.strip()}")


def _start(folder: Path, name: str, *words: str | Path) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("ab") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            _command(words), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )


def _until_ended(folder: Path, processes: dict[str, subprocess.Popen[bytes]], told: Told) -> None:
    ended = folder / "city" / "runs" / "first" / ENDED
    log, said = folder / "city.log", 0
    ends = time.monotonic() + _PATIENCE_S
    while not (ended.exists() and processes["city"].poll() is not None):
        lines = log.read_text().splitlines()
        for line in lines[said:]:
            told(f"   {line.strip()}")
        said = len(lines)
        for name, process in processes.items():
            if process.poll() not in (None, 0) or time.monotonic() > ends:
                raise FelsinaError(f"{folder / name}.log has why {name} did not go on")
        time.sleep(0.2)


def _tried(
    city: City, house: Path, folder: Path, processes: dict[str, subprocess.Popen[bytes]]
) -> list[str]:
    """What a partner's keys open at the door of a second run."""
    processes["city"] = _start(folder, "city", *_run_words(folder, "second"))
    identity = Identity(city.address, house / "ca.crt", house / "node.key", house / "node.pem")
    key = certificates.key_header(certificates.load_node_key(identity.key).public_key())
    told = []
    with httpx.Client(base_url=f"https://{city.address}", verify=identity.context()) as client:
        ends = time.monotonic() + _PATIENCE_S
        for path in (
            "/v1/fleet/activate-node",
            "/v1/control/start-run",
            "/v1/control/register-node",
            "/v1/fleet/register-node",
        ):
            while True:
                try:
                    answer = client.post(path, headers={"flwr-public-key": key})
                    break
                except httpx.TransportError:
                    if time.monotonic() > ends:
                        raise
                    time.sleep(0.5)
            passed = answer.status_code not in (403, 404)
            told.append(f"   {path}: {'reaches the SuperLink' if passed else 'refused'}")
    return told
