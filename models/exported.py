"""An exported model in ONNX Runtime: the backtest and the server run it the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from models.contracts import FloatArray, Window

Predict = Callable[[Window], FloatArray]
"""From a batch of windows to quantiles [B, H, N, Q]: a torch module, or an exported graph."""

ONE_OR_ALL = "one_or_all"
"""Name of an input's first dimension where one sample may stand for all of a batch."""


def open_session(model: Path | bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the CPU, with threads that do not spin.

    Args:
        model: the graph's file, or its bytes, which nobody changes after they were verified.
        threads: of one call.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def predictor(session: onnxruntime.InferenceSession) -> Predict:
    """From a batch of windows to quantiles [B, H, N, Q], by an exported graph."""
    names = [node.name for node in session.get_inputs()]

    def predict(window: Window) -> FloatArray:
        arrays = window.inputs()
        return np.asarray(session.run(None, {name: arrays[name] for name in names})[0])

    return predict
