"""Properties of the forecaster that hold whatever its weights are."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.contracts import CityGraph, Forcing, Forecast, ForecastSpec
from models.forecaster import Architecture, Forecaster, fan, ordered
from models.windows import WindowBuilder
from tests.factories import make_graph, make_series, make_spec
from training.ridge import tensors

SMALL = {"width": 16, "blocks": 1, "embedding": 4}
ORIGINS = np.array([900, 1000, 1100, 1101])


@lru_cache
def make_builder(spec: ForecastSpec) -> WindowBuilder:
    series, forcings = make_series(days=60)
    start = np.datetime64(series.index[0].tz_convert(None), "s")
    forced = forcings.to_numpy(np.float32, copy=True)[:, None, : len(spec.forcings)]
    return WindowBuilder(spec, start, series.to_numpy(), forced)


def randomise(model: Forecaster, seed: int, offsets: float = 0.0) -> Forecaster:
    """Weights, ridge and offsets at random; level, scale and profile of the tiny series."""
    generator = torch.Generator().manual_seed(seed)

    def noise(tensor: torch.Tensor, size: float) -> None:
        tensor.copy_(size * torch.randn(tensor.shape, generator=generator))

    with torch.no_grad():
        for parameter in model.parameters():
            noise(parameter, 0.4)
        noise(model.backbone.weight, 0.1)
        noise(model.offset, offsets)
        noise(model.backbone.residual, 1.0)
        model.backbone.residual.abs_()
    builder = make_builder(model.spec)
    values = torch.as_tensor(builder.values)
    model.backbone.scaler.fit(values, torch.as_tensor(builder.forcings))
    calendar = torch.as_tensor(builder.calendar(0, len(values)))
    if model.backbone.anchor == "profile":
        model.backbone.profile.fit(values, calendar)
    return model.eval()


def make_model(
    seed: int = 0, spec: ForecastSpec | None = None, offsets: float = 0.0, **shape
) -> Forecaster:
    model = Forecaster(spec or make_spec(), make_graph(), Architecture(**(SMALL | shape)))
    return randomise(model, seed, offsets)


def run(model: Forecaster, window: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.inference_mode():
        return model(**window)


def windows(model: Forecaster) -> dict[str, torch.Tensor]:
    return tensors(make_builder(model.spec).batch(ORIGINS))


SHAPES = {
    "tiny": ({}, {}),
    "last": ({}, {"anchor": "last", "calendar": False}),
    "annual": ({}, {"annual": True, "weekly": False, "members": 2}),
    "plain": ({"forcings": (), "lags": ()}, {"graph": False, "blocks": 0}),
    "known": ({"forcings": (Forcing("temp_c", "degC", True),), "nonnegative": False}, {}),
    "past-only": ({"forcings": (Forcing("temp_c", "degC", False),)}, {"blocks": 3}),
    "short": ({"lookback": 2, "horizon": 30, "lags": (24,)}, {}),
    "few levels": ({"quantiles": (0.1, 0.5, 0.9)}, {}),
    "inductive": ({"lags": (168, 336)}, {"inductive": True, "graph": False}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_a_forecast(name):
    changes, shape = SHAPES[name]
    spec = make_spec(**changes)
    model = make_model(spec=spec, **shape)
    quantiles = run(model, windows(model))
    assert quantiles.shape == (4, spec.horizon, 4, len(spec.quantiles))
    assert torch.isfinite(quantiles).all()
    assert (quantiles.diff(dim=-1) >= 0).all()


def permuted(graph: CityGraph, order: np.ndarray) -> CityGraph:
    """The same city with node ``order[i]`` in place ``i``."""
    place = np.argsort(order)
    return replace(
        graph,
        ids=tuple(graph.ids[i] for i in order),
        lon=graph.lon[order],
        lat=graph.lat[order],
        source=place[graph.source],
        target=place[graph.target],
    )


@pytest.mark.parametrize("shape", [{}, {"anchor": "last"}, {"members": 2, "blocks": 2}])
@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 1, 0, 2]])
def test_node_permutation_equivariance(order, shape):
    order = np.array(order)
    model = make_model(seed=1, offsets=0.1, **shape)
    other = Forecaster(model.spec, permuted(make_graph(), order), model.architecture).eval()
    moved = {}
    for key, value in model.state_dict().items():
        if key.startswith(("backbone.scaler.mean", "backbone.scaler.scale")) or key in (
            "backbone.weight",
            "backbone.residual",
        ):
            moved[key] = value[order]
        elif key.startswith("backbone.profile."):
            moved[key] = value[..., order]
        elif key.endswith(".node.weight"):
            moved[key] = value[order]
        else:
            moved[key] = value
    other.load_state_dict(moved)
    window = windows(model)
    turned = window | {name: window[name][..., order] for name in ("past", "lags")}
    straight, swapped = run(model, window), run(other, turned)
    torch.testing.assert_close(swapped, straight[:, :, order], rtol=1e-4, atol=1e-3)
    assert not torch.allclose(straight, straight[:, :, order])


def test_with_forcings_by_node_the_order_of_nodes_does_not_matter_either():
    """Without graph and with equal node embeddings, forcings follow their node."""
    model = make_model(graph=False)
    with torch.no_grad():
        for buffer in (
            model.backbone.weight,
            model.backbone.residual,
            model.members[0].node.weight,
        ):
            buffer.copy_(buffer[:1].expand_as(buffer))
        model.backbone.profile.load_state_dict(
            {k: v[..., :1].expand_as(v) for k, v in model.backbone.profile.state_dict().items()}
        )
        model.backbone.scaler.mean.fill_(100)
        model.backbone.scaler.scale.fill_(50)
    window = windows(model)
    generator = torch.Generator().manual_seed(0)
    for name in ("past_forcings", "future_forcings"):
        shape = [*window[name].shape]
        shape[2] = 4
        window[name] = torch.randn(shape, generator=generator)
    order = [2, 0, 3, 1]
    turned = window | {name: window[name][..., order] for name in ("past", "lags")}
    for name in ("past_forcings", "future_forcings"):
        turned[name] = window[name][:, :, order]
    torch.testing.assert_close(
        run(model, turned), run(model, window)[:, :, order], rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("anchor", ["profile", "last"])
def test_an_all_missing_node_still_has_a_finite_forecast(anchor):
    model = make_model(anchor=anchor)
    window = windows(model)
    for name in ("past", "lags"):
        window[name][..., 1] = torch.nan
    quantiles = run(model, window)
    assert torch.isfinite(quantiles).all()
    for name in window:
        if window[name].is_floating_point():
            window[name] = torch.full_like(window[name], torch.nan)
    quantiles = run(model, window)
    assert torch.isfinite(quantiles).all()
    assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("anchor", ["profile", "last"])
def test_mask_invariance(anchor):
    """Whatever stands under a gap once the mask is taken changes no forecast."""
    model = make_model(anchor=anchor)
    window = windows(model)
    window["past"][:, -9:-3, 2] = torch.nan
    with torch.inference_mode():
        frame = model.backbone.frame(**window)
        garbage = torch.where(frame.seen == 0, torch.full_like(frame.past, 1e6), frame.past)
        other = replace(frame, past=garbage)
        calendars = window["past_calendar"], window["future_calendar"]
        one, two = (model._members(f, *calendars)[0] for f in (frame, other))
    assert (frame.seen == 0).any()
    assert torch.equal(one, two)
    shown = model.backbone.frame(**windows(model))
    with torch.inference_mode():
        assert not torch.equal(model._members(shown, *calendars)[0], one)


@pytest.mark.parametrize("anchor", ["profile", "last"])
def test_no_gradient_reaches_a_missing_value_and_none_is_nan(anchor):
    model = make_model(anchor=anchor)
    window = windows(model)
    past = window["past"].requires_grad_()
    assert past.isnan().any()
    model(**window).sum().backward()
    assert past.grad is not None
    assert (past.grad[past.isnan()] == 0).all()
    assert torch.isfinite(past.grad).all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 50), st.booleans(), st.integers(1, 3))
def test_quantiles_never_fall_with_the_level(seed, offsets, nonnegative, members):
    model = make_model(seed, make_spec(nonnegative=nonnegative), offsets, members=members)
    quantiles = run(model, windows(model))
    assert torch.isfinite(quantiles).all()
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert not nonnegative or (quantiles >= 0).all()


def test_a_target_that_cannot_be_negative_is_clamped_and_another_is_not():
    """Both are the same but for what falls below zero."""
    kept = make_model(3, make_spec(nonnegative=True), anchor="last")
    free = make_model(3, make_spec(nonnegative=False), anchor="last")
    window = windows(kept)
    clamped, raw = run(kept, window), run(free, window)
    assert (raw < 0).any()
    assert torch.equal(clamped, raw.clamp(min=0))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=11).filter(lambda x: len(x) % 2)
)
def test_ordered_mends_falling_rows_and_leaves_rising_ones(row):
    middle = len(row) // 2
    rising = torch.tensor(sorted(row))
    assert torch.equal(ordered(rising, middle), rising)
    mended = ordered(torch.tensor(row), middle)
    assert (mended.diff() >= 0).all()
    assert mended[middle] == row[middle]
    assert torch.equal(ordered(mended, middle), mended)
    assert (mended[middle + 1 :] >= torch.tensor(row)[middle + 1 :]).all()
    assert (mended[:middle] <= torch.tensor(row)[:middle]).all()


def test_ordered_works_on_each_row_alone():
    rows = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]])
    assert ordered(rows, 1).tolist() == [[1, 2, 3], [2, 2, 2]]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.1, 100))
def test_fan_opens_from_its_median(seed, size):
    raw = size * torch.randn(11, 2, 3, generator=torch.Generator().manual_seed(seed))
    values = fan(raw, 5)
    assert torch.equal(values[5], raw[5])
    assert (values.diff(dim=0) >= 0).all()
    changed = raw.clone()
    changed[9] += 1
    assert torch.equal(fan(changed, 5)[:9], values[:9])
    assert (fan(changed, 5)[9:] >= values[9:]).all()


def test_a_network_of_zero_output_forecasts_the_backbone_with_a_symmetric_fan():
    model = make_model(spec=make_spec(nonnegative=False))
    with torch.no_grad():
        for layer in (model.members[0].lead_out, model.members[0].skip):
            layer.weight.zero_()
            layer.bias.zero_()
    window = windows(model)
    quantiles = run(model, window)
    scaler = model.backbone.scaler
    with torch.inference_mode():
        point = model.backbone(model.backbone.frame(**window)) * scaler.scale + scaler.mean
    torch.testing.assert_close(quantiles[..., 5], point)
    up = quantiles[..., 6:] - quantiles[..., 5:6]
    down = quantiles[..., 5:6] - quantiles[..., :5].flip(-1)
    torch.testing.assert_close(up, down, rtol=1e-3, atol=1e-2)
    assert (up > 0).all()


def test_offsets_widen_in_units_of_the_band():
    model = make_model(spec=make_spec(nonnegative=False))
    window = windows(model)
    before = run(model, window)
    levels = list(model.spec.quantiles)
    low, high = levels.index(0.1), levels.index(0.9)
    model.offset[2, low], model.offset[2, high] = -0.25, 0.25
    model.offset[2, 0], model.offset[2, -1] = -0.25, 0.25
    after = run(model, window)
    width = before[..., high] - before[..., low]
    torch.testing.assert_close(
        after[:, 2, :, high] - after[:, 2, :, low], 1.5 * width[:, 2], rtol=1e-4, atol=1e-3
    )
    others = [0, 1, 3, 4, 5]
    assert torch.equal(after[:, others], before[:, others])
    assert torch.equal(after[..., model.middle], before[..., model.middle])


@pytest.mark.parametrize("anchor", ["profile", "last"])
def test_no_look_ahead_through_the_whole_model(anchor):
    spec = make_spec()
    model = make_model(anchor=anchor)
    builder = make_builder(spec)
    origin = 1000
    values, forcings = builder.values.copy(), builder.forcings.copy()
    values[origin + 1 :] = 1e5
    forcings[origin + 1 :, :, 1] = 1e5
    forcings[origin + spec.horizon + 1 :] = 1e5
    other = WindowBuilder(spec, builder.start, values, forcings)
    one, two = (run(model, tensors(b.batch(np.array([origin])))) for b in (builder, other))
    assert torch.equal(one, two)


@pytest.mark.parametrize("shape", [{}, {"anchor": "last", "members": 2}])
def test_a_row_does_not_depend_on_the_other_rows(shape):
    model = make_model(offsets=0.1, **shape)
    window = windows(model)
    batch = run(model, window)
    changed = {name: tensor.clone() for name, tensor in window.items()}
    for name in changed:
        changed[name][1:] = changed[name][1:] * 0
    assert torch.equal(run(model, changed)[0], batch[0])
    for b in range(len(ORIGINS)):
        alone = run(model, {name: tensor[b : b + 1] for name, tensor in window.items()})
        torch.testing.assert_close(alone[0], batch[b], rtol=1e-5, atol=1e-3)


def test_members_are_averaged():
    model = make_model(members=3, spec=make_spec(nonnegative=False))
    builder = make_builder(model.spec)
    window = windows(model)
    frame = model.backbone.frame(**window)
    with torch.inference_mode():
        members = model._members(frame, window["past_calendar"], window["future_calendar"])
    assert len(members) == 3
    assert not torch.allclose(members[0], members[1])
    mean = torch.stack(members).mean(0)
    torch.testing.assert_close(run(model, window), mean.permute(1, 2, 3, 0))
    training = tensors(builder.batch(ORIGINS))
    assert [q.shape for q in model.member_quantiles(training)] == [run(model, window).shape] * 3


def test_nothing_but_linear_embedding_and_layer_norm_owns_weights():
    shapes = [shape for _, shape in SHAPES.values()]
    for shape in shapes:
        model = Forecaster(make_spec(), make_graph(), Architecture(**(SMALL | shape)))
        owners = {type(m) for m in model.modules() if list(m.parameters(recurse=False))}
        assert owners <= {nn.Linear, nn.Embedding, nn.LayerNorm}
        leaves = {type(m) for m in model.modules() if not list(m.children())}
        assert not any("Norm" in leaf.__name__ for leaf in leaves - {nn.LayerNorm})


def test_a_graph_counts_only_where_it_is_asked_for():
    for graph in (True, False):
        model = make_model(graph=graph)
        window = windows(model)
        changed = window | {"past": window["past"].clone()}
        changed["past"][..., 3] *= 1.5
        differs = (run(model, changed) != run(model, window)).any(dim=(0, 1, 3))
        assert differs.tolist() == [graph, graph, graph, True]


def test_a_city_without_edges_needs_no_graph():
    bare = replace(
        make_graph(),
        source=np.zeros(0, int),
        target=np.zeros(0, int),
        weight=np.zeros(0, np.float32),
    )
    model = Forecaster(make_spec(), bare, Architecture(**SMALL))
    assert torch.isfinite(run(randomise(model, 0), windows(model))).all()


def test_state_survives_as_plain_tensors(tmp_path):
    model = make_model(offsets=0.2, members=2)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    other = Forecaster(model.spec, make_graph(), model.architecture).eval()
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(run(other, windows(model)), run(model, windows(model)))


def test_the_output_is_a_forecast():
    model = make_model()
    quantiles = run(model, windows(model))[0].numpy()
    builder = make_builder(model.spec)
    forecast = Forecast(
        quantiles=quantiles,
        levels=model.spec.quantiles,
        init_time=builder.times(ORIGINS)[0],
        valid_times=builder.times(ORIGINS[0] + np.arange(1, 7)),
        unit="veh/h",
        release="tiny-1",
        observed_fraction=np.ones(4),
    )
    assert forecast.valid_times[0] > forecast.init_time
