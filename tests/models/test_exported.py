"""An exported graph is fed by name, with one thread that does not spin."""

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.exported import open_session, predictor
from models.windows import WindowBuilder
from tests.factories import make_spec


def test_a_graph_gets_the_inputs_that_it_names(tmp_path):
    past = helper.make_tensor_value_info("past", TensorProto.FLOAT, ["batch", 48, 2])
    lags = helper.make_tensor_value_info("lags", TensorProto.FLOAT, ["batch", 1, 6, 2])
    out = helper.make_tensor_value_info("quantiles", TensorProto.FLOAT, None)
    nodes = [
        helper.make_node("Shape", ["lags"], ["shape"]),
        helper.make_node("ReduceSum", ["past"], ["total"], keepdims=0),
        helper.make_node("Expand", ["total", "shape"], ["quantiles"]),
    ]
    graph = helper.make_graph(nodes, "sum", [lags, past], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 9
    onnx.save(model, tmp_path / "model.onnx")

    spec = make_spec(lags=(24,), forcings=())
    values = np.random.default_rng(0).normal(size=(100, 2))
    window = WindowBuilder(spec, np.datetime64("2024-02-05"), values).batch(np.array([60, 70, 80]))
    session = open_session(tmp_path / "model.onnx", threads=2)
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert session.get_session_options().intra_op_num_threads == 2
    forecast = predictor(session)(window)
    assert forecast.shape == (3, 1, 6, 2)
    np.testing.assert_allclose(forecast, window.past.sum(), rtol=1e-4)
