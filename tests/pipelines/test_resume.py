"""A chain that is killed at any stage goes on when it is run again."""

import json
import signal
import time
from pathlib import Path

import pytest

from models.errors import FelsinaError
from models.record import canonical_json
from pipelines import domains
from pipelines.domains.registry import domain_of
from pipelines.report import Inputs, gather
from pipelines.run import go_through
from pipelines.stages import INGEST, VALIDATE, Asked, Chain
from serving.release import MANIFEST
from tests.factories import Silent, make_dataset
from tests.fixtures.forks import Forked
from tests.fixtures.killed import KILLS, LAST, killed_at, killed_in_ingest
from tests.fixtures.noise.domain import NAME
from tests.fixtures.tiny import (
    PATIENCE_S,
    ROOT,
    SET_FLAGS,
    Run,
    Tiny,
    environment,
    felsina,
)
from training.checkpoint import read

pytestmark = pytest.mark.slow


def test_killed_in_each_stage_it_ends_as_an_undisturbed_run(
    tiny: Tiny, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another home, of the same data in a folder of another name."""
    home, folder = tmp_path / "home", make_dataset(tmp_path / "named-otherwise")
    shown = {stage: killed_at(home, folder, *seen) for stage, seen in KILLS.items()}
    assert "Check the dataset" in shown["prepare"]
    assert "Check the dataset" not in shown["train"], "what was done is done once"
    for after in ("backtest", "release", "evaluate", "audit", "propose"):
        assert "Train the network" not in shown[after], shown[after]
    assert "Replay it beside" not in shown["propose"]

    monkeypatch.setenv("FELSINA_HOME", str(home))
    code, out, err = run("run", "--dataset", str(folder), "--json", *SET_FLAGS)
    assert code == 0, err
    (record,) = json.loads(out)
    assert record["done"] in (["propose"], [])
    release = Path(record["release"])
    manifest, expected = (json.loads((f / MANIFEST).read_bytes()) for f in (release, tiny.release))
    assert manifest == expected
    assert release.name == tiny.release.name
    for path in tiny.release.iterdir():
        assert (home / "releases" / tiny.release.name / path.name).read_bytes() == path.read_bytes()
    told = (home / "reports" / tiny.release.name / "report.json").read_bytes()
    assert told == canonical_json(gather(Inputs(tiny.release, tiny.dataset)))
    assert (home / "champions" / "tiny.json").is_file()
    for room in ("releases", "trained", "champions", "reports"):
        kept = [path.name for path in (home / room).iterdir() if path.name[0] != "."]
        assert len(kept) == 1, kept
    assert [path.name for path in (home / "work").iterdir() if path.is_dir()] == []

    again = felsina(home, "run", "--dataset", str(folder), "--json", *SET_FLAGS)
    assert json.loads(again.stdout) == [record | {"done": [], "seconds": seconds_of(again.stdout)}]
    assert "nothing to do" in again.stderr


def seconds_of(answer: str) -> float:
    return json.loads(answer)[0]["seconds"]


def test_killed_while_the_embedded_city_is_made_it_goes_on_as_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes after ``validate`` is made of the digests that stand in its record."""
    home, whole = tmp_path / "home", tmp_path / "whole"
    for moment in ("half written", "not recorded"):
        assert killed_in_ingest(home, moment).returncode == -signal.SIGKILL
        assert (home / "data" / NAME).is_dir() == (moment == "not recorded")
        assert not list((home / "chain").rglob("*.json"))
    monkeypatch.setattr(domains, "DOMAINS", ("tests.fixtures.noise.domain",))
    done = {}
    for place in (home, whole):
        monkeypatch.setenv("FELSINA_HOME", str(place))
        chain = Chain(domain_of("noise"), place, Asked(), Silent())
        done[place] = [one.stage for one in go_through(chain, VALIDATE)[1]]
    assert done[home] == done[whole] == [INGEST, VALIDATE]
    for files in ("data/**/*", "chain/**/*.json"):
        assert contents(home, files) == contents(whole, files)
    record = json.loads((home / "chain" / NAME / "validate.json").read_bytes())
    assert "series.parquet" in record["inputs"]["data"]


def contents(home: Path, files: str) -> dict[str, bytes]:
    found = (path for path in home.glob(files) if path.is_file())
    return {str(path.relative_to(home)): path.read_bytes() for path in found}


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", make_dataset(tmp_path / "tiny")
    flags = [flag for flag in SET_FLAGS if flag not in ("steps=20", "--set")]
    more = [part for text in [*flags, "steps=4000", "patience=400"] for part in ("--set", text)]
    process = Forked(["train", "--dataset", str(folder), *more], environment(home), ROOT)
    seen = progress_of(home, LAST, at_least=30, alive=lambda: process.poll() is None)
    process.kill()
    process.wait(30)
    kept = step_of(home, LAST)
    assert kept >= seen >= 30

    process = Forked(["train", "--dataset", str(folder), *more], environment(home), ROOT)
    try:
        went_on = progress_of(home, LAST, at_least=kept + 1, alive=lambda: process.poll() is None)
    finally:
        process.kill()
        process.wait(30)
    assert kept < went_on


def step_of(home: Path, pattern: str) -> int:
    (path,) = home.glob(pattern)
    return int(read(path)["global_step"])


def progress_of(home: Path, pattern: str, at_least: int, alive) -> int:
    """Wait until the checkpoint holds so many steps; steps never fall on the way."""
    highest, end = -1, time.monotonic() + PATIENCE_S
    while time.monotonic() < end and alive():
        try:
            step = step_of(home, pattern)
        except (FelsinaError, ValueError):  # none yet
            step = highest
        assert step >= highest, "the training began anew"
        highest = step
        if highest >= at_least:
            return highest
        time.sleep(0.05)
    raise AssertionError(f"the checkpoint held {highest} steps, not {at_least}")
