"""Export to ONNX, refuse what races in ONNX Runtime, prove that the graph says what torch says."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxscript import opset20
from torch import Tensor, nn

from models.contracts import FelsinaError, Window
from models.exported import ONE_OR_ALL, open_session
from models.record import write_atomic
from models.windows import WindowBuilder
from training.ridge import tensors

OPSET = 20
_OPS: Any = opset20
MOST_SAMPLES = 512
"""Largest batch of the exported graph."""

PARITY = 1e-4
"""Largest difference allowed, relative to the spread of a node's forecasts."""
_QUIET = {"torch.onnx": logging.ERROR, "torch.export": logging.CRITICAL}
"""Least that the exporter's loggers say: it calls loops an error, and exports them."""
_BATCHES, _THREADS, _REPEATS = (1, 4, 32), (1, 2), 40


class _Graph(nn.Module):
    """A predictor with its unused inputs (no forcings, no lags) left out."""

    def __init__(self, predictor: nn.Module, example: dict[str, Tensor]) -> None:
        super().__init__()
        self.predictor = predictor
        self.empty = {n: t[:1] for n, t in example.items() if not t.numel()}
        self.names = [n for n in example if n not in self.empty]

    def forward(self, *inputs: Tensor) -> Tensor:
        """Forecast from the inputs that hold something, in the order of ``names``."""
        given = dict(zip(self.names, inputs, strict=True))
        batch = inputs[0].shape[0]
        none = {n: t.new_zeros((batch, *t.shape[1:])) for n, t in self.empty.items()}
        return self.predictor(**given, **none)


def _softplus(x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """``log(1 + exp(x))``; ONNX Runtime has fast Exp and Log, but takes Softplus value by value."""
    below = _OPS.Exp(_OPS.Neg(_OPS.Abs(x)))
    one = _OPS.Constant(value_float=1.0)
    return _OPS.Add(_OPS.Relu(x), _OPS.Log(_OPS.Add(below, one)))


def export_onnx(forecaster: nn.Module, window: Window, path: Path) -> None:
    """Write the forecaster as ``path``, batch dynamic, scaler and calibration inside.

    Args:
        forecaster: in evaluation mode.
        window: an example of at least two windows.
        path: target file, written at once.

    Raises:
        FelsinaError: if the graph would race in ONNX Runtime.
    """
    example = {n: t for n, t in tensors(window).items() if n != "target"}
    export_module(forecaster, example, path)


def export_module(
    module: nn.Module, example: dict[str, Tensor], path: Path, shared: Sequence[str] = ()
) -> None:
    """Write any predictor as ``path``, batch dynamic.

    Args:
        module: takes the example's tensors by name and gives quantiles.
        example: input name to a tensor of at least two samples; the graph has no empty inputs.
        path: target file, written at once.
        shared: inputs of which one sample may be given for the whole batch; the module must
            broadcast them, and take no size from them.

    Raises:
        FelsinaError: if the graph would race in ONNX Runtime.
    """
    batch = torch.export.Dim("batch", min=1, max=MOST_SAMPLES)
    graph = _Graph(module, example).eval()
    arguments = tuple(example[name] for name in graph.names)
    quiet = {logging.getLogger(name): level for name, level in _QUIET.items()}
    levels = {logger: logger.level for logger in quiet}
    for logger, level in quiet.items():
        logger.setLevel(level)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                arguments,
                dynamo=True,
                opset_version=OPSET,
                input_names=graph.names,
                output_names=["quantiles"],
                dynamic_shapes=(tuple({0: batch} for _ in arguments),),
                custom_translation_table={torch.ops.aten.softplus.default: _softplus},
                verbose=False,
            )
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
    assert program is not None
    model = program.model_proto
    refuse_races(model)
    _forget_where(model)
    _broadcast(model, shared)
    onnx.checker.check_model(model)
    write_atomic(path, model.SerializeToString(deterministic=True))


def refuse_races(model: onnx.ModelProto) -> None:
    """Refuse ScatterND with a reduction: it gives wrong numbers with two threads and a batch."""
    for node in _nodes(model):
        reduction = {a.name: a.s for a in node.attribute}.get("reduction", b"none")
        if node.op_type == "ScatterND" and reduction != b"none":
            raise FelsinaError(
                f"the graph holds ScatterND with reduction {reduction.decode()} ({node.name}), "
                "which races in ONNX Runtime; mix neighbours by a gather or a dense product instead"
            )


def _nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node, those of functions and of branches and loops too."""
    waiting = [model.graph, *model.functions]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else [*attribute.graphs]


def _forget_where(model: onnx.ModelProto) -> None:
    """Drop the exporter's notes (stack traces with paths): the same model gives the same bytes."""
    for node in _nodes(model):
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    values = [*model.graph.input, *model.graph.output, *model.graph.value_info]
    for part in [model, model.graph, *model.functions, *model.graph.initializer, *values]:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _broadcast(model: onnx.ModelProto, shared: Sequence[str]) -> None:
    """Forget that some inputs have a sample for each of the others': ONNX operators broadcast.

    The shapes that the exporter noted go too, since ONNX Runtime plans its memory by them.
    """
    if not shared:
        return
    model.graph.ClearField("value_info")
    for value in model.graph.input:
        if value.name in shared:
            value.type.tensor_type.shape.dim[0].dim_param = ONE_OR_ALL


def check_parity(
    forecaster: nn.Module, path: Path, builder: WindowBuilder, origins: np.ndarray
) -> dict[str, Any]:
    """Compare the exported graph with torch at several batch sizes and thread counts, repeatedly.

    Returns:
        The largest difference relative to the spread of a node's forecasts, and what was tried.

    Raises:
        FelsinaError: if any run differs by more than ``PARITY``.
    """

    def draw(size: int) -> dict[str, np.ndarray]:
        return builder.batch(np.resize(origins, size)).inputs()

    return compare(forecaster, path, draw)


def compare(
    module: nn.Module,
    path: Path,
    draw: Callable[[int], dict[str, np.ndarray]],
    allowed: float = PARITY,
) -> dict[str, Any]:
    """Compare an exported graph with its module, as ``check_parity`` does.

    Args:
        module: takes what ``draw`` gives, by name.
        path: the graph; it may leave out empty inputs.
        draw: from a number of samples to inputs by name.
        allowed: largest difference, by the spread.
    """
    worst = 0.0
    for threads in _THREADS:
        session = open_session(path, threads)
        names = [node.name for node in session.get_inputs()]
        for size in _BATCHES:
            inputs = draw(size)
            with torch.inference_mode():
                arguments = {name: torch.as_tensor(value) for name, value in inputs.items()}
                expected = module(**arguments).numpy()
            spread = expected.std(axis=(0, 1, 3), keepdims=True)
            spread = np.where(spread > 0, spread, 1.0)
            for _ in range(_REPEATS):
                found = np.asarray(session.run(None, {name: inputs[name] for name in names})[0])
                gap = float((np.abs(found - expected) / spread).max())
                worst = max(worst, gap if np.isfinite(gap) else np.inf)
    if not worst <= allowed:
        raise FelsinaError(
            f"{path}: ONNX Runtime differs from torch by {worst:.2g} of the forecasts' spread "
            f"(allowed {allowed:g}); do not release it"
        )
    return {
        "largest_relative_difference": float(f"{worst:.3g}"),
        "allowed": allowed,
        "batches": list(_BATCHES),
        "threads": list(_THREADS),
        "repeats": _REPEATS,
    }
