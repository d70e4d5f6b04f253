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
from tests.fixtures.tiny import PATIENCE_S, ROOT, Run, environment
from training.checkpoint import read
from training.fit import fit

SETTINGS = [
    *("steps=60", "patience=60", "batch=8", "evaluate_every=5", "accelerator=cpu"),
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
def test_a_job_is_queued_again_and_its_run_comes_home(
    tmp_path: Path, slurm, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = make_dataset(tmp_path / "tiny"), tmp_path / "home"
    words = ("train", "--dataset", str(folder), "--slurm", "nodes=1,gpus=2", *SET_FLAGS)
    monkeypatch.setenv("FELSINA_HOME", str(home))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", slurm["PATH"])
        code, _, err = run(*words)
    assert code == 0, err
    assert "Submitted batch job 4242" in err
    (script,) = (home / "slurm").glob("tiny-*.sbatch")
    assert (tmp_path / "submitted").read_text() == f"{script}\n"

    def job() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", script], cwd=ROOT, env=environment(home, **slurm))

    first = job()
    end = time.monotonic() + PATIENCE_S
    while not list(home.glob("work/*/checkpoints/last.safetensors")) and time.monotonic() < end:
        time.sleep(0.02)
    first.send_signal(signal.SIGUSR1)
    assert first.wait(PATIENCE_S) != 0
    assert (tmp_path / "asked").read_text() == "requeue 4242\n"
    assert not list(home.glob("trained/*/run.json"))

    assert job().wait(PATIENCE_S) == 0
    (record,) = home.glob("trained/*/run.json")
    state = read(record.with_name(STATE))
    dataset = open_registered(folder)
    alone = fit(dataset, settings_for(dataset, assignments=SETTINGS), tmp_path / "w", Silent())
    for name, tensor in alone.forecaster.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-4, atol=1e-5)

    assert not (home / "mlflow.db").exists()
    first_time, second = (json.loads(run("tracking", "sync", "--json")[1]) for _ in range(2))
    assert first_time["runs"] == 1
    assert first_time["entries"] >= 30
    assert second == {"runs": 0, "entries": 0, "files": 0}


def test_without_sbatch_the_script_is_written_and_named(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, home = make_dataset(tmp_path / "tiny"), tmp_path / "home"
    monkeypatch.setenv("FELSINA_HOME", str(home))
    monkeypatch.setenv("PATH", "/nosuch")
    code, out, err = run("train", "--dataset", str(folder), "--slurm", "gpus=4")
    (script,) = (home / "slurm").glob("*.sbatch")
    assert (code, out) == (2, "")
    assert err == (
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
def test_what_makes_no_job_is_refused(tmp_path: Path, run: Run, flags, part) -> None:
    folder = make_dataset(tmp_path / "tiny")
    code, _, shown = run("train", "--dataset", str(folder), *flags)
    assert code == 2
    assert part in shown
    assert shown.count("\n") == 1
