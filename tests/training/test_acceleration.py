"""bf16 and compiled networks: faster where the hardware has it, the same weights by name."""

from functools import partial

import numpy as np
import torch

from tests.factories import Silent, make_settings
from training.acceleration import accelerated, fitting_device
from training.fit import fit, forecasts
from training.ridge import tensors

SETTINGS = make_settings(accelerator="cpu")


def quantiles(fitted, dataset) -> np.ndarray:
    return forecasts(fitted.predict, dataset.builder(fitted.spec), np.arange(1300, 1340))[0]


def test_bf16_trains_nearly_the_same_forecaster_in_32_bit_weights(dataset, fitted, tmp_path):
    settings = SETTINGS.model_copy(update={"precision": "bf16"})
    half = fit(dataset, settings, tmp_path, Silent())
    one, other = fitted.forecaster.state_dict(), half.forecaster.state_dict()
    assert list(one) == list(other)
    assert [t.dtype for t in one.values()] == [t.dtype for t in other.values()]
    assert any(not torch.equal(one[name], other[name]) for name in one)
    backbone = [name for name in one if name.startswith("backbone.")]
    assert backbone
    assert all(torch.equal(one[name], other[name]) for name in backbone)
    np.testing.assert_allclose(
        quantiles(half, dataset), quantiles(fitted, dataset), rtol=0.02, atol=0.5
    )


def test_only_the_networks_compute_in_bf16_and_only_in_the_block(dataset, fitted):
    forecaster = fitted.forecaster
    (member,) = forecaster.members
    seen = []
    hook = member.norm.register_forward_hook(lambda _, inputs, out: seen.append(inputs[0].dtype))
    window = tensors(dataset.builder(fitted.spec).batch(np.array([900])))
    with accelerated(forecaster, SETTINGS.model_copy(update={"precision": "bf16"})):
        inside = forecaster(**window)
    outside = forecaster(**window)
    hook.remove()
    assert seen == [torch.bfloat16, torch.float32]
    assert inside.dtype == outside.dtype == torch.float32
    assert "forward" not in vars(member)


def test_a_compiled_network_trains_the_same_forecaster(dataset, fitted, tmp_path, monkeypatch):
    """Traced whole and run by torch itself: generating code takes minutes, and is torch's."""
    compiled = partial(torch.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr("training.acceleration.torch.compile", compiled)
    settings = SETTINGS.model_copy(update={"compile": True})
    other = fit(dataset, settings, tmp_path, Silent()).forecaster.state_dict()
    assert list(other) == list(fitted.forecaster.state_dict())
    for name, tensor in fitted.forecaster.state_dict().items():
        torch.testing.assert_close(other[name], tensor, rtol=1e-4, atol=1e-5)


def test_the_backbone_is_fitted_on_the_processor_when_asked_to_be():
    assert fitting_device("cpu") == torch.device("cpu")
