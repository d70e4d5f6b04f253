"""The backbone: an anchor, a ridge on top of it, and frames that gaps cannot poison."""

import numpy as np
import pytest
import torch

from models.backbone import FADING, Backbone, carried, last_value
from models.contracts import Forcing
from models.windows import WindowBuilder
from tests.factories import make_graph, make_series, make_spec
from training.ridge import tensors

ORIGINS = np.array([900, 1000, 1100])


def make_builder(spec) -> WindowBuilder:
    series, forcings = make_series(days=60)
    start = np.datetime64(series.index[0].tz_convert(None), "s")
    forced = forcings.to_numpy()[:, None] if spec.forcings else None
    return WindowBuilder(spec, start, series.to_numpy(), forced)


def make_backbone(anchor="profile", mixing=True, **changes) -> tuple[Backbone, WindowBuilder]:
    """A backbone counted on the tiny series, its ridge still zero."""
    spec = make_spec(**changes)
    builder = make_builder(spec)
    backbone = Backbone(spec, make_graph(), anchor, weekly=True, mixing=mixing)
    values = torch.as_tensor(builder.values)
    backbone.scaler.fit(values, torch.as_tensor(builder.forcings))
    if anchor == "profile":
        backbone.profile.fit(values, torch.as_tensor(builder.calendar(0, len(values))))
    return backbone, builder


def frame_of(backbone: Backbone, builder: WindowBuilder, target: bool = False):
    return backbone.frame(**tensors(builder.batch(ORIGINS, with_target=target)))


def test_last_value_is_the_last_that_was_observed():
    nan = torch.nan
    z = torch.tensor([[[1.0, nan, 3.0], [2.0, nan, nan], [nan, nan, nan]]])
    assert last_value(z).tolist() == [[[2.0, 0.0, 3.0]]]


@pytest.mark.parametrize("gap", [1, 2, 3, 9])
def test_a_gap_holds_the_last_deviation_fading(gap):
    deviation = torch.randn(2, 12, 3)
    seen = torch.ones_like(deviation)
    seen[:, 12 - gap :, 1] = 0
    filled = carried(deviation * seen, seen, 3)
    assert torch.equal(filled[..., [0, 2]], deviation[..., [0, 2]])
    fading = FADING ** torch.arange(1, gap + 1)
    fading[3:] = 0
    torch.testing.assert_close(filled[:, 12 - gap :, 1], deviation[:, 11 - gap, None, 1] * fading)
    nothing = torch.zeros(1, 12, 1)
    assert torch.equal(carried(nothing, nothing, 3), nothing)


@pytest.mark.parametrize("anchor", ["profile", "last"])
def test_a_ridge_of_zero_forecasts_the_anchor(anchor):
    backbone, builder = make_backbone(anchor)
    window = tensors(builder.batch(ORIGINS))
    frame = backbone.frame(**window)
    assert torch.equal(backbone(frame), frame.anchor)
    natural = frame.anchor * backbone.scaler.scale + backbone.scaler.mean
    if anchor == "last":
        last = last_value(window["past"]).expand(-1, 6, -1)
        torch.testing.assert_close(natural, last, rtol=1e-4, atol=1e-3)
    else:
        coming = backbone.profile(
            window["past"], window["past_calendar"], window["future_calendar"]
        )[1]
        torch.testing.assert_close(natural, coming, rtol=1e-4, atol=1e-3)


def test_the_ridge_adds_its_regressors():
    backbone, builder = make_backbone()
    frame = frame_of(backbone, builder)
    design = backbone.design(frame)
    backbone.weight.copy_(torch.randn(backbone.weight.shape))
    expected = torch.einsum("bnhd,nhd->bhn", design, backbone.weight) + frame.anchor
    torch.testing.assert_close(backbone(frame), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "anchor", "mixing"),
    [
        ({}, "profile", True),
        ({"lags": ()}, "last", True),
        ({"forcings": (), "lags": (168,)}, "profile", False),
        (
            {"forcings": (Forcing("rain_mm", "mm", True), Forcing("temp_c", "degC", True))},
            "last",
            0,
        ),
        ({"lookback": 3, "lags": (24,)}, "profile", True),
    ],
)
def test_the_design_is_as_wide_as_the_ridge(changes, anchor, mixing):
    backbone, builder = make_backbone(anchor, bool(mixing), **changes)
    frame = frame_of(backbone, builder)
    assert backbone.design(frame).shape == (3, 4, 6, backbone.features)
    assert backbone.weight.shape == (4, 6, backbone.features)
    assert backbone(frame).shape == (3, 6, 4)
    assert torch.isfinite(backbone.design(frame)).all()


def test_missing_values_and_forcings_are_zero_in_the_frame_and_carried_in_the_design():
    backbone, builder = make_backbone()
    builder.values[890:900, 2] = np.nan
    builder.forcings[895:903] = np.nan
    window = tensors(builder.batch(ORIGINS))
    frame = backbone.frame(**window)
    missing = window["past"].isnan()
    assert missing[0, :, 2].any()
    assert (frame.past[missing] == 0).all()
    assert torch.equal(frame.seen == 0, missing)
    assert (frame.lags[window["lags"].isnan()] == 0).all()
    for part in (frame.past_anchor, frame.anchor, frame.past_forcings, frame.future_forcings):
        assert torch.isfinite(part).all()
    deviation = backbone.design(frame)[0, 2, :, 2 + 1 + 2 : 2 + 1 + 2 + backbone.recent]
    gap = missing[0, -backbone.recent :, 2]
    after = torch.arange(backbone.recent)[gap][0]
    torch.testing.assert_close(deviation[:, after], deviation[:, after - 1] * FADING)


def test_in_training_a_day_is_held_out_of_its_own_anchor():
    backbone, builder = make_backbone()
    window = tensors(builder.batch(ORIGINS))
    one, two = backbone.frame(**window), backbone.frame(**window, held_out=True)
    for name in ("past", "seen", "past_forcings", "future_forcings"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert not torch.allclose(one.anchor, two.anchor)
    torch.testing.assert_close(one.anchor, two.anchor, atol=1.0, rtol=0)


def test_without_graph_a_neighbour_changes_nothing():
    backbone, builder = make_backbone(mixing=False)
    backbone.weight.copy_(torch.randn(backbone.weight.shape))
    window = tensors(builder.batch(ORIGINS))
    changed = window | {"past": window["past"].clone(), "lags": window["lags"].clone()}
    changed["past"][..., 3] *= 2
    changed["lags"][..., 3] *= 2
    one, two = (backbone(backbone.frame(**w)) for w in (window, changed))
    assert torch.equal(one[..., :3], two[..., :3])
    assert not torch.equal(one[..., 3], two[..., 3])


def test_with_graph_a_neighbour_counts():
    backbone, builder = make_backbone(mixing=True)
    backbone.weight.copy_(torch.randn(backbone.weight.shape))
    window = tensors(builder.batch(ORIGINS))
    changed = window | {"past": window["past"].clone()}
    changed["past"][..., 3] *= 2
    one, two = (backbone(backbone.frame(**w)) for w in (window, changed))
    assert not torch.equal(one[..., 0], two[..., 0])  # d gives to a in the ring
    assert torch.equal(one[..., 1], two[..., 1])  # b is two hops away


def test_the_backbone_owns_no_trained_weight():
    backbone, _ = make_backbone()
    assert not list(backbone.parameters())
