"""Submitting to SLURM, and the batch script under bash with stand-ins for SLURM's programs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipelines.train import STATE, open_registered, settings_for
from tests.factories import Silent, make_dataset
from tests.fixtures.tiny import ROOT, command, environment, felsina
from training.checkpoint import read
from training.fit import fit

SETTINGS = [
    *("steps=150", "patience=150", "batch=8", "evaluate_every=5", "accelerator=cpu"),
    *("architecture.width=16", "architecture.blocks=1", "architecture.embedding=4"),
    *("architecture.members=1", "architecture.dropout=0.0"),
]
SET_FLAGS = [part for text in SETTINGS for part in ("--set", text)]
SRUN = """\
import os, subprocess, sys
count = int(os.environ["SLURM_NTASKS_PER_NODE"])
tasks = [
    subprocess.Popen(sys.argv[2:], env=os.environ | {
        "SLURM_STEP_ID": "0", "SLURM_NTASKS": str(count), "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank), "SLURM_NODEID": "0"})
    for rank in range(count)
]
with open(os.environ["TASKS"], "w") as stream:
    stream.write(" ".join(str(task.pid) for task in tasks))
sys.exit(max(abs(task.wait()) for task in tasks))
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment with stand-ins: ``sbatch`` takes a script, ``scontrol`` ends the tasks."""
    programs = {
        "sbatch": f'#!/bin/sh\necho "$1" >> {tmp_path}/submitted\necho Submitted batch job 4242\n',
        "srun": f"#!{sys.executable}\n{SRUN}",
        "scontrol": f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nkill -TERM $(cat "$TASKS")\n',
    }
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        path = tmp_path / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "TASKS": str(tmp_path / "tasks"),
        "SLURM_JOB_ID": "4242",
        "SLURM_NNODES": "1",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_NODELIST": "localhost",
    }


@pytest.mark.slow
def test_a_job_is_queued_again_and_its_run_comes_home(tmp_path: Path, slurm) -> None:
    folder, home = make_dataset(tmp_path / "tiny"), tmp_path / "home"
    words = ("train", "--dataset", str(folder), "--slurm", "nodes=1,gpus=2", *SET_FLAGS)
    done = felsina(home, *words, **slurm)
    assert done.returncode == 0, done.stderr
    assert "Submitted batch job 4242" in done.stderr
    (script,) = (home / "slurm").glob("tiny-*.sbatch")
    assert (tmp_path / "submitted").read_text() == f"{script}\n"

    def job() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", script], cwd=ROOT, env=environment(home, **slurm))

    first = job()
    end = time.monotonic() + 200
    while not list(home.glob("work/*/checkpoints/last.safetensors")) and time.monotonic() < end:
        time.sleep(0.02)
    first.send_signal(signal.SIGUSR1)
    assert first.wait(60) != 0
    assert (tmp_path / "asked").read_text() == "requeue 4242\n"
    assert not list(home.glob("trained/*/run.json"))

    assert job().wait(300) == 0
    (run,) = home.glob("trained/*/run.json")
    state = read(run.with_name(STATE))
    dataset = open_registered(folder)
    alone = fit(dataset, settings_for(dataset, assignments=SETTINGS), tmp_path / "w", Silent())
    for name, tensor in alone.forecaster.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-5)

    assert not (home / "mlflow.db").exists()
    first_time, second = (felsina(home, "tracking", "sync", "--json") for _ in range(2))
    assert json.loads(first_time.stdout)["runs"] == 1, first_time.stderr
    assert json.loads(first_time.stdout)["entries"] >= 30
    assert json.loads(second.stdout) == {"runs": 0, "entries": 0, "files": 0}


def test_without_sbatch_the_script_is_written_and_named(tmp_path: Path) -> None:
    folder, home = make_dataset(tmp_path / "tiny"), tmp_path / "home"
    done = subprocess.run(
        command("train", "--dataset", str(folder), "--slurm", "gpus=4"),
        cwd=ROOT,
        env=environment(home, PATH="/nosuch"),
        capture_output=True,
        text=True,
        check=False,
    )
    (script,) = (home / "slurm").glob("*.sbatch")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"felsina: sbatch is not on PATH; {script} is written: submit it where SLURM is\n"
    )


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (["--slurm", "gpus=none"], "gpus = 'none'"),
        (["--slurm", "gpus=2", "--trials", "4"], "a trial takes one GPU"),
        (["--slurm", "array=2"], "array is for --trials"),
    ],
)
def test_what_makes_no_job_is_refused(tmp_path, monkeypatch, capsys, flags, part) -> None:
    from pipelines import cli

    folder = make_dataset(tmp_path / "tiny")
    monkeypatch.setattr("sys.argv", ["felsina", "train", "--dataset", str(folder), *flags])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    shown = capsys.readouterr().err
    assert part in shown
    assert shown.count("\n") == 1
