"""A GPU computes what the processor does; skipped where there is none.

They need no other fixtures: `python -m pytest --noconftest tests/test_gpu.py` runs them on a node
that has the training's packages alone.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.stages import forecaster
from models.physics.basin import Basin, Breach, Edges, Inflow, Rain
from models.physics.inundation import SCHEMES, Flood, simulate
from models.physics.slope_response import SlopeResponse, slope_response
from models.physics.soil import Soil
from models.scenario import QUANTILES
from models.surrogates.conditional_unet import ConditionalUNet, Scales
from tests.factories import Silent, make_dataset, make_settings
from training.dataset import open_dataset
from training.fit import fit, forecasts
from training.losses import pinball
from training.resident import ResidentWindows
from training.ridge import fit_backbone

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
ROWS = COLUMNS = 32


def flood(name: str, device: str, batch: int) -> Flood:
    """Rain, a river, a levee that breaks, ground that takes water and edges that let it go."""
    torch.manual_seed(0)
    bed = torch.linspace(2, 0, COLUMNS).double() + torch.rand(batch, ROWS, COLUMNS).double()
    bed[:, :, 10] += 1.5
    flat = torch.ones(1, 1, 1).double()
    rain = torch.linspace(60, 20, batch).double() / 3.6e6
    times, hours = torch.tensor([0.0, 300.0]).double(), torch.tensor([0.0, 200, 600]).double()
    with torch.device(device):
        cells = torch.tensor([35, 36])

    def on(values: Tensor) -> Tensor:
        return values.to(device)

    return simulate(
        Basin(on(bed), 10.0, on(flat * 0.03), on(flat * 2e-6), Edges.alike("open"), batch),
        SCHEMES[name],
        900.0,
        rain=Rain(on(times), on(torch.stack((rain, 0 * rain))[:, :, None, None])),
        inflow=Inflow(
            cells, on(hours), on(torch.tensor([[0.0, 0], [2, 1], [0, 0]]).double()[:, None])
        ),
        breach=Breach(
            on(torch.tensor([10 * COLUMNS + 10])),
            on(torch.tensor([[0.5]]).double()),
            on(torch.tensor([400.0])),
            on(torch.tensor([60.0])),
        ),
        times_s=(450.0,),
    )


@pytest.mark.parametrize("compiled_after", [8, 10**9], ids=["compiled", "recorded"])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", SCHEMES)
def test_water_goes_where_it_goes_on_the_processor(
    name: str, batch: int, compiled_after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.physics.march.worth_compiling", lambda cells: compiled_after)
    warned = []
    monkeypatch.setattr("models.physics.replay.log.warning", lambda *words: warned.append(words))
    here, there = flood(name, "cpu", batch), flood(name, "cuda", batch)
    assert not warned  # that it could not be compiled
    assert here.steps == there.steps
    assert float(there.volumes.error.max()) < 1e-12
    for field in ("depth_m", "max_depth_m", "max_speed_m_s", "depths_m", "arrival_s"):
        found, wanted = getattr(there, field), getattr(here, field)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-6, atol=1e-8)


def test_slopes_fail_where_they_fail_on_the_processor() -> None:
    torch.manual_seed(0)
    bed = -4.5 * torch.arange(20).double()[:, None] + torch.rand(20, 20).double()
    times, rain = torch.arange(12).double() * 3600, torch.rand(12).double() * 2e-6

    def response(device: str) -> SlopeResponse:
        values = (4000.0, 0.56, 19000.0, 2.0, 3e-6, 2e-5)
        soil = Soil(*(torch.tensor(v, dtype=torch.float64, device=device) for v in values))
        given = bed.to(device), 10.0, soil, times.to(device), rain.to(device)
        return slope_response(*given, antecedent_m_s=2e-9)

    here, there = response("cpu"), response("cuda")
    for field in ("factor_of_safety", "head_m", "failure_s", "critical_rain_m_s"):
        found, wanted = getattr(there, field), getattr(here, field)
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-9, atol=1e-9)


def test_windows_are_the_same_bit_by_bit() -> None:
    _, builder = forecaster(60)
    origins = np.array([300, 301, 500, 860])
    window = builder.batch(origins, with_target=True)
    found = ResidentWindows(builder, "cuda").batch(origins)
    for name, wanted in (window.inputs() | {"target": window.target}).items():
        assert found[name].is_cuda
        np.testing.assert_array_equal(found[name].cpu().numpy(), wanted)


def test_a_backbone_is_fitted_and_gradients_are_taken_alike() -> None:
    fitted = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        model, builder = forecaster(60)
        model.to(device).eval()  # without dropout, whose draws differ
        fit_backbone(model.backbone, builder, 700, np.arange(20, 680, 3))
        batch = ResidentWindows(builder, device).batch(np.arange(700, 708))
        target = batch.pop("target")
        (quantiles,) = model.member_quantiles(batch)
        levels = torch.tensor(model.spec.quantiles, device=device)
        loss = pinball(quantiles, target, levels, levels.new_ones(60))
        loss.backward()
        gradients = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
        fitted.append((model.backbone.weight.cpu(), quantiles.detach().cpu(), torch.cat(gradients)))
    for here, there in zip(*fitted, strict=True):
        assert (here - there).norm() < 1e-3 * here.norm()


def test_a_training_ends_with_a_forecaster_as_good(tmp_path: Path) -> None:
    dataset = open_dataset(make_dataset(tmp_path / "tiny"))
    errors = []
    for accelerator in ("cpu", "gpu"):
        settings = make_settings(accelerator=accelerator)
        done = fit(dataset, settings, tmp_path / accelerator, Silent())
        builder = dataset.builder(done.spec)
        quantiles, target = forecasts(done.predict, builder, np.arange(1300, 1400))
        middle = done.spec.quantiles.index(0.5)
        errors.append(np.nanmean(np.abs(quantiles[..., middle] - target)))
    assert errors[1] < 1.05 * errors[0]


@pytest.mark.parametrize("training", [False, True])
def test_an_inundation_network_answers_alike(training: bool) -> None:
    torch.manual_seed(0)
    mean, std = np.array([60, 2, 0.5, 60, 1, 4, 5]), np.array([40, 1, 0.2, 40, 1, 2, 4])
    scales = Scales(mean, std, np.array([0.1] * 6 + [1.0]))
    network = ConditionalUNet(ROWS, COLUMNS, 50.0, scales, QUANTILES, width=8, fine=8)
    network.train(training)
    rng = np.random.default_rng(0)
    low, high = [20, 0.5, 0.2, 20, 0.25, 1, 0], [150, 6, 0.8, 150, 4, 8, 15]
    scalars = torch.tensor(rng.uniform(low, high, (3, 7))).float()
    fall = np.linspace(4, 0, ROWS)[:, None] + rng.normal(0, 0.2, (3, ROWS, COLUMNS))
    source = np.zeros((3, ROWS, COLUMNS))
    source[:, 10, 16] = 1
    manning = rng.uniform(0.03, 0.1, (3, ROWS, COLUMNS))
    grids = np.stack([fall - fall.min((1, 2), keepdims=True), manning, source], -1)
    fields = torch.tensor(grids).float().flatten(1, 2)
    answers = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(1)  # which way the grid is turned
        network.to(device).memory.clear()
        answers.append(network(scalars.to(device), fields.to(device)).detach().cpu())
    assert (answers[0] - answers[1]).abs().mean() < 1e-4
