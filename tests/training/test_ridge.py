"""The ridge finds what is there, ignores what is missing, and doubts noise."""

import numpy as np
import pytest
import torch

from models.backbone import Backbone
from models.contracts import Forcing
from models.windows import WindowBuilder
from tests.factories import make_graph, make_spec
from training import ridge
from training.ridge import BLOCKS, fit_backbone, tensors

START = np.datetime64("2024-02-05")
TEMPERATURE = (Forcing("temp_c", "degC", True),)


def make_spec_here(**changes):
    return make_spec(**({"lookback": 6, "horizon": 3, "lags": (), "nonnegative": False} | changes))


def driven(steps: int = 4000, slope: float = 3.0, noise: float = 6.0) -> WindowBuilder:
    """A target that is the temperature of its own hour times ``slope``, and noise."""
    rng = np.random.default_rng(0)
    temperature = rng.normal(10, 4, (steps, 1, 1))
    values = 50 + slope * temperature[:, 0] + rng.normal(0, noise, (steps, 4))
    return WindowBuilder(make_spec_here(forcings=TEMPERATURE), START, values, temperature)


def fitted(builder: WindowBuilder, origins: np.ndarray, anchor="last", end: int | None = None):
    backbone = Backbone(builder.spec, make_graph(), anchor, weekly=True, mixing=False)
    fit_backbone(backbone, builder, end or len(builder.values), origins)
    return backbone


def test_known_coefficients_are_recovered():
    builder = driven()
    origins = np.arange(5, 3990)
    backbone = fitted(builder, origins)
    slope = 3 * backbone.scaler.forcing_scale / backbone.scaler.scale
    constant, anchor, coming = 0, 1, 2
    expected = slope[:, None].expand(4, 3)
    torch.testing.assert_close(backbone.weight[..., coming], expected, rtol=0.03, atol=0.01)
    # Last hour's noise tells nothing of the next one: all of the anchor is taken back.
    minus_one = torch.full((4, 3), -1.0)
    torch.testing.assert_close(backbone.weight[..., anchor], minus_one, rtol=0, atol=0.1)
    assert backbone.weight[..., constant].abs().max() < 0.05
    assert backbone.weight[..., coming + 1 :].abs().max() < 0.06
    noise = 6 / backbone.scaler.scale
    torch.testing.assert_close(backbone.residual, noise[:, None].expand(4, 3), rtol=0.05, atol=0.01)


def test_scaler_and_profile_see_the_train_span_alone():
    builder = driven()
    end = 2000
    origins = np.arange(5, end - 3)
    before = fitted(builder, origins, "profile", end).state_dict()
    values, forcings = builder.values.copy(), builder.forcings.copy()
    values[end:], forcings[end:] = 1e5, -1e5
    changed = WindowBuilder(builder.spec, START, values, forcings)
    for name, buffer in fitted(changed, origins, "profile", end).state_dict().items():
        assert torch.equal(buffer, before[name]), name


def test_origins_without_a_target_change_nothing():
    """Whole windows of gaps, the same number in each block, fall out of the normal equations."""
    builder = driven(2400)
    builder.values[2000:2200] = np.nan
    real = np.array_split(np.arange(5, 1990), BLOCKS)
    blank = np.array_split(np.arange(2010, 2190), BLOCKS)
    size = min(map(len, real))
    bare = np.concatenate([block[:size] for block in real])
    mixed = np.concatenate([np.append(r[:size], b) for r, b in zip(real, blank, strict=True)])
    one, other = fitted(builder, bare), fitted(builder, mixed)
    assert one.weight.abs().max() > 0.5
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one.residual, other.residual, rtol=1e-3, atol=1e-4)


def test_a_node_with_gaps_does_not_move_another():
    builder = driven(1500)
    origins = np.arange(5, 1490)
    whole = fitted(builder, origins)
    gappy = WindowBuilder(builder.spec, START, builder.values.copy(), builder.forcings)
    gappy.values[np.random.default_rng(1).random(1500) < 0.3, 1] = np.nan
    partly = fitted(gappy, origins)
    others = [0, 2, 3]
    torch.testing.assert_close(whole.weight[others], partly.weight[others], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole.weight[1], partly.weight[1])
    assert torch.isfinite(partly.weight).all()


def test_a_node_without_any_target_has_no_correction():
    builder = driven(1000)
    builder.values[:, 2] = np.nan
    backbone = fitted(builder, np.arange(5, 990))
    assert (backbone.weight[2] == 0).all()
    assert torch.isfinite(backbone.residual).all()
    assert (backbone.residual > 0).all()


def chosen(builder: WindowBuilder, origins: np.ndarray, monkeypatch) -> list[float]:
    """The penalty that each node's weights were solved with."""
    free = fitted(builder, origins, "profile").weight
    strengths, found = ridge.STRENGTHS, [np.nan] * len(free)
    for strength in strengths:
        monkeypatch.setattr(ridge, "STRENGTHS", (strength,))
        weight = fitted(builder, origins, "profile").weight
        for n in range(len(free)):
            if torch.allclose(free[n], weight[n], rtol=1e-5, atol=1e-7):
                found[n] = strength
    monkeypatch.undo()
    return found


def test_held_out_blocks_choose_a_strong_penalty_on_noise_and_a_weak_one_on_signal(monkeypatch):
    noise = WindowBuilder(
        make_spec_here(forcings=(), lookback=48),
        START,
        np.random.default_rng(3).normal(0, 1, (900, 4)),
    )
    on_noise = chosen(noise, np.arange(47, 890), monkeypatch)
    on_signal = chosen(driven(1500, noise=0.5), np.arange(5, 1490), monkeypatch)
    assert max(on_signal) == min(ridge.STRENGTHS)
    assert min(on_noise) >= 100 * max(on_signal)


def test_many_origins_are_thinned_and_progress_is_told(monkeypatch):
    monkeypatch.setattr(ridge, "MOST_ORIGINS", 200)
    builder, shares = driven(1500), []
    cut = []
    batch = ridge.ResidentWindows.batch
    monkeypatch.setattr(
        ridge.ResidentWindows, "batch", lambda w, rows: cut.append(len(rows)) or batch(w, rows)
    )
    backbone = Backbone(builder.spec, make_graph(), "last", weekly=True, mixing=False)
    fit_backbone(backbone, builder, 1500, np.arange(5, 1490), shares.append)
    assert 100 < sum(cut) <= 200
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert min(shares) > 0


def test_with_neighbours_the_ridge_learns_what_comes_down_the_river():
    """Node b repeats what node a did three steps ago, and an edge joins them."""
    rng = np.random.default_rng(0)
    upstream = rng.normal(0, 1, 3000)
    values = rng.normal(0, 1, (3000, 4))
    values[:, 0] = upstream
    values[3:, 1] = upstream[:-3] + 0.1 * rng.normal(size=2997)
    spec = make_spec_here(forcings=(), lookback=12)
    builder, graph = WindowBuilder(spec, START, values), make_graph()
    assert (1, 0) in set(zip(graph.source.tolist(), graph.target.tolist(), strict=True))
    errors = {}
    for mixing in (False, True):
        backbone = Backbone(spec, graph, "last", weekly=True, mixing=mixing)
        fit_backbone(backbone, builder, 3000, np.arange(11, 2990))
        errors[mixing] = backbone.residual
    gains = errors[False] / errors[True]
    assert gains[1].max() > 2
    assert gains[2:].max() < 1.1


@pytest.mark.parametrize("inductive", [False, True])
@pytest.mark.parametrize("anchor", ["profile", "last"])
def test_nodes_fitted_part_by_part_have_the_same_weights(anchor, inductive, monkeypatch):
    """Neighbours in other parts, gaps and a forcing of each node's own included."""
    rng = np.random.default_rng(0)
    values = 50 + rng.normal(0, 5, (1200, 12)).cumsum(0) / 20
    values[3:, 1] += values[:-3, 0]
    values[rng.random(values.shape) < 0.05] = np.nan
    forcings = rng.normal(10, 4, (1200, 12, 1))
    spec = make_spec_here(forcings=TEMPERATURE, lookback=30)
    builder, graph = WindowBuilder(spec, START, values, forcings), make_graph(12)
    found, told = [], []
    for size in (ridge.PART_BYTES, 1):
        monkeypatch.setattr(ridge, "PART_BYTES", size)
        backbone = Backbone(spec, graph, anchor, True, True, inductive)
        told.append(shares := [])
        fit_backbone(backbone, builder, 1200, np.arange(29, 1190), shares.append)
        found.append(backbone)
    whole, parts = found
    assert len(ridge.node_parts(parts, 12)) == 12
    assert len(told[1]) == 12 * len(told[0])
    assert told[1] == sorted(told[1])
    assert told[1][-1] == 1
    largest = float(whole.weight.abs().max())
    assert largest > 0
    torch.testing.assert_close(parts.weight, whole.weight, rtol=1e-3, atol=1e-3 * largest)
    torch.testing.assert_close(parts.residual, whole.residual, rtol=1e-4, atol=1e-5)


def test_tensors_keep_names_and_types():
    window = driven(200).batch(np.array([100, 110]), with_target=True)
    arrays = tensors(window)
    assert set(arrays) == {*window.inputs(), "target"}
    assert arrays["past"].dtype == torch.float32
    assert arrays["past_calendar"].dtype == torch.int64
    assert "target" not in tensors(driven(200).batch(np.array([100])))
