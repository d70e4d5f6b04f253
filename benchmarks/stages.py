"""The stages that ``benchmarks.scaling`` times; on a CPU each in a process of its own.

    python -m benchmarks.stages STAGE NODES FOLDER DEVICE

Prints one JSON object: seconds of the stage and the peak memory of the whole process. On a CPU the
seconds are of the processor, one thread, so that other work on the machine does not count; on a GPU
they are of the clock, and the memory is the GPU's. Inference by ONNX Runtime loads no torch, as the
server loads none.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models.contracts import CityGraph, FelsinaError, ForecastSpec
from models.exported import open_session, predictor
from models.windows import WindowBuilder

if TYPE_CHECKING:
    import torch

    from models.forecaster import Forecaster

DAYS = 3
"""Length of the train span."""
NEAREST = 4
"""Neighbours on either side of a node's place on the ring: degree 8."""
FIT_ORIGINS = 256
"""Windows that the backbone is fitted on; its time is linear in them."""
REPEATS = 5
START = np.datetime64("2024-03-04")


def city(nodes: int) -> tuple[ForecastSpec, CityGraph, WindowBuilder]:
    """A ring of nodes in random order, with 5-minute speeds: no memory is near by luck.

    Args:
        nodes: N, more than twice ``NEAREST``.
    """
    spec = ForecastSpec("ring", "traffic", "speed", "km/h", "5min", "Europe/Rome", 12, 12, True)
    rng = np.random.default_rng(0)
    order = rng.permutation(nodes)
    shifts = [shift for shift in range(-NEAREST, NEAREST + 1) if shift]
    names = tuple(map(str, range(nodes)))
    graph = CityGraph(
        ids=names,
        lon=np.full(nodes, np.nan),
        lat=np.full(nodes, np.nan),
        names=names,
        areas=("",) * nodes,
        thresholds=np.full((nodes, 3), np.nan),
        source=np.tile(order, len(shifts)),
        target=np.concatenate([np.roll(order, shift) for shift in shifts]),
        weight=rng.uniform(0.5, 1.0, nodes * len(shifts)).astype(np.float32),
    )
    hour = np.arange(DAYS * spec.steps_per_day, dtype=np.float32)[:, None] / 12
    phase = rng.uniform(0, 24, nodes).astype(np.float32)
    values = 60 + 20 * np.sin((hour + phase) * np.float32(np.pi / 12))
    values += rng.normal(0, 3, values.shape[0]).astype(np.float32)[:, None]
    return spec, graph, WindowBuilder(spec, START, values)


def forecaster(nodes: int, inductive: bool = False) -> tuple[Forecaster, WindowBuilder]:
    """Felsina as it is for a week of 5-minute speeds, not yet fitted."""
    from models.forecaster import Architecture, Forecaster

    spec, graph, builder = city(nodes)
    architecture = Architecture(  # pyright: ignore[reportCallIssue]
        dropout=0.2, weekly=False, inductive=inductive
    )
    return Forecaster(spec, graph, architecture), builder


def now(device: str) -> float:
    """Seconds of the processor; of the clock on a GPU."""
    return time.process_time() if device == "cpu" else time.perf_counter()


def timed(work: Callable[[], object], device: str) -> float:
    """Median seconds of ``work``, after one run to warm up."""
    spent = []
    for _ in range(REPEATS + 1):
        began = now(device)
        work()
        spent.append(now(device) - began)
    return float(np.median(spent[1:]))


def fit(nodes: int, folder: Path, device: str, inductive: bool = False) -> dict[str, Any]:
    """Fit scaler, profile and a ridge a node."""
    from training.ridge import fit_backbone

    model, builder = forecaster(nodes, inductive)
    backbone = model.to(device).backbone
    rows = len(builder.values)
    origins = np.arange(builder.spec.lookback - 1, rows - builder.spec.horizon)
    origins = origins[:: -(-len(origins) // FIT_ORIGINS)]
    began = now(device)
    fit_backbone(backbone, builder, rows, origins)
    synchronise(backbone.weight.device)
    return {"seconds": now(device) - began, "windows": len(origins)}


def pooled_fit(nodes: int, folder: Path, device: str) -> dict[str, Any]:
    """Fit one ridge for all nodes, as the inductive mode has it."""
    return fit(nodes, folder, device, inductive=True)


def training_step(model: Forecaster, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """One step on ``batch``: forward, backward, optimiser; to be called again and again."""
    import torch

    from training.losses import pinball

    optimiser = torch.optim.AdamW(model.train().parameters(), lr=1e-4)
    inputs = {name: part for name, part in batch.items() if name != "target"}
    levels = torch.tensor(model.spec.quantiles, device=batch["target"].device)
    weight = levels.new_ones(batch["target"].shape[-1])

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        members = model.member_quantiles(inputs)
        torch.stack(
            [pinball(q, batch["target"], levels, weight) for q in members]
        ).mean().backward()
        optimiser.step()
        synchronise(weight.device)

    return step


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done what it was asked."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step(nodes: int, folder: Path, device: str) -> dict[str, Any]:
    """One training step on one window."""
    from training.ridge import tensors

    model, builder = forecaster(nodes)
    batch = tensors(builder.batch(np.array([500]), with_target=True), device)
    return {"seconds": timed(training_step(model.to(device), batch), device)}


def torch_inference(nodes: int, folder: Path, device: str) -> dict[str, Any]:
    """One window by torch."""
    import torch

    from training.ridge import tensors

    model, builder = forecaster(nodes)
    inputs = tensors(builder.batch(np.array([500])), device)
    model = model.to(device).eval()

    def infer() -> None:
        with torch.inference_mode():
            model(**inputs)
        synchronise(model.offset.device)

    return {"seconds": timed(infer, device)}


def export(nodes: int, folder: Path, device: str) -> dict[str, Any]:
    """Write the graph that ``onnx`` runs."""
    from training.export import export_onnx

    model, builder = forecaster(nodes)
    window, path = builder.batch(np.array([500, 501])), folder / f"{nodes}.onnx"
    began = now(device)
    export_onnx(model.eval(), window, path)
    seconds = now(device) - began
    return {"seconds": seconds, "megabytes": path.stat().st_size / 1e6}


def onnx(nodes: int, folder: Path, device: str) -> dict[str, Any]:
    """One window by ONNX Runtime on one thread."""
    _, _, builder = city(nodes)
    predict = predictor(open_session(folder / f"{nodes}.onnx"))
    window = builder.batch(np.array([500]))
    quantiles = predict(window)
    if quantiles.shape[2] != nodes or not np.isfinite(quantiles).all():
        raise FelsinaError(f"the exported graph of {nodes} nodes gave no finite forecast of each")
    return {"seconds": timed(lambda: predict(window), device)}


STAGES = {
    "fit": fit,
    "pooled_fit": pooled_fit,
    "step": step,
    "torch": torch_inference,
    "export": export,
    "onnx": onnx,
}


def peak_bytes() -> int:
    """Most memory that this process held; ``getrusage`` would count its parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise FelsinaError("/proc/self/status tells no VmHWM; peak memory needs Linux")


def on_gpu(stage: str, nodes: int, folder: Path) -> dict[str, Any]:
    """Run one stage on the GPU; peak memory is what the stage held there."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    found = STAGES[stage](nodes, folder, "cuda")
    return found | {"peak_bytes": torch.cuda.max_memory_allocated()}


def main() -> None:
    """Run one stage."""
    stage, nodes, folder, device = sys.argv[1:]
    if stage != "onnx":
        import torch

        torch.set_num_threads(1)
    if device == "cuda":
        found = on_gpu(stage, int(nodes), Path(folder))
    else:
        found = STAGES[stage](int(nodes), Path(folder), device) | {"peak_bytes": peak_bytes()}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
