"""The exported graph says what torch says, and holds nothing that races."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from models import layers
from models.contracts import FelsinaError
from models.exported import open_session, predictor
from models.forecaster import Architecture, Forecaster
from models.windows import WindowBuilder
from tests.factories import make_graph, make_spec
from training.export import PARITY, check_parity, export_onnx, refuse_races
from training.ridge import tensors


@pytest.fixture(scope="module")
def exported(fitted, dataset, tmp_path_factory):
    """The fitted model's graph and the windows that it is tried on."""
    path = tmp_path_factory.mktemp("export") / "model.onnx"
    builder = dataset.builder(fitted.spec)
    origins = dataset.splits.test(fitted.spec, dataset.start)
    export_onnx(fitted.forecaster, builder.batch(origins[:2]), path)
    return path, builder, origins


def reductions(path) -> list[str]:
    found = []
    for node in onnx.load(path).graph.node:
        attributes = {a.name: a.s.decode() for a in node.attribute if a.name == "reduction"}
        found += [attributes[n] for n in attributes if node.op_type.startswith("Scatter")]
    return [r for r in found if r != "none"]


def test_parity_at_every_batch_and_thread_count(exported, fitted, monkeypatch):
    monkeypatch.setattr("training.export._REPEATS", 3)
    path, builder, origins = exported
    told = check_parity(fitted.forecaster, path, builder, origins)
    assert told["largest_relative_difference"] <= PARITY
    assert told["batches"] == [1, 4, 32]
    assert told["threads"] == [1, 2]
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]


def test_the_batch_is_dynamic_and_rows_are_their_own(exported, fitted):
    path, builder, origins = exported
    predict = predictor(open_session(path))
    batch = predict(builder.batch(origins[:7]))
    assert batch.shape == (7, 6, 4, 11)
    np.testing.assert_allclose(
        batch, fitted.predict(builder.batch(origins[:7])), rtol=1e-4, atol=1e-2
    )
    for row in range(7):
        alone = predict(builder.batch(origins[row : row + 1]))[0]
        np.testing.assert_allclose(alone, batch[row], rtol=1e-5, atol=1e-3)


def test_gaps_are_carried_by_the_graph(exported, fitted):
    path, builder, origins = exported
    window = builder.batch(origins[:3])
    window.past[..., 1] = np.nan
    window.lags[:] = np.nan
    window.future_forcings[:] = np.nan
    quantiles = predictor(open_session(path))(window)
    assert np.isfinite(quantiles).all()
    np.testing.assert_allclose(quantiles, fitted.predict(window), rtol=1e-4, atol=1e-2)


def test_calibration_is_inside_the_graph(exported, fitted):
    path, builder, origins = exported
    window = builder.batch(origins[:2])
    kept = fitted.forecaster.offset.clone()
    fitted.forecaster.offset.zero_()
    try:
        bare = fitted.predict(window)
    finally:
        fitted.forecaster.offset.copy_(kept)
    assert not np.allclose(predictor(open_session(path))(window), bare, rtol=1e-3)


def test_another_model_does_not_pass_for_the_exported_one(exported, fitted, dataset, monkeypatch):
    monkeypatch.setattr("training.export._REPEATS", 1)
    path, builder, origins = exported
    other = Forecaster(fitted.spec, dataset.graph, fitted.settings.architecture).eval()
    with pytest.raises(FelsinaError) as caught:
        check_parity(other, path, builder, origins)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_forecast_that_is_not_finite_is_no_parity(exported, fitted, monkeypatch):
    monkeypatch.setattr("training.export._REPEATS", 1)
    path, builder, origins = exported
    broken = SimpleNamespace(
        get_inputs=list, run=lambda names, inputs: [np.full((1, 6, 4, 11), np.nan)]
    )
    monkeypatch.setattr("training.export.open_session", lambda path, threads: broken)
    monkeypatch.setattr("training.export._BATCHES", (1,))
    with pytest.raises(FelsinaError):
        check_parity(fitted.forecaster, path, builder, origins)


def random_model(spec, graph, **shape) -> Forecaster:
    torch.manual_seed(0)
    model = Forecaster(spec, graph, Architecture(width=8, blocks=1, embedding=2, **shape)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.backbone.weight.normal_(std=0.1)
    model.backbone.scaler.mean.fill_(100)
    model.backbone.scaler.scale.fill_(30)
    if model.backbone.anchor == "profile":
        model.backbone.profile.table.fill_(100)
    return model


def plain_builder(spec, nodes: int) -> WindowBuilder:
    values = np.random.default_rng(0).normal(100, 30, (300, nodes))
    return WindowBuilder(spec, np.datetime64("2024-02-05"), values)


@pytest.fixture(scope="module")
def gathering(tmp_path_factory):
    """A model too large for a dense product, without forcings and lags, and its graph."""
    spec = make_spec(forcings=(), lags=(), lookback=12, horizon=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "DENSE_NODES", 3)
        model = random_model(spec, make_graph(9), anchor="last", calendar=False)
    builder, path = plain_builder(spec, 9), tmp_path_factory.mktemp("gather") / "model.onnx"
    export_onnx(model, builder.batch(np.array([100, 110])), path)
    return model, path, builder


def test_without_forcings_and_lags_the_graph_has_fewer_inputs(gathering):
    _, path, _ = gathering
    names = {node.name for node in open_session(path).get_inputs()}
    assert "past" in names
    assert not names & {"lags", "past_forcings", "future_forcings"}


def test_beyond_a_thousand_nodes_neighbours_are_gathered_without_a_race(gathering, monkeypatch):
    """The padded path, taken here by a small graph."""
    monkeypatch.setattr("training.export._REPEATS", 3)
    model, path, builder = gathering
    assert not model.members[0].diffusion.dense
    assert reductions(path) == []
    assert "Gather" in {node.op_type for node in onnx.load(path).graph.node}
    told = check_parity(model, path, builder, np.arange(100, 200))
    assert told["largest_relative_difference"] <= PARITY


def test_fifteen_hundred_nodes_are_exported_and_forecast_alike(tmp_path):
    spec = make_spec(forcings=(), lags=(), lookback=12, horizon=3)
    nodes, ring = 1500, make_graph(26)
    names = tuple(map(str, range(nodes)))
    everywhere = {"ids": names, "names": names, "areas": names}
    nowhere = np.full(nodes, np.nan)
    order = np.random.default_rng(0).permutation(nodes)
    graph = replace(
        ring,
        **everywhere,
        lon=nowhere,
        lat=nowhere,
        thresholds=np.full((nodes, 3), np.nan),
        attributes={},
        source=np.concatenate([order, order]),
        target=np.concatenate([np.roll(order, 1), np.roll(order, -3)]),
        weight=np.ones(2 * nodes, np.float32),
    )
    model, builder = random_model(spec, graph), plain_builder(spec, nodes)
    assert nodes > layers.DENSE_NODES
    window, path = builder.batch(np.array([100, 110])), tmp_path / "model.onnx"
    export_onnx(model, window, path)
    told = predictor(open_session(path, threads=2))(window)
    with torch.inference_mode():
        expected = model(**tensors(window)).numpy()
    assert told.shape == (2, 3, nodes, 11)
    np.testing.assert_allclose(told, expected, rtol=1e-4, atol=1e-2)


class Adder(torch.nn.Module):
    """Mixes neighbours by ``index_add``, as must not be."""

    def forward(self, past, past_calendar, future_calendar, **_):
        index = torch.tensor([1, 0, 1, 2])
        mixed = torch.zeros_like(past).index_add(2, index, past)
        return mixed + past_calendar.sum() + future_calendar.sum()


def test_a_model_that_adds_by_index_is_refused_and_leaves_no_file(tmp_path):
    spec = make_spec(forcings=(), lags=(), lookback=12, horizon=3)
    window = plain_builder(spec, 4).batch(np.array([100, 110]))
    with pytest.raises(FelsinaError) as caught:
        export_onnx(Adder(), window, tmp_path / "model.onnx")
    assert "ScatterND" in str(caught.value)
    assert not (tmp_path / "model.onnx").exists()
    assert list(tmp_path.iterdir()) == []


def scatter(reduction: str | None) -> onnx.NodeProto:
    given = {} if reduction is None else {"reduction": reduction}
    return helper.make_node("ScatterND", ["x", "i", "u"], ["y"], name="mix", **given)


def model_of(nodes, functions=()) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    i = helper.make_tensor_value_info("i", TensorProto.INT64, [2, 1])
    u = helper.make_tensor_value_info("u", TensorProto.FLOAT, [2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    return helper.make_model(
        helper.make_graph(nodes, "g", [x, i, u], [y]), functions=list(functions)
    )


@pytest.mark.parametrize("reduction", ["add", "mul", "max"])
def test_scatter_with_a_reduction_is_refused(reduction):
    with pytest.raises(FelsinaError) as caught:
        refuse_races(model_of([scatter(reduction)]))
    assert reduction in str(caught.value)
    assert "mix" in str(caught.value)
    assert "gather" in str(caught.value)


@pytest.mark.parametrize("reduction", [None, "none"])
def test_scatter_without_a_reduction_may_stay(reduction):
    refuse_races(model_of([scatter(reduction)]))


def test_a_race_hidden_in_a_function_is_found():
    opset = [helper.make_opsetid("", 18)]
    function = helper.make_function("f", "Mix", ["x", "i", "u"], ["y"], [scatter("add")], opset)
    with pytest.raises(FelsinaError):
        refuse_races(
            model_of([helper.make_node("Mix", ["x", "i", "u"], ["y"], domain="f")], [function])
        )


def test_a_race_hidden_in_a_branch_is_found():
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    racing = helper.make_graph([scatter("add")], "then", [], [y])
    plain = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "else", [], [y])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=racing, else_branch=plain)
    with pytest.raises(FelsinaError):
        refuse_races(model_of([branch]))
