"""A chain that is killed at any stage goes on when it is run again."""

import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from serving.release import MANIFEST
from tests.factories import make_dataset
from tests.fixtures.tiny import PATIENCE_S, ROOT, SET_FLAGS, Run, Tiny, command, environment, family

pytestmark = pytest.mark.slow


def killed_at(home: Path, folder: Path, text: str, file: str = "") -> str:
    """Start ``felsina run`` and kill -9 it when stderr shows ``text`` and a file is there."""
    process = subprocess.Popen(
        command("run", "--dataset", str(folder), *SET_FLAGS),
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    assert process.stderr is not None
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stderr.readline, "")))
    reader.start()
    end = time.monotonic() + PATIENCE_S
    try:
        while process.poll() is None and time.monotonic() < end:
            if text in "".join(lines) and (not file or list(home.glob(file))):
                break
            time.sleep(0.01)
    finally:
        for pid in family(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait(30)
        reader.join(30)
        process.stderr.close()
    shown = "".join(lines)
    assert process.returncode == -signal.SIGKILL, f"it ended before {text!r}:\n{shown}"
    return shown


def test_killed_runs_end_in_the_release_of_an_undisturbed_one(
    tiny: Tiny, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another home, of the same data in a folder of another name."""
    home, folder = tmp_path / "home", make_dataset(tmp_path / "named-otherwise")
    last = "work/*/checkpoints/last.ckpt"
    killed_at(home, folder, "Train the network", last)
    (checkpoint,) = home.glob(last)
    before = checkpoint.stat().st_mtime_ns
    assert not (home / "trained").exists()

    shown = killed_at(home, folder, "Export")
    assert "Train the network" in shown or checkpoint.stat().st_mtime_ns == before
    killed_at(home, folder, "Backtest")
    trained = [path for path in (home / "trained").iterdir() if path.is_dir()]
    assert [path.name for path in trained] == [tiny.trained.name]

    shown = killed_at(home, folder, "Seal")
    assert "Train the network" not in shown
    monkeypatch.setenv("FELSINA_HOME", str(home))
    code, out, err = run("run", "--dataset", str(folder), "--json", *SET_FLAGS)
    assert code == 0, err
    (record,) = json.loads(out)
    release = Path(record["release"])
    manifest, expected = (json.loads((f / MANIFEST).read_bytes()) for f in (release, tiny.release))
    assert manifest == expected
    assert release.name == tiny.release.name
    for path in tiny.release.iterdir():
        assert (home / "releases" / tiny.release.name / path.name).read_bytes() == path.read_bytes()
    assert (home / "champions" / "tiny.json").is_file()
    for room in ("releases", "trained", "champions"):
        kept = [path.name for path in (home / room).iterdir()]
        assert len(kept) == 1, kept
    assert [path.name for path in (home / "work").iterdir() if path.is_dir()] == []


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", make_dataset(tmp_path / "tiny")
    flags = [flag for flag in SET_FLAGS if flag not in ("steps=20", "--set")]
    more = [part for text in [*flags, "steps=4000", "patience=400"] for part in ("--set", text)]
    process = subprocess.Popen(
        command("train", "--dataset", str(folder), *more),
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    last = "work/*/checkpoints/last.ckpt"
    seen = progress_of(home, last, at_least=30, alive=lambda: process.poll() is None)
    process.kill()
    process.wait(30)
    kept = step_of(home, last)
    assert kept >= seen >= 30

    process = subprocess.Popen(
        command("train", "--dataset", str(folder), *more),
        cwd=ROOT,
        env=environment(home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        went_on = progress_of(home, last, at_least=kept + 1, alive=lambda: process.poll() is None)
    finally:
        process.kill()
        process.wait(30)
    assert kept < went_on


def step_of(home: Path, pattern: str) -> int:
    import torch

    (path,) = home.glob(pattern)
    return int(torch.load(path, weights_only=True)["global_step"])


def progress_of(home: Path, pattern: str, at_least: int, alive) -> int:
    """Wait until the checkpoint holds so many steps; steps never fall on the way."""
    highest, end = -1, time.monotonic() + PATIENCE_S
    while time.monotonic() < end and alive():
        try:
            step = step_of(home, pattern)
        except (OSError, ValueError, RuntimeError, EOFError):
            step = highest
        assert step >= highest, "the training began anew"
        highest = step
        if highest >= at_least:
            return highest
        time.sleep(0.05)
    raise AssertionError(f"the checkpoint held {highest} steps, not {at_least}")
