"""How near the slowest operator of a training step comes to what the hardware can do.

The ceilings are measured on the same device: a large copy for memory, a large product for
arithmetic. An operator's bytes are its inputs, read once, and an output of their broadcast shape;
its arithmetic is what the profiler counts. Written for GPUs; on a CPU it runs too, one thread.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.stages import forecaster, synchronise, training_step
from training.ridge import tensors

WINDOWS = 8
"""Windows a step: a GPU is not filled by one."""
STEPS = 5
COPY_BYTES, SIDE = 1 << 30, 4096
_SILENT = ("aten::empty", "aten::zero_", "aten::_to_copy")


def report(nodes: list[int], device: str) -> list[str]:
    """Markdown table: samples a second and the slowest operator, a row a size."""
    place = torch.device(device)
    memory, arithmetic = ceilings(place)
    lines = [
        f"Copies reach {memory / 1e9:.0f} GB/s, products {arithmetic / 1e12:.2f} Tflop/s.",
        "",
        "| nodes | training windows/s | slowest operator | its share of time | of memory bandwidth "
        "| of matrix rate |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for size in nodes:
        model, builder = forecaster(size)
        origins = np.linspace(300, 700, WINDOWS).astype(int)
        batch = tensors(builder.batch(origins, with_target=True), place)
        step = training_step(model.to(place), batch)
        seconds = _seconds(step, place)
        name, share, spent, moved, flops = slowest(step, place)
        cells = [size, f"{WINDOWS / seconds:.1f}", name, f"{share:.0%}"]
        cells.append(f"{moved / spent / memory:.0%}" if moved else "not told")
        cells.append(f"{flops / spent / arithmetic:.0%}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def ceilings(device: torch.device) -> tuple[float, float]:
    """Bytes a second of a copy, and floating-point operations a second of a product."""
    square = torch.ones(SIDE, SIDE, device=device)
    multiplied = _seconds(lambda: square @ square, device)
    return copy_rate(device), 2 * SIDE**3 / multiplied


def copy_rate(device: torch.device) -> float:
    """Bytes a second of a large copy, read and written."""
    source = torch.rand(COPY_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPY_BYTES / _seconds(lambda: target.copy_(source), device)


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    spent = []
    for _ in range(STEPS + 1):
        synchronise(device)
        began = time.perf_counter()
        work()
        synchronise(device)
        spent.append(time.perf_counter() - began)
    return min(spent[1:])


def slowest(
    step: Callable[[], object], device: torch.device
) -> tuple[str, float, float, float, float]:
    """The operator, at one shape, that takes most time in ``step``.

    Returns:
        Its name, its share of all operators' time, and seconds, bytes and floating-point
        operations of all its calls.
    """
    gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if gpu else [])]
    step()
    with profile(activities=activities, record_shapes=True, with_flops=True) as recorded:
        step()
    events = [e for e in recorded.key_averages(group_by_input_shape=True) if e.input_shapes]

    def spent(event: Any) -> float:
        return 1e-6 * (event.self_device_time_total if gpu else event.self_cpu_time_total)

    named = [e for e in events if e.key.startswith("aten::") and e.key not in _SILENT]
    worst = max(named, key=spent)
    whole = sum(spent(event) for event in named)
    moved = 4 * worst.count * moved_numbers(worst.input_shapes)
    return worst.key, spent(worst) / whole, spent(worst), moved, float(worst.flops or 0)


def moved_numbers(shapes: list[Any]) -> int:
    """Numbers read and written by an operator, from the shapes of its inputs.

    A product writes [..., rows, columns]; everything else writes its inputs' broadcast shape. 0
    where the profiler tells no shape, as of lists that are joined.
    """
    arrays = [shape for shape in shapes if shape]
    if not arrays:
        return 0
    read = sum(math.prod(shape) for shape in arrays)
    try:
        written = math.prod(torch.broadcast_shapes(*arrays))
    except RuntimeError:  # a product: rows of the one with columns of the other
        first, second = arrays[-2:]
        written = math.prod(first[:-1]) * second[-1]
    return read + written
