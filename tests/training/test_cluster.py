"""What a SLURM job asks for, and the script that asks for it."""

from pathlib import Path

import pytest

from models.contracts import FelsinaError
from training.cluster import SlurmJob, bundle


def test_keys_may_be_left_out_and_stand_in_any_order():
    assert SlurmJob.parse("gpus=4,nodes=2") == SlurmJob(nodes=2, gpus=4)
    job = SlurmJob.parse("time=1-02:00:00, partition=gpu_prod,account=city.twin,array=8")
    assert job == SlurmJob(1, 1, "1-02:00:00", "gpu_prod", "city.twin", 8)
    assert SlurmJob.parse("nodes=2,gpus=4").processes == 8


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("nodes=2,cores=4", "'cores' is not known"),
        ("nodes=2,nodes=3", "'nodes' stands twice"),
        ("", "'' is not known"),
        ("nodes", "nodes = ''"),
        ("nodes=0", "whole number"),
        ("gpus=-1", "whole number"),
        ("gpus=4.0", "whole number"),
        ("array=1-8", "whole number"),
        ("time=2h", "HH:MM:SS"),
        ("time=02:00", "HH:MM:SS"),
        ("partition=", "a name"),
        ("partition=gpu prod", "a name"),
        ("account=x\n#SBATCH --reboot", "a name"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(text, part):
    with pytest.raises(FelsinaError) as caught:
        SlurmJob.parse(text)
    assert str(caught.value).startswith(f"--slurm {text!r}: ")
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_script_of_a_training():
    job = SlurmJob.parse("nodes=2,gpus=4,time=02:00:00,partition=gpu,account=twin")
    command = ["/opt/felsina/.venv/bin/python", "-m", "pipelines.cli", "train", "--dataset"]
    command += ["/data/my city", "--set", "precision=bf16"]
    text = job.script("city-0123", command, Path("/opt/felsina"), Path("/shared/mlruns"))
    assert (
        text
        == """\
#!/bin/bash
#SBATCH --job-name=city-0123
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --time=02:00:00
#SBATCH --partition=gpu
#SBATCH --account=twin
#SBATCH --chdir=/opt/felsina
#SBATCH --output=/shared/mlruns/slurm/city-0123-%j.log
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --requeue

export FELSINA_HOME=/shared/mlruns
# Compute nodes reach no server: felsina tracking sync brings the run to one.
export MLFLOW_TRACKING_URI=sqlite:////shared/mlruns/offline/city-0123/mlflow.db

srun --kill-on-bad-exit=1 /opt/felsina/.venv/bin/python -m pipelines.cli train --dataset \
'/data/my city' --set precision=bf16 &
trap 'scontrol requeue "$SLURM_JOB_ID"; wait' USR1
wait "$!"
"""
    )


def test_the_script_of_a_search_is_an_array():
    text = SlurmJob(array=8).script("city-search", ["felsina"], Path("/opt"), Path("/home"))
    lines = text.splitlines()
    assert "#SBATCH --array=0-7" in lines
    assert "#SBATCH --output=/home/slurm/city-search-%A_%a.log" in lines
    assert not [line for line in lines if "partition" in line or "time" in line]


def test_a_bundle_lies_under_the_home():
    assert bundle(Path("/home"), "city") == Path("/home/offline/city")
