import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks import roofline, scaling
from benchmarks.stages import STAGES, city, peak_bytes
from tests.fixtures.tiny import ROOT


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_node_of_the_city_has_eight_neighbours():
    _, graph, builder = city(50)
    for ends in (graph.source, graph.target):
        assert (np.bincount(ends, minlength=50) == 8).all()
    assert (graph.source != graph.target).all()
    assert builder.values.shape[1] == 50


def test_slope_is_the_exponent_of_a_power_law():
    sizes = [100, 1000, 10_000]
    assert scaling.slope(sizes, [3 * n**1.25 for n in sizes]) == pytest.approx(1.25)


@pytest.mark.parametrize("stage", ["fit", "pooled_fit", "step", "torch"])
def test_stages_of_a_small_city_are_measured(tmp_path, stage):
    assert STAGES[stage](50, tmp_path, "cpu")["seconds"] > 0
    assert peak_bytes() > 1e7


def test_the_command_exports_infers_and_judges():
    stages = ["--stage", "export", "--stage", "onnx"]
    done = run("benchmarks.scaling", "--nodes", "50", "--device", "cpu", *stages)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows[0] == "| stage | 50 nodes | slope |"
    assert [row.split(" | ")[0] for row in rows[2:]] == [
        "| export, s",
        "| export, GB",
        "| onnx, s",
        "| onnx, GB",
    ]
    assert "onnx at 50 nodes: GB" in done.stdout


def test_inference_without_an_export_is_refused():
    done = run("benchmarks.scaling", "--stage", "onnx")
    assert done.returncode == 2
    assert "--stage export" in done.stderr


def test_a_steep_cost_is_called_so():
    found = {
        "onnx": {
            1000: {"seconds": 1.0, "peak_bytes": 1e9},
            10_000: {"seconds": 20.0, "peak_bytes": 9e9},
        }
    }
    text = "\n".join(scaling.table(found))
    assert "onnx, s: slope 1.3 <= 1.1: **no**" in text
    assert "onnx, GB: slope 0.954 <= 1.1: yes" in text
    assert "onnx at 10000 nodes: GB 9 <= 8: **no**" in text


def test_the_slowest_operator_is_found_with_its_bytes_and_arithmetic():
    device = torch.device("cpu")
    a, b = torch.ones(400, 300), torch.ones(300, 500)
    name, share, seconds, moved, flops = roofline.slowest(lambda: a @ b, device)
    assert name == "aten::mm"
    assert share > 0.5
    assert seconds > 0
    assert moved == 4 * (400 * 300 + 300 * 500 + 400 * 500)
    assert flops == 2 * 400 * 300 * 500


@pytest.mark.parametrize(
    ("shapes", "moved"),
    [
        ([[8, 5], [5]], 40 + 5 + 40),
        ([[], []], 0),
        ([[5], [8, 3], [3, 5]], 5 + 24 + 15 + 40),
    ],
)
def test_moved_numbers(shapes, moved):
    assert roofline.moved_numbers(shapes) == moved
