"""Two processes that train together equal one, and are killed without loss."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.contracts import FelsinaError
from tests.factories import make_dataset, make_settings
from tests.fixtures.ranks import Losses
from tests.fixtures.tiny import PATIENCE_S, ROOT, family
from training.checkpoint import read
from training.dataset import open_dataset
from training.fit import fit
from training.loop import BEST, LAST
from training.settings import TrainSettings

SHAPE = {"width": 16, "blocks": 1, "embedding": 4, "weekly": True}
SETTINGS = make_settings(
    accelerator="cpu",
    steps=12,
    evaluate_every=4,
    batch=9,  # shares of 5 and 4 windows
    architecture=SHAPE | {"dropout": 0.0},
)


@pytest.fixture(scope="module")
def gappy(tmp_path_factory) -> Path:
    """Windows that hold very different numbers of targets."""
    folder = make_dataset(tmp_path_factory.mktemp("gappy") / "tiny")
    series = pd.read_parquet(folder / "series.parquet")
    values = series[["a", "b", "c"]].to_numpy(copy=True)
    values[np.random.default_rng(0).random(len(values) // 8).repeat(8)[: len(values)] < 0.4] = (
        np.nan
    )
    series.iloc[: len(values), 1:4] = values
    series.to_parquet(folder / "series.parquet", index=False)
    return folder


def launch(folder: Path, place: Path, settings: TrainSettings, count: int = 2) -> subprocess.Popen:
    (place / "out").mkdir(parents=True, exist_ok=True)
    arguments = [folder, place / "work", place / "out", settings.model_dump_json()]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)),
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"),
            *(str(ROOT / "tests" / "fixtures" / "ranks.py"), *map(str, arguments)),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process: subprocess.Popen, place: Path) -> list[dict[str, Any]]:
    """What each process ended with."""
    shown, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, shown
    return [read(path) for path in sorted((place / "out").iterdir())]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], tolerance: float) -> None:
    assert list(one) == list(other)
    for name in one:
        torch.testing.assert_close(
            one[name],
            other[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def test_two_processes_equal_one(gappy, tmp_path):
    listener = Losses()
    alone = fit(open_dataset(gappy), SETTINGS, tmp_path / "alone", listener)
    first, second = ended(launch(gappy, tmp_path, SETTINGS), tmp_path)
    same(first["weights"], second["weights"], 0)
    same(alone.forecaster.state_dict(), first["weights"], 1e-6)
    assert first["steps"] == second["steps"] == alone.steps == 12
    expected = torch.tensor(listener.losses, dtype=torch.float64)
    assert expected.shape == (3, 3)
    for told in (first["losses"], second["losses"]):
        torch.testing.assert_close(told, expected, rtol=1e-6, atol=0)
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == sorted([BEST, LAST])


@pytest.mark.slow
def test_a_signal_ends_all_and_the_same_weights_come_of_it(gappy, tmp_path):
    """A process that is told to go, goes at once; the checkpoint of the last look is whole."""
    shape = SHAPE | {"dropout": 0.2}
    settings = SETTINGS.model_copy(
        update={
            "steps": 80,
            "patience": 80,
            "architecture": make_settings(architecture=shape).architecture,
        }
    )
    unbroken = ended(launch(gappy, tmp_path / "unbroken", settings), tmp_path / "unbroken")
    process = launch(gappy, tmp_path, settings)
    last, end = tmp_path / "work" / LAST, time.monotonic() + PATIENCE_S
    while not last.exists() and time.monotonic() < end:
        time.sleep(0.01)
    victim = next(pid for pid in family(process.pid) if is_rank(pid))
    os.kill(victim, signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode != 0
    kept = read(last)["global_step"]
    assert 4 <= kept < 80
    resumed = ended(launch(gappy, tmp_path, settings), tmp_path)
    assert resumed[0]["losses"][0, 0] > kept
    for one, other in zip(unbroken, resumed, strict=True):
        same(one["weights"], other["weights"], 0)


def is_rank(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return (
        any(word.endswith(b"ranks.py") for word in words) and b"torch.distributed.run" not in words
    )


def test_fewer_windows_than_processes_are_refused(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("training.fit.size", lambda: 10)
    with pytest.raises(FelsinaError) as caught:
        fit(dataset, SETTINGS, tmp_path, Losses())
    assert "batch = 9" in str(caught.value)
    assert "10 processes" in str(caught.value)


def test_settings_survive_the_command_line():
    assert TrainSettings(**json.loads(SETTINGS.model_dump_json())) == SETTINGS
