"""Forecasting nodes that were never seen: nothing is learned of a node by name."""

import numpy as np
import pytest
import torch

from models.contracts import ForecastSpec
from models.forecaster import Architecture, Forecaster
from models.windows import WindowBuilder
from tests.factories import make_graph, make_series, make_spec
from training.ridge import fit_backbone, tensors

ORIGINS = np.array([800, 900, 1000])


def make_builder(spec: ForecastSpec) -> WindowBuilder:
    series, forcings = make_series(days=60)
    start = np.datetime64(series.index[0].tz_convert(None), "s")
    return WindowBuilder(spec, start, series.to_numpy(), forcings.to_numpy()[:, None])


@pytest.fixture(scope="module")
def builder() -> WindowBuilder:
    return make_builder(make_spec(lags=(168, 336)))


@pytest.fixture(scope="module")
def model(builder) -> Forecaster:
    """Its ridge fitted, its network at random."""
    torch.manual_seed(0)
    shape = Architecture(width=8, blocks=1, embedding=2, inductive=True, graph=False)
    model = Forecaster(builder.spec, make_graph(), shape).eval()
    fit_backbone(model.backbone, builder, 1000, np.arange(400, 990))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    return model


def run(model: Forecaster, window) -> torch.Tensor:
    with torch.inference_mode():
        return model(**window)


def test_its_state_fits_a_city_it_never_saw(model, builder):
    """And a node's forecast does not depend on who else is there."""
    window = tensors(builder.batch(ORIGINS))
    other = Forecaster(model.spec, make_graph(2), model.architecture).eval()
    other.load_state_dict(model.state_dict())
    few = window | {name: window[name][..., 1:3] for name in ("past", "lags")}
    torch.testing.assert_close(run(other, few), run(model, window)[:, :, 1:3], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_a_forecast_scales_with_its_window(model, builder, factor):
    window = tensors(builder.batch(ORIGINS))
    larger = window | {name: window[name] * factor for name in ("past", "lags")}
    expected = run(model, window) * factor
    scale = float(expected.abs().mean())
    torch.testing.assert_close(run(model, larger), expected, rtol=1e-2, atol=1e-2 * scale)


def test_one_ridge_serves_all_nodes(model, builder):
    assert model.backbone.weight.shape[0] == 1
    window = tensors(builder.batch(ORIGINS, with_target=True))
    target = window.pop("target")
    frame = model.backbone.frame(**window)
    error = model.backbone(frame) * frame.scale + frame.mean - target
    assert error.abs().nanmean() < 15  # the noise is 8 and the level 200


def test_a_window_without_observations_still_has_a_forecast(model, builder):
    window = tensors(builder.batch(ORIGINS))
    silent = window | {name: torch.full_like(window[name], torch.nan) for name in ("past", "lags")}
    assert torch.isfinite(run(model, silent)).all()
